"""The MLflow UI of a study home, on this machine only."""

import os
import socket
import sys

from pipelines.settings import UiSettings
from tracking.errors import InputError
from tracking.home import Home
from tracking.runs import experiment_id, tracking_uri

HOST = "127.0.0.1"


def serve(settings: UiSettings, home: Home) -> None:
    """Print the address, then become the MLflow server until it is stopped."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, settings.port))
        except OSError:
            raise InputError(f"port {settings.port} is in use; choose another with --port") from None
    print(address(home, settings.port), flush=True)
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # ten processes and 1.9 GB otherwise
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = ["-m", "mlflow", "server", "--host", HOST, "--port", str(settings.port), "--workers", "1"]
    store = ["--backend-store-uri", tracking_uri(home), "--default-artifact-root", home.artifacts.as_uri()]
    os.execve(sys.executable, [sys.executable, *command, *store], environment)


def address(home: Home, port: int) -> str:
    """The page to open: the study's runs in the machine learning view."""
    return f"http://{HOST}:{port}/#/experiments/{experiment_id(home)}/runs?workflowType=machine_learning"
