"""MLflow's own pages of one home, for a browser on this machine."""

import os
import signal
from collections.abc import Awaitable, Callable

from tracking.home import Home
from tracking.mlflow_client import tracking_uri
from tracking.mlflow_internals import server_application

NAMES = ("127.0.0.1", "localhost")  # what the browser may call this machine; a foreign page would use its own name
Application = Callable[[dict, Callable, Callable], Awaitable[None]]


def serve(home: Home, host: str, port: int) -> None:
    """Serve MLflow's pages until a signal comes.

    In this process, as its command line, which every user of the machine can read, holds no address of a database.
    """
    places = [f"{name}:{port}" for name in NAMES]
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(places)
    os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(f"http://{place}" for place in places)
    os.environ["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] = "false"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # ten processes and 1.9 GB otherwise
    import uvicorn

    application = own_pages_only(server_application(tracking_uri(home), home.artifacts.as_uri()), places)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # Windows lacks it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # uvicorn knows the latter alone
    uvicorn.run(application, host=host, port=port, log_level="warning")


def own_pages_only(app: Application, places: list[str]) -> Application:
    """The application, closed to pages of other addresses: MLflow itself lets in those of any port of this machine."""
    own = {f"http://{place}".encode() for place in places}

    async def answer(scope: dict, receive: Callable, send: Callable) -> None:
        if dict(scope.get("headers", ())).get(b"origin") in {None, *own}:
            return await app(scope, receive, send)
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"Cross-origin request blocked"})

    return answer
