"""Predictions of the training images out of sample, by cross-validation: split train_folds of a training run.

For each fold a model is trained as the run was, with its settings, seed and the labels that verdicts changed for it, on
the training images of all other folds. What it predicts of its own fold after each epoch, of images that the run left
out too, is kept beside the run with the labels of the data set, and becomes part of the run once all folds are there.
Which images are in one fold follows from their pixels, labels and the seed alone.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipelines.common.costs import estimate_training
from pipelines.common.progress import Work, work
from pipelines.common.settings import FoldsSettings, ResolvedTraining, parse_probabilities
from pipelines.common.splits import TRAIN_FOLDS
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset, leave_out
from pipelines.data.folding import assign_folds
from pipelines.lifecycle.origin import read_origin
from pipelines.lifecycle.run_inputs import load_data, read_recorded_config, read_recorded_settings
from pipelines.lifecycle.verification import find_changed_code
from pipelines.models import hardware
from pipelines.models.networks import build_tracked_model
from pipelines.models.predictions import evaluate
from pipelines.models.user_errors import describe_model_error
from pipelines.training.beginning import count_seen, find_source, freeze_parameters, load_initial_weights
from pipelines.training.epoch import check_finite, train_epoch
from pipelines.training.label_changes import LabelChanges, read_label_changes
from pipelines.training.recipe import make_recipe
from tracking import catalogue, commits, committing, locks, runs
from tracking.catalogue import RunRecord
from tracking.errors import InputError, RunError, from_outside
from tracking.files import join_tables, read_table, write_table
from tracking.home import Home
from tracking.index import ingest
from tracking.remote import fetch_run

ADVICE = "run the same command again to continue after the last finished fold"
UNIT = "folds_"  # and their number: the unit of the run with all their predictions


@dataclass(frozen=True)
class Folding:
    """The folds of a training run, and how their models are trained."""

    home: Home
    record: RunRecord
    settings: ResolvedTraining
    data: Dataset
    changes: LabelChanges  # that the run was trained with
    fold: np.ndarray  # [N], of each training image, in 0..k - 1
    k: int

    @property
    def unit(self) -> str:
        return f"{UNIT}{self.k}"

    @property
    def epochs(self) -> range:
        return range(self.settings.epochs + 1)

    def file(self, number: int, epoch: int) -> Path:
        """Predictions of a fold after an epoch, until they are committed."""
        folder = _fold_folder(self.home, self.record, self.k)
        return folder / f"fold_{number + 1}" / f"epoch_{epoch:04d}.parquet"

    def is_finished(self, number: int) -> bool:
        """Raises InputError if the fold's files are of other images."""
        last = self.file(number, self.epochs[-1])
        if not last.exists():
            return False
        if read_table(last, ["instance_id"])["instance_id"] != np.flatnonzero(self.fold == number).tolist():
            raise InputError(f"{last.parent} does not hold predictions of fold {number + 1}; remove it, and try again")
        return True


def folds(settings: FoldsSettings, home: Home) -> str:
    """Train what is missing of a model per fold, then commit their predictions to the run; returns their split."""
    record = catalogue.resolve(home, settings.run, ("train",))
    fetch_run(home, record.run_id)  # they may have been made in another home
    with locks.held(home, record.run_id, "folds.lock"):
        if _are_there(home, record, settings.k):
            say(f"run {record.run_id[:8]} has predictions by {settings.k} folds already")
        else:
            _check_run(home, record)
            _make_folds(_open_folding(settings, home, record))
        shutil.rmtree(_fold_folder(home, record, settings.k), ignore_errors=True)
    ingest(home, [record.run_id], wait=5)
    return TRAIN_FOLDS


def _fold_folder(home: Home, record: RunRecord, k: int) -> Path:
    """Where finished folds lie until all are there; not among the files that MLflow lists."""
    return home.run_folder(record.run_id).parent / f"{UNIT}{k}"


def _are_there(home: Home, record: RunRecord, k: int) -> bool:
    """Whether the run has predictions by k folds. Raises InputError if it has some by another number."""
    there = [unit.removeprefix(UNIT) for unit in commits.committed_units(home, record.run_id) if unit.startswith(UNIT)]
    if there and there != [str(k)]:
        raise InputError(
            f"run {record.run_id[:8]} has predictions by {there[0]} folds, and they stay; give --k {there[0]}"
        )
    return bool(there)


def _check_run(home: Home, record: RunRecord) -> None:
    """Raise InputError if the run cannot be trained again, or is not finished."""
    if read_recorded_config(home, record)["command"] != "train":
        raise InputError(
            f"run {record.run_id[:8]} was not trained by study train, so how its models would be trained is not known"
        )
    if record.status != "FINISHED":
        raise InputError(
            f"run {record.run_id[:8]} is {record.status}; `study resume` it first, or wait for it to finish"
        )


def _open_folding(settings: FoldsSettings, home: Home, record: RunRecord) -> Folding:
    """Raises InputError if the images cannot be folded, or training began with a network that had seen them."""
    recorded = read_recorded_settings(home, record, ResolvedTraining)
    recorded = replace(recorded, data=settings.data or recorded.data)
    data = load_data(recorded, home, record)
    train = data.splits["train"]
    origin = read_origin(home, record)
    while origin.source_run_id is not None:
        source = catalogue.resolve(home, origin.source_run_id)
        if seen := count_seen(home, source, train):
            raise InputError(
                f"run {record.run_id[:8]} begins from run {source.run_id[:8]} ({source.name}), which was trained on "
                f"{seen:,} of its {plural(len(train.labels), 'training image')}, so no model that begins from it "
                "predicts them out of sample; train one from the beginning"
            )
        origin = read_origin(home, source)
    if origin.weights is not None:
        say(
            f"  every model begins from {origin.weights}; whether these weights were trained on the images is not known"
        )
    fold = assign_folds(train, data.classes, settings.k, recorded.seed)
    return Folding(home, record, recorded, data, read_label_changes(home, record), fold, settings.k)


def _make_folds(folding: Folding) -> None:
    """Train and commit.

    Raises RunError if the disk, a database or a server fails, or the user's model, and DivergedError if a training
    diverges. Finished folds are kept in every case.
    """
    try:
        _train_folds(folding)
        _commit_folds(folding)
    except KeyboardInterrupt:
        say(f"stopped; {ADVICE}")
        raise
    except BaseException as error:
        reason = describe_model_error(error) or from_outside(error)
        if reason:
            raise RunError(f"{reason}; finished folds are kept; {ADVICE}") from error
        raise


def _train_folds(folding: Folding) -> None:
    """Train a model for each fold that is not finished."""
    finished = [number for number in range(folding.k) if folding.is_finished(number)]
    epoch_count = len(folding.epochs)
    say(
        f"folds: run {folding.record.run_id} ({folding.record.name}), {len(finished)} of {folding.k} folds are finished"
    )
    cost = estimate_training(len(folding.fold), folding.k * folding.settings.epochs)
    with work("folds", folding.k * epoch_count, done=len(finished) * epoch_count, cost=cost) as progress:
        for number in sorted(set(range(folding.k)) - set(finished)):
            accuracy = _train_fold(folding, number, progress)
            images = plural(int((folding.fold == number).sum()), "image")
            say(f"fold {number + 1}/{folding.k}  {accuracy:.2%} of its {images} correct")


def _train_fold(folding: Folding, number: int, progress: Work) -> float:
    """Train a model on all other folds and store what it predicts of this one; returns its accuracy at the end.

    All randomness derives from seed and epoch, so that folds can be trained in any order, and at any time. Raises
    DivergedError if its logits are no longer finite.
    """
    settings = folding.settings
    is_held_out = folding.fold == number
    ids = np.flatnonzero(is_held_out)
    held_out = folding.data.splits["train"].rows(ids)
    data = leave_out(folding.data, is_held_out)
    hardware.prepare_device(settings)
    model = build_tracked_model(settings, data)
    if changed := find_changed_code(folding.home, folding.record, settings.model, model):
        say(f"  the code of {', '.join(changed)} has changed since the run was trained")
    recorded_origin = read_origin(folding.home, folding.record)
    load_initial_weights(settings, folding.home, model, data, find_source(settings, folding.home), recorded_origin)
    freeze_parameters(settings, model, data)
    recipe = make_recipe(settings, data, model, folding.changes.among(np.flatnonzero(~is_held_out).tolist()))
    kept = parse_probabilities(settings.probabilities)
    with runs.staging_folder(folding.home) as staging:
        for epoch in folding.epochs:
            with progress.part(1):
                if epoch:
                    train_epoch(model, recipe, epoch)
                found = evaluate(recipe.averaged_model, held_out, TRAIN_FOLDS, recipe.device, settings.evaluation_batch)
                check_finite(found, f"training of fold {number + 1}", epoch)
                place = folding.file(number, epoch)
                columns = replace(found, instance_id=torch.from_numpy(ids)).to_columns(
                    folding.record.run_id, epoch, kept
                )
                write_table(staging / place.parent.name / place.name, columns)
        place.parent.parent.mkdir(exist_ok=True)
        os.replace(staging / place.parent.name, place.parent)  # all epochs in one step
    return found.accuracy


def _commit_folds(folding: Folding) -> None:
    """Commit the predictions of all folds, and which image was in which."""
    run = runs.open_run(folding.home, folding.record)
    with runs.staging_folder(folding.home) as staging:
        membership = {"instance_id": np.arange(len(folding.fold)), "fold": folding.fold}
        files = {f"folds/{folding.unit}.parquet": write_table(staging / f"{folding.unit}.parquet", membership)}
        for epoch in folding.epochs:
            name = f"{folding.unit}_epoch_{epoch:04d}.parquet"
            parts = [folding.file(number, epoch) for number in range(folding.k)]
            files[f"predictions/{name}"] = join_tables(staging / name, parts, "instance_id")
        committing.commit(run, folding.unit, files, {}, None)
