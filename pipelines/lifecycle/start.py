"""The first commit of a run: what it was made from."""

from pathlib import Path
from typing import Any

from pipelines.common.settings import CheckedSettings
from pipelines.data.datasets import Dataset
from pipelines.data.raw import CONTENT_DIGITS
from tracking import runs
from tracking.environment import describe_environment
from tracking.files import write_json, write_table


def commit_start(
    run: runs.Run,
    command: str,
    settings: CheckedSettings,
    instances: dict[str, Any],
    classes: tuple[str, ...],
    inputs: dict[str, Any] | None = None,
) -> None:
    """Commit unit `start` of a run that owns epochs.

    `instances` are columns of table `instances`, `classes` the names in class_id order, `inputs` what config.json
    records besides the settings, such as how data was read and the digest of the model's code.
    """
    config = {"command": command, "settings": settings.params()} | (inputs or {})
    class_columns = {
        "run_id": [run.run_id] * len(classes),
        "class_id": list(range(len(classes))),
        "name": list(classes),
    }
    with runs.staging_folder(run.home) as folder:
        files = _write_records(folder, config)
        files["instances.parquet"] = write_table(folder / "instances.parquet", instances)
        files["classes.parquet"] = write_table(folder / "classes.parquet", class_columns)
        runs.commit(run, "start", files, {}, None)


def instance_columns(run_id: str, data: Dataset) -> dict[str, list]:
    """Columns of table `instances`."""
    columns: dict[str, list] = {name: [] for name in ("run_id", "split", "instance_id", "label", "source", "content")}
    for name, split in data.splits.items():
        count = len(split.labels)
        columns["run_id"] += [run_id] * count
        columns["split"] += [name] * count
        columns["instance_id"] += range(count)
        columns["label"] += split.labels.tolist()
        columns["source"] += split.sources
        columns["content"] += [digest[:CONTENT_DIGITS] for digest in split.pixel_digests()]
    return columns


def commit_child_start(run: runs.Run, settings: CheckedSettings, inputs: dict[str, Any] | None = None) -> None:
    """Commit unit `start` of a child run; `inputs` are what it read besides its settings."""
    config: dict[str, Any] = {
        "command": run.record.kind,
        "settings": settings.params(),
        "source_run_id": run.record.source_run_id,
    }
    if inputs:
        config["inputs"] = inputs
    with runs.staging_folder(run.home) as folder:
        runs.commit(run, "start", _write_records(folder, config), {}, None)


def _write_records(folder: Path, config: dict[str, Any]) -> dict[str, Path]:
    return {
        "config.json": write_json(folder / "config.json", config),
        "environment.json": write_json(folder / "environment.json", describe_environment()),
    }
