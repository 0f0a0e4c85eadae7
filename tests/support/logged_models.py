"""Models of epochs as MLflow loads them, and what the study's tables say that they predict."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from support.homes import rows
from tracking.home import Home


def find_model(address: str, run_id: str, epoch: int) -> str:
    """ID of the LoggedModel of an epoch."""
    client = MlflowClient(address)
    experiment = client.get_run(run_id).info.experiment_id
    wanted = f"source_run_id = '{run_id}' and tags.`study.epoch` = '{epoch}'"
    [model] = client.search_logged_models([experiment], filter_string=wanted)
    assert str(model.status) == "READY"
    return model.model_id


def load_epoch(address: str, run_id: str, epoch: int, **options) -> mlflow.pyfunc.PyFuncModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        return mlflow.pyfunc.load_model(f"models:/{find_model(address, run_id, epoch)}", **options)


def assert_predicts_as_logged(
    predicted: pd.DataFrame, home: Home, run_id: str, epoch: int, classes: tuple[str, ...]
) -> None:
    """Whether a model's table for all test images is what the study's own table says."""
    sql = """
        select predicted, probabilities
        from full_predictions
        where run_id = ? and epoch = ? and split = 'test'
        order by instance_id"""
    logged = rows(home, sql, run_id, epoch)
    assert list(predicted.columns) == ["predicted", *classes]
    assert list(predicted["predicted"]) == [classes[row] for row, _ in logged]
    expected = np.array([probabilities for _, probabilities in logged])
    np.testing.assert_allclose(predicted[list(classes)].to_numpy(), expected, atol=1e-5)
