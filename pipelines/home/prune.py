"""Frees space: deletes checkpoints that are not needed and keeps what was learned from them."""

from pathlib import Path

from pipelines.common.settings import PruneSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.lifecycle.selection import choose_epochs
from tracking import catalogue, commits, committing, locks, mlflow_client, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.files import write_json
from tracking.home import Home, is_copy


def prune(settings: PruneSettings, home: Home) -> str:
    """Delete checkpoints of a finished training run; returns the epochs whose checkpoints are kept."""
    record = catalogue.resolve(home, settings.run, catalogue.WITH_CHECKPOINTS)
    if is_copy(home):
        raise InputError(
            "checkpoints on an MLflow server cannot be pruned; unset MLFLOW_TRACKING_URI to prune those of a home"
        )
    if record.status != "FINISHED":
        raise InputError(
            f"run {record.run_id[:8]} is {record.status}; `study resume` it first, or wait for it to finish"
        )
    if settings.dry:
        return _delete_checkpoints(settings, home, record)

    mlflow_client.connect(home)
    try:
        with locks.pruning(home, record.run_id):
            return _delete_checkpoints(settings, home, record)
    except locks.HeldError:
        readers = []
        for run in catalogue.read_records(home):
            if run.source_run_id == record.run_id and run.status == "RUNNING":
                readers.append(f"run {run.run_id[:8]} ({run.name})")
        if not readers:  # by a command that has no run, or has not started it yet
            raise
        raise InputError(
            f"the checkpoints of run {record.run_id[:8]} are being read by {', '.join(readers)}; "
            "wait for it to finish, then prune"
        ) from None


def _delete_checkpoints(settings: PruneSettings, home: Home, record: catalogue.RunRecord) -> str:
    """Delete checkpoints, or with --dry only say how many; returns the epochs whose checkpoints are left."""
    stored = commits.stored_epochs(home, record.run_id)
    kept_epochs = _choose_kept_epochs(settings, stored)
    pruned = [commit for commit in stored if commit.epoch not in kept_epochs]
    files = [_checkpoint_file(home, record.run_id, commit.epoch) for commit in pruned]
    size = sum(file.stat().st_size for file in files if file.exists())
    amount = f"{len(pruned)} of {plural(len(stored), 'checkpoint')}, {size / 1e6:,.1f} MB"
    if settings.dry:
        say(f"would free {amount}")
        return ",".join(str(commit.epoch) for commit in stored)

    say(f"freeing {amount}")
    if pruned:
        run = runs.open_run(home, record)
        unit = f"pruned_{pruned[0].epoch:04d}_{pruned[-1].epoch:04d}_{len(pruned)}"
        with runs.staging_folder(home) as folder:
            file = write_json(folder / f"{unit}.json", [commit.epoch for commit in pruned])
            committing.commit(run, unit, {f"pruned/{unit}.json": file}, {}, None)
    # every epoch ever pruned: an earlier command may have stopped after its commit, before it deleted the files
    for epoch in commits.pruned_epochs(home, record.run_id):
        _checkpoint_file(home, record.run_id, epoch).unlink(missing_ok=True)
    return ",".join(str(commit.epoch) for commit in stored if commit.epoch in kept_epochs)


def _choose_kept_epochs(settings: PruneSettings, stored: list[EpochCommit]) -> set[int]:
    best = choose_epochs("best", stored) if "val_accuracy" in stored[-1].metrics else []
    [last] = choose_epochs("last", stored)
    return {*best, last} | {commit.epoch for commit in stored if commit.epoch % settings.every == 0}


def _checkpoint_file(home: Home, run_id: str, epoch: int) -> Path:
    return home.run_folder(run_id) / f"checkpoints/epoch_{epoch:04d}.safetensors"
