"""What MLflow loads of an epoch: a model that predicts from pictures, of any run whose model can be built again.

    model = mlflow.pyfunc.load_model("models:/m-...")
    model.predict(pictures)   # a table: the predicted class and every class's probability

Only MLflow and this package are needed for it; the study home need not be there.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pipelines.common.settings import UNKNOWN_MODEL, TrackedSettings
from pipelines.common.terminal import say
from pipelines.data.datasets import Dataset
from pipelines.data.given_pictures import list_pictures, read_given_picture
from pipelines.data.raw import Reading, Split
from pipelines.lifecycle.run_inputs import (
    LATER_MODEL,
    checkpoint_file,
    read_recorded_config,
    read_recorded_reading,
    read_recorded_settings,
)
from pipelines.lifecycle.verification import find_changed_code
from pipelines.models.checkpoints import load_model
from pipelines.models.hardware import choose_available_device
from pipelines.models.networks import Classifier, build_tracked_model
from pipelines.models.predictions import EVALUATION_BATCH
from pipelines.models.randomness import keeping_generators
from tracking.catalogue import read_record
from tracking.commits import EpochCommit, commit_file, pruned_epochs, read_commit
from tracking.errors import InputError
from tracking.home import Home
from tracking.mlflow_internals import is_serving
from tracking.models import ModelInterface
from tracking.stored_models import StoredModel, located_files, read_stored_model

PATTERN_IMAGES = 2  # from which a model is built that needs images for it; its weights come from the checkpoint


def describe_interface(data: Dataset) -> ModelInterface:
    """What the models of a run take and return, by its data."""
    return ModelInterface(loader=__name__, image_shape=data.image_shape, classes=data.classes)


class PictureModel:
    """A model of one epoch, as MLflow calls it."""

    def __init__(self, stored: StoredModel, model: Classifier, device: torch.device, batch: int, reading: Reading):
        self._stored = stored
        self._model = model
        self._device = device
        self._batch = batch  # pictures per pass
        self._reading = reading

    def get_raw_model(self) -> Classifier:
        """The torch module: takes [N, C, H, W], float32 in 0..1; returns logits [N, K]."""
        return self._model

    @torch.inference_mode()
    def predict(self, pictures: Any) -> pd.DataFrame:
        """A row per picture: the predicted class, then the probability of each class, by its name.

        `pictures`: one picture or several, as arrays (8-bit, or floats in 0..1), Pillow images, paths of image files or
        their content; or a table with a column of those, whose index the rows keep.
        """
        stored = self._stored
        given = list_pictures(pictures, stored.image_shape[0])
        probabilities = torch.empty(len(given), len(stored.classes))
        for start in range(0, len(given), self._batch):
            part = range(start, min(start + self._batch, len(given)))
            images = [
                read_given_picture(given[row], row, stored.image_shape, self._reading, files=not is_serving())
                for row in part
            ]
            batch = torch.stack(images).to(self._device).contiguous(memory_format=torch.channels_last)
            probabilities[part.start : part.stop] = self._model(batch).float().cpu().softmax(1)
        index = pictures.index if isinstance(pictures, pd.DataFrame | pd.Series) else None
        table = pd.DataFrame(probabilities.numpy(), columns=list(stored.classes), index=index)
        table.insert(0, stored.label_column, [stored.classes[row] for row in probabilities.argmax(1).tolist()])
        return table


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> PictureModel:
    """What mlflow.pyfunc.load_model calls with the folder of a LoggedModel.

    model_config["device"] is a torch device; by default that of the training if it is there. Raises InputError if the
    run's files are not available, or its model cannot be built.
    """
    stored = read_stored_model(Path(path))
    unit = f"epoch_{stored.epoch:04d}"
    wanted = {"start": "config.json", LATER_MODEL: f"{LATER_MODEL}.json", unit: f"checkpoints/{unit}.safetensors"}
    with located_files(stored, wanted) as home, keeping_generators():
        record = read_record(home.record_file(stored.run_id), stored.run_id)
        settings = read_recorded_settings(home, record, TrackedSettings)
        if settings.model == UNKNOWN_MODEL:
            raise InputError(
                f"run {record.run_id[:8]} ({record.name}) was recorded without a function that builds its model; name "
                f"it once: study explain {record.run_id[:8]} --model package.module:function, or at the beginning: "
                "record(..., factory=...)"
            )
        checkpoint = _find_checkpoint(home, stored)
        model = build_tracked_model(settings, _make_pattern(stored))
        load_model(model, checkpoint)
        reading = read_recorded_reading(read_recorded_config(home, record))
        changed_modules = find_changed_code(home, record, settings.model, model)
    if changed_modules:
        say(f"the code of {', '.join(changed_modules)} has changed since the training, so predictions may differ")
    wanted_device = (model_config or {}).get("device", "auto")
    device = torch.device(choose_available_device(settings.device) if wanted_device == "auto" else wanted_device)
    return PictureModel(stored, model.to(device).eval(), device, settings.evaluation_batch or EVALUATION_BATCH, reading)


def _find_checkpoint(home: Home, stored: StoredModel) -> Path:
    """The weights, checked. Raises InputError if they were pruned, or are not those that the model was logged with."""
    run_id, epoch = stored.run_id, stored.epoch
    if epoch in pruned_epochs(home, run_id):
        raise InputError(
            f"the checkpoint of epoch {epoch} of run {run_id[:8]} was deleted by study prune; load another epoch"
        )
    commit = read_commit(commit_file(home, run_id, f"epoch_{epoch:04d}"), run_id)
    if not isinstance(commit, EpochCommit) or stored.sha256 not in {file.sha256 for file in commit.files}:
        raise InputError(f"epoch {epoch} of run {run_id[:8]} has other weights than this model was logged with")
    return checkpoint_file(home, commit)


def _make_pattern(stored: StoredModel) -> Dataset:
    """A data set of noise in the shape and with the classes of the model's own."""
    noise = torch.Generator().manual_seed(0)
    images = torch.randint(256, (PATTERN_IMAGES, *stored.image_shape), dtype=torch.uint8, generator=noise)
    split = Split(images, torch.zeros(PATTERN_IMAGES, dtype=torch.int64), ("", ""))
    levels = (0.5,) * len(images[0])  # replaced by those of the weights
    return Dataset("noise", stored.classes, {"train": split}, False, False, (), "", Reading(), levels, levels)
