"""Which files are checkpoints, and which epoch each is."""

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.data.names import format_name, format_names
from tracking.errors import InputError

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors")  # of the files in a folder that are read
PATTERN_CHARACTERS = "*?["
EPOCH_LABEL = r"(?:epochs?|ep|e)[=_\-. ]*0*(\d+)"
LARGEST_EPOCH = 999_999_999


@dataclass(frozen=True)
class CheckpointFile:
    """A file and the epoch that it becomes."""

    path: Path
    epoch: int


def find_checkpoints(arguments: Sequence[str], epochs: str | None) -> list[CheckpointFile]:
    """The files that paths, folders and patterns name, by epoch. Raises InputError if one is missing or unclear."""
    paths: dict[Path, None] = {}  # each once, in order
    for argument in arguments:
        for path in _expand(argument):
            paths[path.absolute()] = None
    files = sorted(paths, key=lambda path: _natural_key(str(path)))
    numbers = _number_files(files) if epochs is None else _read_epochs(epochs, files)
    found = [CheckpointFile(path, number) for path, number in zip(files, numbers, strict=True)]
    return sorted(found, key=lambda file: file.epoch)


def _expand(argument: str) -> list[Path]:
    """The files that an argument names; a path that exists is never a pattern."""
    path = Path(argument)
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = [file for file in sorted(path.iterdir()) if file.is_file() and file.suffix.lower() in SUFFIXES]
        if not inside:
            raise InputError(f"folder {format_name(argument)} has no checkpoint ({', '.join(SUFFIXES)})")
        return inside
    if any(character in argument for character in PATTERN_CHARACTERS):
        matches = [Path(match) for match in glob.glob(argument, recursive=True) if Path(match).is_file()]
        if not matches:
            raise InputError(f"no file matches {format_name(argument)}; check the folder and the pattern")
        return matches
    raise InputError(f"no checkpoint {format_name(argument)}; give a file, a folder, or a pattern such as 'ckpt/*.pt'")


def _natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sorts numbers in names by value."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _number_files(files: Sequence[Path]) -> list[int]:
    """Epochs from the numbers in names: one that is called an epoch, else the last that differs; else by order."""
    stems = [file.name.removesuffix(file.suffix) for file in files]
    labelled = [re.findall(rf"(?<![a-z]){EPOCH_LABEL}", stem.lower()) for stem in stems]
    if all(labelled):
        return _check_numbers([int(numbers[-1]) for numbers in labelled], files)
    numbers_by_file = [[int(number) for number in re.findall(r"\d+", stem)] for stem in stems]
    if len(files) == 1:
        # only one that stands apart: resnet18 is not an epoch
        alone = re.findall(r"(?<![A-Za-z\d])\d+(?![A-Za-z\d])", stems[0])
        return _check_numbers([int(alone[-1])], files) if alone else [1]
    if not any(numbers_by_file):
        return list(range(1, len(files) + 1))
    unnumbered = [file.name for file, numbers in zip(files, numbers_by_file, strict=True) if not numbers]
    if unnumbered:
        raise InputError(
            f"no epoch in the name of {format_names(unnumbered)}, as others have; leave it out, or give --epochs"
        )
    if len({len(numbers) for numbers in numbers_by_file}) == 1:
        for column in reversed(list(zip(*numbers_by_file, strict=True))):
            if len(set(column)) == len(files):
                return _check_numbers(list(column), files)
    return _check_numbers([numbers[-1] for numbers in numbers_by_file], files)


def _check_numbers(numbers: list[int], files: Sequence[Path]) -> list[int]:
    seen: dict[int, str] = {}
    for number, file in zip(numbers, files, strict=True):
        if number > LARGEST_EPOCH:
            raise InputError(f"{format_name(file.name)} would be epoch {number}, which is too large; give --epochs")
        if number in seen:
            raise InputError(
                f"{format_names([seen[number], file.name])} would both be epoch {number}; leave one out, or give "
                "--epochs"
            )
        seen[number] = file.name
    return numbers


def _read_epochs(text: str, files: Sequence[Path]) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"--epochs is {text!r}; it takes whole numbers such as 5,10,15")
    if len(parts) != len(files):
        raise InputError(f"--epochs has {len(parts)} numbers, and there are {len(files)} files; give one for each")
    return _check_numbers([int(part) for part in parts], files)


def describe_files(files: Sequence[CheckpointFile], digests: Sequence[str]) -> list[dict[str, Any]]:
    """What a run records of the files that it was made from."""
    return [
        {"epoch": file.epoch, "file": str(file.path), "sha256": digest}
        for file, digest in zip(files, digests, strict=True)
    ]
