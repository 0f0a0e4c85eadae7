"""MLflow's own pages of one home, for a browser on this machine."""

import os
import signal
from collections.abc import Awaitable, Callable

from tracking.home import Home
from tracking.mlflow_client import tracking_uri
from tracking.mlflow_internals import server_application

HOST_NAMES = ("127.0.0.1", "localhost")  # by which a browser may address this machine; a foreign page would use its own
Application = Callable[[dict, Callable, Callable], Awaitable[None]]  # ASGI


def serve(home: Home, host: str, port: int) -> None:
    """Serve MLflow's pages until a signal comes.

    In this process, as the command line of another one, which every user of the machine can read, would hold the
    address of the database.
    """
    hosts = [f"{name}:{port}" for name in HOST_NAMES]
    origins = [f"http://{name}" for name in hosts]
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(hosts)
    os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins)
    os.environ["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] = "false"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # ten processes and 1.9 GB otherwise
    application = own_pages_only(server_application(tracking_uri(home), home.artifacts.as_uri()), origins)

    import uvicorn

    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # Windows lacks it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # uvicorn knows only SIGTERM
    uvicorn.run(application, host=host, port=port, log_level="warning")


def own_pages_only(application: Application, origins: list[str]) -> Application:
    """The application, closed to pages of other origins. MLflow itself accepts those of any port of this machine."""
    allowed = {None, *(origin.encode() for origin in origins)}  # None: no page of another site asks

    async def answer(scope: dict, receive: Callable, send: Callable) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"origin") in allowed:
            return await application(scope, receive, send)
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Cross-origin request blocked"})

    return answer
