"""Whether the improved training is better than its control: two statements, which hold together with 95 %."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import queries
from pipelines.common.wording import plural
from tracking.catalogue import RunRecord
from tracking.home import Home
from tracking.reading import connect

LEVEL = 0.05  # probability that any statement of a verdict is false
# by scope: the words for a gain, for a loss, and where neither is shown
WORDS = {
    "weak": ("improved", "worse", "no improvement shown"),
    "all": ("better", "worse", "no difference shown"),
}


@dataclass(frozen=True)
class Gain:
    """How much more accurate runs are than others on the same test images."""

    n: int  # images
    accuracy: float  # of the others
    other_accuracy: float  # of the runs
    change: float
    change_low: float  # interval
    change_high: float
    p_value: float

    def judge(self, better: str, worse: str, neither: str) -> str:
        """The word that holds at half of LEVEL, as there are two statements."""
        if self.p_value > LEVEL / 2:
            return neither
        return better if self.change > 0 else worse


@dataclass(frozen=True)
class Verdict:
    """What the comparison of improved runs with their controls says."""

    sentences: list[str]
    summary: str  # a few words


def judge(
    home: Home,
    improved: Sequence[RunRecord],
    controls: Sequence[RunRecord],
    source: tuple[str, int],
    weak_classes: tuple[str, ...],
) -> Verdict:
    """Compare improved runs with their controls on test; the epoch of the `source` run stands beside them."""
    improved_ids = [run.run_id for run in improved]
    gains = measure_gains(home, [run.run_id for run in controls], None, improved_ids, weak_classes)
    before = measure_gains(home, [source[0]], source[1], improved_ids[:1], weak_classes)
    verdicts = {scope: gain.judge(*WORDS[scope]) for scope, gain in gains.items()}
    classes = {"weak": f"Weakest classes on val ({', '.join(weak_classes)})", "all": "All classes"}
    statements = [
        f"{classes[scope]}: {_describe(gain, before[scope])}: {verdicts[scope]}." for scope, gain in gains.items()
    ]
    about = (
        f"These are intervals over images and {len(improved)} seeds, which hold together with 95 %."
        if len(improved) > 1
        else "These are intervals over images, which hold together with 95 %; another seed may come out differently."
    )
    return Verdict([*statements, about], "; ".join(f"{scope} classes: {word}" for scope, word in verdicts.items()))


def measure_gains(
    home: Home, run_ids: list[str], epoch: int | None, other_run_ids: list[str], weak_classes: tuple[str, ...]
) -> dict[str, Gain]:
    """The gains of the other runs by scope; without `weak` if there are no test images of those classes."""
    values = {
        "run_id": ",".join(run_ids),
        "other_run_id": ",".join(other_run_ids),
        "split": "test",
        "epoch": epoch,
        "classes": json.dumps(weak_classes),
        "level": LEVEL,
    }
    with connect(home, run_ids={*run_ids, *other_run_ids}) as connection:
        rows = queries.execute(connection, "improvement", values).fetchall()
    return {scope: Gain(*values) for scope, *values in rows}


def _describe(gain: Gain, before: Gain) -> str:
    return (
        f"{gain.other_accuracy:.2%} of {plural(gain.n, 'test image')} correct, control {gain.accuracy:.2%}, before "
        f"{before.accuracy:.2%}; against the control {_points(gain.change)} points ({_points(gain.change_low)} to "
        f"{_points(gain.change_high)})"
    )


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.2f}"
