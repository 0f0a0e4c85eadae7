"""A model that is named after its run was recorded: checked against the recorded predictions, then remembered."""

from dataclasses import replace

import torch

from pipelines.common.settings import UNKNOWN_MODEL, TrackedSettings
from pipelines.common.terminal import say
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.run_inputs import LATER_MODEL, load_data, read_recorded_settings
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models.networks import build_tracked_model
from tracking import commits, committing, locks, runs
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.files import write_json
from tracking.home import Home


def remember_model(
    home: Home, record: RunRecord, model: str | None, model_args: str | None, data: str | None
) -> Dataset | None:
    """Commit how the run's model is built, if that is given; returns the run's data if it had to be loaded for that.

    Raises InputError if another model is known already, or this is not the model.
    """
    if model is None:
        return None
    known = read_recorded_settings(home, record, TrackedSettings)
    if (known.model, known.model_args) == (model, model_args):
        return None
    if known.model != UNKNOWN_MODEL:
        arguments = f" with --model-args {known.model_args}" if known.model_args else ""
        raise InputError(f"run {record.run_id[:8]} has a model already: {known.model}{arguments}; leave --model out")
    stored = commits.stored_epochs(home, record.run_id)
    if not stored:
        raise InputError(f"run {record.run_id[:8]} has no checkpoint that a model could be compared with")
    settings = replace(known, model=model, model_args=model_args, data=data or known.data)
    dataset = load_data(settings, home, record)
    built = build_tracked_model(settings, dataset)
    verify_checkpoints(home, record, built, dataset, torch.device("cpu"), stored[-1:])
    with locks.held(home, record.run_id, "model.lock"):
        run = runs.open_run(home, record)
        with runs.staging_folder(home) as folder:
            file = write_json(folder / f"{LATER_MODEL}.json", {"model": model, "model_args": model_args})
            committing.commit(run, LATER_MODEL, {f"{LATER_MODEL}.json": file}, {}, None)
    say(f"run {record.run_id[:8]}: its predictions are those of {model}, which is remembered")
    return dataset
