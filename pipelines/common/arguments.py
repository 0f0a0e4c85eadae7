"""Settings from the arguments of a Python call: the same fields as the flags, with Python's own values."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from numbers import Integral, Real
from typing import Any, TypeVar

from pipelines.common.checked_settings import CheckedSettings, flag_name
from pipelines.common.flags import check_given, parse_annotation
from tracking.errors import InputError

EXPECTED = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
Settings = TypeVar("Settings", bound=CheckedSettings)


def from_arguments(settings: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings that a call gives by name.

    One text stands for a tuple of it, and numbers stand for the text that holds them on the command line:
    `method="shap"`, `epochs=[0, 5, 10]`. Raises InputError, which names flags, on a value of another type or choice.
    """
    converted = {}
    for field in fields(settings):
        value = values.get(field.name)
        if field.name in values and not (value is None and field.default is None):
            converted[field.name] = _to_setting(field, value)
    return settings(**converted)


def accepted_type(field: Field) -> str:
    """The type of values that `from_arguments` takes for a setting, as one writes it."""
    value_type, takes_several = parse_annotation(field.type)
    names = ["str", "int"] if field.metadata["numbers"] else [value_type.__name__]
    if field.metadata["path"] or field.name == "data":  # the one path that is recorded
        names = ["str", "PathLike[str]"]
    if takes_several or field.metadata["numbers"]:
        names.append(f"Sequence[{' | '.join(names if takes_several else names[1:])}]")
    return " | ".join([*names, "None"] if field.default is None else names)


def _to_setting(field: Field, value: Any) -> Any:
    flag = flag_name(field.name)
    value_type, takes_several = parse_annotation(field.type)
    wanted = (str, int) if field.metadata["numbers"] else (value_type,)
    is_single = isinstance(value, str | bytes | os.PathLike | Mapping) or not isinstance(value, Iterable)
    if is_single or not (takes_several or field.metadata["numbers"]):
        value = [value]
    items = [_to_plain(flag, wanted, item) for item in value]
    if value_type is str:
        items = [str(item) for item in items]
        items = items if takes_several else [",".join(items)]

    choices = field.metadata["choices"]
    wrong = [item for item in items if choices and item not in choices]
    if wrong:
        raise InputError(f"{flag} is {wrong[0]!r}; it takes {', '.join(choices[:-1])} or {choices[-1]}")
    check_given(flag, items, field)
    return tuple(items) if takes_several else items[0]


def _to_plain(flag: str, wanted: tuple[type, ...], value: Any) -> Any:
    """A value, which may be a path or NumPy's, as one of a wanted type."""
    if str in wanted and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if bool in wanted and isinstance(value, bool):
        return value
    if not isinstance(value, bool):
        if int in wanted and isinstance(value, Integral):
            return int(value)
        if float in wanted and isinstance(value, Real):
            return float(value)
    raise InputError(f"{flag} is {value!r}; it takes {' or '.join(EXPECTED[one] for one in wanted)}")
