"""Errors as a Python call has them: one line, in which arguments are not flags."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from keyword import iskeyword

from pipelines.models.user_errors import describe_model_error, watching_own_model
from tracking.errors import InputError, RunError, from_outside

FLAG = re.compile(r"`[^`]*`|--([a-z][a-z-]*)")  # a command stands as it is typed; flags within it are skipped


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors inside become InputError or RunError with a message for Python, except those of our own making."""
    with watching_own_model():
        try:
            yield
        except (InputError, RunError) as error:
            error.args = (name_arguments(str(error)),)
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's model may raise SystemExit
            reason = describe_model_error(error) or from_outside(error)
            if reason is None:
                raise
            raise RunError(name_arguments(reason)) from error


def name_arguments(message: str) -> str:
    """A message with `count` for --count, but not in a command to type."""
    return FLAG.sub(lambda found: f"`{_argument_name(found[1])}`" if found[1] else found[0], message)


def _argument_name(flag: str) -> str:
    name = flag.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name
