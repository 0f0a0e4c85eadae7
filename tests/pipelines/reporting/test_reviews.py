"""Reviewers' verdicts on a report: beside every image that they are about, and counted where labels are judged."""

import re
from pathlib import Path

import pytest

import pipelines
from pipelines.common.figures import short
from pipelines.judging.verdict_file import VERDICTS
from pipelines.pages.reviews import WORDS, describe_review
from support.homes import answer
from support.pages import plain
from tracking.home import Home


def review(**changes: str | None) -> dict:
    return {"who": "anna", "verdict": "label_ok", "new_label": None} | changes


@pytest.mark.parametrize(("row", "words"), [
    (review(), "anna: label right"),
    (review(verdict="label_wrong"), "anna: label wrong"),
    (review(verdict="label_wrong", new_label="cat"), "anna: label wrong, is cat"),
    (review(verdict="not_usable", who="a" * 80), f"{short('a' * 80, 28)}: not usable"),
])  # fmt: skip
def test_a_verdict_in_words(row: dict, words: str) -> None:
    assert describe_review(row) == words


def test_every_verdict_that_counts_has_words() -> None:
    assert [*WORDS, "withdrawn"] == list(VERDICTS)


def test_the_report_shows_what_reviewers_say(copy: Home, tmp_path: Path) -> None:
    [checked, *_] = answer(copy, "instances_to_check")
    [doubted, *_] = answer(copy, "label_suspects", split="train_seen")
    image = f"test,{checked['instance_id']}"
    file = tmp_path / "verdicts.csv"
    file.write_text(
        "split,instance_id,verdict,new_label,who,note\n"
        f'{image},label_wrong,{checked["predicted_name"]},anna,\n{image},unclear,,<ben>,"half <hidden>"\n'
        f"train,{doubted['instance_id']},label_wrong,,anna,\n"
    )
    bare = Path(pipelines.report("latest", home=copy.path)).read_text()
    assert 'class="review"' not in bare
    assert "Reviewers" not in bare
    pipelines.verdict("latest", str(file), home=copy.path)
    page = Path(pipelines.report("latest", home=copy.path))
    text = plain(page)
    assert f"<ben>: cannot tell anna: label wrong, is {checked['predicted_name']}" in text
    assert '<span class="review" title="half &lt;hidden&gt;">' in page.read_text()
    assert (
        "Reviewers have judged 1 image of test: <ben> 1 (0 called wrong), anna 1 (1 called wrong). "
        "0 of 1 images judged by two or more (0 %) got the same verdict from all" in text
    )
    [first, *_] = [row for row in answer(copy, "verdict_summary", split="train_seen") if row["what"] == "first"]
    assert (first["first_rows"], first["n"], first["n_hits"]) == (10, 1, 1)
    assert "Reviewers have judged 1 image of the training set: anna 1 (1 called wrong)." in text
    assert re.search(r"1 (is|are) judged right or wrong so far: 1 wrong \(100 %, 95 % interval 21 to 100 %\)", text)
