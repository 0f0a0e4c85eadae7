"""The kinds of runs, and how each is resumed and repeated."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.comparing import compare
from pipelines.explaining import explain
from pipelines.reporting import report
from pipelines.training import train
from tracking.catalogue import RunRecord
from tracking.home import Home

Again = Callable[[RunRecord, Home, str | None], str]  # record, home, where the data is now -> run ID


@dataclass(frozen=True)
class Kind:
    """An entry of the registry."""

    repeat: Again  # as a new run, from the old one's record
    resume: Again | None = None  # None if it is done in one go
    has_numbers: bool = True  # that two runs can be compared by


# by the name that table `runs` has for it; an imported log is neither resumed nor repeated
KINDS = {
    "train": Kind(train.rerun, train.resume),
    "explain": Kind(explain.rerun, explain.resume),
    "compare": Kind(compare.rerun, compare.resume),
    "report": Kind(report.rerun, has_numbers=False),
}
