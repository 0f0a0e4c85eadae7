"""The MLflow UI of a study home, on this machine only."""

import socket

from pipelines.common.settings import UiSettings
from tracking import server
from tracking.errors import InputError
from tracking.home import Home
from tracking.index import no_study
from tracking.mlflow_client import server_address
from tracking.runs import experiment_id

HOST = "127.0.0.1"


def serve(settings: UiSettings, home: Home) -> None:
    """Print the address, then run the MLflow server in this process until a signal, which raises KeyboardInterrupt."""
    server_url = server_address()
    if server_url:
        raise InputError(f"the runs are on the MLflow server {server_url}, which has these pages; open it in a browser")
    if not home.artifacts.is_dir():
        raise InputError(no_study(home))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, settings.port))
        except OSError:
            raise InputError(f"port {settings.port} is in use; choose another with --port") from None
    print(ui_url(home, settings.port), flush=True)
    server.serve(home, HOST, settings.port)
    raise KeyboardInterrupt  # the server handled the signal itself


def ui_url(home: Home, port: int) -> str:
    """URL of the page to open: the study's runs in MLflow's machine learning view."""
    return f"http://{HOST}:{port}/#/experiments/{experiment_id(home)}/runs?workflowType=machine_learning"
