"""What verdicts change in a training: images get another label, or are left out. The data stay as they are."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import queries
from pipelines.common.settings import TrainSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset
from pipelines.data.names import format_names
from pipelines.data.raw import CONTENT_DIGITS
from pipelines.lifecycle.run_inputs import read_recorded_config, read_start_table
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.home import Home, is_copy
from tracking.reading import connect

IGNORE, APPLY = "ignore", "apply"  # of --verdicts; otherwise leave-out
RECORD = "verdicts"  # key in config.json
LABEL_CHANGES = "label_changes"  # table, whose rows are among the files that a run begins with
JUDGED = "select distinct content from verdicts where content is not null"


@dataclass(frozen=True)
class LabelChanges:
    """Training images that are trained with another label than the data set's, or not at all."""

    new_labels: dict[int, int | None] = field(default_factory=dict)  # class_id by instance_id; None: left out
    judged: int = 0  # training images with verdicts
    disputed: int = 0  # those of them whose verdicts differ without all being against the label; they stay as they are

    @property
    def relabelled(self) -> int:
        return sum(label is not None for label in self.new_labels.values())

    @property
    def left_out(self) -> int:
        return len(self.new_labels) - self.relabelled

    def apply(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The images to train on by instance_id, ascending, [n], and the label of each, [n]; of labels [N]."""
        changed = labels.clone()
        is_kept = torch.ones(len(labels), dtype=torch.bool)
        for instance_id, label in self.new_labels.items():
            if label is None:
                is_kept[instance_id] = False
            else:
                changed[instance_id] = label
        instance_ids = is_kept.nonzero().flatten()
        return instance_ids, changed[instance_ids]

    def among(self, instance_ids: Iterable[int]) -> "LabelChanges":
        """Those of some images, which are numbered by their order here."""
        places = {instance_id: place for place, instance_id in enumerate(instance_ids)}
        kept = {places[number]: label for number, label in self.new_labels.items() if number in places}
        return replace(self, new_labels=kept)

    def to_columns(self, run_id: str, labels: Tensor) -> dict[str, list]:
        """Columns of table `label_changes`; labels [N] are those of the data set."""
        return {
            "run_id": [run_id] * len(self.new_labels),
            "instance_id": list(self.new_labels),
            "label": [int(labels[instance_id]) for instance_id in self.new_labels],
            "new_label": list(self.new_labels.values()),
        }

    def describe(self) -> str:
        """In a few words, for people."""
        disputed = f"; {plural(self.disputed, 'disputed image')} as in the data set" if self.disputed else ""
        return (
            f"verdicts on {plural(self.judged, 'training image')}: {self.relabelled:,} with another label, "
            f"{self.left_out:,} left out{disputed}"
        )

    def summary(self) -> dict[str, Any]:
        """What config.json records of them; the rows are in table `label_changes`."""
        digest = hashlib.sha256(json.dumps(sorted(self.new_labels.items())).encode()).hexdigest()
        counts = {name: getattr(self, name) for name in ("judged", "disputed", "relabelled", "left_out")}
        return counts | {"digest": digest}


UNCHANGED = LabelChanges()


def decide_label_changes(settings: TrainSettings, home: Home, data: Dataset) -> LabelChanges:
    """What --verdicts changes, by all current verdicts on these images, on whichever run they were given.

    An image changes only if all who judged it are against its label. With `apply` it gets the label that they agree on;
    otherwise, and always with `leave-out`, it is left out. Raises InputError if there are no verdicts, or if they leave
    a class without an image.
    """
    if settings.verdicts == IGNORE:
        return UNCHANGED
    rows = _find_verdicts(home, data)
    if not rows:
        elsewhere = ", `study rebuild` fetches those of the server" if is_copy(home) else ""
        raise InputError(
            f"--verdicts {settings.verdicts}: nobody has judged a training image of this data; `study verdict RUN "
            f"FILE.csv` records verdicts{elsewhere}"
        )
    class_ids = {name: class_id for class_id, name in enumerate(data.classes)}
    new_labels: dict[int, int | None] = {}
    for row in rows:
        if row["is_rejected"]:
            is_applied = settings.verdicts == APPLY
            new_labels[row["instance_id"]] = class_ids.get(row["new_label_name"]) if is_applied else None
    disputed = sum(row["verdict"] == "disputed" and not row["is_rejected"] for row in rows)
    changes = LabelChanges(new_labels, len(rows), disputed)
    say(f"  {changes.describe()}")

    _, labels = changes.apply(data.splits["train"].labels)
    counts = Counter(labels.tolist())
    if empty := [name for name, class_id in class_ids.items() if not counts[class_id]]:
        raise InputError(
            f"--verdicts {settings.verdicts} leaves no training image of class {format_names(empty)}; look at their "
            "verdicts (`study ask verdicts`), or leave the flag out"
        )
    return changes


def _find_verdicts(home: Home, data: Dataset) -> list[dict]:
    """Rows of the internal query: training images that anybody has judged."""
    if not home.artifacts.is_dir():
        return []
    with connect(home) as connection:  # to all runs
        judged = {content for (content,) in connection.execute(JUDGED).fetchall()}
        if not judged:
            return []
        columns: dict[str, list] = {
            name: [] for name in ("splits", "instance_ids", "sources", "contents", "label_names")
        }
        for name, split in data.splits.items():  # all, as a verdict on one of two copies is about that one
            for instance_id, digest in enumerate(split.pixel_digests()):
                if digest[:CONTENT_DIGITS] in judged:
                    columns["splits"].append(name)
                    columns["instance_ids"].append(instance_id)
                    columns["sources"].append(split.sources[instance_id])
                    columns["contents"].append(digest[:CONTENT_DIGITS])
                    columns["label_names"].append(data.classes[split.labels[instance_id]])
        result = queries.execute(connection, "training_verdicts", columns)
        return queries.Answer([column for column, *_ in result.description], result.fetchall()).dicts


def read_label_changes(home: Home, record: RunRecord) -> LabelChanges:
    """Those that a run was trained with, without later verdicts. Raises InputError if its file has changed."""
    recorded = read_recorded_config(home, record).get(RECORD)
    if recorded is None:
        return UNCHANGED
    rows = read_start_table(home, record, LABEL_CHANGES)  # None if nothing was to be changed
    new_labels = dict(zip(rows["instance_id"], rows["new_label"], strict=True)) if rows else {}
    return LabelChanges(new_labels, recorded["judged"], recorded["disputed"])
