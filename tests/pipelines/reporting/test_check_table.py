"""The table of images to check in MLflow: which rows, with which pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import queries
from pipelines.common.settings import ReportSettings
from pipelines.reporting import check_table
from pipelines.reporting.checks import REASONS
from pipelines.reporting.report import report
from tracking import mlflow_client
from tracking.catalogue import resolve
from tracking.home import Home
from tracking.reading import connect


@pytest.fixture
def reported(copy: Home, monkeypatch: pytest.MonkeyPatch) -> tuple[Home, Path]:
    """A home with a report, however many labels the model contradicts, and the folder of the report's run."""
    monkeypatch.setattr("pipelines.reporting.labels.MOST_DISPUTED", 1)
    report(ReportSettings(), copy)
    return copy, copy.run_folder(resolve(copy, "latest", ("report",)).run_id)


def read_rows(folder: Path, name: str) -> list[dict]:
    table = json.loads((folder / name).read_text())
    return [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]]


def test_mlflow_shows_the_images_to_check_with_pictures(reported: tuple[Home, Path]) -> None:
    """Rows are named by the first column, and MLflow's tab shows the one called output beside it."""
    _, folder = reported
    rows = read_rows(folder, "images_to_check.json")
    assert list(rows[0])[:2] == ["image", "output"]
    listed = (folder / "instances_to_check.csv").read_text().splitlines()[1:]
    assert 0 < len(rows) <= check_table.SHOWN
    seen = []
    for row in rows:
        split, instance = row["image"].split(":")[0].split(" #")
        assert row["image"] == (
            f"{split} #{instance}: {row['label']}, predicted as {row['predicted']}. {row['reasons']}"
        )
        seen.append((split, instance))
        own = {line.split(",")[2] for line in listed if line.startswith(f"{split},{instance},")}
        assert set(row["reasons"].split("; ")) == {REASONS[reason] for reason in own}
        assert all(f"{title}: " in row["details"] for title in row["reasons"].split("; "))
        assert all(isinstance(cell, str) for name, cell in row.items() if name != "output")  # as MLflow filters by them
        drawn = np.asarray(Image.open(folder / row["output"]["filepath"]))
        is_explained = int(instance) < 20  # by the study's saliency run
        assert (drawn[:160, 164:] < 255).any() == is_explained
        assert row["map"] == ("saliency, for the predicted class" if is_explained else "none")
    assert len(set(seen)) == len(seen)


def test_contradicted_training_labels_have_a_table_with_pictures_too(reported: tuple[Home, Path]) -> None:
    home, folder = reported
    rows = read_rows(folder, "labels_to_check.json")
    with connect(home) as connection:
        run_id = resolve(home, "latest", ("train",)).run_id
        answer = queries.run(
            connection, "label_suspects", {"run_id": run_id, "split": "train_seen", "limit": "1000000"}
        )
        expected = [row for row in answer.dicts if row["score"] > 0.5][: check_table.LABELS_SHOWN]
    assert expected
    assert [(row["image"].split(":")[0], row["label"], row["mostly predicted"]) for row in rows] == [
        (f"train #{row['instance_id']}", row["label_name"], row["suggested_name"]) for row in expected
    ]
    drawn = np.asarray(Image.open(folder / rows[0]["output"]["filepath"]))
    assert (drawn[:160, :160] > 0).any()
    assert (drawn[:160, 164:] == 255).all()  # there are no maps of training images
    tags = mlflow_client.connect(home).get_run(folder.parent.name).data.tags
    assert [one["path"] for one in json.loads(tags["mlflow.loggedArtifacts"])] == [
        "images_to_check.json",
        "labels_to_check.json",
    ]


def test_training_labels_that_the_report_does_not_doubt_have_no_table(
    copy: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.reporting.labels.MOST_DISPUTED", 0)
    report(ReportSettings(), copy)
    folder = copy.run_folder(resolve(copy, "latest", ("report",)).run_id)
    assert (folder / "images_to_check.json").exists()
    assert not (folder / "labels_to_check.json").exists()


def test_reasons_take_turns_and_an_image_under_two_has_one_place() -> None:
    listed = (("a", 1), ("a", 2), ("a", 3), ("b", 2), ("c", 1), ("c", 4))
    rows = [{"reason": reason, "split": "test", "instance_id": instance} for reason, instance in listed]
    by_image = check_table._take_turns(rows)
    assert [(image, [row["reason"] for row in own]) for (_, image), own in by_image.items()] == [
        (1, ["a", "c"]),
        (2, ["b", "a"]),
        (4, ["c"]),
        (3, ["a"]),
    ]


def test_pictures_are_at_the_top_of_a_square() -> None:
    """MLflow's cell shows no more than the upper half."""
    canvas = np.full((324, 324, 3), 255, np.uint8)
    check_table._paste(canvas, check_table._fit(np.zeros((32, 16, 3))), 0)
    check_table._paste(canvas, check_table._fit(np.zeros((400, 400, 3))), 164)
    assert (canvas[:160, :80] == 0).all()
    assert (canvas[:160, 80:164] == 255).all()
    assert (canvas[:160, 164:] == 0).all()
    assert (canvas[160:] == 255).all()
