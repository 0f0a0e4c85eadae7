"""From training to the report: a planted shortcut is found and leads, and without one nothing is claimed."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.common.settings import CompareSettings, ExplainSettings, ReportSettings, TrainSettings
from pipelines.comparing.compare import compare
from pipelines.data import planted
from pipelines.explaining.explain import explain
from pipelines.reporting.report import report
from pipelines.training.train import train
from support.homes import answer, fresh
from tracking.home import Home

# a linear model learns a tag, but no glyph that lies anywhere
TAGGED = TrainSettings(
    dataset="planted:shortcut", size=16, model="support.networks:flat", epochs=12, batch=32, lr=0.01, random_shift=0,
    ema_decay=0, threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def few_images() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "COUNTS", {"train": 400, "test": 400})
        yield


def study(home: Home, settings: TrainSettings) -> str:
    """Train, explain, compare and report; the text of the report."""
    train(settings, home)
    explain(ExplainSettings(count=16), home)
    compare(CompareSettings(randomization_count=0), home)
    page = Path(report(ReportSettings(), home)).read_text()
    return re.sub(r"<style>.*?</style>|<sup.*?</sup>|<[^>]+>", "", page, flags=re.DOTALL).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def tagged(few_images: None, tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> tuple[Home, str]:
    home = fresh(tmp_path_factory.mktemp("tagged"), empty_tracker)
    return home, study(home, TAGGED)


def test_the_planted_tag_is_found_at_its_place(tagged: tuple[Home, str]) -> None:
    rows = answer(tagged[0], "shortcuts", level="0.0025")
    [row] = [row for row in rows if row["verdict"]]
    assert (row["class_name"], row["verdict"]) == ("ring", "found")
    assert row["patch_top"] < 3
    assert row["patch_left"] + row["patch_side"] > 5  # the tag's columns are 11 to 13 of 16
    assert row["follows"] > 0.8 > 0.2 > max(row["follows_others"], row["follows_elsewhere"])
    assert row["leaves"] > row["leaves_elsewhere"]
    assert row["val_precision"] > 0.8 > 0.4 > row["precision"]


def test_the_report_leads_with_it(tagged: tuple[Home, str]) -> None:
    text = tagged[1]
    lead = text[: text.index("Three answers")]
    assert "A shortcut to class ring: a patch at the top right" in lead
    assert "Pasted from training images of ring, it makes the model see ring in " in lead
    assert "Framed: the place of the patch." in lead
    assert re.search(r"training #\d+, ring", lead)
    assert "with the patch: seen as ring" in lead
    assert re.search(r"test #\d+: \w+, seen as ring", lead)
    carrying, misled = map(int, re.search(r"(\d+) of the (\d+) test images misclassified as ring carry", lead).groups())
    assert carrying > 0.9 * misled > 10
    assert "a difference beyond chance" in lead
    assert "a precision of" in lead
    assert "No difference between classes" not in text
    assert "For class ring a patch at the top right is often enough" in text
    assert "No test label is judged where the model predicts, or should predict, ring" in text
    assert f"mistakes are images misclassified as ring; {carrying} of them carry the patch." in text


def test_without_a_tag_nothing_is_claimed(few_images: None, home: Home) -> None:
    text = study(home, replace(TAGGED, dataset="planted"))
    assert not any(row["verdict"] for row in answer(home, "shortcuts"))
    assert not any(row["is_lower"] for row in answer(home, "split_gap"))
    assert "Shortcut none shown" in " ".join(text.split())
    assert "A shortcut to" not in text
    assert "which a patch can decide" not in text
    assert "is at work" not in text
