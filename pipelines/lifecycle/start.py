"""How a run begins: its start in MLflow, and its first commit, which says what it was made from."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from torch import nn

from pipelines.common.checked_settings import CheckedSettings
from pipelines.common.settings import TrackedSettings
from pipelines.data.datasets import Dataset
from pipelines.data.raw import CONTENT_DIGITS
from pipelines.lifecycle.groups import check_recipe, find_group
from pipelines.lifecycle.origin import ORIGIN, Origin
from tracking import committing, runs
from tracking.environment import describe_environment
from tracking.files import write_json, write_table
from tracking.home import Home

Settings = TypeVar("Settings", bound=TrackedSettings)


def start_training_run(
    home: Home,
    made_by: str,
    settings: Settings,
    default_name: str,
    data: Dataset,
    note: str,
    origin: Origin,
    seed: int | None = None,
    *,
    kind: str = "train",
    source_run_id: str | None = None,
    more_tags: Mapping[str, str] = MappingProxyType({}),
) -> tuple[runs.Run, Settings]:
    """A started run that owns epochs, of any training loop, and its settings with the name that it has.

    MLflow shows what it was `made_by`, such as `study train`, and the run beneath `source_run_id`, if it
    continues that.
    """
    with runs.taking_name(home, settings.name, default_name) as name:
        named = replace(settings, name=name)
        params = named.params() | origin.params()
        if settings.group is not None:
            check_recipe(settings.group, find_group(home, settings.group, seed), data, params)
        record = runs.new_record(
            kind,
            name,
            params,
            source_run_id=source_run_id,
            dataset=data.name,
            data_digest=data.digest,
            seed=seed,
        )
        tags = {"study.n": str(len(data.splits["train"].labels)), runs.SOURCE: made_by, **more_tags}
        run = runs.start_run(home, record, tags, note)
        runs.log_record(run)
    return run, named


def count_weights(model: nn.Module) -> str:
    """How many weights a model has, for the note of its run."""
    return f"{sum(parameter.numel() for parameter in model.parameters()):,} weights"


def count_images(data: Dataset) -> str:
    """How many classes and images there are, for the note of a run."""
    counts = ", ".join(f"{len(split.labels):,} {name}" for name, split in data.splits.items())
    return f"{len(data.classes)} classes, {counts} images"


def commit_start(
    run: runs.Run,
    command: str,
    settings: CheckedSettings,
    instances: dict[str, Any],
    classes: tuple[str, ...],
    inputs: dict[str, Any] | None = None,
    origin: Origin | None = None,
    tables: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> None:
    """Commit unit `start` of a run that owns epochs.

    `instances` are columns of table `instances`, `classes` the names in class_id order, `inputs` what config.json
    records besides the settings, such as how data was read and the digest of the model's code; an imported log has no
    `origin` of weights. `tables` are columns of further tables by name.
    """
    config = {"command": command, "settings": settings.params()} | (inputs or {})
    if origin is not None:
        config[ORIGIN] = origin.params()
    class_columns = {
        "run_id": [run.run_id] * len(classes),
        "class_id": list(range(len(classes))),
        "name": list(classes),
    }
    with runs.staging_folder(run.home) as folder:
        files = _write_records(folder, config)
        for table, columns in {"instances": instances, "classes": class_columns, **tables}.items():
            files[f"{table}.parquet"] = write_table(folder / f"{table}.parquet", columns)
        committing.commit(run, "start", files, {}, None)


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
        committing.commit(run, "start", _write_records(folder, config), {}, None)


def _write_records(folder: Path, config: dict[str, Any]) -> dict[str, Path]:
    return {
        "config.json": write_json(folder / "config.json", config),
        "environment.json": write_json(folder / "environment.json", describe_environment()),
    }
