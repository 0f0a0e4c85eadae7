"""Every command as a function: `pipelines.train(epochs=3)` does what `study train --epochs 3` does.

Arguments are the command's settings, and `home`; what comes back is what the command prints.
"""

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature, getdoc
from typing import Any

from pipelines.commands import COMMANDS, keep_output, load_step, open_home
from pipelines.common.arguments import accepted_type, from_arguments
from pipelines.common.checked_settings import CheckedSettings, setting_help
from pipelines.common.console import redacting
from pipelines.lifecycle.python_errors import name_arguments, plain_errors
from tracking.errors import InputError
from tracking.staging import unmade_home_removed

HOME = "study home [STUDY_HOME, else ./study]"


def as_function(name: str) -> Callable[..., Any]:
    """The function of a command."""
    settings_class = settings_of(name)
    signature = signature_of(settings_class)
    function_name = name.replace("-", "_")

    def function(*values: Any, **named_values: Any) -> Any:
        with plain_errors():
            try:
                arguments = signature.bind(*values, **named_values).arguments
            except TypeError as error:
                unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
                nearest = difflib.get_close_matches(unknown[1], signature.parameters, n=1) if unknown else []
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                raise InputError(
                    f"{function_name}: {error}{hint} (help(pipelines.{function_name}) lists what there is)"
                ) from None
            place = arguments.pop("home", None)
            home = open_home(name, None if place is None else os.fspath(place))
            settings = from_arguments(settings_class, arguments)
            with redacting(), keep_output(name), unmade_home_removed(home):
                return load_step(name)(settings, home)

    function.__name__ = function.__qualname__ = function_name
    function.__module__ = "pipelines"
    function.__doc__ = describe(name)
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def settings_of(name: str) -> type[CheckedSettings]:
    settings_class = COMMANDS[name][0]
    assert settings_class is not None, f"{name} has no settings"
    return settings_class


def signature_of(settings_class: type[CheckedSettings]) -> Signature:
    """The command's own arguments come first and by position, as on the command line; all others by name."""
    parameters = []
    for field in _list_settings(settings_class):
        kind = Parameter.POSITIONAL_OR_KEYWORD if field.metadata["positional"] else Parameter.KEYWORD_ONLY
        default = Parameter.empty if field.default is MISSING else field.default
        parameters.append(Parameter(field.name, kind, default=default, annotation=accepted_type(field)))
    home = Parameter("home", Parameter.KEYWORD_ONLY, default=None, annotation="str | PathLike[str] | None")
    return Signature([*parameters, home])


def describe(name: str) -> str:
    """A function's help, from that of its command."""
    settings_class = settings_of(name)
    lines = [f"    {field.name}: {name_arguments(setting_help(field))}" for field in _list_settings(settings_class)]
    text = str(getdoc(settings_class)).replace("Prints ", "Returns ")
    return "\n".join([text, "", f"Arguments, as the flags of `study {name}`:", *lines, f"    home: {HOME}"])


def _list_settings(settings_class: type[CheckedSettings]) -> list[Field]:
    """Those by position, then the command's others, then those that only have names, such as of a base class."""
    return sorted(fields(settings_class), key=lambda field: (not field.metadata["positional"], field.kw_only))
