"""The first unit of a run that owns epochs: what it was made from, and what its instances and classes are."""

from typing import Any

from pipelines.settings import Checked
from tracking import runs
from tracking.environment import environment
from tracking.files import write_json, write_table


def commit_start(
    run: runs.Run, command: str, settings: Checked, instances: dict[str, Any], classes: tuple[str, ...]
) -> None:
    """Commit unit `start`; `instances` are columns of table `instances`, classes the names in class_id order."""
    config = {"command": command, "settings": settings.params()}
    names = {"run_id": [run.run_id] * len(classes), "class_id": list(range(len(classes))), "name": list(classes)}
    with runs.staging() as folder:
        files = {
            "config.json": write_json(folder / "config.json", config),
            "environment.json": write_json(folder / "environment.json", environment()),
            "instances.parquet": write_table(folder / "instances.parquet", instances),
            "classes.parquet": write_table(folder / "classes.parquet", names),
        }
        runs.commit(run, "start", files, {}, None)
