"""Space back: checkpoints that nobody needs are given up; what was learned from them stays."""

import os
from pathlib import Path

from pipelines.common.settings import PruneSettings
from pipelines.common.terminal import say
from pipelines.lifecycle.selection import choose_epochs
from tracking import catalogue, commits, locks, mlflow_client, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.files import write_json
from tracking.home import Home


def prune(settings: PruneSettings, home: Home) -> str:
    """Delete checkpoints of a finished training run; returns the epochs whose checkpoints are kept."""
    record = catalogue.resolve(home, settings.run, ("train",))
    if os.environ.get("MLFLOW_TRACKING_URI"):
        raise InputError("checkpoints on a MLflow server are not pruned; unset MLFLOW_TRACKING_URI for a home's own")
    if record.status != "FINISHED":
        raise InputError(
            f"run {record.run_id[:8]} is {record.status}; `study resume` it first, or wait for it to finish"
        )
    if settings.dry:
        return _prune(settings, home, record)
    mlflow_client.connect(home)
    try:
        with locks.pruning(home, record.run_id):
            return _prune(settings, home, record)
    except locks.HeldError:
        readers = [run for run in catalogue.read_records(home) if run.source_run_id == record.run_id]
        reading = [f"run {run.run_id[:8]} ({run.name})" for run in readers if run.status == "RUNNING"]
        if not reading:  # by a command that has no run of its own, or not yet
            raise
        raise InputError(
            f"the checkpoints of run {record.run_id[:8]} are being read by {', '.join(reading)}; "
            "wait for it to finish, then prune"
        ) from None


def _prune(settings: PruneSettings, home: Home, record: catalogue.RunRecord) -> str:
    stored = commits.stored_epochs(home, record.run_id)
    kept = _kept(settings, stored)
    gone = [commit for commit in stored if commit.epoch not in kept]
    places = [_place(home, record.run_id, commit.epoch) for commit in gone]
    size = sum(place.stat().st_size for place in places if place.exists())
    what = f"{len(gone)} of {len(stored)} checkpoints, {size / 1e6:,.1f} MB"
    say(f"would free {what}" if settings.dry else f"freeing {what}")
    if not settings.dry:
        _give_up(runs.open_run(home, record), gone)
    return ",".join(str(commit.epoch) for commit in stored if commit.epoch in kept or settings.dry)


def _kept(settings: PruneSettings, stored: list[EpochCommit]) -> set[int]:
    best, last = (choose_epochs(which, stored)[0] for which in ("best", "last"))
    return {commit.epoch for commit in stored if commit.epoch % settings.every == 0} | {best, last}


def _give_up(run: runs.Run, gone: list[EpochCommit]) -> None:
    """Commit that the checkpoints are given up, then delete them; a stop between both is caught up next time."""
    if gone:
        unit = f"pruned_{gone[0].epoch:04d}_{gone[-1].epoch:04d}_{len(gone)}"
        with runs.staging_folder(run.home) as folder:
            listed = write_json(folder / f"{unit}.json", [commit.epoch for commit in gone])
            runs.commit(run, unit, {f"pruned/{unit}.json": listed}, {}, None)
    for epoch in commits.pruned_epochs(run.home, run.run_id):
        _place(run.home, run.run_id, epoch).unlink(missing_ok=True)


def _place(home: Home, run_id: str, epoch: int) -> Path:
    return home.run_folder(run_id) / f"checkpoints/epoch_{epoch:04d}.safetensors"
