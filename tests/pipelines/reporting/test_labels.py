"""What the report says of labels: an estimate with its interval, and nothing where there is none."""

import pytest

from pipelines.pages.evidence import Answer
from pipelines.reporting.labels import Labels, count_labels, judge_labels


def label(kind: str | None, p_wrong: float | None, score: float) -> dict:
    ends = {"p_wrong_low": p_wrong and p_wrong - 0.1, "p_wrong_high": p_wrong and p_wrong + 0.05}
    return {"kind": kind, "p_wrong": p_wrong, "score": score} | ends


SUPPORTED, DISPUTED = label("supported", 0.0, 0.1), label("disputed", 0.2, 0.7)


def judge(rows: list[dict]) -> Labels:
    return judge_labels(Answer(rows, 1), rows, [])


def test_probable_errors_come_with_the_precision_expected() -> None:
    wrong = [label("suspect", 0.9, 0.99), label("suspect", 0.7, 0.9)]
    found = judge([*wrong, DISPUTED, *[SUPPORTED] * 97])
    assert (found.suspect, found.disputed, found.n) == (wrong, 3, 100)
    assert (found.p_wrong, found.low, found.high) == pytest.approx((0.8, 0.7, 0.85))


def test_a_disputed_label_is_not_called_wrong() -> None:
    found = judge([DISPUTED, *[SUPPORTED] * 99])
    assert (found.suspect, found.disputed, found.p_wrong) == ([], 1, None)
    assert found.is_estimated


@pytest.mark.parametrize(("count", "reason"), [(50, None), (51, "weak")])
def test_no_label_is_suspect_to_a_model_that_contradicts_most(count: int, reason: str | None) -> None:
    sure = label("suspect", 0.9, 0.99)
    found = judge([sure] * count + [SUPPORTED] * (100 - count))
    assert (found.disputed, found.withheld) == (count, reason)
    assert len(found.suspect) == (0 if reason else count)


@pytest.mark.parametrize("rows", [[], [label(None, None, 0.9)] * 99])
def test_without_an_estimate_nothing_is_said_of_labels(rows: list[dict]) -> None:
    assert not judge(rows).is_estimated


@pytest.mark.parametrize(("count", "split", "words"), [
    (0, "test", "no test label"), (1, "val", "1 validation label"), (2000, "train_seen", "2,000 training labels"),
    (3, "extra:x", "3 labels of extra:x"), (0, "extra:x", "no label of extra:x"),
])  # fmt: skip
def test_labels_are_counted_with_their_split(count: int, split: str, words: str) -> None:
    assert count_labels(count, split) == words
