"""Which two models are compared: two runs, two epochs, or two groups of seeds, and on which images."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from duckdb import DuckDBPyConnection

from pipelines.common.settings import DiffSettings
from pipelines.data.names import format_name
from pipelines.lifecycle.selection import format_epochs
from pipelines.pages.evidence import Answer, Evidence
from pipelines.pages.pictures import Pictures, read_pictures
from tracking import catalogue
from tracking.catalogue import SHORT_ID, RunRecord
from tracking.errors import InputError
from tracking.home import Home

EPOCHS = "select distinct epoch from predictions where run_id = ? and split = ? order by epoch"
SPLITS = "select distinct split from predictions where run_id = ? order by split"
BEST = "select epoch from metrics where run_id = ? and key = 'val_accuracy' order by value desc, epoch limit 1"


@dataclass(frozen=True)
class Reference:
    """What a user named: one run or a group of seeds, and which epoch of it."""

    records: tuple[RunRecord, ...]
    name: str
    epoch: str | None  # a number, last or best; None: the last


@dataclass(frozen=True)
class Side:
    """One of the two models, or recipes."""

    letter: str  # A or B
    records: tuple[RunRecord, ...]  # of a group of seeds, several
    name: str
    epoch: int | None  # None: the last of each run of a group
    is_last: bool  # whether no other epoch was named

    @property
    def run_ids(self) -> str:
        """As questions take them."""
        return ",".join(record.run_id for record in self.records)

    @property
    def record(self) -> RunRecord:
        """The run, the first one of a group."""
        return self.records[0]

    @property
    def is_group(self) -> bool:
        return len(self.records) > 1


@dataclass(frozen=True)
class Pair:
    """Two models on the same images; everything that a part of the page needs."""

    home: Home
    here: Side
    other: Side
    split: str
    classes: tuple[str, ...]  # of `here`
    evidence: Evidence
    data: str | None  # where the images are, if they moved

    @cached_property
    def pictures(self) -> Pictures:
        """The images of `here`, read when first asked for. Raises InputError where they are not at `data`."""
        return read_pictures(self.evidence.connection, self.home, self.here.record, self.data)

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.here, self.other

    @property
    def has_group(self) -> bool:
        return self.here.is_group or self.other.is_group

    def title_of(self, side: Side) -> str:
        """The side's name, with its epoch where the name alone would not say which model is meant."""
        if side.is_last and self.here.run_ids != self.other.run_ids:
            return side.name
        return f"{side.name}, epoch {side.epoch}"

    def ask(self, name: str, **values: object) -> Answer:
        """The answer of a question about both."""
        return self.evidence.ask(
            name, other_run_id=self.other.run_ids, split=self.split, epoch=self.here.epoch,
            other_epoch=self.other.epoch, **values,
        )  # fmt: skip


def read_references(settings: DiffSettings, home: Home) -> tuple[Reference, Reference]:
    """What `run` and `other` mean. Raises InputError if one means nothing."""
    references = []
    for text in (settings.run, settings.other):
        name, epoch = catalogue.split_epoch(home, text)
        records = tuple(catalogue.resolve_all(home, name))
        references.append(Reference(records, records[0].name if len(records) == 1 else name, epoch))
    return references[0], references[1]


def make_pair(
    settings: DiffSettings, home: Home, references: tuple[Reference, Reference], connection: DuckDBPyConnection
) -> Pair:
    """Raises InputError if both are one model, or if an epoch or the split is missing."""
    here, other = (
        _choose_epoch(letter, reference, settings.split, connection)
        for letter, reference in zip("AB", references, strict=True)
    )
    if (here.run_ids, here.epoch) == (other.run_ids, other.epoch):
        at = "" if here.epoch is None else f" at epoch {here.epoch}"
        raise InputError(f"A and B are the same: {format_name(here.name)}{at}; name two models, runs or groups")
    shared = {record.run_id for record in here.records} & {record.run_id for record in other.records}
    if shared and (here.is_group or other.is_group):
        raise InputError(f"run {min(shared)[:SHORT_ID]} is in A and in B; name two without a run in common")
    names = "select name from classes where run_id = ? order by class_id"
    classes = tuple(name for (name,) in connection.execute(names, [here.record.run_id]).fetchall())
    groups = {side.run_ids: side.name for side in (here, other) if side.is_group}
    evidence = Evidence(connection, here.run_ids, groups)
    return Pair(home, here, other, settings.split, classes, evidence, settings.data)


def _choose_epoch(letter: str, reference: Reference, split: str, connection: DuckDBPyConnection) -> Side:
    """The model at the epoch that was named. Of a group, each run's last unless one was named."""
    chosen = list(_find_epochs(reference, split, connection))
    epoch = chosen[0] if len(chosen) == 1 or reference.epoch is not None else None
    if len({*chosen}) > 1 and reference.epoch is not None:
        name = format_name(reference.name)
        raise InputError(f"{reference.epoch} is another epoch in each run of group {name}; name one by its number")
    return Side(letter, reference.records, reference.name, epoch, reference.epoch in (None, "last"))


def _find_epochs(reference: Reference, split: str, connection: DuckDBPyConnection) -> Iterator[int]:
    """Of each run, the epoch that was named. Raises InputError if one has no predictions of it."""
    for record in reference.records:
        short_id = record.run_id[:SHORT_ID]
        epochs = [epoch for (epoch,) in connection.execute(EPOCHS, [record.run_id, split]).fetchall()]
        if not epochs:
            there = ", ".join(name for (name,) in connection.execute(SPLITS, [record.run_id]).fetchall())
            advice = f"name one that it has with --split: {there}" if there else "it has none of any split yet"
            raise InputError(f"run {short_id} has no predictions of split {split!r}; {advice}")
        best = connection.execute(BEST, [record.run_id]).fetchall()
        if reference.epoch == "best" and not best:
            raise InputError(f"run {short_id} has no validation images, so none of its epochs is best; name one")
        named = {None: epochs[-1], "last": epochs[-1], "best": best[0][0] if best else None}
        matches = [epoch for epoch in epochs if epoch == named.get(reference.epoch) or str(epoch) == reference.epoch]
        if not matches:
            raise InputError(
                f"run {short_id} has no predictions of epoch {reference.epoch} in split {split!r}; there are those of "
                f"{format_epochs(epochs)}"
            )
        yield matches[0]
