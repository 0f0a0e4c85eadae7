"""From the folder of a LoggedModel, as MLflow hands it to a program, to the files of the run that the model is of."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking import mlflow_internals  # noqa: F401  first, as MLflow reads its settings when it is imported
from tracking.errors import InputError
from tracking.home import Home
from tracking.staging import scratch_folder

# isort: split
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

DESCRIPTION = "MLmodel"  # the file by which MLflow knows a model


@dataclass(frozen=True)
class StoredModel:
    """What the folder of a LoggedModel says of it."""

    folder: Path
    model_id: str
    run_id: str
    epoch: int
    sha256: str  # of its checkpoint
    image_shape: tuple[int, int, int]  # (C, H, W) of a picture
    classes: tuple[str, ...]
    label_column: str  # of predictions, beside those of the classes


def read_stored_model(folder: Path) -> StoredModel:
    """Raises InputError if the folder holds no model of a study."""
    try:
        described: Any = mlflow.models.Model.load(str(folder))
        [pictures] = described.signature.inputs.inputs
        _, height, width, channels = pictures.shape
        label_column, *classes = described.signature.outputs.input_names()
        run_id = str(described.run_id)
        if not re.fullmatch(r"\w+", run_id):  # it becomes part of a path
            raise ValueError(run_id)
        epoch, sha256 = int(described.metadata["epoch"]), str(described.metadata["sha256"])
    except (MlflowException, OSError, AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{folder / DESCRIPTION} does not describe an epoch of a study; restore it, or load another epoch"
        ) from None
    shape = (channels, height, width)
    return StoredModel(folder, str(described.model_id), run_id, epoch, sha256, shape, tuple(classes), label_column)


@contextmanager
def located_files(model: StoredModel, wanted: Mapping[str, str]) -> Iterator[Home]:
    """A home in which the run of a model has these of its files (path in the run by unit), as far as they exist.

    It is the study home if the model's folder lies in one. Otherwise they are downloaded from where MLflow looks for
    runs at this moment, for the duration of the block. Raises InputError if that does not have the run.
    """
    home = Home(Path(os.path.abspath(model.folder / "../../../..")))
    is_at_home = home.model_folder(model.model_id) == model.folder.absolute()
    if is_at_home and home.run_folder(model.run_id).is_dir():
        yield home
        return
    with scratch_folder() as scratch:
        _download(model, wanted, Home(scratch))
        yield Home(scratch)


def _download(model: StoredModel, wanted: Mapping[str, str], home: Home) -> None:
    """Fetch the run's record, and those of the wanted files whose units are committed, with their commits."""
    client = MlflowClient()
    folder = home.run_folder(model.run_id)
    arriving = home.path / "arriving"
    arriving.mkdir()

    def fetch(path: str) -> None:
        local = client.download_artifacts(model.run_id, path, str(arriving))
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(local, folder / path)  # MLflow chooses the folder

    try:
        fetch("run.json")
        committed = {Path(file.path).stem for file in client.list_artifacts(model.run_id, "commits")}
        for unit in [unit for unit in wanted if unit in committed]:
            fetch(f"commits/{unit}.json")
            fetch(wanted[unit])
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the model is epoch {model.epoch} of run {model.run_id}, whose files MLflow at "
            f"{mlflow.get_tracking_uri()} does not have ({reason}); name the server or database "
            "that has them with mlflow.set_tracking_uri or MLFLOW_TRACKING_URI"
        ) from None
