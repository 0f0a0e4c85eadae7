"""What every settings class is built from: documented fields with bounds, and their names as flags and in records."""

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from tracking.errors import InputError


def setting(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] | None = None,
    positional: bool = False,
    path: bool = False,
    numbers: bool = False,
    formerly: str | None = None,
    unrecorded: Any = MISSING,
) -> Any:
    """A documented field of a settings class. Bounds are always checked, `choices` on the command line.

    A `path` may have any bytes; other texts, and paths that are recorded, are UTF-8. A text that holds `numbers`, such
    as IDs, may be given as these in Python. `formerly` is the field's name in earlier versions: still its key in
    records, and still accepted as a flag. `unrecorded` is the value of runs whose records lack the field, if it is not
    the default.
    """
    metadata = {
        "help": help,
        "least": least,
        "most": most,
        "choices": choices,
        "positional": positional,
        "path": path,
        "numbers": numbers,
        "formerly": formerly,
        "unrecorded": default if unrecorded is MISSING else unrecorded,
    }
    return field(default=default, metadata=metadata)


def recorded_name(setting_field: Field) -> str:
    """The key of a setting in config.json and among MLflow's params, which no later version changes."""
    return setting_field.metadata["formerly"] or setting_field.name.rstrip("_")


def flag_name(setting_name: str) -> str:
    """What a setting is called on the command line; one that is a word of Python ends in _ as a field."""
    return f"--{setting_name.rstrip('_').replace('_', '-')}"


def setting_help(setting_field: Field) -> str:
    """What a setting means, and its default."""
    text: str = setting_field.metadata["help"]
    default = setting_field.default
    if default in (None, MISSING, ()) or default is False:
        return text
    return f"{text} [{' '.join(default) if isinstance(default, tuple) else default}]"


@dataclass(frozen=True)
class CheckedSettings:
    """Base of all settings: values outside a field's bounds raise InputError."""

    def __post_init__(self) -> None:
        for setting_field in fields(self):
            least = setting_field.metadata["least"]
            most = setting_field.metadata["most"]
            value = getattr(self, setting_field.name)
            for item in value if isinstance(value, tuple) else (value,):
                if item is None:
                    continue
                # written so that NaN fails too
                is_too_small = least is not None and not item >= least
                is_too_large = most is not None and not item <= most
                if is_too_small or is_too_large:
                    bounds = f"{least} or more" if most is None else f"{least} to {most}"
                    raise InputError(f"{flag_name(setting_field.name)} is {item}; it takes {bounds}")

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        """Headings of help, and the fields whose flags stand below each; the others stand with the general flags."""
        return {}

    def given(self) -> dict[str, str]:
        """The values there are, as one types them, by the flag or argument that takes each; of a bare flag, yes."""
        shown = {}
        for setting_field in fields(self):
            value = getattr(self, setting_field.name)
            if value is None or value == () or value is False:
                continue
            name = setting_field.name if setting_field.metadata["positional"] else flag_name(setting_field.name)
            items = value if isinstance(value, tuple) else ("yes" if value is True else value,)
            shown[name] = " ".join(map(str, items))
        return shown

    def params(self) -> dict[str, Any]:
        """Plain values by recorded name, for MLflow and config.json."""
        values = {}
        for setting_field in fields(self):
            value = getattr(self, setting_field.name)
            values[recorded_name(setting_field)] = list(value) if isinstance(value, tuple) else value
        return values
