"""New images in a training run's history: only what is missing is computed, and it is the same bits as all at once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import queries
from pipelines.common.settings import ExplainSettings, PredictSettings
from pipelines.data.added import decode_png, encode_png, read_extra_splits
from pipelines.data.datasets import load_dataset
from pipelines.explaining.explain import explain
from pipelines.lifecycle import spreading
from pipelines.lifecycle.run_inputs import checkpoint_file
from pipelines.models.checkpoints import load_model
from pipelines.models.networks import build_model
from pipelines.predicting.predict import compute_logits_from, predict
from pipelines.training import train as training
from support.commands import study_command
from support.homes import TINY, rows
from tracking import commits, index, runs
from tracking.catalogue import resolve
from tracking.errors import InputError
from tracking.files import sha256
from tracking.home import Home
from tracking.reading import _open_files, connect

TABLES = ("instances", "full_predictions")
ONE = replace(TINY, epochs=1)
COLUMNS = """epoch, instance_id, label, predicted, p_true, p_predicted, margin, p_sq, probabilities, previous_epoch,
             previous"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, trained_home) -> Home:
    """A home of this file's own, trained for an epoch, to which images are added."""
    return trained_home(tmp_path_factory.mktemp("predict"), ONE)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Five pictures: three in folders named after classes, two in one that is not."""
    random, files = np.random.default_rng(0), []
    for number, folder in enumerate(("3", "3", "7", "unsorted", "unsorted")):
        file = tmp_path / folder / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(file)
        files.append(str(file))
    return files


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoints that are loaded, as they are."""
    files: list[str] = []

    def counted(model, path):
        files.append(path.stem)
        load_model(model, path)

    monkeypatch.setattr(spreading, "load_model", counted)
    return files


def predictions(home: Home, name: str) -> list[tuple]:
    return rows(home, f"select {COLUMNS} from full_predictions where split = ? order by all", f"extra:{name}")


def coverage(home: Home) -> list[tuple]:
    with connect(home) as connection:
        return queries.run(connection, "missing_predictions", {"run_id": resolve(home, "latest").run_id}).rows


def content(home: Home) -> dict[Path, str]:
    """Every file of every run."""
    return {path: sha256(path) for path in home.artifacts.rglob("*") if path.is_file()}


def test_bit_by_bit_is_the_same_as_all_at_once(tmp_path: Path, trained_home, own: Home, pictures, loaded) -> None:
    home = trained_home(tmp_path, ONE)
    for part in (pictures[:3], pictures[3:], pictures[2:4]):
        assert predict(PredictSettings("latest", tuple(part), name="all"), home) == "extra:all"
    predict(PredictSettings("latest", tuple(pictures), name="all"), own)
    assert loaded == ["epoch_0000", "epoch_0001"] * 3  # the overlap needs none
    found = predictions(home, "all")
    assert found == predictions(own, "all")
    assert [row[:3] for row in found if row[0] == 1] == [(1, 0, 3), (1, 1, 3), (1, 2, 7), (1, 3, None), (1, 4, None)]
    sql = "select instance_id, label, source, name from instances where split = 'extra:all' order by all"
    assert rows(home, sql) == rows(own, sql)
    assert [row[2] for row in rows(own, sql)] == pictures


def test_blocks_give_the_same_bits_from_wherever_they_start(own: Home) -> None:
    data = load_dataset("digits", None, own, val_fraction=0.1, seed=0, size=8)
    model, cpu = build_model("cnn", data, 0), torch.device("cpu")
    load_model(model, checkpoint_file(own, commits.read_epochs(own, resolve(own, "latest").run_id)[1]))
    images = data.splits["test"].images[:70]
    whole = compute_logits_from(model, images, 0, cpu)
    for first, end in ((0, 1), (1, 31), (31, 33), (33, 64), (64, 65), (65, 70)):
        assert torch.equal(compute_logits_from(model, images[:end], first, cpu), whole[first:end])
    assert torch.allclose(whole, model(images.float() / 255), atol=1e-4)


def test_again_adds_and_computes_nothing(own: Home, pictures, loaded, capsys) -> None:
    folder = str(Path(pictures[0]).parent.parent)
    for _ in range(2):
        before, done = content(own), len(loaded)
        code, out, err = study_command(capsys, "predict", "latest", folder, "--name", "again", "--home", own.path)
        assert (code, out) == (0, "extra:again\n")
    assert "extra:again: 0 images added, 0 with a label, 0 without; 5 there already" in err
    assert "0 of 2 epochs to evaluate" in err
    assert len(loaded) == done == 2
    assert content(own) == before


def test_a_labelled_and_an_unlabelled_picture(own: Home, pictures) -> None:
    predict(PredictSettings("latest", (pictures[0], pictures[4]), name="two"), own)
    known, unknown = (row for row in predictions(own, "two") if row[0] == 1)
    probabilities = known[8]
    assert known[4] == probabilities[3]
    assert (known[2], unknown[2]) == (3, None)
    assert (unknown[4], unknown[6]) == (None, None)  # p_true, margin
    assert None not in unknown[7:]
    assert max(unknown[8]) == unknown[5]
    split = read_extra_splits(own, resolve(own, "latest"))["extra:two"]
    assert split.labels.tolist() == [3, -1]
    assert all(np.array_equal(split.images[i, 0], np.array(Image.open(pictures[j]))) for i, j in enumerate((0, 4)))


def test_other_sizes_and_colours_are_brought_to_the_runs_shape(own: Home, tmp_path: Path, capsys) -> None:
    (tmp_path / "mixed" / "deep" / "9").mkdir(parents=True)
    Image.new("RGB", (20, 10), "red").save(tmp_path / "mixed" / "deep" / "9" / "red.jpg")
    Image.new("L", (8, 8), 100).save(tmp_path / "mixed" / "grey.PNG")
    (tmp_path / "mixed" / "notes.txt").write_text("no image")
    predict(PredictSettings("latest", (str(tmp_path / "mixed"),), name="mixed"), own)
    said = capsys.readouterr().err
    assert "1 of 2 images colour, now grey" in said
    assert "1 of 2 images resized to 8x8" in said
    assert "1 file ignored, no images" in said
    assert "2 images added, 1 with a label, 1 without" in said
    split = read_extra_splits(own, resolve(own, "latest"))["extra:mixed"]
    assert split.images.shape == (2, 1, 8, 8)
    assert split.labels.tolist() == [9, -1]


def test_stopped_and_resumed_evaluates_only_the_rest(home: Home, pictures, loaded, monkeypatch) -> None:
    def stop_at(epoch):
        def stopped(training_, number):
            if number == epoch:
                raise KeyboardInterrupt
            return compute_epoch(training_, number)

        return stopped

    compute_epoch = training._compute_epoch
    monkeypatch.setattr(training, "_compute_epoch", stop_at(2))
    with pytest.raises(KeyboardInterrupt):
        training.train(replace(TINY, epochs=2), home)
    first, every = PredictSettings("latest", tuple(pictures[:3])), PredictSettings("latest", tuple(pictures))
    with monkeypatch.context() as patch:
        patch.setattr(spreading, "checkpoint_file", lambda home, made: stop_after(made, checkpoint_file(home, made)))
        with pytest.raises(KeyboardInterrupt):
            predict(first, home)
    assert loaded == ["epoch_0000"]
    assert coverage(home) == [("extra:new", 1, 3, [0, 1, 2])]
    predict(every, home)
    assert loaded == ["epoch_0000", "epoch_0000", "epoch_0001"]
    assert coverage(home) == []
    assert resolve(home, "latest").status == "KILLED"
    monkeypatch.setattr(training, "_compute_epoch", compute_epoch)
    training.resume(resolve(home, "latest"), home)
    assert coverage(home) == [("extra:new", 2, 5, [0, 1, 2, 3, 4])]
    predict(first, home)  # any picture of the split brings all of it up to date
    assert loaded[3:] == ["epoch_0002"]
    assert coverage(home) == []
    assert resolve(home, "latest").status == "FINISHED"
    stepwise = predictions(home, "new")
    predict(replace(every, name="whole"), home)
    assert predictions(home, "whole") == stepwise


def stop_after(made: commits.Commit, path: Path) -> Path:
    if made.epoch == 1:
        raise KeyboardInterrupt
    return path


def test_rebuilt_index_and_plain_files_give_the_same_rows(own: Home, pictures) -> None:
    for part in (pictures[1:2], pictures):
        predict(PredictSettings("latest", tuple(part), name="rebuilt"), own)
    sql = "select * from {} where split = 'extra:rebuilt' order by all"
    before = {table: rows(own, sql.format(table)) for table in TABLES}
    with _open_files(own) as files:
        assert {table: files.execute(sql.format(table)).fetchall() for table in TABLES} == before
    index.rebuild(own)
    assert {table: rows(own, sql.format(table)) for table in TABLES} == before
    assert {table: len(found) for table, found in before.items()} == {"instances": 5, "full_predictions": 10}
    assert coverage(own) == []


def test_explain_looks_at_added_images(own: Home, pictures) -> None:
    predict(PredictSettings("latest", tuple(pictures), name="shown"), own)
    settings = ExplainSettings(split="extra:shown", method=("saliency",), epochs="1")
    [run_id] = explain(settings, own)
    sql = "select epoch, split, instance_id from attributions where run_id = ? order by all"
    assert rows(own, sql, run_id) == [(1, "extra:shown", i) for i in range(5)]
    [run_id] = explain(replace(settings, where="label is not null", target=("label",)), own)
    assert [row[2] for row in rows(own, sql, run_id)] == [0, 1, 2]
    for wrong in ({"target": ("label",)}, {"method": ("ice",)}):
        with pytest.raises(InputError, match=r"2 of 5 instances of extra:shown have no label, the first is 3; explain"):
            explain(replace(settings, **wrong), own)
    with pytest.raises(InputError, match=r"no split 'extra:none' in the run; there are: .*extra:shown"):
        explain(replace(settings, split="extra:none"), own)


WRONG = [
    ("latest {tmp}/nothing.png", "there is no file or folder"),
    ("latest {tmp}/3/0.png {tmp}/empty", "has no images"),
    ("latest {tmp}/3/0.png {tmp}/broken.png", "cannot read image"),
    ("latest {tmp}/3/0.png {tmp}/copies/7/0.png", "has label 7, but the same picture"),
    ("latest {tmp}/unsorted/3.png {tmp}/copies/7/3.png", "has no label in extra:new"),
    ("latest {tmp}/3/0.png --name a/b", "it takes 1 to 40 letters, digits, - and _"),
    ("latest {tmp}/3/0.png --name a_0001_epoch", "must not end in _epoch"),
    ("latest {tmp}/3/0.png --device tpu", "no device 'tpu' here"),
    ("nothing {tmp}/3/0.png", "no run 'nothing'"),
    ("latest", "IMAGES"),
    ("", "IMAGES"),
]


@pytest.mark.parametrize(("command", "message"), WRONG, ids=[command for command, _ in WRONG])
def test_wrong_input_leaves_nothing_behind(own: Home, pictures, tmp_path, capsys, command: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "copies" / "7").mkdir(parents=True)
    for file in (pictures[0], pictures[3]):
        (tmp_path / "copies" / "7" / Path(file).name).write_bytes(Path(file).read_bytes())
    before = content(own)
    words = [word.format(tmp=tmp_path) for word in command.split()]
    code, out, err = study_command(capsys, "predict", *words, "--home", own.path)
    lines = [line for line in err.splitlines() if not line.startswith("loading ")]
    assert (code, out, len(lines)) == (2, "", 1)
    assert message.lower() in lines[0].lower()
    assert content(own) == before


@pytest.mark.parametrize(("kind", "message"), [("train", "no committed epoch yet"), ("import", "is of kind import")])
def test_a_run_without_checkpoints_is_refused(home: Home, pictures, kind: str, message: str) -> None:
    runs.log_record(runs.start_run(home, runs.new_record(kind, "empty", {}), {}, ""))
    with pytest.raises(InputError, match=message):
        predict(PredictSettings("empty", tuple(pictures)), home)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_keeps_every_pixel(channels: int) -> None:
    image = torch.randint(0, 256, (channels, 5, 9), dtype=torch.uint8)
    assert torch.equal(decode_png(encode_png(image)), image)
