"""A file of verdicts: a row per image and person, checked against a run before anything is recorded."""

import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pipelines.common.splits import stored_split
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.csv_text import parse_csv, read_csv_file
from pipelines.data.names import format_name, format_names
from queries.classes import find_class
from tracking.errors import InputError

VERDICTS = ("label_ok", "label_wrong", "unclear", "not_usable", "withdrawn")
REQUIRED = ("split", "instance_id", "verdict")
OPTIONAL = ("new_label", "who", "note")
TAKER = "study verdict takes CSV with columns split, instance_id and verdict, or - for standard input"
MAX_NAME = 80  # characters of a person's name
MAX_NOTE = 1000  # characters of a note
MAX_DIGITS = 9  # of an instance_id
LISTED_FAULTS = 3
LIKENESS = 0.75  # from which on a column counts as a misspelling of another


@dataclass(frozen=True)
class Row:
    """A row of the file that has a verdict, as it stands there."""

    line: int  # where it begins, counted from 1
    split: str  # of the image, so train for train_seen
    instance_id: int | None  # None if it is not a number
    values: Mapping[str, str]  # by column, stripped


@dataclass(frozen=True)
class VerdictFile:
    """The rows of a file of verdicts."""

    where: str  # what messages call it
    rows: list[Row]


@dataclass(frozen=True)
class Judgeable:
    """What a run has of the images that a file names."""

    labels: Mapping[tuple[str, int], int | None]  # by split and instance_id, of the images that there are
    splits: Mapping[str, int]  # highest instance_id of each
    classes: Mapping[int, str]  # names by class_id


@dataclass(frozen=True)
class Verdict:
    """What a person says of an image."""

    split: str
    instance_id: int
    verdict: str
    new_label: int | None  # class_id
    who: str
    note: str | None

    @property
    def key(self) -> tuple[str, int, str]:
        """The image and the person."""
        return self.split, self.instance_id, self.who


def read_file(file: str) -> VerdictFile:
    """The rows with a verdict in a file, or in standard input if it is called -. Raises InputError if there are none.

    Rows without one are images that the reviewer has not reached; their number is reported.
    """
    if file == "-":
        where = "standard input"
        lines, columns = parse_csv(sys.stdin.buffer.read(), where)
    else:
        where = format_name(file)
        lines, columns = read_csv_file(Path(file), TAKER)
    places = _find_columns(columns, where)
    rows = []
    for line, cells in lines:
        values = {name: cells[place].strip() for name, place in places.items()}
        if values["verdict"] or values.get("new_label"):
            split, text = values["split"], values["instance_id"]
            is_number = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
            rows.append(Row(line, stored_split(split), int(text) if is_number else None, values))
    if not rows:
        raise InputError(f"no row of {where} has a verdict; it takes one of {', '.join(VERDICTS)}")
    if len(rows) < len(lines):
        say(f"  {plural(len(lines) - len(rows), 'row')} without a verdict left out")
    return VerdictFile(where, rows)


def check_file(file: VerdictFile, run: Judgeable, default_who: str) -> list[Verdict]:
    """The verdicts in a file; `default_who` judged the rows that do not say.

    Raises InputError if any row is wrong, with the numbers of the first such lines.
    """
    verdicts: list[Verdict] = []
    first_lines: dict[tuple[str, int, str], int] = {}
    faults: list[str] = []
    for row in file.rows:
        try:
            verdict = _read_row(row, run, default_who)
            first = first_lines.setdefault(verdict.key, row.line)
            if first != row.line:
                raise InputError(f"{verdict.who} has judged the image in line {first} already")
        except InputError as error:
            faults.append(f"line {row.line}: {error}")
        else:
            verdicts.append(verdict)
    if faults:
        more = f"; and {len(faults) - LISTED_FAULTS} more" if len(faults) > LISTED_FAULTS else ""
        raise InputError(
            f"{len(faults)} of {plural(len(file.rows), 'verdict')} in {file.where} are not valid, so none is recorded: "
            f"{'; '.join(faults[:LISTED_FAULTS])}{more}; fix them"
        )
    return verdicts


def _find_columns(columns: list[str], where: str) -> dict[str, int]:
    """The place of each column that we take. Others are named and ignored, unless one may be a misspelt column."""
    places = {column.strip().casefold(): place for place, column in enumerate(columns)}
    missing = [name for name in REQUIRED if name not in places]
    if missing:
        raise InputError(
            f"{where} has no column {format_names(missing)}; it has: {format_names(columns)}; it takes "
            f"{', '.join(REQUIRED)} and optionally {', '.join(OPTIONAL)}"
        )
    others = [name for name in places if name not in REQUIRED + OPTIONAL]
    for name in OPTIONAL:
        if name not in places and (alike := get_close_matches(name, others, 1, LIKENESS)):
            raise InputError(
                f"{where} has column {format_name(alike[0])}; rename it {name} if it is that, or remove it"
            )
    if others:
        say(f"  columns ignored: {format_names(others)}")
    return {name: places[name] for name in REQUIRED + OPTIONAL if name in places}


def _read_row(row: Row, run: Judgeable, default_who: str) -> Verdict:
    """The verdict that a row gives. Raises InputError on what is wrong with it, without its line."""
    if row.split not in run.splits:
        raise InputError(f"no split {format_name(row.split)!r}; there are: {format_names(run.splits)}")
    if row.instance_id is None or (row.split, row.instance_id) not in run.labels:
        wanted = format_name(row.values["instance_id"])
        raise InputError(f"no image {wanted!r} in {row.split}, which ends with {run.splits[row.split]}")
    word = row.values["verdict"].casefold()
    if word not in VERDICTS:
        raise InputError(f"verdict {format_name(row.values['verdict'])!r} is not one of {', '.join(VERDICTS)}")
    label = run.labels[row.split, row.instance_id]
    if word.startswith("label") and label is None:
        raise InputError(f"{word} is about a label, and image {row.instance_id} of {row.split} has none")
    new_label = _read_new_label(row.values.get("new_label", ""), word, label, run.classes)
    who = _read_text("who", row.values.get("who") or default_who, MAX_NAME)
    note = row.values.get("note")
    return Verdict(
        row.split, row.instance_id, word, new_label, who, _read_text("note", note, MAX_NOTE) if note else None
    )


def _read_new_label(wanted: str, word: str, label: int | None, classes: Mapping[int, str]) -> int | None:
    if not wanted:
        return None
    if word != "label_wrong":
        raise InputError(f"new_label {format_name(wanted)!r} is for label_wrong, not for {word}")
    new_label = find_class(wanted, classes)
    if new_label is None:
        raise InputError(f"no class {format_name(wanted)!r}; there are: {format_names(classes.values())}")
    if new_label == label:
        raise InputError(f"new_label {format_name(wanted)!r} is the label that the image has")
    return new_label


def _read_text(column: str, text: str, longest: int) -> str:
    """A text in one line and one Unicode form, so that a name means the same person however it was typed."""
    tidy = " ".join(unicodedata.normalize("NFC", text).split())
    if not 0 < len(tidy) <= longest or not tidy.isprintable():
        raise InputError(f"{column} is {format_name(text[:longest])!r}; it takes 1 to {longest} printable characters")
    return tidy
