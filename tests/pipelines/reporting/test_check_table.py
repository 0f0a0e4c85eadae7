"""The table of images to check in MLflow: which rows, with which pictures."""

import json

import numpy as np
from PIL import Image

from pipelines.common.settings import ReportSettings
from pipelines.reporting import check_table
from pipelines.reporting.report import report
from tracking import mlflow_client
from tracking.catalogue import resolve
from tracking.home import Home


def test_mlflow_shows_the_images_to_check_with_pictures(copy: Home) -> None:
    """MLflow's tab groups by the first column of text and compares the next, so there is one, and the pictures."""
    report(ReportSettings(), copy)
    run_id = resolve(copy, "latest", ("report",)).run_id
    folder = copy.run_folder(run_id)
    table = json.loads((folder / "images_to_check.json").read_text())
    assert table["columns"] == ["image", "picture"]
    listed = (folder / "instances_to_check.csv").read_text().splitlines()[1:]
    images = {tuple(line.split(",")[:2]) for line in listed}
    assert 0 < len(table["data"]) <= check_table.SHOWN
    seen = []
    for place, (words, picture) in enumerate(table["data"], start=1):
        first, image, *reasons = words.splitlines()
        shown = f"{place} of {len(table['data'])}"
        assert first == (
            shown if len(images) == len(table["data"])
            else f"{shown} ({len(images)} in the CSV)"
        )  # fmt: skip
        split, instance = image.split(":")[0].split(" #")
        seen.append((split, instance))
        own = {line for line in listed if line.startswith(f"{split},{instance},")}
        assert {f"{split},{instance},{reason.split(':')[0].replace(' ', '_')}" for reason in reasons} == own
        drawn = np.asarray(Image.open(folder / picture["filepath"]))
        is_explained = int(instance) < 20  # by the study's saliency run
        assert (drawn[:160, 164:] < 255).any() == is_explained
    assert len(set(seen)) == len(seen)
    [artifact] = json.loads(mlflow_client.connect(copy).get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert artifact == {"path": "images_to_check.json", "type": "table"}


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
