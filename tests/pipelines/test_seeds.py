"""Trainings of several seeds as one group."""

import json
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pipelines
import queries
import tracking
from pipelines import seeds
from pipelines.asking.ask import combine_runs
from pipelines.common.settings import TrainSettings
from pipelines.lifecycle.run_inputs import read_recorded_config
from pipelines.pages.words import percent
from pipelines.reporting.group_report import sort_wrong
from pipelines.seeds import parse_seeds, train
from pipelines.training import train as training
from support.commands import study_command
from support.homes import copied, fresh, rows
from support.pages import plain
from tracking.catalogue import read_members, resolve
from tracking.errors import InputError, RunError
from tracking.home import Home

GROUP = TrainSettings(size=8, epochs=1, threads=1, precision="float32", seeds="3,1", group="pair")


@pytest.fixture(scope="module")
def group(make_once: Callable, empty_tracker: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a group of two seeds, of which the second was stopped before its last epoch and trained again."""

    def make(folder: Path) -> None:
        home = fresh(folder, empty_tracker)
        compute = training._compute_epoch

        def stop_in_second(one: training.Training, epoch: int) -> tuple:
            if one.settings.seed == 1 and epoch == 1:
                raise KeyboardInterrupt
            return compute(one, epoch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "_compute_epoch", stop_in_second)
            with pytest.raises(KeyboardInterrupt):
                train(GROUP, home)
        train(GROUP, home)

    return copied(make_once("group", make), tmp_path_factory.mktemp("seeds"))


def test_an_interrupted_group_goes_on(group: Home, capsys: pytest.CaptureFixture) -> None:
    members = read_members(group, "pair")
    assert [(run.seed, run.name, run.status) for run in members] == [
        (1, "digits-cnn-1", "FINISHED"), (3, "digits-cnn-3", "FINISHED"),
    ]  # fmt: skip
    assert len(rows(group, "from runs")) == 2  # the second was resumed, the first left as it was
    assert train(GROUP, group) == [members[1].run_id, members[0].run_id]  # in the order of the seeds
    assert f"seed 3: run {members[1].run_id[:8]} (digits-cnn-3) is finished" in capsys.readouterr().err
    assert len(rows(group, "from runs")) == 2


def test_a_seed_that_diverges_does_not_stop_the_others(
    group: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, compute = copied(group.path.parent, tmp_path), training._compute_epoch

    def diverge(one: training.Training, epoch: int) -> tuple:
        if one.settings.seed == 5:
            next(one.model.parameters()).data.fill_(torch.nan)
        return compute(one, epoch)

    monkeypatch.setattr(training, "_compute_epoch", diverge)
    for _ in range(2):  # the second time, it is resumed
        with pytest.raises(RunError, match=r"^group pair: of 3 seeds, 1 diverged \(5\), which"):
            train(replace(GROUP, seeds="3,5,7"), home)
        statuses = {member.seed: member.status for member in read_members(home, "pair")}
        assert statuses == {1: "FINISHED", 3: "FINISHED", 5: "FAILED", 7: "FINISHED"}


def test_a_group_has_the_same_images_and_says_so(group: Home) -> None:
    one, three = read_members(group, "pair")
    assert one.data_digest == three.data_digest
    for run in (one, three):  # the first run's seed chooses the validation images
        settings = read_recorded_config(group, run)["settings"]
        assert (settings["group"], settings["split_seed"], settings["seed"]) == ("pair", 3, run.seed)
        assert "seeds" not in settings
    images = "select split, instance_id, source from instances where run_id = ? order by all"
    assert rows(group, images, one.run_id) == rows(group, images, three.run_id)
    predictions = "select p_true from predictions where run_id = ? and epoch = 1 order by split, instance_id"
    assert rows(group, predictions, one.run_id) != rows(group, predictions, three.run_id)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": "1,5", "epochs": 2}, "the runs of group 'pair' have epochs 1, this one has 2"),
        ({"seeds": "5", "split_seed": 5}, "the runs of group 'pair' have split_seed 3, this one has 5"),
        ({"seeds": None, "seed": 1}, "group 'pair' has a run of seed 1 already"),
        ({"seed": 1}, "--seed and --seeds both say which seeds"),
        ({"name": "mine"}, "--name names one run"),
        ({"seeds": "1;2"}, "it takes whole numbers such as 0-4 or 0,3,7"),
        ({"seeds": "1", "from_": "nothing"}, "--from nothing: no run 'nothing'"),
    ],
)
def test_what_does_not_fit_the_group_is_refused(group: Home, change: dict, message: str) -> None:
    count = len(rows(group, "from runs"))
    with pytest.raises(InputError, match=message):
        train(replace(GROUP, **change), group)
    assert len(rows(group, "from runs")) == count


def test_a_repeated_run_is_outside_the_group(group: Home, tmp_path: Path) -> None:
    home = copied(group.path.parent, tmp_path)
    [one, _] = read_members(home, "pair")
    repeated = pipelines.rerun(one.run_id, home=home.path, check=True)
    assert resolve(home, repeated).seed_group is None
    assert resolve(home, repeated).data_digest == one.data_digest
    assert len(read_members(home, "pair")) == 2


def test_a_group_is_named_after_data_and_model(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(seeds.training, "train", lambda settings, _: trained.append(settings) or "id")
    assert pipelines.train(dataset="planted:pair", seeds=range(2), home=home.path) == ["id", "id"]
    assert [(one.group, one.seed, one.seeds) for one in trained] == [
        ("planted-cnn-seeds", 0, None), ("planted-cnn-seeds", 1, None),
    ]  # fmt: skip


def test_parse_seeds() -> None:
    assert parse_seeds("0-2,7, 5") == [0, 1, 2, 7, 5]
    assert parse_seeds("4") == [4]
    for wrong in ("", "a", "1-", "-1", "2-1", "0-1000", "1,1", "0-3,2", "1.5"):
        with pytest.raises(InputError, match="--seeds"):
            parse_seeds(wrong)


@pytest.mark.parametrize("question", [name for name in queries.NAMES if "run_id" in queries.header(name).params])
def test_every_question_takes_a_group(group: Home, capsys: pytest.CaptureFixture, question: str) -> None:
    header = queries.header(question)
    needed = {name: "1" for name, param in header.params.items() if param.required and name != "run_id"}
    if "other_run_id" in needed:
        needed["other_run_id"] = "digits-cnn-1"
    flags = [word for name, value in needed.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = ("ask", question, *flags, "--run-id", "pair", "--home", group.path)
    code, out, said = study_command(capsys, *command, "--format", "json")
    assert code == 0, said
    frame = tracking.open(group.path).ask(question, "pair", **needed)
    columns = header.over_seeds.columns if header.over_seeds else ["seed", *header.returns]
    assert list(frame.columns) == (list(header.returns) if header.takes_several else columns)
    assert len(json.loads(out)) == len(frame)
    assert study_command(capsys, *command)[0] == 0


def test_means_over_seeds_are_those_of_the_runs(group: Home) -> None:
    study = tracking.open(group.path)
    members = [study.ask("accuracy_by_epoch", run.run_id) for run in read_members(group, "pair")]
    means = study.ask("accuracy_by_epoch", "pair")
    assert means["accuracy"].tolist() == pytest.approx([statistics.mean(pair) for pair in columns(members, "accuracy")])
    assert means["accuracy_sd"].tolist() == pytest.approx(
        [statistics.stdev(pair) for pair in columns(members, "accuracy")]
    )
    assert set(means["n_seeds"]) == {2}
    moves = study.ask("turbulent_epochs", "pair")  # without means: a row per seed
    assert moves["seed"].tolist() == [1, 3]
    with pytest.raises(InputError, match="no split 'valid'"):
        study.ask("hard_classes", "pair", split="valid")


def test_groups_are_compared_seed_by_seed(group: Home, capsys: pytest.CaptureFixture) -> None:
    study = tracking.open(group.path)
    itself = study.ask("compared_instances", "pair", other_run="pair")
    assert itself["seed"].unique().tolist() == [1, 3]
    assert set(itself["outcome"]) == {"kept", "stuck"}
    beside_each = study.ask("compared_flow", "digits-cnn-1", other_run="pair")
    assert set(beside_each[beside_each["seed"] == 1]["outcome"]) == {"kept", "stuck"}
    assert "fixed" in set(beside_each[beside_each["seed"] == 3]["outcome"])

    one, three = members = read_members(group, "pair")
    names = ("run_id", "other_run_id")
    assert combine_runs({"run_id": members, "other_run_id": [three]}, names) == [dict.fromkeys(names, three)]
    assert "only one of the groups has them: seeds 1\n" in capsys.readouterr().err
    with pytest.raises(InputError, match="no seed in common"):
        combine_runs({"run_id": [one], "other_run_id": [three]}, names)


def test_pages_of_a_group(group: Home, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    home = copied(group.path.parent, tmp_path)
    first, second = read_members(home, "pair")
    own = plain(Path(pipelines.report(first.run_id, home=home.path)))
    page = Path(pipelines.report("pair", home=home.path))
    assert page == home.run_folder(first.run_id) / "group_report.html"
    study = tracking.open(home.path)
    scores = study.ask("seed_accuracy", "pair")
    instances = study.ask("seed_instances", "pair")
    mean, sd = (scores[name][0] for name in ("mean", "sd"))
    text = plain(page)
    assert f"{percent(mean)} of 445 test images".replace("\u00a0", " ") in text
    assert f"standard deviation over seeds {100 * sd:.2f} points" in text
    wrong = (instances["n_wrong"] == 2).sum()
    some = (instances["n_wrong"] == 1).sum()
    assert f"Of 445 test images, {wrong} are wrong in every seed" in text
    assert f"{some} images are right in some seeds and wrong in others." in text
    assert "Wrong in most seeds" not in text  # of two, one is half
    for row in study.ask("hard_classes", "pair").to_dict("records"):
        assert f"{percent(row['accuracy'])} ± {100 * row['accuracy_sd']:.1f}".replace("\u00a0", " ") in text
    for name in ("seed_accuracy", "hard_classes", "seed_instances", "seed_stability"):
        assert f"study ask {name} --run-id pair --split test" in text
    assert "Neither maps nor concepts of two seeds" in text
    links = re.findall(r'<a href="([^"#]*)"', page.read_text())
    assert links == [f"../../{first.run_id}/artifacts/report.html"]  # the other has none yet
    assert (page.parent / links[0]).is_file()
    assert f"study report {second.run_id[:8]}" in text
    assert study.report("pair").html.count("Report on the group pair") == 2  # its title and its headline

    assert "One of 2 seeds of the group pair" in own
    assert re.findall(r"wrong in (\d) of 2 seeds", own)
    assert "Reviewers" not in own

    code, _, said = study_command(capsys, "report", "pair", "--split", "nowhere", "--home", home.path)
    assert (code, "no run of group pair has predictions of labelled images of split 'nowhere'" in said) == (2, True)


def test_each_run_of_a_group_gets_its_instanceflow_page(
    group: Home, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    home = copied(group.path.parent, tmp_path)
    first, second = read_members(home, "pair")
    pages = [home.run_folder(run.run_id) / "flow.html" for run in (first, second)]
    code, printed, _ = study_command(capsys, "flow", "pair", "--home", home.path)
    assert (code, printed.splitlines()) == (0, [str(page) for page in pages])
    assert [run.name in page.read_text() for run, page in zip((first, second), pages, strict=True)] == [True, True]
    _, printed, _ = study_command(capsys, "report", "pair", "--home", home.path)
    links = re.findall(r'<a href="([^"#]*)"', Path(printed.strip()).read_text())
    assert links == [f"../../{run.run_id}/artifacts/flow.html" for run in (first, second)]

    code, _, said = study_command(capsys, "flow", "pair", "--export", tmp_path / "log.json", "--home", home.path)
    assert (code, "'pair' is a group of 2 runs" in said, second.run_id[:8] in said) == (2, True, True)


def test_images_are_sorted_by_how_many_seeds_get_them_wrong() -> None:
    rows = [{"n_wrong": wrong, "n_seeds": 4, "fraction_wrong": wrong / 4} for wrong in (4, 3, 2, 1, 0)]
    found = {kind: [row["n_wrong"] for row in own] for kind, own in sort_wrong(rows).items()}
    assert found == {"every": [4], "most": [3], "some": [2, 1]}


def columns(frames: list, name: str) -> list[tuple]:
    return list(zip(*(frame[name] for frame in frames), strict=True))
