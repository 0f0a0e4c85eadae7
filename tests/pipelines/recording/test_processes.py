"""A loop on two processes: rank 0 writes one run, whether all of them record or it alone, and no wait is endless."""

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as distributed

from pipelines.recording import processes
from pipelines.recording.processes import Beginning, Channel
from pipelines.recording.record import record
from support.homes import fresh
from support.launches import Outcome, run_launches
from support.recorded import CLASSES, make_net, make_sets
from tracking.catalogue import read_records
from tracking.commits import read_epochs
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.reading import connect

# Each line of standard input says which of the ranks call what. All fork from one process, which has imported, also
# what a training would import late.
LOOP = """
import gc
import json
import os
import signal
import sys
import time
import mlflow.store.tracking.sqlalchemy_store
import torch
import torch._dynamo
import torch.distributed as distributed
from datetime import timedelta
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler
from pipelines.recording import processes
from pipelines.recording.record import record
from pipelines.recording.seen import WithIds
from support.recorded import CLASSES, make_net, make_sets
from support.servers import free_port

torch.set_num_threads(1)
processes.PATIENCE = timedelta(seconds=2)


def train(rank, home, resume, epochs, records, sees, ends, dies):
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(make_net())
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    sets = make_sets()
    run = None
    if dies == "0 early" and rank == "0":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    if rank in records:
        run = record(model, sets, CLASSES, home=home, state={"optimizer": optimizer}, resume=resume)
    train_set = WithIds(sets["train"])
    for _ in run.epochs(epochs) if run else range(epochs):
        model.train()
        for images, labels, ids in DataLoader(train_set, batch_size=8, sampler=DistributedSampler(train_set)):
            logits = model(images.permute(0, 3, 1, 2).float() / 255)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            if rank in sees:
                run.seen(ids, logits, labels)
        if dies == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        if rank in ends:
            run.epoch()
    if rank in ends:
        run.finish()
    print("run", run and run.run_id, "weights", sum(weight.double().sum().item() for weight in model.parameters()))


gc.freeze()  # else each that ends looks for garbage in all that was imported, for seconds
for number, scenario in enumerate(map(json.loads, sys.stdin)):
    ranks, port = [], str(free_port())
    for rank in ("0", "1"):
        if (child := os.fork()) == 0:
            for stream, name in ((sys.stdout, "out"), (sys.stderr, "err")):
                os.dup2(os.open(f"{number}.{rank}.{name}", os.O_CREAT | os.O_WRONLY), stream.fileno())
            os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_PORT": port}
            train(rank, **scenario)
            sys.stdout.flush()
            os._exit(0)
        ranks.append(child)
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ranks], flush=True)
"""
ALL = {"resume": None, "epochs": 1, "records": "01", "sees": "01", "ends": "01", "dies": ""}
ONE = ALL | {"records": "0", "sees": "0", "ends": "0"}
SCENARIOS = {
    "all": [ALL, ALL | {"resume": "latest", "epochs": 2}],
    "one": [ONE | {"epochs": 2}, ONE | {"resume": "latest", "epochs": 3}],
    "not in rank 0": [ALL | {"records": "1"}],
    "ended in rank 0": [ALL | {"ends": "0"}],
    "rank 1 killed": [ALL | {"dies": "1"}],
    "rank 0 killed": [ALL | {"dies": "0 early"}],
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> dict[str, tuple[Home, list[Outcome]]]:
    """By the name of the scenario: the home, and what became of each launch."""
    folder = tmp_path_factory.mktemp("processes")
    homes = {}
    all_launches = []
    for name, launches in SCENARIOS.items():
        (folder / name).mkdir()
        homes[name] = fresh(folder / name, empty_tracker)
        all_launches += [launch | {"home": str(homes[name].path)} for launch in launches]
    remaining = iter(run_launches(folder, LOOP, all_launches))
    return {name: (homes[name], [next(remaining) for _ in launches]) for name, launches in SCENARIOS.items()}


def count_seen(home: Home) -> list[tuple[int, int]]:
    with connect(home) as connection:
        return connection.execute(
            "select epoch, count(*) from predictions where split = 'train_seen' group by all order by all"
        ).fetchall()


def test_rank_0_writes_what_all_have_seen_and_all_go_on(launched: dict) -> None:
    home, outcomes = launched["all"]
    assert [outcome.codes for outcome in outcomes] == [[0, 0], [0, 0]], outcomes
    assert outcomes[1].printed[0] == outcomes[1].printed[1]  # the same run, and both went on with the same weights
    assert [record.status for record in read_records(home)] == ["FINISHED"]
    assert count_seen(home) == [(1, 48), (2, 48)]


def test_rank_0_alone_may_record(launched: dict) -> None:
    home, (first, resumed) = launched["one"]
    assert first.codes == [0, 0], first
    assert count_seen(home) == [(1, 24), (2, 24)]  # what the process of rank 0 has seen
    assert [record.status for record in read_records(home)] == ["FINISHED"]
    assert "rank 1 has not called record within 2 s; to resume, every process calls it" in resumed.errors[0]


@pytest.mark.parametrize(
    ("scenario", "rank", "message"),
    [
        ("not in rank 0", 1, "rank 0 has not called record within 2 s"),
        ("ended in rank 0", 0, "rank 1 has not called epoch within 2 s"),
        ("rank 1 killed", 0, "rank 1 has not called epoch within 2 s"),
        ("rank 0 killed", 1, "the connection to rank 0, which writes the run, is lost"),
    ],
)
def test_no_wait_is_endless(launched: dict, scenario: str, rank: int, message: str) -> None:
    home, [outcome] = launched[scenario]
    assert outcome.codes[rank] == 1
    assert message in outcome.errors[rank].splitlines()[-1]
    committed = [commit.epoch for known in read_records(home) for commit in read_epochs(home, known.run_id)]
    assert committed in ([], [0])


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> tuple[Channel, Channel]:
    """Those of ranks 0 and 1, in one process."""
    monkeypatch.setattr(processes, "PATIENCE", timedelta(seconds=0.2))
    store = distributed.HashStore()
    return Channel(store, 0, 2), Channel(store, 1, 2)


def test_what_is_handed_in_arrives_once(channels: tuple[Channel, Channel]) -> None:
    leader, other = channels
    other.arrive()
    logits = torch.randn(200_000, 10)  # more than one key holds
    other.hand_in(1, torch.arange(200_000), logits)
    [(ids, received)] = leader.collect(1, is_seeing=True)
    assert torch.equal(ids, torch.arange(200_000))
    assert torch.equal(received, logits)
    with pytest.raises(RunError, match="rank 1 has not called epoch within"):
        leader.collect(1, is_seeing=True)


def test_nobody_waits_for_a_process_that_tells_nothing(channels: tuple[Channel, Channel]) -> None:
    leader, other = channels
    assert leader.collect(1, is_seeing=True) == []  # it has not called record
    other.arrive()
    assert leader.collect(1, is_seeing=False) == []  # neither of them sees batches
    other.announce()
    with pytest.raises(RunError, match="rank 1 has not called epoch"):
        leader.collect(1, is_seeing=False)


def test_a_process_learns_how_the_run_begins(channels: tuple[Channel, Channel]) -> None:
    leader, other = channels
    with pytest.raises(InputError, match="rank 0 has not called record within"):
        other.follow()
    with processes.telling_errors(leader):
        pass
    beginning = Beginning("a", 3, 10)
    leader.begin(beginning, torch.arange(5))
    known, labels = other.follow()
    assert known == beginning
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_a_process_learns_why_no_run_begins(channels: tuple[Channel, Channel]) -> None:
    leader, other = channels
    with pytest.raises(ZeroDivisionError), processes.telling_errors(leader):
        raise ZeroDivisionError("no pictures")
    with pytest.raises(InputError, match="rank 0 could not begin: no pictures"):
        other.follow()


def test_resuming_needs_every_process(channels: tuple[Channel, Channel]) -> None:
    leader, other = channels
    with pytest.raises(InputError, match="rank 1 has not called record"):
        leader.wait_for_all()
    other.arrive()
    leader.wait_for_all()


def test_processes_that_do_not_know_each_other_yet_are_refused(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(InputError, match="after torch"):
        record(make_net(), make_sets(), CLASSES, home=str(home.path))
