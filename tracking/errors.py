"""Errors that commands print as one line instead of a traceback, and passwords kept out of every line."""

import base64
import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

STORES = ("mlflow", "sqlalchemy", "sqlite3", "duckdb", "_duckdb", "pyarrow")  # by name, as importing them takes seconds
SECRETS = re.compile(r"(PASSWORD|PASSWD|TOKEN|SECRET|_KEY|CONNECTION_STRING)$")  # names of environment variables
SHORTEST = 4  # characters of a secret that is looked for by itself; a shorter one would blot out other words
HIDDEN = "***"
ADDRESS = re.compile(r"[\w+.-]+://([^/].*)@")  # with an account, also of a password that holds / or @ itself
ACCOUNT = re.compile(r"(?<=://)[^\s/?#'\"]*@")  # user:password@ of an address
PARAMETER = re.compile(r"(?i)([?&;][\w.-]*(?:password|passwd|pwd|token|secret|key)=)[^&;\s'\"]+")  # ?password=...


class InputError(ValueError):
    """Wrong input, exit code 2. The message says what is wrong, what there is, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class RunError(RuntimeError):
    """A run that could not be finished, exit code 1. The message says why and how to go on."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


def from_outside(error: BaseException) -> str | None:
    """In words what the disk, memory, a database or a server refused; None for any other error."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] in STORES:
        return redacted(str(error).strip().splitlines()[0]) if str(error).strip() else type(error).__name__
    return None


def redacted(text: str) -> str:
    """The text without passwords: accounts in addresses, and every secret that the environment holds."""
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return PARAMETER.sub(rf"\1{HIDDEN}", ACCOUNT.sub(f"{HIDDEN}@", text))


def _secrets() -> Iterator[str]:
    """Every secret of the environment in the forms that messages give it."""
    for name, value in os.environ.items():
        if SECRETS.search(name) and len(value) >= SHORTEST:
            yield value
        if address := ADDRESS.match(value):
            yield from _forms(address[1])


def _forms(account: str) -> Iterator[str]:
    """Forms of user:password: as written, decoded, as a request's header has it, and the password alone."""
    for form in {account, unquote(account)}:
        password = form.partition(":")[2]
        if password:
            yield form
            yield base64.b64encode(form.encode()).decode()
        if len(password) >= SHORTEST:
            yield password
