"""The index made again from the runs' files."""

import os

from pipelines.common.settings import RebuildSettings
from tracking import index
from tracking.home import Home


def rebuild(settings: RebuildSettings, home: Home) -> str:
    """Make the index again, with a MLflow server's runs where one is in use; returns its path."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        from tracking.remote import fetch  # brings mlflow, which asking does without

        fetch(home)
    index.rebuild(home)
    return str(home.database)
