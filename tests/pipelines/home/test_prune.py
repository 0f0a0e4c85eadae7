"""Pruning: space back, what was learned stays, and what is gone is named."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipelines.common.settings import ExplainSettings, PredictSettings, PruneSettings, RerunSettings, ResumeSettings
from pipelines.explaining.explain import explain
from pipelines.explaining.job import Job
from pipelines.explaining.maps import attribution
from pipelines.home.prune import prune
from pipelines.predicting import predict
from pipelines.rerunning import rerun
from pipelines.resuming import resume
from support.homes import TINY
from tracking import commits, locks, runs
from tracking.catalogue import RunRecord, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.index import rebuild
from tracking.reading import connect


def weights(home: Home, run_id: str) -> list[str]:
    return sorted(file.stem for file in (home.run_folder(run_id) / "checkpoints").iterdir())


def predictions(home: Home) -> list[tuple]:
    with connect(home) as connection:
        return connection.execute(
            "select epoch, count(*), sum(p_true) from predictions group by 1 order by 1"
        ).fetchall()


def test_keeps_every_second_best_and_last_and_all_predictions(tmp_path: Path, trained_home, capsys) -> None:
    home = trained_home(tmp_path, TINY)
    run_id = resolve(home, "latest").run_id
    best = max(commits.read_epochs(home, run_id), key=lambda commit: commit.metrics["val_accuracy"]).epoch
    before = predictions(home)
    assert prune(PruneSettings(run_id, every=2, dry=True), home) == "0,1,2,3"
    assert "would free" in capsys.readouterr().err
    assert len(weights(home, run_id)) == 4
    kept = sorted({0, 2, 3, best})
    assert prune(PruneSettings(run_id, every=2), home) == ",".join(map(str, kept))
    assert weights(home, run_id) == [f"epoch_{epoch:04d}" for epoch in kept]
    rebuild(home)
    assert predictions(home) == before
    assert prune(PruneSettings(run_id, every=2), home) == ",".join(map(str, kept))  # nothing more to free
    explained = explain(ExplainSettings(epochs="all", count=2), home)
    with connect(home) as connection:
        [(epochs,)] = connection.execute("select list(distinct epoch order by epoch) from attributions").fetchall()
    assert epochs == kept
    assert len(explained) == 1


def test_what_is_gone_is_named(tmp_path: Path, trained_home) -> None:
    home = trained_home(tmp_path, replace(TINY, epochs=2))
    run_id = resolve(home, "latest").run_id
    [made] = explain(ExplainSettings(epochs="1", count=2), home)
    prune(PruneSettings(run_id, every=2), home)
    if 1 in {commit.epoch for commit in commits.stored_epochs(home, run_id)}:
        pytest.skip("epoch 1 was the best")
    with pytest.raises(InputError, match="no checkpoint of epoch 1; there are those of 0, 2"):
        explain(ExplainSettings(epochs="1", count=2), home)
    with pytest.raises(InputError, match="no checkpoint of epoch 1"):
        rerun(RerunSettings(made), home)


def test_a_stop_before_deleting_is_caught_up(tmp_path: Path, trained_home, monkeypatch: pytest.MonkeyPatch) -> None:
    home = trained_home(tmp_path, replace(TINY, epochs=2))
    run_id = resolve(home, "latest").run_id
    unlink = Path.unlink

    def stop(path: Path, **known: bool) -> None:
        if path.suffix == ".safetensors":
            raise KeyboardInterrupt
        unlink(path, **known)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", stop)
        with pytest.raises(KeyboardInterrupt):
            prune(PruneSettings(run_id, every=100), home)
    assert len(weights(home, run_id)) == 3 > len(commits.stored_epochs(home, run_id))
    prune(PruneSettings(run_id, every=100), home)
    assert len(weights(home, run_id)) == len(commits.stored_epochs(home, run_id)) < 3


def test_what_is_being_read_is_not_pruned(copy: Home, trained: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a run nor by a command that has not begun one, nor by `predict`, which has none."""
    home, run_id = copy, trained.run_id
    every, refused = weights(home, run_id), []

    def pruned_meanwhile(*_: object) -> None:
        with pytest.raises(InputError) as error:
            prune(PruneSettings(run_id, every=100), home)
        refused.append(str(error.value))

    def meanwhile(place: object, name: str) -> None:
        whole = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *known: [pruned_meanwhile(), whole(*known)][1])

    meanwhile(attribution, "probe")
    meanwhile(attribution, "explain_epoch")
    [explained] = explain(ExplainSettings(epochs="0,2", count=2), home)
    picture = home.path.with_name("picture.png")
    Image.new("L", (8, 8)).save(picture)
    meanwhile(predict, "read_images")
    predict.predict(PredictSettings(run_id, (str(picture),)), home)
    assert len(refused) == 4
    begun = f"the checkpoints of run {run_id[:8]} are being read by"
    assert all(told.startswith(begun) and told.endswith("wait for it to finish, then prune") for told in refused)
    assert [f"process {os.getpid()} on" in told for told in refused] == [True, False, False, True]
    assert [f"run {explained[:8]} (saliency-" in told for told in refused] == [False, True, True, False]
    assert weights(home, run_id) == every
    assert resolve(home, explained, ("explain",)).status == "FINISHED"
    prune(PruneSettings(run_id, every=100), home)
    assert weights(home, run_id) != every


def test_what_is_being_pruned_is_not_read(copy: Home, trained: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PRUNING_WAIT", 0.1)
    with locks.pruning(copy, trained.run_id), pytest.raises(InputError, match="is being pruned by process"):
        explain(ExplainSettings(count=2), copy)


def stopped_before(epoch: int, home: Home, run_id: str) -> str:
    """ID of an explainer run of epochs 1, 2 and 3 that was stopped before one of them."""
    whole = attribution.explain_epoch

    def stopped(job: Job, run: runs.Run, number: int) -> None:
        if number == epoch:
            raise KeyboardInterrupt
        whole(job, run, number)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attribution, "explain_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            explain(ExplainSettings(run_id, epochs="1,2,3", count=2), home)
    return resolve(home, "latest", ("explain",)).run_id


def test_an_explainer_goes_on_without_what_it_has_explained(
    copy: Home, trained: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was pruned since it was stopped, it needs only the epochs that were still to come."""
    home, run_id = copy, trained.run_id
    early, late = (stopped_before(epoch, home, run_id) for epoch in (2, 3))
    monkeypatch.setattr("pipelines.home.prune._choose_kept_epochs", lambda *_: {0, 3})
    assert prune(PruneSettings(run_id), home) == "0,3"
    assert resume(ResumeSettings(late), home) == late
    with connect(home) as connection:
        sql = "select list(distinct epoch order by epoch) from attributions where run_id = ?"
        assert [connection.execute(sql, [run]).fetchall() for run in (early, late)] == [[([1],)], [([1, 2, 3],)]]
    with pytest.raises(InputError) as error:
        resume(ResumeSettings(early), home)
    assert str(error.value) == (
        f"run {early[:8]} cannot be resumed: it still needs the checkpoints of epochs 2, which were pruned; explain "
        f"those that are kept: study explain {run_id[:8]} --method saliency --epochs 0,3"
    )


def test_a_run_that_is_not_finished_is_left_alone(copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home, run_id = copy, resolve(copy, "latest").run_id
    unfinished = replace(resolve(home, run_id), status="RUNNING")
    monkeypatch.setattr("pipelines.home.prune.catalogue.resolve", lambda *_: unfinished)
    with pytest.raises(InputError, match="is RUNNING; `study resume` it first"):
        prune(PruneSettings(run_id), home)
