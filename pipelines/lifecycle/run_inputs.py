"""What a training run recorded, read back and checked: its settings, its data, its checkpoints."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pipelines.common.checked_settings import CheckedSettings, recorded_name
from pipelines.common.settings import TrackedSettings, TrainSettings
from pipelines.common.terminal import say
from pipelines.data.datasets import OPTIONS, Dataset, load_dataset
from pipelines.data.raw import Reading
from tracking import commits
from tracking.catalogue import WITH_CHECKPOINTS, RunRecord
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.files import read_json, read_table
from tracking.home import Home

Settings = TypeVar("Settings", bound=CheckedSettings)

LATER_MODEL = "model"  # the unit that says how the model of a run is built that was recorded without that


def load_data(
    settings: TrackedSettings, home: Home, run: RunRecord | None = None, *, takes_kept: bool = True
) -> Dataset:
    """The data of a training; that of `run` is read as it was then. Raises InputError if its digest has changed.

    Where the home still has the pictures of the run, they are taken, unless --data names others, or not `takes_kept`.

    Notes on the data are printed once, by the training that records them.
    """
    if run is None:
        say(f"loading {settings.dataset}")
        data = load_by_settings(settings, home, skip_unreadable=settings.skip_unreadable)
    else:
        config = read_recorded_config(home, run)
        is_elsewhere = settings.data != config["settings"].get("data")  # named with --data
        kept_digest = run.data_digest if takes_kept and not is_elsewhere else None
        data = load_by_settings(settings, home, reading=read_recorded_reading(config), digest=kept_digest)
    say_notes(data, read_recorded_config(home, run) if run else {})
    if run and data.digest != run.data_digest:
        raise InputError(
            f"the data of {settings.dataset} has digest {data.digest[:12]}, the run was made with "
            f"{(run.data_digest or 'none')[:12]}; name the original with --data"
        )
    return data


def load_by_settings(
    settings: TrackedSettings,
    home: Home,
    *,
    skip_unreadable: bool = False,
    reading: Reading | None = None,
    digest: str | None = None,
) -> Dataset:
    """The data that settings name; read as it was `reading` before, and taken from the home by its digest, if given."""
    return load_dataset(
        settings.dataset,
        settings.data,
        home,
        val_fraction=settings.val_fraction,
        seed=settings.validation_seed,
        size=settings.size,
        skip_unreadable=skip_unreadable,
        recorded_reading=reading,
        recorded_digest=digest,
        **{option: getattr(settings, option) for option in OPTIONS},
    )


def say_notes(data: Dataset, recorded_config: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Say the notes on data that the run of this config.json did not record."""
    said = recorded_config.get("data", {}).get("notes", [])
    for note in data.notes:
        if note not in said:
            say(f"  {note}")


def describe_data(data: Dataset) -> dict[str, Any]:
    """What a run records of its data besides the digest: how files were read, and the notes on them."""
    return {"reading": asdict(data.reading), "notes": data.notes}


def read_recorded_reading(config: dict) -> Reading:
    """How the image files of a run were read, from its config.json."""
    recorded = config.get("data", {}).get("reading", {})
    return Reading(**{name: _from_json(value) for name, value in recorded.items()})


def read_recorded_config(home: Home, record: RunRecord) -> dict:
    """What a run was started with: its committed config.json; and its model, if that was named later."""
    committed = commits.commits_by_unit(home, record.run_id)
    start = committed.get("start")
    if start is None:
        raise InputError(f"run {record.run_id[:8]} stopped before anything was committed; start a new one")
    config = read_json(commits.committed_file(home, start, "config.json"))
    if later := committed.get(LATER_MODEL):
        config["settings"] |= read_json(commits.committed_file(home, later, f"{LATER_MODEL}.json"))
    return config


def read_start_table(home: Home, record: RunRecord, table: str) -> dict[str, list] | None:
    """Columns of a table that a run committed when it began; None if it committed none of that name."""
    start = commits.commits_by_unit(home, record.run_id)["start"]
    path = f"{table}.parquet"
    if path not in {file.path for file in start.files}:
        return None
    return read_table(commits.committed_file(home, start, path))


def read_recorded_settings(home: Home, record: RunRecord, kind: type[Settings]) -> Settings:
    """The resolved settings of a run, as settings class `kind`."""
    recorded = read_recorded_config(home, record)["settings"]
    values = {}
    for setting in fields(kind):
        key = recorded_name(setting)
        if setting.default is MISSING and recorded.get(key) is None:
            raise InputError(f"run {record.run_id[:8]} recorded no {key}; restore its config.json, or train again")
        value = recorded.get(key, setting.metadata["unrecorded"])
        if value is not MISSING:
            values[setting.name] = _from_json(value)
    return kind(**values)


def read_training_settings(home: Home, record: RunRecord) -> TrackedSettings:
    """TrainSettings of a training of this program; of any other, what is known: TrackedSettings."""
    is_own = read_recorded_config(home, record)["command"] in WITH_CHECKPOINTS
    return read_recorded_settings(home, record, TrainSettings if is_own else TrackedSettings)


def _from_json(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def checkpoint_file(home: Home, commit: EpochCommit) -> Path:
    """The weights of a committed epoch, checked against their sha256."""
    return commits.committed_file(home, commit, f"checkpoints/epoch_{commit.epoch:04d}.safetensors")
