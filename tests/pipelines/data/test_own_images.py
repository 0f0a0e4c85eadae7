"""A folder of one's own images through a study: how it was read is remembered, and it may move."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.common.settings import CompareSettings, ExplainSettings, RerunSettings, ResumeSettings, TrainSettings
from pipelines.comparing.compare import compare
from pipelines.data.added import read_extra_splits
from pipelines.data.datasets import load_dataset
from pipelines.data.raw import Reading
from pipelines.explaining.explain import explain
from pipelines.lifecycle.run_inputs import load_data, read_recorded_config, read_recorded_settings
from pipelines.rerunning import rerun
from pipelines.resuming import resume
from pipelines.training import train as training
from support.commands import said
from support.homes import fresh
from support.interruption import stopped_at_step
from tracking import commits, committing
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError
from tracking.home import Home

random = np.random.default_rng(0)


def draw(file: Path, top: int, turned: bool = False) -> None:
    """A picture of 12x12 pixels with 16-bit levels, darker to one side."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.sort(random.integers(0, top + 1, (12, 12)), axis=int(turned)).astype(np.uint16)
    Image.fromarray(pixels).save(file)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12-bit pictures in 16-bit files; two cannot be read."""
    root = tmp_path_factory.mktemp("own") / "photos"
    for part, count in (("train", 8), ("test", 4)):
        for turned, name in enumerate(("ant", "bee")):
            for row in range(count):
                draw(root / part / name / f"{row}.png", 4000, bool(turned))
    (root / "train/ant/3.png").write_bytes(b"")
    (root / "test/bee/0.png").write_text("no image")
    return root


def settings(photos: Path, **more) -> TrainSettings:
    return TrainSettings(dataset="folder", data=str(photos), epochs=1, threads=1, skip_unreadable=True, **more)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path, photos: Path) -> Home:
    home = fresh(tmp_path_factory.mktemp("home"), empty_tracker)
    run = training.train(settings(photos), home)
    explain(ExplainSettings(run=run, instances="0,1"), home)
    return home


@pytest.fixture(scope="module")
def trained(own: Home) -> RunRecord:
    return resolve(own, "latest")


def test_how_images_were_read_is_recorded(own: Home, trained: RunRecord) -> None:
    recorded = read_recorded_config(own, trained)["data"]
    assert recorded["reading"] == {
        "integers": 4095, "floats": 1.0, "unreadable": ["train/ant/3.png", "test/bee/0.png"],
    }  # fmt: skip
    assert any("0..4095 became 0..255" in note for note in recorded["notes"])
    assert any("2 of 24 images cannot be read and are left out" in note for note in recorded["notes"])


def test_images_added_later_are_read_like_those_of_the_training(
    own: Home, trained: RunRecord, photos: Path, tmp_path: Path, capsys
) -> None:
    dim, bright = tmp_path / "dim.png", tmp_path / "bright.png"
    draw(dim, 900)
    draw(bright, 60_000)
    code, line = said(capsys, own, "predict", trained.run_id, str(bright), str(dim), "--name", "later")
    assert code == 2
    assert f"cannot read image {bright}: it has pixels of" in line
    assert "outside 0..4095; fix or remove it, or leave it out with --skip-unreadable" in line
    flags = ("--name", "later", "--skip-unreadable")
    assert said(capsys, own, "predict", trained.run_id, str(bright), str(dim), *flags)[0] == 0
    split = read_extra_splits(own, trained)["extra:later"]
    assert split.sources == (str(dim),)
    np.testing.assert_array_equal(split.images[0, 0], np.round(np.asarray(Image.open(dim)) / 4095 * 255))


def test_another_image_that_cannot_be_read_is_refused_later(
    own: Home, trained: RunRecord, photos: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(photos, tmp_path / "copied")
    draw(copied / "train/ant/3.png", 4000)  # not part of the run
    known = read_recorded_settings(own, trained, TrainSettings)
    found = load_data(training.replace(known, data=str(copied)), own, trained)
    assert found.digest == trained.data_digest
    (copied / "train/ant/4.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"train/ant/4\.png: it is empty; restore it"):
        load_data(training.replace(known, data=str(copied)), own, trained)


def test_a_run_that_recorded_no_range_is_read_as_it_was(
    own: Home, trained: RunRecord, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16-bit levels took their full range then."""
    whole = shutil.copytree(photos, tmp_path / "whole")
    for gone in ("train/ant/3.png", "test/bee/0.png"):
        (whole / gone).unlink()
    config = read_recorded_config(own, trained)
    del config["data"]
    monkeypatch.setattr("pipelines.lifecycle.run_inputs.read_recorded_config", lambda home, run: config)
    known = training.replace(read_recorded_settings(own, trained, TrainSettings), data=str(whole))
    then = load_dataset("folder", str(whole), own, val_fraction=0.1, seed=0, size=None, recorded_reading=Reading())
    found = load_data(known, own, training.replace(trained, data_digest=then.digest))
    assert found.digest == then.digest != trained.data_digest
    assert found.splits["test"].images[:].max() <= 16


def forget_pictures(home: Home) -> None:
    """Otherwise the home needs no data set that it has read before."""
    shutil.rmtree(home.data / "pictures")


def test_a_run_needs_its_data_set_no_more(home: Home, photos: Path, tmp_path: Path) -> None:
    own_photos = shutil.copytree(photos, tmp_path / "photos")
    run = training.train(settings(own_photos), home)
    shutil.rmtree(own_photos)
    assert explain(ExplainSettings(run=run, instances="0,1"), home)
    rerun(RerunSettings(run, check=True), home)


def test_moved_data_is_named_when_a_training_is_resumed(home: Home, photos: Path, tmp_path: Path, capsys) -> None:
    before, after = shutil.copytree(photos, tmp_path / "before"), tmp_path / "after"
    with stopped_at_step(1):
        training.train(settings(before), home)
    run = resolve(home, "latest").run_id
    before.rename(after)
    assert said(capsys, home, "resume", run) == (
        2, f"study: {before} does not exist; --data takes the folder with train/CLASS/ and test/CLASS/ in it"
    )  # fmt: skip
    other = shutil.copytree(after, tmp_path / "other")
    draw(other / "train/ant/0.png", 4000)
    code, line = said(capsys, home, "resume", run, "--data", str(other))
    assert (code, "name the original with --data" in line) == (2, True)
    assert resume(ResumeSettings(run, data=str(after)), home) == run
    assert len(commits.read_epochs(home, run)) == 2
    assert resolve(home, run).status == "FINISHED"


STEPS = {
    "explain": lambda run, home: explain(ExplainSettings(run=run, instances="0,1"), home),
    "compare": lambda run, home: compare(CompareSettings(run=run, randomization_count=0), home),
}


@pytest.mark.parametrize("kind", STEPS)
def test_moved_data_is_named_when_other_runs_are_resumed_or_done_again(
    own: Home, trained: RunRecord, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def stop_after_start(run, unit, *rest):
        if unit != "start":
            raise KeyboardInterrupt
        return commit(run, unit, *rest)

    commit = committing.commit
    with monkeypatch.context() as patch:
        patch.setattr(committing, "commit", stop_after_start)
        with pytest.raises(KeyboardInterrupt):
            STEPS[kind](trained.run_id, own)
    stopped = resolve(own, "latest", (kind,))
    moved = photos.rename(tmp_path / "moved")
    forget_pictures(own)
    try:
        with pytest.raises(InputError, match="does not exist"):
            resume(ResumeSettings(stopped.run_id), own)
        assert resume(ResumeSettings(stopped.run_id, data=str(moved)), own) == stopped.run_id
        rerun(RerunSettings(stopped.run_id, check=True, data=str(moved)), own)
    finally:
        moved.rename(photos)
