"""Command-line flags of settings classes, and the parser whose errors are one line."""

import argparse
import difflib
import os
import re
import types
from dataclasses import MISSING, Field, fields
from functools import partial
from typing import Any, NoReturn, get_args, get_origin

from pipelines.common.settings import Checked, flag, flag_of
from pipelines.common.terminal import say
from tracking.errors import InputError


class Parser(argparse.ArgumentParser):
    """Wrong flags become one InputError line; flags are never abbreviated."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False} | options)

    def error(self, message: str) -> NoReturn:
        words: list[str] = []
        for action in self._actions:
            if action.help != argparse.SUPPRESS:  # of a flag's former name
                words += action.option_strings
            words += [choice for choice in action.choices or () if isinstance(choice, str)]
        unknown = re.search(r"(?:unrecognized arguments: |invalid choice: ')([^\s']+)", message)
        nearest = difflib.get_close_matches(unknown[1].split("=")[0], words, n=1) if unknown else []
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise InputError(f"{message}{hint} (`{self.prog} --help` lists what there is)")


class FormerFlag(argparse.Action):
    """A flag by the name that it had in earlier versions: it still works, and says what it is called now."""

    def __init__(self, *positional: Any, current: str, **options: Any) -> None:
        super().__init__(*positional, **options)
        self.current = current

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        say(f"{option} is now {self.current}; the old name works in this version only")
        setattr(namespace, self.dest, values)


def add_flags(parser: argparse.ArgumentParser, settings: type[Checked]) -> None:
    """One flag, or positional argument, per field of a settings class."""
    for setting in fields(settings):
        kind, many = _kind(setting.type)
        if kind is bool:
            parser.add_argument(flag(setting), action="store_true", help=setting.metadata["help"])
            continue
        parse = kind if kind is str else partial(_number, kind)
        options: dict[str, Any] = {"type": parse, "help": _help(setting), "choices": setting.metadata["choices"]}
        options |= {"nargs": "+"} if many else {}
        if setting.metadata["positional"]:
            optional = {"nargs": "?", "default": setting.default} if setting.default is not MISSING else {}
            parser.add_argument(setting.name, **options | optional)
        else:
            options |= {"metavar": setting.name.upper()} if many else {}
            parser.add_argument(flag(setting), default=setting.default, **options)
        if former := setting.metadata["formerly"]:
            hidden = options | {"help": argparse.SUPPRESS, "dest": setting.name, "default": argparse.SUPPRESS}
            parser.add_argument(flag_of(former), action=FormerFlag, current=flag(setting), **hidden)


def from_flags(settings: type[Checked], flags: argparse.Namespace) -> Checked:
    """The settings a user gives; what is checked here alone may stand in the records of earlier versions."""
    values = {setting.name: _decoded(setting, getattr(flags, setting.name)) for setting in fields(settings)}
    for setting in fields(settings):
        if not setting.metadata["positional"]:
            _check_given(setting, values[setting.name])
    return settings(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _decoded(setting: Field, value: Any) -> Any:
    if setting.metadata["path"]:
        return value
    named = setting.name if setting.metadata["positional"] else flag(setting)
    if isinstance(value, list):
        return [utf8(named, item) for item in value]
    return utf8(named, value) if isinstance(value, str) else value


def is_broken(text: str) -> bool:
    """Whether a text from outside has bytes that were no text in the locale; they are lone surrogates in it."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def utf8(name: str, text: str) -> str:
    """An argument as text, also where the locale is not UTF-8 and its bytes are. Raises InputError on other bytes."""
    try:
        return os.fsencode(text).decode() if is_broken(text) else text
    except UnicodeError:
        raise InputError(f"{name} is {text!r}, and its bytes are not UTF-8; give it as UTF-8") from None


def _kind(annotation: Any) -> tuple[type, bool]:
    """The plain type of a field, and whether it takes several values."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    if isinstance(annotation, types.UnionType):
        return get_args(annotation)[0], False
    return annotation, False


def _help(setting: Field) -> str:
    text = setting.metadata["help"].replace("%", "%%")
    if setting.default in (None, MISSING, ()):
        return text
    default = " ".join(setting.default) if isinstance(setting.default, tuple) else setting.default
    return f"{text} [{default}]"


def _number(kind: type, text: str) -> float:
    """The number a flag gives. By themselves int() and float() also take 1_0, spaces, and other scripts' digits."""
    try:
        if not re.fullmatch(r"[0-9a-zA-Z.+-]+", text):
            raise ValueError(text)
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid {kind.__name__} value: {text!r}") from None


def _check_given(setting: Field, value: Any) -> None:
    """Raise InputError on a flag that says the same twice, or nothing, as from a script whose variable is not set."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, str) and not item.strip() for item in values):
        raise InputError(f"{flag(setting)} is empty; leave it out, or give a value: {setting.metadata['help']}")
    if repeated := [item for place, item in enumerate(values) if item in values[:place]]:
        raise InputError(f"{flag(setting)} has {repeated[0]!r} more than once; give each once")
