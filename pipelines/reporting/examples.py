"""Question (a): which images are explained by which methods."""

from dataclasses import dataclass

import numpy as np

from pipelines.lifecycle.selection import sample_instances
from pipelines.pages.evidence import Answer
from pipelines.reporting.subject import Subject
from xai import METHODS

MADE = """
    with made as (
        from newest_of('attributions', '{run_id}', '{split}', 'predicted')
        union all
        from newest_of('attributions', '{run_id}', '{split}', 'label')
    )
    select
        made.instance_id,
        made.method,
        made.target_kind,
        made.target,
        made.run_id,
        predictions.label,
        predictions.predicted,
        predictions.p_predicted
    from made
    join predictions
        on predictions.run_id = made.source_run_id
        and predictions.split = made.split
        and predictions.epoch = made.epoch
        and predictions.instance_id = made.instance_id
    where
        made.epoch = {epoch}
        and made.method in ({methods})
        and predictions.label is not null
    order by
        made.instance_id,
        made.method,
        made.target_kind"""
MAPS = """
    select
        height,
        width,
        map
    from maps
    where
        run_id = ?
        and epoch = ?
        and method = ?
        and split = ?
        and instance_id = ?
        and target_kind = ?"""


@dataclass(frozen=True)
class ExplainedImages:
    """Which maps there are at one epoch: the newest of each method, image and kind of target."""

    subject: Subject
    epoch: int
    answer: Answer
    methods: tuple[str, ...]  # in the registry's order

    @property
    def same(self) -> str:
        """The flag that chooses the same images again."""
        ids = {row["instance_id"] for row in self.answer.rows}
        if ids == set(sample_instances(len(ids), self.subject.n).tolist()):
            return f" --count {len(ids)}"
        made = (
            f"source_run_id = '{self.subject.run.run_id}' and split = '{self.subject.split}' and epoch = {self.epoch}"
        )
        return f' --where "instance_id in (select instance_id from attributions where {made})"'

    def instances(self, method: str) -> set[int]:
        """The images a method explained."""
        return {row["instance_id"] for row in self.answer.where(method=method)}

    def of(self, instance: int) -> list[dict]:
        return self.answer.where(instance_id=instance)

    def values(self, row: dict) -> np.ndarray:
        """The full map of a row, [H, W]."""
        place = [row["run_id"], self.epoch, row["method"], self.subject.split, row["instance_id"], row["target_kind"]]
        [(height, width, values)] = self.subject.evidence.connection.execute(MAPS, place).fetchall()
        return np.array(values, np.float32).reshape(height, width)


def read_explained(subject: Subject, epoch: int) -> ExplainedImages:
    """Maps of the split at an epoch."""
    listed = ", ".join(f"'{method}'" for method in METHODS)
    split = subject.split.replace("'", "''")
    statement = MADE.format(run_id=subject.run.run_id, split=split, epoch=epoch, methods=listed)
    found = subject.evidence.sql(statement, "Which images are explained by which method, newest map of each?")
    there = {row["method"] for row in found.rows}
    return ExplainedImages(subject, epoch, found, tuple(method for method in METHODS if method in there))
