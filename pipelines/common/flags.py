"""Command-line flags of settings classes, and the parser whose errors are one line."""

import argparse
import difflib
import os
import re
import sys
import types
from dataclasses import MISSING, Field, fields
from functools import partial
from typing import Any, NoReturn, get_args, get_origin

from pipelines.common.checked_settings import CheckedSettings, flag_name, setting_help
from pipelines.common.terminal import has_colours, say, styled, wrap
from tracking.errors import InputError

MAX_FLAG_WIDTH = 28  # columns of help before the text of a flag; longer flags have a line of their own
NUMBER_NAMES = {int: "N", float: "X"}  # what help calls a value


class HelpFormatter(argparse.HelpFormatter):
    """Help as wide as the terminal, where headings are bold; line ends stay, and examples are not wrapped."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=MAX_FLAG_WIDTH)

    def start_section(self, heading: str | None) -> None:
        super().start_section(styled(heading, "bold") if heading and has_colours(sys.stdout) else heading)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = []
        for line in text.splitlines():
            entry = re.match(r"  \w+ {2,}", line)  # a name and its text, as in a list of columns
            if line.startswith(" ") and not entry:
                lines.append(line)
                continue
            margin = len(entry[0]) if entry else 0
            first, *others = wrap(line[margin:], width - margin)
            lines += [line[:margin] + first, *(" " * margin + other for other in others)]
        return "\n".join(indent + line for line in lines)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return [part for line in text.splitlines() for part in wrap(line, width)]


class Parser(argparse.ArgumentParser):
    """Wrong flags become one InputError line; flags are never abbreviated."""

    def __init__(self, **options: Any) -> None:
        defaults: dict[str, Any] = {"allow_abbrev": False, "formatter_class": HelpFormatter}
        super().__init__(**defaults | options)
        self.takes_words_anywhere = False
        self._is_parsing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Arguments without a flag may also follow flags, as in `study figure NAME --format svg RUN`."""
        is_asking_for_help = bool({"-h", "--help"} & set(args or ()))  # which shows arguments as they are declared
        if self.takes_words_anywhere and not self._is_parsing and not is_asking_for_help:
            self._is_parsing = True
            try:
                return self.parse_known_intermixed_args(args, namespace)
            finally:
                self._is_parsing = False
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        words = [self.prog]  # the flags are listed below
        for action in self._get_positional_actions():
            name = action.metavar or action.dest
            words.append(f"[{name}]" if action.nargs == "?" else f"{name} ..." if action.nargs == "+" else str(name))
        self.usage = f"{' '.join(words)} [flags]".replace("%", "%%")
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        known_words: list[str] = []
        for action in self._actions:
            if action.help != argparse.SUPPRESS:  # of a flag's former name
                known_words += action.option_strings
            known_words += [choice for choice in action.choices or () if isinstance(choice, str)]
        hint = ""
        unknown = re.search(r"(?:unrecognized arguments: |invalid choice: ')([^\s']+)", message)
        if unknown:
            word = unknown[1].split("=")[0]
            nearest = difflib.get_close_matches(word, known_words, n=1)
            if nearest:
                hint = f"; did you mean {nearest[0]}?"
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


def add_flags(parser: argparse.ArgumentParser, settings: type[CheckedSettings]) -> None:
    """Add one flag, or positional argument, per field of a settings class; help lists them in groups."""
    group_of_field: dict[str, argparse._ArgumentGroup] = {}
    for title, names in settings.flag_groups().items():
        group = parser.add_argument_group(title)
        group_of_field |= dict.fromkeys(names, group)
    for setting in fields(settings):
        place = group_of_field.get(setting.name, parser)
        value_type, takes_several = parse_annotation(setting.type)
        if value_type is bool:
            place.add_argument(
                flag_name(setting.name), action="store_true", dest=setting.name, help=setting.metadata["help"]
            )
            continue

        options: dict[str, Any] = {
            "type": value_type if value_type is str else partial(_parse_number, value_type),
            "help": setting_help(setting).replace("%", "%%"),  # argparse formats it
            "choices": setting.metadata["choices"],
        }
        if takes_several:
            options["nargs"] = "+"
        if setting.metadata["positional"]:
            if setting.default is not MISSING:
                options["nargs"] = "?"
                options["default"] = setting.default
            place.add_argument(setting.name, **options)
            continue

        if not options["choices"]:
            options["metavar"] = NUMBER_NAMES.get(value_type, setting.name.rstrip("_").upper())
        options["dest"] = setting.name
        place.add_argument(flag_name(setting.name), default=setting.default, **options)
        former_name = setting.metadata["formerly"]
        if former_name:
            options |= {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
            parser.add_argument(flag_name(former_name), action=FormerFlag, current=flag_name(setting.name), **options)


def from_flags(settings: type[CheckedSettings], flags: argparse.Namespace) -> CheckedSettings:
    """The settings that parsed flags give.

    Raises InputError on a flag that is empty, as from a script whose variable is not set, or that says the same twice.
    This is checked here alone, as records of earlier versions may hold such values.
    """
    values: dict[str, Any] = {}
    for setting in fields(settings):
        is_positional = setting.metadata["positional"]
        name = setting.name if is_positional else flag_name(setting.name)
        value = getattr(flags, setting.name)
        items = value if isinstance(value, list) else [value]
        if not setting.metadata["path"]:
            items = [utf8(name, item) if isinstance(item, str) else item for item in items]
        if not is_positional:
            check_given(name, items, setting)
        values[setting.name] = tuple(items) if isinstance(value, list) else items[0]
    return settings(**values)


def check_given(name: str, items: list[Any], setting: Field) -> None:
    """Raise InputError if a value of a setting is empty, or if one of several is repeated."""
    if any(isinstance(item, str) and not item.strip() for item in items):
        raise InputError(f"{name} is empty; leave it out, or give a value: {setting.metadata['help']}")
    repeated = [item for place, item in enumerate(items) if item in items[:place]]
    if repeated:
        raise InputError(f"{name} has {repeated[0]!r} more than once; give each once")


def is_broken(text: str) -> bool:
    """Whether a text from outside holds bytes that are not text in this locale, which Python keeps as surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def utf8(name: str, text: str) -> str:
    """An argument as text, also where its bytes are UTF-8 and the locale is not. Raises InputError on other bytes."""
    try:
        return os.fsencode(text).decode() if is_broken(text) else text
    except UnicodeError:
        raise InputError(f"{name} is {text!r}, and its bytes are not UTF-8; give it as UTF-8") from None


def parse_annotation(annotation: Any) -> tuple[type, bool]:
    """The plain type of a field, and whether it takes several values."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    if isinstance(annotation, types.UnionType):
        return get_args(annotation)[0], False
    return annotation, False


def _parse_number(number_type: type, text: str) -> float:
    """The number a flag gives. By themselves int() and float() also take 1_0, spaces, and other scripts' digits."""
    try:
        if not re.fullmatch(r"[0-9a-zA-Z.+-]+", text):
            raise ValueError(text)
        return number_type(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid {number_type.__name__} value: {text!r}") from None
