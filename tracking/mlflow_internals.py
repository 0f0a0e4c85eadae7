"""Everything that relies on MLflow's internals: what it reads on import, and parts that are not public.

Import this module before MLflow. tests/tracking/test_mlflow_internals.py says what a new MLflow moved.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tracking.errors import InputError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it carries our results
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each file from a server
try:
    Path.home()
except RuntimeError:  # a user whom the system does not know, without HOME, for whom importing MLflow fails
    os.environ["HOME"] = "/nonexistent"  # as such users have by convention

import mlflow
from requests import HTTPError


@contextmanager
def _naming_what_moved() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"MLflow {mlflow.__version__} has moved a part that tracking/mlflow_internals.py uses ({error}); "
            "update xai-study, or install an older MLflow"
        ) from error


with _naming_what_moved():
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.db import utils as database_utils
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_LOGGED_IMAGES

VIEW_TAG = "mlflow.sharedViewState."  # how a tag of an experiment begins in which MLflow's page keeps a saved view

__all__ = ["MLFLOW_LOGGED_ARTIFACTS", "MLFLOW_LOGGED_IMAGES"]
DATABASE_LOGGER = database_utils.__name__  # reports each failed attempt to open a database


def limit_database_tries(count: int) -> None:
    """Make MLflow give up on a database after this many failed attempts; by default it tries for two minutes."""
    database_utils.MAX_RETRY_COUNT = count


def is_serving() -> bool:
    """Whether `mlflow models serve` (or predict, which does as if) runs this process, whose input comes from others."""
    return bool(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.get())


class StoredFiles:
    """The files below an artifact URI, a request for each; MLflow's client also asks what a path is, or where."""

    def __init__(self, artifact_uri: str, tracking_uri: str) -> None:
        self._repository = get_artifact_repository(artifact_uri, tracking_uri)

    def list_folder(self, folder: str) -> list[str]:
        """Paths of the files in a folder; none if there is no such folder."""
        return [file.path for file in self._repository.list_artifacts(folder) if not file.is_dir]

    def upload(self, local: Path) -> None:
        """Store a file under its own name."""
        self._repository.log_artifact(str(local))

    def download(self, path: str, local: Path) -> None:
        """Raises FileNotFoundError if there is no such file."""
        try:
            self._repository._download_file(path, str(local))
        except HTTPError as error:
            if error.response is not None and error.response.status_code == HTTPStatus.NOT_FOUND:
                raise FileNotFoundError(path) from None
            raise


def known_schema_revisions() -> set[str]:
    """Revisions of database schemas that the installed MLflow can read or upgrade."""
    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    return {file.name.partition("_")[0] for file in migrations.glob("*.py")}


def server_application(database: str, artifacts: str) -> Any:
    """The ASGI application of MLflow's server for a database and a folder of artifacts, both given as URIs.

    MLFLOW_SERVER_* variables must be set before, as they are read when the application is imported.
    """
    with _naming_what_moved(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "starlette.middleware.wsgi is deprecated")  # MLflow's own affair
        from mlflow.server import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR, SERVE_ARTIFACTS_ENV_VAR
        from mlflow.server.fastapi_app import app

    os.environ[BACKEND_STORE_URI_ENV_VAR] = database
    os.environ[ARTIFACT_ROOT_ENV_VAR] = artifacts
    os.environ[SERVE_ARTIFACTS_ENV_VAR] = "true"
    return app
