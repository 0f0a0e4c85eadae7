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
    assert 0 < len(table["data"]) <= check_table.SHOWN
    for words, picture in table["data"]:
        split_and_id, reason = words.split(":")[0], words.splitlines()[1].split(":")[0]
        split, instance = split_and_id.split(" #")
        assert f"{split},{instance},{reason.replace(' ', '_')}" in listed
        drawn = np.asarray(Image.open(folder / picture["filepath"]))
        is_explained = int(instance) < 20  # by the study's saliency run
        assert (drawn[:160, 164:] < 255).any() == is_explained
    [artifact] = json.loads(mlflow_client.connect(copy).get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert artifact == {"path": "images_to_check.json", "type": "table"}


def test_reasons_take_turns() -> None:
    rows = [{"reason": reason, "detail": detail} for reason, detail in ("a1", "a2", "a3", "b1", "c1", "c2")]
    assert [row["reason"] + row["detail"] for row in check_table._take_turns(rows)] == [
        "a1",
        "b1",
        "c1",
        "a2",
        "c2",
        "a3",
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
