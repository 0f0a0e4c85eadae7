"""What a report claims of shortcuts."""

from types import SimpleNamespace

from pipelines.reporting.evidence import Answer
from pipelines.reporting.shortcuts import shortcuts


def test_a_patch_that_is_only_suspected_is_not_claimed() -> None:
    """Where objects always lie at one place, as centred digits do, it may be a part of the object."""
    row = {"class_name": "8", "verdict": "suspected", "n": 32, "follows": 0.75}
    answers = {"shortcuts": Answer([row], 1), "split_gap": Answer([{"is_lower": False}], 2)}
    assert shortcuts(SimpleNamespace(ask=lambda name, **_: answers[name], split="test")) is None
