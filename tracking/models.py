"""A light LoggedModel per epoch, to which explainer runs attach their metrics in MLflow."""

from tracking import mlflow_internals  # noqa: F401  first, as MLflow reads its settings when it is imported
from tracking.commits import EpochCommit
from tracking.runs import Run, experiment_id

# isort: split
from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus, Metric


def log_epoch_model(run: Run, commit: EpochCommit) -> str:
    """LoggedModel of a committed epoch with the epoch's metrics; an incomplete one is completed."""
    model_id = find_epoch_model(run, run.run_id, commit.epoch) or _create(run, commit)
    run.client.finalize_logged_model(model_id, LoggedModelStatus.READY)

    outputs = run.client.get_run(run.run_id).outputs
    logged_models = outputs.model_outputs if outputs else []
    if model_id not in {output.model_id for output in logged_models}:
        run.client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step=commit.epoch)])

    _log_metrics(run, model_id, commit.epoch, commit.metrics, commit.time_ms)
    return model_id


def _create(run: Run, commit: EpochCommit) -> str:
    model = run.client.create_logged_model(
        experiment_id(run.home),
        name=f"epoch_{commit.epoch:04d}",
        source_run_id=run.run_id,
        tags={
            "study.run_id": run.run_id,
            "study.epoch": str(commit.epoch),
            "study.run_name": run.record.name,
        },
        params={"checkpoint": f"checkpoints/epoch_{commit.epoch:04d}.safetensors"},
        model_type="checkpoint",
    )
    return model.model_id


def find_epoch_model(run: Run, source_run_id: str, epoch: int) -> str | None:
    """ID of the LoggedModel of a training run's epoch, None if there is none."""
    models = run.client.search_logged_models(
        [experiment_id(run.home)],
        filter_string=f"source_run_id = '{source_run_id}' AND name = 'epoch_{epoch:04d}'",
        max_results=1,
    )
    return models[0].model_id if models else None


def log_explained(run: Run, epoch: int, metrics: dict[str, float], time_ms: int) -> None:
    """Link an explainer run to the model of the epoch it explains, with metrics of it. Repeating it is harmless."""
    model_id = find_epoch_model(run, run.record.source, epoch)
    if model_id is not None:
        run.client.log_inputs(run.run_id, models=[LoggedModelInput(model_id)])
        _log_metrics(run, model_id, epoch, metrics, time_ms)


def log_explained_as(run: Run, commit: EpochCommit, method: str) -> None:
    """The same with a commit's own metrics, each prefixed with the method's name."""
    metrics = {f"{method}_{key}": value for key, value in commit.metrics.items()}
    log_explained(run, commit.epoch, metrics, commit.time_ms)


def _log_metrics(run: Run, model_id: str, epoch: int, metrics: dict[str, float], time_ms: int) -> None:
    points = [
        Metric(key, value, time_ms, epoch, model_id=model_id, run_id=run.run_id) for key, value in metrics.items()
    ]
    run.client.log_batch(run.run_id, metrics=points)
