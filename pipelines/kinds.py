"""The kinds of run, and how each is resumed and repeated."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.comparing import compare
from pipelines.explaining import explain
from pipelines.reporting import report
from pipelines.training import train
from tracking.catalogue import RunRecord
from tracking.home import Home

RunFromRecord = Callable[[RunRecord, Home, str | None], str]  # record, home, where the data is now -> run ID


@dataclass(frozen=True)
class Kind:
    """An entry of the registry."""

    repeat: RunFromRecord  # as a new run, from the record of the old one
    resume: RunFromRecord | None = None  # None if it is a single step
    has_numbers: bool = True  # by which two runs can be compared


# by column `kind` of table `runs`; an imported log is neither resumed nor repeated
KINDS = {
    "train": Kind(train.rerun, train.resume),
    "explain": Kind(explain.rerun, explain.resume),
    "compare": Kind(compare.rerun, compare.resume),
    "report": Kind(report.rerun, has_numbers=False),
}
