"""Writes `__init__.pyi`, which tells editors and type checkers the functions of this package: python -m pipelines.stub.

A test compares the file with the registry.
"""

from inspect import Parameter
from pathlib import Path

from pipelines.commands import FUNCTIONS, load_step
from pipelines.functions import describe, settings_of, signature_of

STUB = Path(__file__).with_name("__init__.pyi")
HEAD = '''"""Written by `python -m pipelines.stub` from the commands' settings; a test compares the two."""

import typing
from collections.abc import Sequence
from os import PathLike

from pipelines.recording.record import record as record
'''


def write_stub() -> str:
    """The text of the stub."""
    return HEAD + "".join(_write_function(name, command) for name, command in FUNCTIONS.items())


def _write_function(name: str, command: str) -> str:
    lines = []
    is_by_name = False
    for parameter in signature_of(settings_of(command)).parameters.values():
        if parameter.kind is Parameter.KEYWORD_ONLY and not is_by_name:
            lines.append("*")
            is_by_name = True
        default = "" if parameter.default is Parameter.empty else f" = {_write_value(parameter.default)}"
        lines.append(f"{parameter.name}: {parameter.annotation}{default}")
    arguments = "".join(f"    {line},\n" for line in lines)
    returned = load_step(command).__annotations__["return"]
    returned_name = returned.__name__ if isinstance(returned, type) and not hasattr(returned, "__args__") else returned
    doc = "\n".join(f"    {line}".rstrip() for line in describe(command).splitlines()).strip()
    return f'\ndef {name}(\n{arguments}) -> {returned_name}:\n    """{doc}\n    """\n'


def _write_value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value).replace("'", '"')


if __name__ == "__main__":
    STUB.write_text(write_stub(), encoding="utf-8")
