"""A light LoggedModel per epoch, to which explainer runs attach their metrics in MLflow."""

import re
from collections.abc import Collection

from tracking import mlflow_internals  # noqa: F401  first, as MLflow reads its settings when it is imported
from tracking.commits import EpochCommit
from tracking.runs import NOTE, Run, experiment_id, log_points

# isort: split
from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus

NOT_IN_NAMES = r"[/:.%\"']"  # characters that MLflow refuses in the name of a model


def log_epoch_model(run: Run, commit: EpochCommit) -> str:
    """LoggedModel of a committed epoch with the epoch's accuracies and losses; an incomplete one is completed."""
    model_id = find_epoch_model(run, run.run_id, commit.epoch) or _create(run, commit)
    run.client.finalize_logged_model(model_id, LoggedModelStatus.READY)

    outputs = run.client.get_run(run.run_id).outputs
    logged_models = outputs.model_outputs if outputs else []
    if model_id not in {output.model_id for output in logged_models}:
        run.client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step=commit.epoch)])

    # how long it took says nothing of the model
    _log_metrics(run, model_id, commit, [key for key in commit.metrics if not key.endswith("seconds")])
    return model_id


def _create(run: Run, commit: EpochCommit) -> str:
    moment = f"after epoch {commit.epoch}" if commit.epoch else "before training"
    model = run.client.create_logged_model(
        experiment_id(run.home),
        # the epoch first, as MLflow cuts the end of a long name
        name=f"epoch_{commit.epoch:04d}-{re.sub(NOT_IN_NAMES, '_', run.record.name)}",
        source_run_id=run.run_id,
        tags={
            "study.run_id": run.run_id,
            "study.epoch": str(commit.epoch),
            "study.run_name": run.record.name,
            NOTE: f"The network of `{run.record.name}` {moment}.",
        },
        params={"checkpoint": f"checkpoints/epoch_{commit.epoch:04d}.safetensors"},
        model_type="checkpoint",
    )
    return model.model_id


def find_epoch_model(run: Run, source_run_id: str, epoch: int) -> str | None:
    """ID of the LoggedModel of a training run's epoch, None if there is none."""
    models = run.client.search_logged_models(
        [experiment_id(run.home)],
        filter_string=f"source_run_id = '{source_run_id}' AND tags.`study.epoch` = '{epoch}'",
        max_results=1,
    )
    return models[0].model_id if models else None


def log_explained(run: Run, commit: EpochCommit, shown: Collection[str] = ()) -> None:
    """Link an explainer run to the model of the epoch it explains, which shows these of the commit's metrics.

    Repeating it is harmless.
    """
    model_id = find_epoch_model(run, run.record.source, commit.epoch)
    if model_id is not None:
        run.client.log_inputs(run.run_id, models=[LoggedModelInput(model_id)])
        _log_metrics(run, model_id, commit, shown)


def _log_metrics(run: Run, model_id: str, commit: EpochCommit, shown: Collection[str]) -> None:
    log_points(run, run.run_id, {key: commit.metrics[key] for key in shown}, commit.epoch, commit.time_ms, model_id)
