"""The kinds of run, and how each is resumed and repeated."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.common import ranks
from pipelines.common.settings import RerunSettings, ResumeSettings
from pipelines.comparing import compare
from pipelines.explaining import explain
from pipelines.lifecycle.run_inputs import read_recorded_config
from pipelines.reporting import report
from pipelines.training import train
from tracking.catalogue import WITH_CHECKPOINTS, RunRecord
from tracking.errors import InputError
from tracking.home import Home

RunFromRecord = Callable[[RunRecord, Home, str | None], str]  # record, home, where the data is now -> run ID


@dataclass(frozen=True)
class Kind:
    """An entry of the registry."""

    repeat: RunFromRecord  # as a new run, from the record of the old one
    resume: RunFromRecord | None = None  # None if it is a single step
    has_numbers: bool = True  # by which two runs can be compared
    is_spread: bool = False  # whether worker processes can share its work


# by column `kind` of table `runs`; an imported log is neither resumed nor repeated
KINDS = {
    "train": Kind(train.rerun, train.resume),
    "improve": Kind(train.rerun, train.resume),
    "explain": Kind(explain.rerun, explain.resume, is_spread=True),
    "compare": Kind(compare.rerun, compare.resume, is_spread=True),
    "report": Kind(report.rerun, has_numbers=False),
}

# by the command that made a training run whose loop is not ours: what can be done instead
LOOPS_OF_OTHERS = {
    "record": "its training loop is your own: run that again for a new run, or continue with record(..., resume={run})",
    "import-checkpoints": "its epochs are checkpoint files of a training that is not known here: import them again",
}


def check_shareable(record: RunRecord) -> None:
    """Raise InputError in one of several processes of torchrun if the run is none that they could share."""
    if ranks.world() > 1 and record.kind not in WITH_CHECKPOINTS:
        raise InputError(
            f"run {record.run_id[:8]} is a run of study {record.kind}, and the {ranks.world()} processes of torchrun "
            "share only a training; run it without torchrun"
        )


def check_spreadable(record: RunRecord, settings: ResumeSettings | RerunSettings) -> None:
    """Raise InputError if workers are to help with a run of a kind that they do not."""
    spread = [name for name, kind in KINDS.items() if kind.is_spread]
    if record.kind not in spread and (settings.workers is not None or settings.scheduler is not None):
        raise InputError(
            f"run {record.run_id[:8]} is of kind {record.kind}, and workers compute only runs of kind "
            f"{' and '.join(spread)}; leave --workers and --scheduler out"
        )


def check_repeatable(record: RunRecord, home: Home) -> None:
    """Raise InputError if the run's training loop is not ours: then we can neither repeat nor resume it."""
    if record.kind == "train":
        advice = LOOPS_OF_OTHERS.get(read_recorded_config(home, record)["command"])
        if advice:
            raise InputError(f"run {record.run_id[:8]}: {advice.format(run=repr(record.run_id[:8]))}")
