"""Connecting to MLflow: a client of the home's own database or of a server, and the experiment of all runs."""

import logging
import os
import re
import shutil
from functools import cache
from pathlib import Path

from tracking import mlflow_internals, patience
from tracking.catalogue import describe_deleted_experiment
from tracking.errors import InputError, from_outside, unanswered
from tracking.home import Home, make_home
from tracking.mlflow_db import EXPERIMENT, follow_move, is_own_folder, schema_revision, take_experiment
from tracking.staging import staging_folder, sweep

# isort: split
# after `mlflow_internals`, as MLflow reads its settings when it is imported
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

# where the driver that SQLAlchemy takes for a dialect has another name as a package
DRIVERS = {
    "postgresql": "pip install 'psycopg[binary]', or psycopg2-binary for postgresql+psycopg2://",
    "mysql": "pip install mysqlclient, or pymysql for mysql+pymysql://",
}
for name in ("mlflow", "alembic"):  # users need not know which tables they create
    logging.getLogger(name).setLevel(logging.WARNING)
patience.set_limits(mlflow_internals.DATABASE_LOGGER)
mlflow_internals.limit_database_tries(patience.DATABASE_TRIES)


@cache
def connect(home: Home) -> MlflowClient:
    """Client of the home's own MLflow database, or of the server in MLFLOW_TRACKING_URI.

    All code that writes gets its client here, so the paths in the database of a copied home are corrected first.
    Raises InputError if MLflow does not answer.
    """
    _check_address()
    make_home(home)
    sweep(home)
    try:
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            _open_database(home)
        return MlflowClient(tracking_uri(home))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise no_answer(tracking_uri(home), error) from None
    except ImportError as error:
        raise InputError(
            f"MLflow at {tracking_uri(home)} needs the package {error.name or error}, which is not installed here"
            f"{_explain_driver(tracking_uri(home))}"
        ) from None


def _check_address() -> None:
    """Raise InputError if a password holds characters that end the host in an address, which would be cut there."""
    if re.match(r"https?://[^/?#]*[/?#].*@", os.environ.get("MLFLOW_TRACKING_URI", "")):
        raise InputError(
            "MLFLOW_TRACKING_URI has / ? or # before an @; in its password write %2F, %3F and %23 instead of them"
        )


def _open_database(home: Home) -> None:
    """Make the home's database if there is none, check that MLflow can use it, and correct the paths in it."""
    if not home.mlflow_db.exists():
        run_count = len(list(home.artifacts.glob("*/artifacts/run.json")))
        if run_count:  # MLflow chooses the IDs of new runs, so it cannot be told to make these again
            raise InputError(
                f"{home.mlflow_db} is gone, but {run_count} runs lie in {home.artifacts}; restore it from a backup, "
                "set MLFLOW_TRACKING_URI if a server keeps these runs, or begin a new study with another --home"
            )
        _make_database(home)
    if problem := _explain_newer_schema(home.mlflow_address, schema_revision(home)):
        raise InputError(problem)
    follow_move(home)


def _make_database(home: Home) -> None:
    """Put an empty MLflow database in place in one step: MLflow takes seconds to make one and cannot use half of it."""
    with staging_folder(home) as folder:
        staged_home = Home(folder)
        MlflowClient(staged_home.mlflow_address).search_experiments()
        database = Path(shutil.copyfile(staged_home.mlflow_db, folder / "whole"))  # a copy's mode follows the umask
        try:
            os.link(database, home.mlflow_db)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a file system without links
            os.replace(database, home.mlflow_db)


def tracking_uri(home: Home) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or home.mlflow_address


def server_address() -> str | None:
    """Address of the MLflow server that keeps the runs; None if the home's database or another one does."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    return address if address.startswith(("http://", "https://")) else None


def find_experiment(home: Home) -> Experiment:
    """The experiment that all runs belong to; it is created if missing. Raises InputError if MLflow does not answer."""
    client = connect(home)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    try:
        with patience.limits(patience.SHORT):
            experiment = client.get_experiment_by_name(name)
        if experiment is None:
            # a server chooses its own folder; a database must be told, or files land in the current folder
            location = None if server_address() else home.artifacts.as_uri()
            experiment = _create_experiment(client, name, location)
    except (MlflowException, OSError) as error:
        raise no_answer(tracking_uri(home), error) from None

    if experiment.lifecycle_stage == "deleted":
        raise InputError(describe_deleted_experiment(tracking_uri(home), name, experiment.experiment_id))
    is_elsewhere = not os.environ.get("MLFLOW_TRACKING_URI") and not is_own_folder(home, experiment.artifact_location)
    # one that was created in MLflow and has no runs yet can still be told to keep its files in the home
    if is_elsewhere and not take_experiment(home, experiment.experiment_id):
        raise InputError(
            f"the experiment {experiment.name!r} keeps the files of its runs in {experiment.artifact_location}, "
            "not in the study home; choose another MLFLOW_EXPERIMENT_NAME"
        )
    return experiment


def _create_experiment(client: MlflowClient, name: str, location: str | None) -> Experiment:
    """The new experiment, or the one that another process created at the same moment."""
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return experiment


def _explain_driver(address: str) -> str:
    """How to get a driver for a database, or to name one that is installed."""
    dialect = address.partition("://")[0]
    advice = DRIVERS.get(dialect, "install it, or name another driver in the address")
    return "" if server_address() else f"; {advice}"


def no_answer(address: str, error: BaseException) -> InputError:
    """The error that says why MLflow cannot be used."""
    if silence := unanswered(error):
        return InputError(f"MLflow at {address} does not answer: {silence}; start it, or correct MLFLOW_TRACKING_URI")
    reason = from_outside(error) or type(error).__name__
    schema = re.search(r"out-of-date database schema \(found version (\w+)", reason)
    if not schema:
        return InputError(f"MLflow at {address} does not answer: {reason}")
    return InputError(
        _explain_newer_schema(address, schema[1])
        or f"{address} was made by an older MLflow; after a backup, bring it up to date: mlflow db upgrade {address}"
    )


def _explain_newer_schema(address: str, revision: str) -> str | None:
    """Says that this MLflow does not know the schema of a database; None if it does."""
    if revision in mlflow_internals.known_schema_revisions():
        return None
    return f"{address} was made by a newer MLflow than {mlflow.__version__}; update MLflow here: pip install -U mlflow"
