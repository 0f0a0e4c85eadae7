"""Worker processes: the same bits as one process, and what happens when some or all of them are lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.common import workers
from pipelines.common.settings import CompareSettings, ExplainSettings, PredictSettings, RerunSettings, ResumeSettings
from pipelines.comparing import measurements, shortcuts
from pipelines.comparing.compare import compare
from pipelines.explaining.explain import explain
from pipelines.explaining.maps import attribution
from pipelines.lifecycle.run_inputs import read_recorded_config
from pipelines.predicting import predict as predicting
from pipelines.predicting.predict import predict
from pipelines.rerunning import rerun
from pipelines.resuming import resume
from support.homes import TINY, answer, rows
from support.places import ROOT
from tracking import commits, committing, runs
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError, RunError
from tracking.files import read_table
from tracking.home import Home

ASKED = {"epochs": "1,3", "count": 12, "batch": 4, "target": ("predicted", "label")}
PREDICTIONS = "select * exclude (split) from full_predictions where split = ? order by all"
COMPARED = CompareSettings(randomization_count=3, shortcut_count=2)
MAPS = "select * exclude (run_id) from maps where run_id = ? order by all"


@pytest.fixture(scope="module")
def own(tmp_path_factory, trained_home) -> Home:
    """A home of this file's own."""
    return trained_home(tmp_path_factory.mktemp("workers"), TINY)


@pytest.fixture(scope="module")
def pool(own: Home) -> Iterator[workers.Pool]:
    """Three workers, which everything in this file computes with from now on; two of them are lost, one by one."""
    with workers.working(3, None, own, "latest") as three:
        yield three


@pytest.fixture(scope="module")
def alone(own: Home) -> dict[str, list[tuple]]:
    """The maps that one process makes, by method: before there are workers."""
    assert workers.current() is None
    methods = ("smooth_grad", "shap")
    run_ids = explain(ExplainSettings(method=methods, samples=4, **ASKED), own)
    return {method: rows(own, MAPS, run_id) for method, run_id in zip(methods, run_ids, strict=True)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    """A folder of five pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{number}.png")
    return str(folder)


@pytest.fixture(scope="module")
def predicted_alone(own: Home, pictures: str) -> list[tuple]:
    """The predictions that one process makes for pictures: before there are workers."""
    assert workers.current() is None
    predict(PredictSettings("latest", (pictures,), name="alone"), own)
    return rows(own, PREDICTIONS, "extra:alone")


@pytest.fixture(scope="module")
def compared_alone(own: Home, alone: dict) -> str:
    """A comparison that one process makes of the maps: before there are workers."""
    assert workers.current() is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "BATCH", 5)
        return compare(COMPARED, own)


def same_bits(found: list[tuple], expected: list[tuple]) -> bool:
    return len(found) == len(expected) > 0 and repr(found) == repr(expected)


def kill_after_a_part(monkeypatch: pytest.MonkeyPatch, killed: list) -> None:
    """Kill worker processes once the first part of a run is committed."""
    whole = attribution._commit_part

    def commit(*given, **named) -> None:
        whole(*given, **named)
        for process in killed:
            process.kill()

    monkeypatch.setattr(attribution, "_commit_part", commit)


def test_what_cannot_be_spread_is_refused(study: Home, trained: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, advice in (
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "give one of them"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "no Dask scheduler answers at tcp://127.0.0.1:1 .*dask scheduler$"),
    ):
        monkeypatch.setattr(workers, "CONNECTING", 0.2)
        with pytest.raises(InputError, match=advice):
            explain(ExplainSettings(count=2, **asked), study)
    for repeat, settings in ((resume, ResumeSettings), (rerun, RerunSettings)):
        with pytest.raises(
            InputError, match="of kind train, and workers compute only runs of kind explain and compare"
        ):
            repeat(settings(trained.run_id, workers=2), study)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'xai-study\[workers\]'$"):
        explain(ExplainSettings(count=2, workers=2), study)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_with_the_command(own: Home) -> None:
    """Also if it is killed, so that nothing of it can tidy up."""
    code = (
        "import os; from pipelines.common import workers; from tracking.home import find_home\n"
        f"with workers.working(1, None, find_home({str(own.path)!r}), 'latest') as pool:\n"
        "    pool._client.wait_for_workers(1); print(pool._processes[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    worker = int(killed.stdout)
    for _ in range(200):
        if not is_running(worker):
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("a worker is left")


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_maps_have_the_bits_of_one_process(
    own: Home, alone: dict, predicted_alone: list, compared_alone: str, pool: workers.Pool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(attribution, "explain_epoch", refuse_to_explain_here(monkeypatch))
    run_ids = explain(ExplainSettings(method=tuple(alone), samples=4, **ASKED), own)
    for method, run_id in zip(alone, run_ids, strict=True):
        assert same_bits(rows(own, MAPS, run_id), alone[method])
        assert "workers" not in resolve(own, run_id, ("explain",)).params


def test_predictions_have_the_bits_of_one_process(
    own: Home, predicted_alone: list, pictures: str, pool: workers.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "SHARD", 2)
    with monkeypatch.context() as patch:
        patch.delattr(predicting, "compute_logits_from")  # this process computes none
        predict(PredictSettings("latest", (f"{pictures}/0.png",), name="spread"), own)
        predict(PredictSettings("latest", (pictures,), name="spread"), own)
    assert same_bits(rows(own, PREDICTIONS, "extra:spread"), predicted_alone)


def refuse_to_explain_here(monkeypatch: pytest.MonkeyPatch):
    """`explain_epoch`, within which this process computes no map."""
    whole = attribution.explain_epoch

    def explain_epoch(*given) -> None:
        with monkeypatch.context() as patch:
            patch.delattr(attribution, "_attribute")
            whole(*given)

    return explain_epoch


def committed_rows(home: Home, run_id: str) -> dict[str, str]:
    """All rows that a run committed, by file, without its ID."""
    found = {}
    for commit in commits.read_commits(home, run_id):
        for file in commit.files:
            if file.path.endswith(".parquet"):
                table = read_table(commits.committed_file(home, commit, file.path))
                assert set(table.pop("run_id")) == {run_id}
                found[file.path] = repr(table)
    return found


def test_a_comparison_has_the_bits_of_one_process(
    own: Home, compared_alone: str, pool: workers.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although a worker is killed, and the command stops between two parts."""
    monkeypatch.setattr(measurements, "BATCH", 5)
    monkeypatch.setattr(workers, "TASKS_AHEAD", 1)
    monkeypatch.delattr(measurements, "measure")  # this process measures nothing
    monkeypatch.delattr(shortcuts, "make_trials")
    whole = committing.commit_tables
    units: list[str] = []

    def commit(run: runs.Run, unit: str, *given) -> None:
        whole(run, unit, *given)
        units.append(unit)
        if len(units) == 1:
            pool._processes[0].kill()
        if len(units) == 3:
            raise RunError("stopped")

    monkeypatch.setattr(committing, "commit_tables", commit)
    with pytest.raises(RunError, match="stopped"):
        compare(COMPARED, own)
    run_id = resume(ResumeSettings(resolve(own, "latest", ("compare",)).run_id), own)
    assert pool._count() == 2
    assert len(set(units)) == len(units)
    assert committed_rows(own, run_id) == committed_rows(own, compared_alone)
    found = answer(own, "run_difference", run_id=run_id, other_run_id=compared_alone)
    assert {row["what"] for row in found} >= {"maps", "attribution_scores", "map_clusters"}
    assert not sum(row["n_different"] + row["only_here"] + row["only_other"] for row in found)
    assert "workers" not in read_recorded_config(own, resolve(own, run_id, ("compare",)))["settings"]


def test_a_scheduler_that_runs_already(own: Home, pool: workers.Pool, tmp_path: Path) -> None:
    address = pool._client.scheduler.address
    with workers.working(None, address, own, "latest") as theirs:
        assert (theirs.workers, theirs.scheduler) == (None, address)
        assert workers.current() is theirs
    assert workers.current() is pool
    with pytest.raises(
        InputError, match=r"cannot read the run in /.* \(.*; let it see the same folder at the same path"
    ):
        workers._check_workers(pool, Home(tmp_path), resolve(own, "latest").run_id)


def test_an_error_in_a_worker_ends_the_run_with_one_line(own: Home, pool: workers.Pool) -> None:
    pool.begin({"wrong": (np.ones, (-1,)), "right": (np.ones, (2,))})
    with pytest.raises(ValueError, match="negative"):
        pool.take("wrong", "")
    assert pool.take("right", "").tolist() == [1, 1]


def test_a_lost_worker_costs_time_only(
    own: Home, alone: dict, pool: workers.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "TASKS_AHEAD", 1)
    kill_after_a_part(monkeypatch, pool._processes[:2])
    [run_id] = explain(ExplainSettings(method=("smooth_grad",), samples=4, **ASKED), own)
    assert pool._count() == 1
    assert same_bits(rows(own, MAPS, run_id), alone["smooth_grad"])


def test_a_run_whose_workers_are_all_lost_is_resumed(
    own: Home, alone: dict, pool: workers.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "TASKS_AHEAD", 1)
    kill_after_a_part(monkeypatch, pool._processes)
    with pytest.raises(RunError, match="no worker is left in 3 processes of this machine") as error:
        explain(ExplainSettings(method=("shap",), samples=4, **ASKED), own)
    record = resolve(own, "latest", ("explain",))
    assert record.status == "FAILED"
    assert str(error.value).endswith(f"resume it with: study resume {record.run_id[:8]}")
    monkeypatch.setattr(workers, "_CURRENT", workers.ContextVar("none", default=None))
    resume(ResumeSettings(record.run_id), own)
    assert same_bits(rows(own, MAPS, record.run_id), alone["shap"])


def test_a_result_that_is_lost_with_the_last_worker_is_not_waited_for(
    own: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FETCHING", 1)
    with workers.working(1, None, own, "latest") as pool:
        assert pool is not None
        pool.begin({"late": (exec, ("raise TimeoutError('of the task')",)), "done": (np.ones, (2,))})
        with pytest.raises(TimeoutError, match="of the task"):
            pool.take("late", "")
        while not pool._under_way["done"].done():
            time.sleep(0.01)
        pool._processes[0].kill()
        with pytest.raises(RunError, match="no worker is left in 1 process of this machine; wait"):
            pool.take("done", "wait")
