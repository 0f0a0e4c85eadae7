"""What the report says of labels: that the model contradicts them, and what follows from that under an assumption."""

import pytest

from pipelines.reporting.suspects import suspects_sentence


def label(kind: str | None, p_wrong: float | None, score: float) -> dict:
    ends = {"p_wrong_low": p_wrong and p_wrong - 0.1, "p_wrong_high": p_wrong and p_wrong + 0.05}
    return {"kind": kind, "p_wrong": p_wrong, "score": score} | ends


SUPPORTED, DISPUTED = label("supported", 0.0, 0.1), label("disputed", 0.2, 0.7)


def flat(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_probable_errors_come_with_the_precision_expected() -> None:
    rows = [label("suspect", 0.9, 0.99), label("suspect", 0.7, 0.9), DISPUTED, *[SUPPORTED] * 97]
    assert flat(suspects_sentence(rows)) == (
        "The labels of 2 of 100 images (2 %) are suspect: the model contradicts them. If at most a few percent of its "
        "surest answers are mistakes, an estimated 80 % of these labels are wrong (95 % interval 70 to 85 %); if more "
        "are, the labels may be right. The model contradicts 3 labels in all."
    )


def test_a_disputed_label_is_not_called_wrong() -> None:
    assert flat(suspects_sentence([DISPUTED, *[SUPPORTED] * 99])) == (
        "No label is shown to be wrong. The model contradicts the labels of 1 of 100 images (1 %), which may be its "
        "own mistakes."
    )
    assert suspects_sentence([SUPPORTED] * 100) == "No label is shown to be wrong. The model contradicts no label."


@pytest.mark.parametrize("rows", [[], [label(None, None, 0.9)] * 99])
def test_without_an_estimate_nothing_is_said_of_labels(rows: list[dict]) -> None:
    assert "cannot be estimated" in suspects_sentence(rows)
