"""Rerunning: the same numbers from a run's own record, and a clear word where they are not."""

from dataclasses import replace

import pytest
from PIL import Image

from pipelines import rerunning
from pipelines.cli import main
from pipelines.common.settings import CompareSettings, ExplainSettings, PredictSettings, ReportSettings, RerunSettings
from pipelines.comparing.compare import compare
from pipelines.explaining.explain import explain
from pipelines.predicting.predict import predict
from pipelines.reporting.report import report
from pipelines.rerunning import TableDifference, check, rerun
from pipelines.training import train as training
from pipelines.training.train import train
from support.homes import TINY, fresh
from tracking.catalogue import resolve
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.reading import connect


@pytest.fixture(scope="module")
def home(tmp_path_factory, empty_tracker) -> Home:
    """A home with a training run of one epoch, an image added to it, maps, concepts, a comparison and a report."""
    folder = tmp_path_factory.mktemp("rerun")
    home = fresh(folder, empty_tracker)
    run = train(replace(TINY, epochs=1, name="first"), home)
    Image.new("L", (8, 8)).save(folder / "new.png")
    predict(PredictSettings(run=run, images=(str(folder / "new.png"),)), home)
    wrong = "predicted <> label and instance_id < 40"
    explain(ExplainSettings(run=run, method=("expected_gradients",), samples=3, where=wrong), home)
    explain(ExplainSettings(run=run, method=("ice",), concepts=2, count=60, layer="network.features.2"), home)
    compare(CompareSettings(run=run, randomization_count=2), home)
    report(ReportSettings(run=run), home)
    return home


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("first", "of predictions"),
        ("expected_gradients", "of maps"),
        ("ice", "of concepts, 120 of concept_scores, 20 of tcav_scores"),
        ("compare", "of attribution_scores, 36 of map_clusters"),
        ("report", "nothing to check"),
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
    old = resolve(home, "expected_gradients", ("explain",))
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


def test_a_difference_of_maps_is_measured(home: Home, capsys) -> None:
    settings = ExplainSettings(run="first", method=("smooth_grad",), samples=3, instances="0,1,2")
    one, other, more = [
        resolve(home, explain(given, home)[0], ("explain",))
        for given in (settings, replace(settings, seed=1), replace(settings, instances="1,2,3,4"))
    ]
    check(one, one, home)
    assert f"identical to run {one.run_id[:8]}: 3 of maps" in capsys.readouterr().err
    same = "both ran on the same processor, versions and threads"
    with pytest.raises(RunError, match=rf"in 3 of 3 rows of maps by at most [\de.-]+; {same}$"):
        check(one, other, home)
    with pytest.raises(RunError, match=rf"differs from {one.run_id[:8]} in 3 rows of maps in one run only; {same}$"):
        check(one, more, home)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (TableDifference(1000, 0, 0, 0), ""),
        (TableDifference(1000, 12, 0, 1.19e-7), "12 of 1,000 rows of maps by at most 1.2e-07"),
        (TableDifference(1000, 12, 3, 1), "12 of 1,000 rows of maps by at most 1, 3 rows of maps in one run only"),
        (TableDifference(0, 0, 3000, 0), "3,000 rows of maps in one run only"),
        (TableDifference(2, 2, 0, 0), "2 of 2 rows of maps"),
        (TableDifference(2, 1, 0, float("nan")), "1 of 2 rows of maps by at most nan"),
    ],
)
def test_differences_are_described(rows: TableDifference, said: str) -> None:
    assert rows.describe("maps") == said


def test_rows_are_added_up_over_epochs() -> None:
    row = {"n": 5, "n_different": 2, "only_here": 1, "only_other": 0, "max_difference": 0.25}
    other = {"n": 5, "n_different": 1, "only_here": 0, "only_other": 2, "max_difference": 0.5}
    nothing = dict.fromkeys(row, 0) | {"max_difference": None}
    assert TableDifference.combine([row, other, nothing]) == TableDifference(10, 3, 3, 0.5)
    assert str(TableDifference.combine([row | {"max_difference": float("nan")}, other]).max_difference) == "nan"


def test_a_table_that_the_earlier_run_lacks_is_named_and_not_compared(home: Home, capsys, monkeypatch) -> None:
    first = resolve(home, "first")
    row = {"n": 0, "n_different": 0, "only_here": 3, "only_other": 0, "max_difference": None}
    found = {"predictions": TableDifference(5, 0, 0, 0), "map_clusters": TableDifference.combine([row, row])}
    monkeypatch.setattr(rerunning, "_compare_tables", lambda *_: found)
    check(first, first, home)
    said = capsys.readouterr().err
    assert "identical to run" in said
    assert f"run {first.run_id[:8]} has no rows of map_clusters to compare" in said
    found["map_clusters"] = TableDifference.combine([row, row | {"only_here": 0, "only_other": 1}])
    with pytest.raises(RunError, match="4 rows of map_clusters in one run only"):
        check(first, first, home)
    found.clear()
    found["map_clusters"] = TableDifference.combine([row])
    with pytest.raises(RunError, match="have nothing to compare"):
        check(first, first, home)


def test_nothing_compared_is_not_identical(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve(home, "first")
    monkeypatch.setattr(rerunning, "_compare_tables", lambda *_: {})
    with pytest.raises(RunError, match="have nothing to compare"):
        check(first, first, home)


def ask_difference(home: Home, capsys, *runs: str) -> tuple[int, str]:
    flags = [part for name, run in zip(("--run-id", "--other-run-id"), runs, strict=True) for part in (name, run)]
    code = main(["ask", "run_difference", *flags, "--home", str(home.path), "--format", "csv"])
    out, err = capsys.readouterr()
    return code, out + err


@pytest.mark.parametrize("name", ["first", "expected_gradients", "ice", "compare"])
def test_any_run_is_compared_with_one_of_its_kind(home: Home, capsys, name: str) -> None:
    code, said = ask_difference(home, capsys, name, name)
    assert (code, said.count("\n") > 1) == (0, True)


def test_two_runs_of_different_kinds_are_refused(home: Home, capsys) -> None:
    one, other = resolve(home, "first"), resolve(home, "ice", ("explain",))
    code, said = ask_difference(home, capsys, one.run_id, other.run_id)
    kinds = f"run {one.run_id[:8]} is of kind train, run {other.run_id[:8]} of kind explain; give two of one kind"
    assert (code, said.strip().count("\n"), kinds in said) == (2, 0, True)
    code, said = ask_difference(home, capsys, "report", "report")
    assert (code, "is of kind report" in said) == (2, True)


def test_latest_is_the_newest_training_also_of_two_runs(home: Home, capsys) -> None:
    code, said = ask_difference(home, capsys, "latest", "ice")
    assert (code, f"run {resolve(home, 'latest').run_id[:8]} is of kind train" in said) == (2, True)


def test_other_data_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    load_data = training.load_data
    monkeypatch.setattr(
        training, "load_data", lambda known, home, run: load_data(known, home, replace(run, data_digest="0" * 64))
    )
    with pytest.raises(InputError, match=r"has digest \w+, the run was made with 000000000000; name the original"):
        rerun(RerunSettings("first"), home)
