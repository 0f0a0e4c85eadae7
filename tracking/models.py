"""A light LoggedModel per epoch: the hook in MLflow on which explainer runs hang their metrics."""

from mlflow.entities import LoggedModelInput, LoggedModelOutput, LoggedModelStatus, Metric

from tracking.commits import EpochCommit
from tracking.runs import Run, experiment_id


def log_epoch_model(run: Run, made: EpochCommit) -> str:
    """LoggedModel of a committed epoch with the epoch's metrics; what is there of it already is completed."""
    model_id = epoch_model(run, run.run_id, made.epoch) or _create(run, made)
    run.client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    outputs = run.client.get_run(run.run_id).outputs
    if model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
        run.client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step=made.epoch)])
    _log_metrics(run, model_id, made.epoch, made.metrics, made.time_ms)
    return model_id


def _create(run: Run, made: EpochCommit) -> str:
    model = run.client.create_logged_model(
        experiment_id(run.home),
        name=f"epoch_{made.epoch:04d}",
        source_run_id=run.run_id,
        tags={"study.run_id": run.run_id, "study.epoch": str(made.epoch), "study.run_name": run.record.name},
        params={"checkpoint": f"checkpoints/epoch_{made.epoch:04d}.safetensors"},
        model_type="checkpoint",
    )
    return model.model_id


def epoch_model(run: Run, source_run_id: str, epoch: int) -> str | None:
    """ID of the LoggedModel of a training run's epoch, None if there is none."""
    found = run.client.search_logged_models(
        [experiment_id(run.home)],
        filter_string=f"source_run_id = '{source_run_id}' AND name = 'epoch_{epoch:04d}'",
        max_results=1,
    )
    return found[0].model_id if found else None


def log_explained(run: Run, epoch: int, metrics: dict[str, float], time_ms: int) -> None:
    """Tie an explainer run to the model of an epoch it looked at, and hang its metrics on it; harmless again."""
    if (model_id := epoch_model(run, run.record.source, epoch)) is not None:
        run.client.log_inputs(run.run_id, models=[LoggedModelInput(model_id)])
        _log_metrics(run, model_id, epoch, metrics, time_ms)


def log_explained_as(run: Run, made: EpochCommit, method: str) -> None:
    """The same with a commit's own metrics, each under the method's name."""
    log_explained(run, made.epoch, {f"{method}_{key}": value for key, value in made.metrics.items()}, made.time_ms)


def _log_metrics(run: Run, model_id: str, epoch: int, metrics: dict[str, float], time_ms: int) -> None:
    points = [
        Metric(key, value, time_ms, epoch, model_id=model_id, run_id=run.run_id) for key, value in metrics.items()
    ]
    run.client.log_batch(run.run_id, metrics=points)
