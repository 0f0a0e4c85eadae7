"""Continuing a training: what is seen again is chosen without test images, beside a control, exactly resumable."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import queries
from pipelines.cli import main
from pipelines.common.settings import ImproveSettings, RerunSettings, TrainSettings, VerdictSettings
from pipelines.data.added import encode_png, read_extra_splits
from pipelines.improving.improve import LR_FRACTION, improve
from pipelines.improving.new_images import read_new_images
from pipelines.judging.verdict import verdict
from pipelines.lifecycle.run_inputs import checkpoint_file, load_data, read_recorded_config, read_recorded_settings
from pipelines.rerunning import rerun
from pipelines.training.repeats import ANY_CLASS, Repeats, draw_epoch, mix_images, mix_labels
from support import tables as data
from support.homes import TINY, copied, place_of, rows
from support.interruption import stopped_at_step
from tracking import commits, mlflow_client
from tracking.catalogue import RunRecord, read_records, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

SETTINGS = ImproveSettings(run="latest:2", epochs=2, repeats=0.25, augment=("mix", "colour", "cutout"), name="better")
STEPS = 12  # an epoch: 1,215 training images and a quarter of them again, and new images, 128 a step
REJECTED = 7  # training image that a reviewer finds unusable
NEW = 20  # images that the data set lacks
OF_EPOCH = (
    "select split, instance_id, predicted, margin from full_predictions where run_id = ? and epoch = ? and split <> "
    "'train_seen' order by all"
)


@pytest.fixture(scope="module")
def home(study: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The shared study, improved from its epoch 2: stopped in the last epoch of the improved run, then run again."""
    home = copied(study.path.parent, tmp_path_factory.mktemp("improved"))
    source = resolve(home, "latest")
    said = home.path / "said.csv"
    said.write_text(f"split,instance_id,verdict\ntrain,{REJECTED},not_usable\n")
    verdict(VerdictSettings(source.run_id, str(said), who="anna"), home)
    settings = replace(SETTINGS, run=f"{source.run_id}:2", images=(write_new_images(home),), verdicts="leave-out")
    with stopped_at_step(4 * STEPS - 3):  # in the last epoch of the second run
        improve(settings, home)
    assert resolve(home, "better").status == "KILLED"
    assert improve(settings, home) == [resolve(home, "better").run_id]
    return home


def write_new_images(home: Home) -> str:
    """Mirrored digits in folders of their classes; beside them an image of test, one of train, and one twice."""
    record = resolve(home, "latest")
    data = load_data(read_recorded_settings(home, record, TrainSettings), home, record)
    test, train = data.splits["test"], data.splits["train"]
    images = [(image.flip(2), label) for image, label in zip(test.images[:NEW], test.labels[:NEW], strict=True)]
    images += [(test.images[0], test.labels[0]), (train.images[0], train.labels[0]), images[0]]
    folder = home.path / "new_images"
    for number, (image, label) in enumerate(images):
        place = folder / data.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(encode_png(image))
    return str(folder)


@pytest.fixture(scope="module")
def source(home: Home) -> RunRecord:
    return next(record for record in read_records(home) if record.kind == "train")


@pytest.fixture(scope="module")
def improved(home: Home) -> RunRecord:
    return resolve(home, "better")


@pytest.fixture(scope="module")
def control(home: Home) -> RunRecord:
    return resolve(home, "better-control")


def test_both_go_on_from_the_epoch_they_start_from(
    home: Home, source: RunRecord, improved: RunRecord, control: RunRecord
) -> None:
    before = rows(home, OF_EPOCH, source.run_id, 2)
    for run in (improved, control):
        assert (run.kind, run.source_run_id, run.status) == ("improve", source.run_id, "FINISHED")
        assert [commit.epoch for commit in commits.read_epochs(home, run.run_id)] == [2, 3, 4]
        assert rows(home, OF_EPOCH, run.run_id, 2) == before
        assert rows(home, OF_EPOCH, run.run_id, 4) != before


def test_the_control_differs_in_what_it_is_shown_alone(home: Home, improved: RunRecord, control: RunRecord) -> None:
    one, other = (read_recorded_config(home, run)["settings"] for run in (improved, control))
    changed = {"targeted", "name", "new_images", "verdicts", "repeats"}
    assert {key for key in one if one[key] != other[key]} == changed
    assert (other["new_images"], other["verdicts"]) == (None, "ignore")
    assert one["repeats"] - 1 == other["repeats"] - NEW  # both see as many images an epoch
    assert one["lr"] == LR_FRACTION * 0.1
    steps = [commit.files for commit in commits.read_epochs(home, improved.run_id)]
    assert len(steps) == len(commits.read_epochs(home, control.run_id))


def test_what_is_seen_again_is_what_the_question_chooses(
    home: Home, source: RunRecord, improved: RunRecord, control: RunRecord
) -> None:
    with connect(home) as connection:
        chosen = queries.run(connection, "improvement_targets", {"run_id": source.run_id, "epoch": "2"}).dicts
    columns = ("instance_id", "weight", "reasons", "confused_with")
    sql = f"select {', '.join(columns)} from improvement_targets where run_id = ? order by weight desc, instance_id"
    assert rows(home, sql, improved.run_id) == [tuple(row[name] for name in columns) for row in chosen]
    assert rows(home, sql, control.run_id) == []


@pytest.mark.parametrize("name", ["better", "better-control"])
def test_training_images_are_seen_once_as_they_are(home: Home, name: str) -> None:
    sql = """
        select epoch, list(instance_id order by instance_id) from predictions
        where run_id = ? and split = 'train_seen' group by epoch order by epoch"""
    [(count,)] = rows(
        home, "select count(*) from instances where run_id = ? and split = 'train'", resolve(home, name).run_id
    )
    expected = [key for key in range(count) if name == "better-control" or key != REJECTED]
    assert rows(home, sql, resolve(home, name).run_id) == [(3, expected), (4, expected)]


def test_new_images_stay_with_the_run(home: Home, improved: RunRecord, control: RunRecord) -> None:
    [(name, images)] = read_extra_splits(home, improved).items()
    assert name == "extra:trained_on"
    data = load_data(read_recorded_settings(home, improved, TrainSettings), home, improved)
    test = data.splits["test"]
    assert torch.equal(images.labels.bincount(), test.labels[:NEW].bincount())
    expected = {image.flip(2).numpy().tobytes() for image in test.images[:NEW]}
    assert {image.numpy().tobytes() for image in images.images} == expected
    assert len(images.labels) == NEW  # neither the image of test, nor that of train, nor one twice
    in_sql = "select count(*), min(instance_id), max(instance_id) from instances where run_id = ? and split = ?"
    assert rows(home, in_sql, improved.run_id, name) == [(NEW, 0, NEW - 1)]
    assert read_extra_splits(home, control) == {}


def test_new_images_need_classes_and_something_new(home: Home, improved: RunRecord, tmp_path: Path) -> None:
    data = load_data(read_recorded_settings(home, improved, TrainSettings), home, improved)
    known = tmp_path / data.classes[0]
    known.mkdir()
    (known / "known.png").write_bytes(encode_png(data.splits["val"].images[0]))
    with pytest.raises(InputError, match="none of these is new"):
        read_new_images((str(tmp_path),), data)
    (tmp_path / "loose.png").write_bytes(encode_png(data.splits["val"].images[0]))
    with pytest.raises(InputError, match=r"1 image in no folder that is named after a class .*loose\.png"):
        read_new_images((str(tmp_path),), data)


def test_an_interrupted_one_has_the_bits_of_an_uninterrupted_one(home: Home, tmp_path, capsys) -> None:
    home = copied(home.path.parent, tmp_path)
    made = rerun(RerunSettings("better", check=True), home)
    assert "identical to run" in capsys.readouterr().err
    sql = "select * exclude (run_id) from improvement_targets where run_id = ? order by all"
    assert rows(home, sql, made) == rows(home, sql, resolve(home, "better").run_id)


def test_images_keep_the_size_that_a_growing_training_ended_with(tmp_path: Path, trained_home) -> None:
    """A run that ends at 3/4 of the side continues there: at another size, its accuracy would fall."""
    home = trained_home(tmp_path, replace(TINY, size=16, epochs=2, progressive_resizing="yes"))
    improve(ImproveSettings(epochs=1, repeats=0.1, where="label = 3"), home)
    scales = [
        load_file(checkpoint_file(home, commit))["normalise.scale"].item()
        for record in read_records(home)
        for commit in commits.read_epochs(home, record.run_id)
    ]
    assert scales == [1, 0.5, 0.75, *[0.75] * 4]


def test_once_more_changes_nothing_and_says_the_same(
    home: Home, source: RunRecord, improved: RunRecord, control: RunRecord, capsys
) -> None:
    before = [record.run_id for record in read_records(home)]
    flags = ["--epochs", "2", "--repeats", "0.25", "--augment", "mix", "colour", "cutout", "--home", str(home.path)]
    flags += ["--images", str(home.path / "new_images"), "--verdicts", "leave-out"]
    assert main(["improve", f"{source.run_id}:2", *flags]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == improved.run_id
    assert "against the control" in printed.err
    assert "1 new image left out: images of test already" in printed.err
    for run, page in ((control, "diff_against"), (source, "diff_epoch_2_against")):
        place = place_of(home, run, f"{page}_{improved.run_id[:8]}.html")
        assert place.is_file()
        assert str(place) in printed.err
    assert "hold together with 95 %" in printed.err
    assert [record.run_id for record in read_records(home)] == before


def test_mlflow_links_all_three(home: Home, source: RunRecord, improved: RunRecord, control: RunRecord) -> None:
    client = mlflow_client.connect(home)
    tags = {run.name: client.get_run(run.run_id).data.tags for run in (source, improved, control)}
    assert tags["better"]["mlflow.parentRunId"] == tags["better-control"]["mlflow.parentRunId"] == source.run_id
    assert tags["better"]["study.control"] == control.run_id
    assert tags[source.name]["study.improved"] == tags["better-control"]["study.improved"] == improved.run_id
    assert tags["better"]["mlflow.note.content"].startswith("**Found:** Weakest classes on val")
    assert tags[source.name]["mlflow.note.content"].count(improved.run_id) == 1  # though it was run twice
    assert client.get_run(improved.run_id).data.params["first_epoch"] == "2"


def test_they_are_runs_like_others(home: Home, tmp_path, source: RunRecord, improved: RunRecord, capsys) -> None:
    home = copied(home.path.parent, tmp_path)
    place = ["--home", str(home.path)]
    assert main(["explain", "better", "--method", "saliency", "--count", "4", *place]) == 0
    explained = resolve(home, capsys.readouterr().out.strip(), ("explain",))
    assert explained.source_run_id == improved.run_id
    for command in (["report", "better"], ["flow", "better"], ["flow", "better", "better-control"]):
        assert main([*command, *place]) == 0
        assert place_of(home, improved, "flow.html" if command[0] == "flow" else "report.html").is_file()
    capsys.readouterr()
    ask = ["ask", "compared_flow", "--run-id", source.run_id, "--other-run-id", "better", "--format", "json", *place]
    assert main(ask) == 0
    assert json.loads(capsys.readouterr().out)
    assert main(["improve", "better:4", "--epochs", "1", "--where", "predicted <> label", *place]) == 0
    again = resolve(home, "latest")
    assert (again.kind, again.source_run_id) == ("improve", improved.run_id)
    assert again.params["lr"] == improved.params["lr"]  # which is lowered already
    assert {
        reason for (reason,) in rows(home, "select reasons from improvement_targets where run_id = ?", again.run_id)
    } == {"predicted <> label"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "latest:0"}, "epoch 0 of run .* is before training"),
        ({"run": "nobody"}, "no run 'nobody'"),
        ({"where": "label = 99"}, "no training image fits --where 'label = 99' at epoch 2"),
        ({"where": "nothing"}, "--where 'nothing' is not a valid condition"),
        ({"name": "latest"}, "--name is 'latest-control'|--name is 'latest'"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_made(study: Home, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        improve(replace(SETTINGS, **change), study)
    assert [record.kind for record in read_records(study)] == ["train", "explain"]


# --- what is chosen


@pytest.fixture
def pets():
    """Three cats, three dogs and a bird in val, two cats misclassified as dogs; and as many training images."""
    connection = data.empty()
    data.add_run(connection, "tiny")
    data.add_classes(connection, "tiny", data.CLASSES)
    labels = [0, 0, 0, 1, 1, 1, 2]
    predicted = {
        "val": {1: [0, 0, 1, 1, 1, 1, 2], 2: [0, 1, 1, 1, 1, 1, 2]},
        "train_seen": {1: [0, 1, 0, 1, 1, 1, 2], 2: [0, 1, 0, 0, 1, 1, 2]},  # a cat never right, a dog forgotten
        "test": {1: [3] * 7, 2: [3] * 7},
    }
    for split, epochs_of_split in predicted.items():
        data.add_instances(connection, "tiny", split.replace("_seen", ""), labels)
        for epoch, classes in epochs_of_split.items():
            table = [
                data.prediction("tiny", split, epoch, key, label, classes[key], 0.9 if label == classes[key] else 0.1)
                for key, label in enumerate(labels)
            ]
            data.insert(connection, "predictions", [row | {"p_sq": 0.9} for row in table])
    data.link_all(connection)
    return connection


def ask(connection, **values: str) -> list[tuple]:
    answer = queries.run(connection, "improvement_targets", {"run_id": "tiny"} | values)
    return [(row["instance_id"], row["weight"], row["reasons"], row["confused_with_name"]) for row in answer.dicts]


def test_reasons_by_hand(pets) -> None:
    cats = "weak_class, confused_pair"
    assert ask(pets) == [(1, 3, f"{cats}, never_learned", "dog"), (0, 2, cats, "dog"), (2, 2, cats, "dog"),
                         (3, 1, "forgotten", "cat")]  # fmt: skip
    # at the end of epoch 1 one cat of val is a dog, and nothing is forgotten yet
    assert ask(pets, epoch="1") == [(1, 3, f"{cats}, never_learned", "dog"), (0, 2, cats, "dog"), (2, 2, cats, "dog")]
    assert ask(pets, weak_classes="0", pairs="0") == [(1, 1, "never_learned", "dog"), (3, 1, "forgotten", "cat")]
    assert ask(pets, instances="0,6") == [(0, 1, "named", "dog"), (6, 1, "named", None)]


@pytest.mark.parametrize(
    "change",
    [
        "delete from predictions where split = 'test'",
        "update predictions set predicted = 0, label = 1, p_true = 0.5, margin = 9, p_sq = 0 where split = 'test'",
        "delete from instances where split = 'test'",
        "delete from metrics",
    ],
)
def test_test_images_guide_no_choice(pets, change: str) -> None:
    before = ask(pets)
    weak = queries.run(pets, "hard_classes", {"run_id": "tiny", "split": "val"}).rows
    pets.execute(change)
    assert ask(pets) == before
    assert queries.run(pets, "hard_classes", {"run_id": "tiny", "split": "val"}).rows == weak


def test_images_whose_label_is_probably_wrong_are_not_seen_more_often() -> None:
    """A tenth of the labels is wrong: what the model never learned is seen again, unless its label is a suspect."""
    connection = data.empty()
    data.add_run(connection, "tiny")
    table = data.noisy_rows("tiny", "train_seen", 1000, 0.1, seed=2)
    data.insert(connection, "predictions", table)
    data.link_all(connection)
    suspects = queries.run(connection, "label_suspects", {"run_id": "tiny", "split": "train_seen", "limit": "1000"})
    doubted = {row["instance_id"] for row in suspects.dicts if row["kind"] == "suspect"}
    assert len(doubted) > 50
    counts = queries.run(connection, "forgetting", {"run_id": "tiny", "split": "train_seen"}).dicts
    never_learned = {row["instance_id"] for row in counts if row["never_learned"]}
    assert len(never_learned & doubted) > 50
    chosen = {instance: reasons for instance, _, reasons, _ in ask(connection)}
    assert {instance for instance, reasons in chosen.items() if "never_learned" in reasons} == never_learned - doubted
    assert not doubted & set(chosen)


# --- what is seen again


def make_repeats(weights: list[float], count: int, partners: list[int] | None = None, augment=("mix",)) -> Repeats:
    partners = partners or [ANY_CLASS] * len(weights)
    return Repeats(count, torch.tensor(weights, dtype=torch.float64), torch.tensor(partners), augment, 3)


@pytest.mark.parametrize(("weights", "count"), [([1] * 7, 3), ([1] * 7, 7), ([0, 2, 1, 1, 0], 2), ([3, 0, 1], 50)])
def test_images_are_drawn_as_often_as_their_weights_say(weights: list[float], count: int) -> None:
    expected = np.array(weights) * count / sum(weights)
    sums = np.zeros(len(weights))
    for seed in range(200):
        drawn = make_repeats(weights, count).draw(torch.Generator().manual_seed(seed)).bincount(minlength=len(weights))
        assert drawn.sum() == count
        assert (np.floor(expected) <= drawn.numpy()).all()
        assert (drawn.numpy() <= np.ceil(expected)).all()
        sums += drawn.numpy()
    assert np.abs(sums / 200 - expected).max() < 0.2  # over five standard errors


def test_partners_are_of_the_class_that_an_image_is_confused_with() -> None:
    labels = torch.tensor([0, 1, 1, 0, 1])  # nothing is of class 2
    rows_drawn = torch.tensor([0, 1, 2] * 100)
    repeats = make_repeats([1] * 5, 300, [1, 2, ANY_CLASS, 0, 0])
    partners = repeats.draw_partners(rows_drawn, labels, torch.Generator().manual_seed(0))
    by_row = {row: Counter(partners[rows_drawn == row].tolist()) for row in (0, 1, 2)}
    assert set(by_row[0]) == {1, 2, 4}
    assert set(by_row[1]) == set(by_row[2]) == {0, 1, 2, 3, 4}


def test_an_epoch_has_all_images_once_and_then_the_repeats() -> None:
    labels = torch.tensor([0, 1, 1, 0, 2])
    plain = draw_epoch(labels, None, torch.Generator())
    assert plain.rows.tolist() == [0, 1, 2, 3, 4]
    draws = draw_epoch(labels, make_repeats([0, 1, 0, 0, 1], 400), torch.Generator().manual_seed(1))
    assert draws.rows[: draws.once].tolist() == [0, 1, 2, 3, 4]
    assert set(draws.rows[draws.once :].tolist()) == {1, 4}
    assert (draws.fractions[: draws.once] == 1).all()
    mixed = draws.fractions[draws.once :] < 1
    assert 0.4 < mixed.float().mean() < 0.6
    assert draws.fractions.min() >= 0.5
    unmixed = draw_epoch(labels, make_repeats([1] * 5, 9, augment=("colour",)), torch.Generator())
    assert (unmixed.fractions == 1).all()


def test_mixtures_have_the_labels_of_what_they_are_mixed_of() -> None:
    images, partners = (
        torch.full((2, 1, 2, 2), 200, dtype=torch.uint8),
        torch.full((2, 1, 2, 2), 100, dtype=torch.uint8),
    )
    fractions = torch.tensor([0.75, 1.0])
    assert mix_images(images, partners, fractions)[:, 0, 0, 0].tolist() == [175, 200]
    labels = mix_labels(torch.tensor([2, 0]), torch.tensor([1, 1]), fractions, 3)
    assert labels.tolist() == [[0, 0.25, 0.75], [1, 0, 0]]


# --- the comparison


def test_statements_are_those_of_fixed_and_broken_at_half_the_level() -> None:
    connection = data.empty()
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 2, 60).tolist()
    for name, accuracy in {"a": 0.9, "b": 0.6, "c": 0.5, "d": 0.8}.items():
        data.add_run(connection, name, kind="improve")
        data.add_classes(connection, name, data.CLASSES)
        data.add_instances(connection, name, "test", labels)
        right = draw.random(60) < accuracy
        table = [
            data.prediction(name, "test", 5, key, label, label if right[key] else 3, 0.5)
            for key, label in enumerate(labels)
        ]
        data.insert(connection, "predictions", table)
    data.link_all(connection)
    for run_id, other_run_id in (("b", "a"), ("b,c", "a,d")):
        values = {"run_id": run_id, "other_run_id": other_run_id, "split": "test", "epoch": None, "level": 0.1}
        weak, everything = queries.execute(connection, "improvement", values | {"classes": '["dog"]'}).fetchall()
        asked = {"run_id": run_id, "other_run_id": other_run_id, "level": "0.05"}
        [whole] = queries.run(connection, "fixed_and_broken", asked).dicts
        columns = ("n", "accuracy", "other_accuracy", "change", "change_low", "change_high", "p_value")
        assert everything[1:] == pytest.approx(tuple(whole[name] for name in columns))
        assert weak[:2] == ("weak", sum(labels))
        assert weak[4] == pytest.approx(weak[3] - weak[2])
        assert weak[5] <= weak[4] <= weak[6]
