"""How long commands wait for an MLflow server or database that does not answer, and what they say meanwhile."""

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from urllib3 import Retry

from tracking.errors import RETRIES, note_first_failure, redacted

# MLflow reads these environment variables at each request
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # seconds
BACKOFF = "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"
# during a run: a server that is started again within a minute is waited for, as pauses double up to 32 seconds
LONG = {TIMEOUT: "30", RETRIES: "6", BACKOFF: "1"}
SHORT = {TIMEOUT: "5", RETRIES: "2"}  # at the start: is there a server at all?
SHORTEST = {TIMEOUT: "3", RETRIES: "0"}  # if the command is useful without the server
DATABASE_TRIES = 6  # about six seconds, as MLflow doubles its pauses, from a tenth of a second on
REQUEST_LOGGER = "urllib3.connectionpool"  # reports each request that is tried again
SAME_ATTEMPT = 5  # seconds within which several downloads report one attempt
_SAYING = threading.Lock()
_said: dict[str, float] = {}  # when each line was said last
_is_ours: dict[str, bool] = {}  # whether a variable has our value rather than the user's


def set_limits(database_logger: str) -> None:
    """Set limits for this process where its user has set none, and report each failed attempt in one line."""
    for name, value in LONG.items():
        os.environ.setdefault(name, value)
        _is_ours[name] = os.environ[name] == value
    for name in (REQUEST_LOGGER, database_logger):
        logging.getLogger(name).addFilter(_report_waiting)


@contextmanager
def limits(shorter: dict[str, str]) -> Iterator[None]:
    """Shorter limits for as long as the block lasts, except for those that the user has set."""
    replaced: dict[str, str] = {}
    for name, value in shorter.items():
        if _is_ours.get(name) and int(value) < int(os.environ[name]):
            replaced[name] = os.environ[name]
            os.environ[name] = value
    try:
        yield
    finally:
        os.environ.update(replaced)


def _report_waiting(record: logging.LogRecord) -> bool:
    """Replace a library's report of a failed attempt by one line; the filter returns whether to show the original."""
    match record.args:
        case (Retry(total=int(total)) as retry, *_) if record.msg.startswith("Retrying"):
            tries_left = total + 1
            if tries_left == int(os.environ[RETRIES]):
                note_first_failure(time.strftime("%H:%M:%S"))
            seconds = tries_left * int(os.environ[TIMEOUT]) + _coming_pauses(retry)
            outlook = f"tries left: {tries_left}, {seconds:.0f} seconds at most"
        case (_, float(pause)) if "retried" in record.msg:
            outlook = f"next try in {pause:.1f} seconds"
        case _:
            return not record.exc_info  # MLflow logs the traceback of an error that it also raises
    address = redacted(os.environ.get("MLFLOW_TRACKING_URI") or "the study home's database")
    line = f"waiting for MLflow at {address}, which does not answer; {outlook}"
    now = time.monotonic()
    with _SAYING:  # files are fetched by several threads, which meet an outage at the same moment
        said_at = _said.get(line, -math.inf)
        _said[line] = now
    if now - said_at > SAME_ATTEMPT:
        logging.getLogger(__name__).warning(line)
    return False


def _coming_pauses(retry: Retry) -> float:
    """Seconds of all pauses between the tries that are left, at most: each is drawn with some jitter."""
    jitter = retry.backoff_jitter
    retry = retry.new(backoff_jitter=0)
    pauses = 0.0
    for _ in range(int(retry.total or 0) + 1):
        pause = retry.get_backoff_time()
        pauses += pause + jitter if pause else 0
        retry = retry.new(history=(*retry.history, *retry.history[-1:]))
    return pauses
