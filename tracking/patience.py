"""How long commands wait for an MLflow server or database that does not answer, and what they say meanwhile."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from urllib3 import Retry

from tracking.errors import redacted

TIMEOUT, RETRIES = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"  # MLflow reads them at each request
LONG = {TIMEOUT: "30", RETRIES: "2", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}  # amid a run
SHORT = {TIMEOUT: "5", RETRIES: "2"}  # at first: is there a server at all?
SHORTEST = {TIMEOUT: "3", RETRIES: "0"}  # where the command is of use without the server
DATABASE_TRIES = 6  # about six seconds, as MLflow doubles its pauses from a tenth of a second on
REQUEST_LOGGER = "urllib3.connectionpool"  # reports each request that is tried again


def set_limits(database_logger: str) -> None:
    """Set limits for this process where its user has set none, and a line of our own for each try that fails."""
    for name, value in LONG.items():
        os.environ.setdefault(name, value)
        _ours[name] = os.environ[name] == value
    for name in (REQUEST_LOGGER, database_logger):
        logging.getLogger(name).addFilter(_in_words)


_ours: dict[str, bool] = {}


@contextmanager
def limits(known: dict[str, str]) -> Iterator[None]:
    """Shorter limits as long as the block lasts, but for those that the user has set."""
    before = {name: os.environ[name] for name in known if _ours.get(name) and int(known[name]) < int(os.environ[name])}
    os.environ.update({name: known[name] for name in before})
    try:
        yield
    finally:
        os.environ.update(before)


def _in_words(record: logging.LogRecord) -> bool:
    """Say in one line what is waited for, in place of a library's report of a try that failed."""
    match record.args:
        case (Retry(total=int(total)), *_) if record.msg.startswith("Retrying"):
            rest = f"tries left: {total + 1}, {(total + 1) * int(os.environ[TIMEOUT])} seconds at most"
        case (_, float(pause)) if "retried" in record.msg:
            rest = f"next try in {pause:.1f} seconds"
        case _:
            return not record.exc_info  # MLflow logs the traceback of an error that it raises as well
    address = redacted(os.environ.get("MLFLOW_TRACKING_URI") or "the study home's database")
    logging.getLogger(__name__).warning(f"waiting for MLflow at {address}, which does not answer; {rest}")
    return False
