"""A training that several processes of torchrun share: one run, as one process makes it, whoever is killed."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines import rerunning
from pipelines.common import ranks
from pipelines.common.settings import RerunSettings, VerdictSettings
from pipelines.data.added import encode_png
from pipelines.data.datasets import load_dataset
from pipelines.judging.verdict import verdict
from pipelines.lifecycle.start import instance_columns
from pipelines.models.networks import build_model
from pipelines.training import following
from pipelines.training.recipe import make_recipe, resolve_settings
from pipelines.training.train import train
from support.homes import TINY, fresh, predictions, rows, start
from support.launches import Outcome, run_launches
from tracking import committing, runs
from tracking.catalogue import RunRecord, read_records, resolve
from tracking.commits import read_epochs
from tracking.errors import InputError, RunError
from tracking.home import Home, find_home

# Each line of standard input is a launch. As torchrun does, it starts a process per rank, and tells each which it is;
# here they fork from one process, which has imported, also what a training would import late. What is to be killed is
# killed once epoch 0 is committed, while the next one is trained.
LAUNCHES = """
import json
import os
import signal
import sys
import time
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
import sklearn.datasets
import torch
import torch._dynamo
from pipelines import cli
import pipelines.rerunning
import pipelines.training.following
import torch.distributed
from support.servers import free_port

torch.set_num_threads(1)
for number, launch in enumerate(map(json.loads, sys.stdin)):
    processes, port = {}, str(free_port())
    for rank in range(launch["world"]):
        if (child := os.fork()) == 0:
            for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
                os.dup2(os.open(f"{number}.{rank}.{name}", os.O_CREAT | os.O_WRONLY), stream.fileno())
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(launch["world"]), "MASTER_PORT": port}
            sys.argv = ["study", *launch["arguments"]]
            code = cli.main()
            sys.stdout.flush()
            os._exit(code)
        processes[rank] = child
    if launch["killed"] is not None:
        while not list(Path(launch["home"]).glob("artifacts/*/artifacts/commits/epoch_0000.json")):
            if os.waitid(os.P_PID, processes[0], os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break  # the leader ended before: its exit code, printed below, says so
            time.sleep(0.01)
        os.kill(processes[launch["killed"]], signal.SIGKILL)
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in processes.values()], flush=True)
"""
EXACT = replace(TINY, model="support.networks:double", epochs=2, batch=100)
FLAGS = ["--size", "8", "--batch", "100", "--threads", "1", "--model", "support.networks:double"]
TRAIN, RESUME = ["train", "--epochs", "2", *FLAGS], ["resume", "latest"]
JUDGED = {verdicts: ["train", "--epochs", "1", "--verdicts", verdicts, *FLAGS] for verdicts in ("apply", "leave-out")}
IMPROVE = ["improve", "latest:1", "--epochs", "1", "--augment", "mix", "colour", "cutout", "--images", "new"]
SCENARIOS = {  # by name: the number of processes, what each of them is called with, which is killed
    "two": [(2, TRAIN, None)],
    "a follower is killed": [(2, TRAIN, 1), (2, RESUME, None)],
    "the leader is killed": [(2, TRAIN, 0), (3, RESUME, None)],
    "verdicts": [(2, arguments, None) for arguments in (*JUDGED.values(), IMPROVE)],
    "no data set": [(2, ["train", "--dataset", "nope"], None)],
    "no flag": [(2, ["train", "--nope"], None)],
    "attention": [(2, ["train", "--size", "8", "--model", "support.networks:attending"], None)],
    "a follower cannot begin": [(2, ["train", "--size", "8", "--model", "support.networks:not_in_rank_1"], None)],
    "explaining": [(2, ["explain", "latest"], None)],
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> dict[str, tuple[Home, list[Outcome]]]:
    """By the name of the scenario: the home, and what became of each launch."""
    folder = tmp_path_factory.mktemp("ranks")
    homes = {}
    all_launches = []
    for name, launches in SCENARIOS.items():
        (folder / name).mkdir()
        is_refused = launches[0][1][-1] not in ("support.networks:double",)
        homes[name] = find_home(str(folder / name / "study")) if is_refused else fresh(folder / name, empty_tracker)
        for world, arguments, killed in launches:
            place = str(homes[name].path)
            all_launches.append(
                {"world": world, "arguments": [*arguments, "--home", place], "killed": killed, "home": place}
            )
    judge(homes["verdicts"])
    write_new_image(folder / "new" / "3", homes["verdicts"])
    remaining = iter(run_launches(folder, LAUNCHES, all_launches))
    return {name: (homes[name], [next(remaining) for _ in launches]) for name, launches in SCENARIOS.items()}


def judge(home: Home) -> None:
    """A run with the images of the trainings, without any epoch, and what a reviewer says about three of them."""
    data = load_dataset("digits", None, home, val_fraction=0.1, seed=0, size=8)
    run = start(home, "judged")
    classes = {"run_id": [run.run_id] * 10, "class_id": list(range(10)), "name": data.classes}
    committing.commit_tables(run, "start", {"instances": instance_columns(run.run_id, data), "classes": classes}, None)
    runs.finish_run(run)
    other = (data.splits["train"].labels[0] + 1) % 10
    file = home.path / "verdicts.csv"
    file.write_text(
        "split,instance_id,verdict,new_label\n"
        f"train,0,label_wrong,{other}\ntrain,1,not_usable,\ntrain,1214,label_wrong,\n"
    )
    verdict(VerdictSettings(run.run_id, str(file), who="anna"), home)


def write_new_image(folder: Path, home: Home) -> None:
    """A mirrored image of val, which the data set lacks, in the folder of a class."""
    image = load_dataset("digits", None, home, val_fraction=0.1, seed=0, size=8).splits["val"].images[0]
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(encode_png(image.flip(2)))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, trained_home: Callable) -> Home:
    """A home with the same training in one process."""
    return trained_home(tmp_path_factory.mktemp("alone"), EXACT)


def the_run(home: Home) -> RunRecord:
    [record] = read_records(home)
    return record


def predictions_in(home: Home) -> list[tuple]:
    return predictions(home, the_run(home).run_id)


def assert_same_rows(ours: list[tuple], theirs: list[tuple]) -> None:
    """Of two runs' predictions all but the last digits of float32 are the same, in every row."""
    assert [row[:4] for row in ours] == [row[:4] for row in theirs]  # epoch, split, instance, predicted
    for column in (4, 5):  # p_true, margin
        values, expected = (torch.tensor([row[column] for row in part]) for part in (ours, theirs))
        assert (values - expected).abs().max() < 1e-5


def test_two_processes_make_the_run_that_one_makes(launched: dict, alone: Home) -> None:
    home, [outcome] = launched["two"]
    assert outcome.codes == [0, 0], outcome
    assert outcome.printed == [f"{the_run(home).run_id}\n", ""]
    assert "2 processes" in outcome.errors[0]
    assert outcome.errors[1] == ""
    assert the_run(home).status == "FINISHED"
    assert_same_rows(predictions_in(home), predictions_in(alone))
    for commit, expected in zip(*(read_epochs(place, the_run(place).run_id) for place in (home, alone)), strict=True):
        assert commit.details == {"processes": 2}
        for name, value in expected.metrics.items():
            if not name.endswith("seconds"):
                assert commit.metrics[name] == pytest.approx(value, abs=1e-6)


def test_a_killed_follower_ends_the_run_which_resumes_to_the_same_bits(launched: dict) -> None:
    home, [killed, resumed] = launched["a follower is killed"]
    assert killed.codes == [1, -signal.SIGKILL]
    assert "stopped; resume it with: study resume" in killed.errors[0]
    assert killed.errors[0].splitlines()[-1].startswith("study: another process of this training has ended")
    assert resumed.codes == [0, 0], resumed
    whole, _ = launched["two"]
    assert predictions_in(home) == predictions_in(whole)


def test_a_killed_leader_ends_the_others_and_more_processes_may_go_on(launched: dict, alone: Home) -> None:
    home, [killed, resumed] = launched["the leader is killed"]
    assert killed.codes == [-signal.SIGKILL, 1]
    assert resumed.codes == [0, 0, 0], resumed
    assert_same_rows(predictions_in(home), predictions_in(alone))
    processes = [commit.details["processes"] for commit in read_epochs(home, the_run(home).run_id)]
    assert processes in ([2, 3, 3], [2, 2, 3])  # a slow kill comes after epoch 1


@pytest.mark.parametrize("verdicts", list(JUDGED))
def test_verdicts_change_the_same_images_in_two_processes(launched: dict, verdicts: str) -> None:
    home, outcomes = launched["verdicts"]
    outcome = outcomes[list(JUDGED).index(verdicts)]
    assert outcome.codes == [0, 0], outcome
    shared, single = outcome.printed[0].strip(), train(replace(EXACT, epochs=1, verdicts=verdicts), home)
    assert_same_rows(predictions(home, shared), predictions(home, single))
    seen = "select instance_id, label from predictions where run_id = ? and split = 'train_seen' order by all"
    changes = "select instance_id, new_label from label_changes where run_id = ? order by all"
    for sql in (seen, changes):
        assert rows(home, sql, shared) == rows(home, sql, single)
    assert [image for image, _ in rows(home, changes, shared)] == [0, 1, 1214]
    assert len(rows(home, seen, shared)) == 1215 - (2 if verdicts == "apply" else 3)


def test_two_processes_improve_as_one_does(launched: dict) -> None:
    """The control, then the improved run with a new image: what is seen again, mixed and altered is the same."""
    home, outcomes = launched["verdicts"]
    outcome = outcomes[-1]
    assert outcome.codes == [0, 0], outcome
    assert outcome.errors[1] == ""
    assert "against the control" in outcome.errors[0]
    pair = [record for record in read_records(home) if record.kind == "improve"][:2]
    assert pair[1].run_id == outcome.printed[0].strip()
    for record in pair:
        assert [commit.details for commit in read_epochs(home, record.run_id)] == [{"processes": 2}] * 2
        repeated = rerunning.rerun(RerunSettings(record.run_id), home)
        assert_same_rows(predictions(home, record.run_id), predictions(home, repeated))


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("no data set", "no data set nope; there are"),
        ("no flag", "unrecognized arguments: --nope"),
        ("attention", "support.networks:attending has other logits in training if several processes share a batch"),
        (
            "a follower cannot begin",
            "rank 1: model support.networks:not_in_rank_1 does not take images (1, 8, 8): File",
        ),
        ("explaining", "only study train, improve, resume and rerun share a training under torchrun"),
    ],
)
def test_wrong_input_is_said_once_and_ends_all(launched: dict, scenario: str, message: str) -> None:
    home, [outcome] = launched[scenario]
    assert outcome.codes == [2] * len(outcome.codes), outcome
    assert message in outcome.errors[0].splitlines()[-1]
    assert outcome.errors[1:] == [""] * (len(outcome.codes) - 1)
    assert not home.path.exists()


def test_a_check_in_one_process_says_what_differs(launched: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    home, _ = launched["two"]
    original = the_run(home)
    repeated = resolve(home, train(EXACT, home), ("train",))
    with pytest.raises(RunError, match=r"rows of predictions by at most \d.*; the cause may be: .*processes 2 then, 1"):
        rerunning.check(original, repeated, home)


@pytest.mark.parametrize(
    ("device", "batch", "message"),
    [
        ("cpu", 3, "4 processes cannot share batches of 3 images"),
        ("cuda:1", 128, "cuda:1 is one device"),
        ("cuda", 128, "4 processes on this machine have 0 GPUs"),
        ("mps", 128, "not on mps"),
    ],
)
def test_what_several_processes_cannot_share_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch, device: str, batch: int, message: str
) -> None:
    data = load_dataset("digits", None, home, val_fraction=0.1, seed=0, size=8)
    recipe = make_recipe(resolve_settings(replace(TINY, batch=batch), data), data, build_model("cnn", data, 0))
    monkeypatch.setattr(ranks, "world", lambda: 4)
    monkeypatch.setattr(ranks, "local_world", lambda: 4)
    with pytest.raises(InputError, match=message):
        following.lead(home, replace(recipe, device=torch.device(device)), data, recipe.averaged_model, 0)


def test_a_training_that_torchrun_starts_again_is_not_another_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(InputError, match="continue it with study resume"):
        train(TINY, home)
    assert read_records(home) == []
