"""Pruning: space back, what was learned stays, and what is gone is named."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY

from pipelines.explain import explain
from pipelines.prune import prune
from pipelines.rerun import rerun
from pipelines.settings import ExplainSettings, PruneSettings, RerunSettings
from pipelines.train import train
from tracking import commits
from tracking.catalogue import resolve
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


def test_keeps_every_second_best_and_last_and_all_predictions(home: Home, capsys) -> None:
    run_id = train(TINY, home)
    best = max(commits.epochs(home, run_id), key=lambda commit: commit.metrics["val_accuracy"]).epoch
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


def test_what_is_gone_is_named(home: Home) -> None:
    run_id = train(replace(TINY, epochs=2), home)
    [made] = explain(ExplainSettings(epochs="1", count=2), home)
    prune(PruneSettings(run_id, every=2), home)
    if 1 in {commit.epoch for commit in commits.stored(home, run_id)}:
        pytest.skip("epoch 1 was the best")
    with pytest.raises(InputError, match="the checkpoint of epoch 1 was pruned; there are those of 0, 2"):
        explain(ExplainSettings(epochs="1", count=2), home)
    with pytest.raises(InputError, match="the checkpoint of epoch 1 was pruned"):
        rerun(RerunSettings(made), home)


def test_a_stop_before_deleting_is_caught_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = train(replace(TINY, epochs=2), home)

    unlink = Path.unlink

    def stop(path: Path, **known: bool) -> None:
        if path.suffix == ".safetensors":
            raise KeyboardInterrupt
        unlink(path, **known)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", stop)
        with pytest.raises(KeyboardInterrupt):
            prune(PruneSettings(run_id, every=100), home)
    assert len(weights(home, run_id)) == 3 > len(commits.stored(home, run_id))
    prune(PruneSettings(run_id, every=100), home)
    assert len(weights(home, run_id)) == len(commits.stored(home, run_id)) < 3


def test_a_run_that_is_not_finished_is_left_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = train(replace(TINY, epochs=1), home)
    unfinished = replace(resolve(home, run_id), status="RUNNING")
    monkeypatch.setattr("pipelines.prune.catalogue.resolve", lambda *_: unfinished)
    with pytest.raises(InputError, match="is RUNNING; `study resume` it first"):
        prune(PruneSettings(run_id), home)
