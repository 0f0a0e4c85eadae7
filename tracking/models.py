"""A light LoggedModel per epoch, which MLflow loads, and to which explainer runs attach their metrics.

Its files say what it takes and returns, and which epoch of which run it is. The weights stay in that run's checkpoint,
where `stored_models` finds them when the model is loaded, so no byte of them is stored twice.
"""

import json
import os
import platform
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.pool import ThreadPool
from typing import Any

from tracking import mlflow_internals  # first, as MLflow reads its settings when it is imported
from tracking.commits import EpochCommit
from tracking.committing import log_metrics, log_points
from tracking.environment import list_requirements
from tracking.files import write_text
from tracking.mlflow_client import tracking_uri
from tracking.runs import NOTE, Run, experiment_id
from tracking.staging import copy_into_place, staging_folder
from tracking.stored_models import DESCRIPTION

# isort: split
import mlflow
from mlflow.entities import LoggedModel, LoggedModelInput, LoggedModelOutput, LoggedModelStatus

NOT_IN_NAMES = r"[/:.%\"']"  # characters that MLflow refuses in the name of a model
REQUIREMENTS = "requirements.txt"  # where MLflow looks for them


@dataclass(frozen=True)
class ModelInterface:
    """What the models of a run take and return, and who loads them."""

    loader: str  # module whose `_load_pyfunc` MLflow calls
    image_shape: tuple[int, int, int]  # (C, H, W) of a picture
    classes: tuple[str, ...]


def log_epoch_model(run: Run, commit: EpochCommit, interface: ModelInterface, *, is_new: bool) -> None:
    """LoggedModel of a committed epoch, and the epoch's metrics; an incomplete one is completed.

    `is_new` says that the epoch was not committed before, so that it has no model yet.
    """
    model = (None if is_new else _search(run, run.run_id, commit.epoch)) or _create(run, commit)
    _log_files(run, model, commit, interface)
    run.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    if is_new or not _is_linked(run, model):
        run.client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=commit.epoch)])
    # how long it took says nothing of the model
    log_metrics(run, commit, model.model_id, [key for key in commit.metrics if not key.endswith("seconds")])


def _is_linked(run: Run, model: LoggedModel) -> bool:
    outputs = run.client.get_run(run.run_id).outputs
    return outputs is not None and model.model_id in {output.model_id for output in outputs.model_outputs}


def _create(run: Run, commit: EpochCommit) -> LoggedModel:
    moment = f"after epoch {commit.epoch}" if commit.epoch else "before training"
    return run.client.create_logged_model(
        experiment_id(run.home),
        # the epoch first, as MLflow cuts the end of a long name
        name=f"epoch_{commit.epoch:04d}-{re.sub(NOT_IN_NAMES, '_', run.record.name)}",
        source_run_id=run.run_id,
        tags={
            "study.run_id": run.run_id,
            "study.epoch": str(commit.epoch),
            "study.run_name": run.record.name,
            NOTE: f"The network of `{run.record.name}` {moment}, which predicts from pictures: "
            '`mlflow.pyfunc.load_model("models:/MODEL_ID").predict(pictures)`.',
        },
        params={"checkpoint": f"checkpoints/epoch_{commit.epoch:04d}.safetensors"},
        model_type="checkpoint",
    )


def _log_files(run: Run, model: LoggedModel, commit: EpochCommit, interface: ModelInterface) -> None:
    """The model's files, always with the same bytes."""
    description = mlflow.models.Model.from_dict(_describe_model(model.model_id, commit, interface))
    with staging_folder(run.home) as folder:
        write_text(folder / DESCRIPTION, description.to_yaml())
        write_text(folder / REQUIREMENTS, "\n".join(list_requirements()) + "\n")
        files = [folder / DESCRIPTION, folder / REQUIREMENTS]
        if os.environ.get("MLFLOW_TRACKING_URI"):
            stored = mlflow_internals.StoredFiles(model.artifact_location, tracking_uri(run.home))
            with ThreadPool(len(files)) as pool:
                pool.map(stored.upload, files, chunksize=1)
            return
        for file in files:  # not by MLflow, as `runs.log_files` explains
            copy_into_place(run.home, file, run.home.model_folder(model.model_id) / file.name)


def _describe_model(model_id: str, commit: EpochCommit, interface: ModelInterface) -> dict[str, Any]:
    """Content of the MLmodel file."""
    channels, height, width = interface.image_shape
    picture = {"dtype": "uint8", "shape": [-1, height, width, channels]}
    predicted = name_label_column(interface.classes)
    columns = [{"name": predicted, "type": "string", "required": True}]
    columns += [{"name": name, "type": "float", "required": True} for name in interface.classes]
    checkpoint = f"checkpoints/epoch_{commit.epoch:04d}.safetensors"
    [digest] = [file.sha256 for file in commit.files if file.path == checkpoint]
    created = datetime.fromtimestamp(commit.time_ms / 1000, UTC).replace(tzinfo=None)
    return {
        "model_id": model_id,
        "model_uuid": model_id.removeprefix("m-"),
        "run_id": commit.run_id,
        "utc_time_created": str(created),
        "mlflow_version": mlflow.__version__,
        "flavors": {
            "python_function": {
                "loader_module": interface.loader,
                "python_version": platform.python_version(),
                "config": {"device": "auto"},  # what load_model(..., model_config=...) may change
            }
        },
        "signature": {
            "inputs": json.dumps([{"type": "tensor", "name": "pictures", "tensor-spec": picture}]),
            "outputs": json.dumps(columns),
            "params": None,
        },
        # MLflow then leaves it to the model to check its input, which may be files and pictures of another size too
        "is_signature_from_type_hint": True,
        "type_hint_from_example": False,
        "metadata": {"epoch": commit.epoch, "checkpoint": checkpoint, "sha256": digest},
    }


def name_label_column(classes: Collection[str]) -> str:
    """The column of predicted class names, beside one of probabilities per class."""
    name = "predicted"
    while name in classes:
        name += "_"
    return name


def find_epoch_model(run: Run, source_run_id: str, epoch: int) -> str | None:
    """ID of the LoggedModel of a training run's epoch, None if there is none."""
    model = _search(run, source_run_id, epoch)
    return model.model_id if model else None


def _search(run: Run, source_run_id: str, epoch: int) -> LoggedModel | None:
    models = run.client.search_logged_models(
        [experiment_id(run.home)],
        filter_string=f"source_run_id = '{source_run_id}' AND tags.`study.epoch` = '{epoch}'",
        max_results=1,
    )
    return models[0] if models else None


def log_explained(run: Run, commit: EpochCommit, shown: Collection[str] = ()) -> None:
    """Link an explainer run to the model of the epoch it explains, which shows these of the commit's metrics.

    Repeating it is harmless.
    """
    model_id = find_epoch_model(run, run.record.source, commit.epoch)
    if model_id is not None:
        run.client.log_inputs(run.run_id, models=[LoggedModelInput(model_id)])
        metrics = {key: commit.metrics[key] for key in shown}
        log_points(run, run.run_id, metrics, commit.epoch, commit.time_ms, model_id)
