"""What a figure is asked to show, and what it is then drawn from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duckdb import DuckDBPyConnection

from pipelines.common.settings import FigureSettings, ReportSettings
from pipelines.drawing.style import Style
from pipelines.pages.evidence import Evidence
from pipelines.pages.words import number, series
from pipelines.reporting.subject import Subject, make_subject
from tracking.catalogue import SHORT_ID, RunRecord
from tracking.errors import InputError
from tracking.home import Home
from xai import METHODS
from xai.references import REFERENCES

DEFAULT_SPLIT = "test"
SHORT_COMMIT = 10  # characters of a commit's hash, enough to find it


class MissingData(InputError):
    """A run lacks what a figure shows: `what` names it, and the message has the command that makes it, if one does."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


@dataclass(frozen=True)
class Content:
    """What a figure is drawn from, and what its caption says of it."""

    values: tuple
    caption: str
    epoch: int | tuple[int, int] | list[int] | None = None  # or the first and the last of several, or each
    n: int | None = None  # images; None where the caption says it
    options: Mapping[str, Any] = field(default_factory=dict)
    has_all_splits: bool = False  # rather than the one asked for


def make_request(
    settings: FigureSettings, home: Home, run: RunRecord, connection: DuckDBPyConnection, style: Style
) -> "Request":
    """Raises InputError if the run has no predictions of labelled images of the split."""
    reported = ReportSettings(run=run.run_id, split=settings.split or DEFAULT_SPLIT, data=settings.data)
    subject = make_subject(reported, home, run, Evidence(connection, run.run_id))
    return Request(subject, settings, style)


@dataclass(frozen=True)
class Request:
    """What is asked for: a run, and what of it is shown."""

    subject: Subject
    settings: FigureSettings
    style: Style

    @property
    def split(self) -> str:
        return self.subject.split

    @property
    def run_id(self) -> str:
        return self.subject.run.run_id

    def missing(self, what: str, command: str | None = None) -> MissingData:
        """An error that says what the run lacks, and the command that makes it, where one can."""
        hint = ""
        if command is not None and self.subject.imported:
            hint = ", and cannot get any: an imported log has no checkpoints to explain"
        elif command is not None:
            hint = f"; to make it: {command}"
        return MissingData(what, f"run {self.run_id[:SHORT_ID]} has no {what}{hint}")

    def choose_epoch(self) -> int:
        """The epoch asked for, else the last one. Raises InputError if the split has no predictions there."""
        wanted = self.settings.epoch
        if wanted is None:
            return self.subject.epoch
        rows = self.subject.ask("accuracy_by_epoch").where(split=self.split)
        there = sorted({row["epoch"] for row in rows})
        if wanted not in there:
            raise InputError(f"--epoch is {wanted}, and this figure has only epochs {', '.join(map(str, there))}")
        return wanted

    def limit_epochs(self, rows: Sequence[dict], *columns: str) -> list[dict]:
        """Rows of which all these columns lie in the range of epochs asked for. Raises InputError if none does."""
        first, last = self.choose_range([row[column] for row in rows for column in columns])
        kept = [row for row in rows if all(first <= row[column] <= last for column in columns)]
        if not kept:
            raise InputError(f"--epochs is {self.settings.epochs}, and nothing of this figure lies in that range")
        return kept

    def choose_range(self, epochs: Sequence[int]) -> tuple[int, int]:
        """First and last of these epochs, or those asked for."""
        text = self.settings.epochs
        if text is None:
            return min(epochs), max(epochs)
        given = re.fullmatch(r"([0-9]{1,6})-([0-9]{1,6})", text.strip())
        if not given or int(given[1]) >= int(given[2]):
            raise InputError(f"--epochs is {text!r}; it takes a range such as 2-10")
        return int(given[1]), int(given[2])

    def choose_methods(self, there: Sequence[str]) -> list[str]:
        """The methods asked for, else all there are. Raises InputError on one without maps."""
        for method in self.settings.method:
            if method not in METHODS:
                raise InputError(f"no method {method!r}; there are: {', '.join(METHODS)}")
            if method not in there:
                known = ", ".join(one for one in METHODS if one in there)
                raise InputError(f"this figure has no maps of {method}; it has those of: {known}")
        return list(self.settings.method) or [method for method in METHODS if method in there]

    def limit_methods(self, rows: Sequence[dict], *columns: str) -> list[dict]:
        """Rows of the methods asked for, and of references."""
        chosen = self.choose_methods([row[column] for row in rows for column in columns])
        kept = {*chosen, *REFERENCES}
        return [row for row in rows if all(row[column] in kept for column in columns)]

    def complete(self, content: Content) -> str:
        """The whole caption: what is shown, and of which run, epoch, split and how many images."""
        run = self.subject.run
        facts = [f"Run {run.name} ({run.run_id[:SHORT_ID]})", f"data set {run.dataset}"]
        facts += [] if content.has_all_splits else [f"split {self.split}"]
        if isinstance(content.epoch, list):
            facts.append(f"epochs {series(list(map(str, content.epoch)))}")
        elif isinstance(content.epoch, tuple):
            facts.append("epochs {} to {}".format(*content.epoch))
        elif content.epoch is not None:
            facts.append(f"epoch {content.epoch}")
        facts += [f"n = {number(content.n)}"] if content.n is not None else []
        facts += [f"code {run.git_commit[:SHORT_COMMIT]}"] if run.git_commit else []
        return f"{content.caption} {', '.join(facts)}."


def span(rows: Sequence[dict], *columns: str) -> tuple[int, int]:
    """The first and the last epoch in these columns."""
    epochs = [row[column] for row in rows for column in columns]
    return min(epochs), max(epochs)
