"""Errors that commands print as one line instead of a traceback, and passwords kept out of every line."""

import base64
import os
import re
from collections.abc import Iterator
from http.client import HTTPException
from urllib.parse import unquote

# libraries whose errors come from a disk, a database or a server; by name, as importing them takes seconds
STORES = ("mlflow", "sqlalchemy", "sqlite3", "duckdb", "_duckdb", "pyarrow")
# names of environment variables that hold secrets
SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|_KEY|CONNECTION_STRING)$")
SERVER = "MLFLOW_TRACKING_URI"
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
SHORTEST_SECRET = 4  # characters of a secret that is replaced wherever it appears; a shorter one would hide other words
HIDDEN = "***"
ADDRESS = re.compile(r"[\w+.-]+://([^/].*)@")  # with an account, also if its password holds / or @ itself
ACCOUNT = re.compile(r"(?<=://)[^\s/?#'\"]*@")  # user:password@ of an address
PARAMETER = re.compile(r"(?i)([?&;][\w.-]*(?:password|passwd|pwd|token|secret|key)=)[^&;\s'\"]+")  # ?password=...


class PlainError(Exception):
    """An error whose message is all that a user needs, without passwords."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class InputError(PlainError, ValueError):
    """Wrong input, exit code 2. The message says what is wrong, what there is, and what to do."""


class RunError(PlainError, RuntimeError):
    """A run that could not be finished, exit code 1. The message says why and how to continue."""


class DivergedError(RunError):
    """A training whose logits are no longer finite; trained again, it would be the same."""


def from_outside(error: BaseException) -> str | None:
    """What the disk, memory, a database or a server refused, in words; None for any other error."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if reason := unanswered(error):
        address = re.search(r"https?://[^/\s]+", str(error)) or re.search("http.*", os.environ.get(SERVER, ""))
        return redacted(f"{address[0] if address else 'the server'} does not answer: {reason}")
    library = type(error).__module__.split(".")[0]
    if isinstance(error, OSError) or library in STORES:
        message = str(error).strip()
        return redacted(message.splitlines()[0]) if message else type(error).__name__
    return None


def unanswered(error: BaseException) -> str | None:
    """Why a server did not answer, and since when it was asked again and again; None for any other error."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__ or _wrapped(chain[-1]):
        chain.append(cause)
    names = {type(one).__name__ for one in chain if type(one).__module__.startswith("urllib3")}
    if not names:
        return None
    root = chain[-1]
    reason = (root.strerror if isinstance(root, OSError) else None) or str(root).strip() or type(root).__name__
    if isinstance(root, HTTPException) and not isinstance(root, OSError):
        reason = f"broken answer ({reason})"
    was_tried_again = "MaxRetryError" in names and os.environ.get(RETRIES) != "0"
    return f"{reason}, since {_first_failure}" if was_tried_again and _first_failure else reason


def _wrapped(error: BaseException) -> BaseException | None:
    """The error among the arguments of an error: urllib3 puts the cause of a broken connection there."""
    return next((one for one in error.args if isinstance(one, BaseException)), None)


_first_failure = ""  # time of day at which a request to a server failed that is tried again


def note_first_failure(time: str) -> None:
    global _first_failure
    _first_failure = time


def redacted(text: str) -> str:
    """The text without passwords: accounts in addresses, and every secret that the environment holds."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = ACCOUNT.sub(f"{HIDDEN}@", text)
    return PARAMETER.sub(rf"\1{HIDDEN}", text)


def _secrets() -> Iterator[str]:
    """Every secret of the environment, in the forms in which messages may show it."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            yield value
        if address := ADDRESS.match(value):
            yield from _forms_of_account(address[1])


def _forms_of_account(account: str) -> Iterator[str]:
    """Forms of user:password: as written, unquoted, as in a request's header, and the password alone."""
    for form in {account, unquote(account)}:
        password = form.partition(":")[2]
        if password:
            yield form
            yield base64.b64encode(form.encode()).decode()
        if len(password) >= SHORTEST_SECRET:
            yield password
