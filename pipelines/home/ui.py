"""The MLflow UI of a study home, on this machine only."""

import socket
import sys

from pipelines.common.settings import UiSettings
from pipelines.common.terminal import say
from pipelines.home.study_view import list_addresses, save_views
from tracking import server
from tracking.errors import InputError, from_outside
from tracking.home import Home
from tracking.index import no_study
from tracking.mlflow_client import server_address

HOST = "127.0.0.1"


def serve(settings: UiSettings, home: Home) -> None:
    """Print what to open, then run the MLflow server in this process until a signal, which raises KeyboardInterrupt."""
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
    try:
        save_views(home)
    except Exception as error:
        if not (reason := from_outside(error)):
            raise
        say(f"MLflow's views and note are as they were before, not up to date: {reason}")

    base = f"http://{HOST}:{settings.port}/"
    first, *others = list_addresses(home).items()
    print(f"{base}{first[1]}")  # alone on its line, for a script that opens it
    for what, address in others:
        print(f"{what}: {base}{address}")
    sys.stdout.flush()
    server.serve(home, HOST, settings.port)
    raise KeyboardInterrupt  # the server handled the signal itself
