"""Rerunning: the same numbers from a run's own record, and a clear word where they are not."""

from dataclasses import replace

import pytest
from conftest import TINY, fresh

from pipelines import train as training
from pipelines.compare import compare
from pipelines.explain import explain
from pipelines.report import report
from pipelines.rerun import check, rerun
from pipelines.settings import CompareSettings, ExplainSettings, ReportSettings, RerunSettings
from pipelines.train import train
from tracking.catalogue import resolve
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.reading import connect


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty_tracker) -> Home:
    """A home with a training run of one epoch, maps, concepts, a comparison and a report."""
    home = fresh(tmp_path_factory.mktemp("rerun"), empty_tracker)
    run = train(replace(TINY, epochs=1, name="first"), home)
    wrong = "predicted <> label and instance_id < 40"
    explain(ExplainSettings(run=run, method=("expected_gradients",), samples=3, where=wrong), home)
    explain(ExplainSettings(run=run, method=("ice",), concepts=2, count=60, layer="network.features.2"), home)
    compare(CompareSettings(run=run, randomized=2), home)
    report(ReportSettings(run=run), home)
    return home


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("first", "of predictions"),
        ("expected_gradients-first", "of maps"),
        ("ice-first", "of concepts, 120 of concept_scores, 20 of tcav_scores"),
        ("compare-first", "of attribution_scores"),
        ("report-first", "nothing to check"),
    ],
)
def test_every_kind_of_run_comes_out_the_same(home: Home, capsys, name: str, said: str) -> None:
    [old] = [resolve(home, name, ("train", "explain", "compare", "report"))]
    made = rerun(RerunSettings(name, check=True), home)
    assert made != old.run_id
    assert resolve(home, made, (old.kind,)).source_run_id == old.source_run_id
    assert said in capsys.readouterr().err


def test_a_rerun_explains_the_instances_of_its_record(home: Home) -> None:
    """Whatever --where or --count would choose today."""
    old = resolve(home, "expected_gradients-first", ("explain",))
    made = rerun(RerunSettings(old.run_id), home)
    with connect(home) as connection:
        sql = "select list(instance_id order by instance_id) from attributions where run_id = ?"
        [one, other] = [connection.execute(sql, [run_id]).fetchall() for run_id in (old.run_id, made)]
    assert one == other != [(None,)]


def test_a_difference_is_measured_and_fails(home: Home) -> None:
    first = resolve(home, "first")
    other = resolve(home, train(replace(TINY, epochs=1, seed=1), home))
    with pytest.raises(RunError, match=rf"differs from {first.run_id[:8]} in [\d,]+ of [\d,]+ rows of predictions"):
        check(first, other, home)


def test_other_data_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    load_data = training.load_data
    monkeypatch.setattr(training, "load_data", lambda known, home, digest: load_data(known, home, "0" * 64))
    with pytest.raises(InputError, match=r"has digest \w+, the run was made with 000000000000; name the original"):
        rerun(RerunSettings("first"), home)
