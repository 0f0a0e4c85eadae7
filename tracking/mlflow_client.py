"""The way to MLflow: a client of the home's own database or of a server, and the experiment that all runs belong to."""

import logging
import os
import re
import shutil
from functools import cache
from pathlib import Path

from tracking import mlflow_internals, patience
from tracking.catalogue import describe_deleted_experiment
from tracking.errors import InputError
from tracking.home import Home, make_home
from tracking.mlflow_db import EXPERIMENT, follow_move, is_own_folder, schema_revision, take_experiment
from tracking.staging import staging, sweep

# isort: split
# behind `mlflow_internals`, as MLflow reads its settings when it is imported
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

for name in ("mlflow", "alembic"):  # their word on tables they create is no news to a user
    logging.getLogger(name).setLevel(logging.WARNING)
patience.set_limits(mlflow_internals.DATABASE_LOGGER)
mlflow_internals.limit_database_tries(patience.DATABASE_TRIES)


@cache
def connect(home: Home) -> MlflowClient:
    """Client of the home's own MLflow database, or of the server in MLFLOW_TRACKING_URI.

    Whatever writes comes through here, so a home that was copied has its own places first. Raises InputError if MLflow
    cannot serve.
    """
    _check_address()
    make_home(home)
    sweep(home)
    try:
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            _open_database(home)
        return MlflowClient(tracking_uri(home))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise InputError(_no_answer(tracking_uri(home), str(error).splitlines()[0])) from None
    except ImportError as error:
        raise InputError(f"MLflow at {tracking_uri(home)} needs a package that is not installed: {error}") from None


def _check_address() -> None:
    """Raise InputError on a password with characters that part an address: what follows would be taken for a host."""
    if re.match(r"https?://[^/?#]*[/?#].*@", os.environ.get("MLFLOW_TRACKING_URI", "")):
        raise InputError(
            "MLFLOW_TRACKING_URI has / ? or # before an @; in its password write %2F, %3F and %23 instead of them"
        )


def _open_database(home: Home) -> None:
    """Make the home's database if there is none; see that it is one that MLflow can use, with the home's own places."""
    if not home.mlflow_db.exists():
        if count := len(list(home.artifacts.glob("*/artifacts/run.json"))):
            # MLflow gives new runs IDs of its own choice, so those there are cannot be made again from their files
            raise InputError(
                f"{home.mlflow_db} is gone, but {count} runs lie in {home.artifacts}; restore it from a backup, set "
                "MLFLOW_TRACKING_URI if a server keeps these runs, or start anew with another --home"
            )
        _make_database(home)
    if newer := _newer_schema(home.mlflow_address, schema_revision(home)):
        raise InputError(newer)
    follow_move(home)


def _make_database(home: Home) -> None:
    """An empty MLflow database, put in place whole: MLflow takes seconds to make one and cannot use half a one."""
    with staging(home) as folder:
        made = Home(folder).mlflow_db
        MlflowClient(Home(folder).mlflow_address).search_experiments()
        whole = Path(shutil.copyfile(made, folder / "whole"))  # with the mode that the umask says
        try:
            os.link(whole, home.mlflow_db)
        except FileExistsError:  # another process was quicker
            pass
        except OSError:  # a file system without links
            os.replace(whole, home.mlflow_db)


def tracking_uri(home: Home) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or home.mlflow_address


def server_address() -> str | None:
    """Address of the MLflow server that keeps the runs, None where a database of our own does."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    return address if address.startswith(("http://", "https://")) else None


def find_experiment(home: Home) -> Experiment:
    """The experiment all runs belong to; made when it is not there. Raises InputError if MLflow cannot serve."""
    client, name = connect(home), os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    try:
        with patience.limits(patience.SHORT):
            found = client.get_experiment_by_name(name)
        if found is None:
            # a server chooses its own place; a database must be told, or files land in the current folder
            place = None if server_address() else home.artifacts.as_uri()
            found = _create_experiment(client, name, place)
    except (MlflowException, OSError) as error:
        raise InputError(_no_answer(tracking_uri(home), str(error).splitlines()[0])) from None
    if found.lifecycle_stage == "deleted":
        raise InputError(describe_deleted_experiment(tracking_uri(home), name, found.experiment_id))
    if not (os.environ.get("MLFLOW_TRACKING_URI") or is_own_folder(home, found.artifact_location)):
        _take_over(home, found)
    return found


def _create_experiment(client: MlflowClient, name: str, place: str | None) -> Experiment:
    """The new experiment, or the one that another process made at the same moment."""
    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=place))
    except MlflowException:
        if (found := client.get_experiment_by_name(name)) is None:
            raise
        return found


def _take_over(home: Home, experiment: Experiment) -> None:
    """Let an experiment that was made in MLflow keep its files where the study's lie."""
    if not take_experiment(home, experiment.experiment_id):
        raise InputError(
            f"the experiment {experiment.name!r} keeps the files of its runs in {experiment.artifact_location}, not in "
            "the study home; choose another MLFLOW_EXPERIMENT_NAME"
        )


def _no_answer(address: str, reason: str) -> str:
    if schema := re.search(r"out-of-date database schema \(found version (\w+)", reason):
        advice = f"after a backup, bring it up to date: mlflow db upgrade {address}"
        return _newer_schema(address, schema[1]) or f"{address} was made by an older MLflow; {advice}"
    return f"MLflow at {address} does not answer: {reason}"


def _newer_schema(address: str, revision: str) -> str | None:
    """What to tell of a database whose tables this MLflow does not know; None if it does."""
    if revision in mlflow_internals.known_schema_revisions():
        return None
    return f"{address} was made by a newer MLflow than {mlflow.__version__}; update MLflow here: pip install -U mlflow"
