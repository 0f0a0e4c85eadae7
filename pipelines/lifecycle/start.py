"""The first unit of a run: what it was made from."""

from pathlib import Path
from typing import Any

from pipelines.common.settings import Checked
from tracking import runs
from tracking.environment import describe_environment
from tracking.files import write_json, write_table


def commit_start(
    run: runs.Run,
    command: str,
    settings: Checked,
    instances: dict[str, Any],
    classes: tuple[str, ...],
    known: dict[str, Any] | None = None,
) -> None:
    """Commit unit `start` of a run that owns epochs.

    `instances` are columns of table `instances`, classes the names in class_id order, `known` what config.json says
    beside the settings, as of the data and of the model's code.
    """
    config = {"command": command, "settings": settings.params()} | (known or {})
    names = {"run_id": [run.run_id] * len(classes), "class_id": list(range(len(classes))), "name": list(classes)}
    with runs.staging_folder(run.home) as folder:
        files = _record(folder, config) | {
            "instances.parquet": write_table(folder / "instances.parquet", instances),
            "classes.parquet": write_table(folder / "classes.parquet", names),
        }
        runs.commit(run, "start", files, {}, None)


def commit_child_start(run: runs.Run, settings: Checked, inputs: dict[str, Any] | None = None) -> None:
    """Commit unit `start` of a run that looks at another one; `inputs` are what it read beside its settings."""
    config = {
        "command": run.record.kind,
        "settings": settings.params(),
        "source_run_id": run.record.source_run_id,
        **({"inputs": inputs} if inputs else {}),
    }
    with runs.staging_folder(run.home) as folder:
        runs.commit(run, "start", _record(folder, config), {}, None)


def _record(folder: Path, config: dict[str, Any]) -> dict[str, Path]:
    return {
        "config.json": write_json(folder / "config.json", config),
        "environment.json": write_json(folder / "environment.json", describe_environment()),
    }
