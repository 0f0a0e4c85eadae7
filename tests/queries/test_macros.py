"""The macros over the tables: each has a name, a comment and a definition that plain Python agrees with."""

import itertools
import math
import re
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom, binomtest, fisher_exact, hypergeom, norm, rankdata, spearmanr, t

import queries
from pipelines.asking.sql_process import executed
from pipelines.common.splits import stored_split
from support import tables as data
from support.homes import commit_epoch, drop_macros, start
from support.places import ROOT
from tracking import tables
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import _open_files, connect
from tracking.tables import MACROS, holds_macros

DEFINED = re.findall(r"^create or replace macro (\w+)\(", MACROS, re.MULTILINE)


@pytest.fixture
def tiny() -> duckdb.DuckDBPyConnection:
    connection = data.empty()
    data.add_tiny(connection)
    return connection


def answer(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple]:
    return connection.execute(sql).fetchall()


# --- the file


def test_every_macro_has_a_comment_and_a_test() -> None:
    assert len(DEFINED) == len(set(DEFINED)) == MACROS.count("create ")
    blocks = MACROS.split("\n\n")[1:]
    undocumented = [block for block in blocks if not block.startswith("-- ") and "wilson_half" not in block]
    assert undocumented == []
    tested = Path(__file__).read_text()
    assert [name for name in DEFINED if f"{name}(" not in tested] == []


def test_the_readme_lists_every_macro() -> None:
    readme = (ROOT / "queries" / "README.md").read_text()
    assert [name for name in DEFINED if f"`{name}" not in readme and f" {name}(" not in readme] == []
    assert set(re.findall(r"(?:`|from )(\w+)\(", readme)) <= set(DEFINED)


def test_macros_are_lower_case_and_their_parameters_hide_no_column() -> None:
    statements = re.sub(r"--.*|'[^']*'", "", MACROS)
    assert statements == statements.lower()
    named = {name for table in tables.columns().values() for name in table}
    parameters = re.findall(r"^create or replace macro \w+\(([^)]*)\)", MACROS, re.MULTILINE)
    assert named.isdisjoint({name.strip() for names in parameters for name in names.split(",")})


# --- where they are


ASKED = "select count(*) from labelled_predictions('{}', 'test')"


@pytest.fixture
def remembered(home: Home) -> tuple[Home, str]:
    """A home with one epoch, and SQL that uses a macro."""
    run = start(home)
    commit_epoch(run, 0, 5)
    assert ingest(home)
    return home, ASKED.format(run.run_id)


def test_another_program_that_opens_the_index_has_them(remembered: tuple[Home, str]) -> None:
    home, sql = remembered
    with duckdb.connect(str(home.database), read_only=True) as connection:
        assert answer(connection, sql) == [(5,)]


def test_an_index_of_an_earlier_version_gets_them_when_it_is_read(remembered: tuple[Home, str], caplog) -> None:
    home, sql = remembered
    drop_macros(home)
    with connect(home) as connection, executed(connection, sql) as result:
        assert result.fetchall() == [(5,)]
    with duckdb.connect(str(home.database), read_only=True) as connection:
        assert holds_macros(connection)
    assert caplog.messages == []


def test_macros_of_another_version_are_replaced(remembered: tuple[Home, str], monkeypatch: pytest.MonkeyPatch) -> None:
    home, sql = remembered
    changed = MACROS.replace("and label is not null;", "and label is null;", 1)
    assert changed != MACROS
    with monkeypatch.context() as other:
        other.setattr(tables, "MACROS", changed)
        other.setattr(tables, "MACROS_VERSION", "of another version")
        with connect(home) as connection:
            assert answer(connection, sql) == [(0,)]
    with connect(home) as connection:
        assert answer(connection, sql) == [(5,)]


def test_an_index_that_another_program_reads_has_them_for_the_question_alone(remembered: tuple[Home, str]) -> None:
    home, sql = remembered
    drop_macros(home)
    with duckdb.connect(str(home.database), read_only=True) as reader:
        with connect(home) as connection:
            assert answer(connection, sql) == [(5,)]
        assert not holds_macros(reader)


def test_the_runs_files_alone_have_them(remembered: tuple[Home, str]) -> None:
    home, sql = remembered
    with _open_files(home) as connection:
        assert answer(connection, sql) == [(5,)]


# --- what they say


def test_class_names(tiny) -> None:
    assert answer(tiny, "from class_names('tiny') order by class_id") == list(enumerate(data.CLASSES))
    assert answer(tiny, "from class_names('other')") == []


def test_image_key() -> None:
    assert answer(data.empty(), "select image_key('ab', 'run', 'test', 3)") == [("ab",)]
    assert answer(data.empty(), "select image_key(null, 'run', 'test', 3)") == [("run test 3",)]


CURRENT = "select split, instance_id, verdict, new_label, who, given_in from current_verdicts('{}') order by all"


def test_current_verdicts(tiny) -> None:
    """The latest of each person, whatever run it was given on, by pixels and the label's name."""
    data.add_run(tiny, "other")
    data.add_classes(tiny, "other", ["dog", "cat"])  # other IDs
    sources = [("train", 0, 1, "a", "00"), ("train", 1, 0, "a", "01"), ("val", 0, 0, "b", "02")]
    rows = [dict(zip(("split", "instance_id", "label", "source", "content"), row, strict=True)) for row in sources]
    data.insert(tiny, "instances", [row | {"run_id": "other", "content": row["content"].zfill(16)} for row in rows])
    data.add_verdict(tiny, "tiny", 0, "label_wrong", "anna", new_label=1)
    data.add_verdict(tiny, "tiny", 0, "unclear", "ben")
    data.add_verdict(tiny, "tiny", 1, "label_ok", "anna")  # a cat here, a dog there: not the same label
    data.add_verdict(tiny, "tiny", 5, "not_usable", "anna")  # without a label
    assert answer(tiny, CURRENT.format("other")) == [
        ("train", 0, "label_wrong", 0, "anna", "tiny"),
        ("train", 0, "unclear", None, "ben", "tiny"),
    ]
    data.add_verdict(tiny, "other", 0, "label_ok", "anna", "train", given_at="2026-02-01")
    data.add_verdict(tiny, "other", 0, "withdrawn", "ben", "train", given_at="2026-02-01")
    for run, split in (("tiny", "test"), ("other", "train")):
        found = [row for row in answer(tiny, CURRENT.format(run)) if row[1] == 0]
        assert found == [(split, 0, "label_ok", None, "anna", "other")]


def test_verdicts_on_copies_of_an_image(tiny) -> None:
    """A verdict on one of two copies says nothing of the other, unless the judged one is not there."""
    tiny.execute("update instances set content = 'same', label = 0 where instance_id in (0, 1)")
    data.add_verdict(tiny, "tiny", 1, "not_usable", "anna")
    assert [row[1] for row in answer(tiny, CURRENT.format("tiny"))] == [1]
    images = "select 'train' as split, 7 as instance_id, 'moved' as source, 'same' as image_key, 'cat' as label_name"
    sql = f"with images as ({images}) select instance_id, verdict from verdicts_on('images')"
    assert answer(tiny, sql) == [(7, "not_usable")]


def test_images_without_known_pixels_are_those_of_their_run_alone(tiny) -> None:
    tiny.execute("update instances set content = null")
    data.add_run(tiny, "other")
    data.add_classes(tiny, "other", data.CLASSES)
    data.add_instances(tiny, "other", "test", [0])
    tiny.execute("update instances set content = null")
    data.add_verdict(tiny, "tiny", 0, "label_ok", "anna")
    assert len(answer(tiny, CURRENT.format("tiny"))) == 1
    assert answer(tiny, CURRENT.format("other")) == []


GIVEN = [  # by image: verdict and new class by person; what they say together, the class, whether it is rejected
    ([("label_ok", None)], "label_ok", None, False),
    ([("label_wrong", 1), ("label_wrong", 1)], "label_wrong", "dog", True),
    ([("label_wrong", 2), ("label_wrong", 3)], "label_wrong", None, True),
    ([("label_wrong", 2), ("label_wrong", None)], "label_wrong", None, True),
    ([("label_wrong", 2), ("not_usable", None)], "disputed", None, True),
    ([("label_wrong", 2), ("unclear", None)], "disputed", None, False),
]


def test_judged_images_and_joint_verdicts(tiny) -> None:
    for instance_id, (said, *_) in enumerate(GIVEN):
        for place, (verdict, new_label) in enumerate(said):
            data.add_verdict(tiny, "tiny", instance_id, verdict, f"person {place}", new_label=new_label)
    sql = "select verdict, new_label_name, is_rejected from judged_images('tiny') order by instance_id"
    assert answer(tiny, sql) == [tuple(together) for _, *together in GIVEN]
    alone = "with given as (from current_verdicts('tiny')) from joint_verdicts('given') order by all"
    assert answer(tiny, alone) == answer(tiny, "from judged_images('tiny') order by all")


def test_labelled_predictions(tiny) -> None:
    sql = "select distinct instance_id from labelled_predictions('tiny', 'test') order by 1"
    assert answer(tiny, sql) == [(i,) for i, (label, *_) in enumerate(data.TINY) if label is not None]
    assert answer(tiny, "select count(*) from labelled_predictions('tiny', 'val')") == [(0,)]


def test_labelled_predictions_at(tiny) -> None:
    sql = "select distinct epoch from labelled_predictions_at('tiny', 'test', {})"
    assert answer(tiny, sql.format("null")) == [(4,)]
    assert answer(tiny, sql.format(1)) == [(1,)]
    assert answer(tiny, sql.format(9)) == []


def test_other_comes_behind_the_classes(tiny) -> None:
    sql = "from class_names_with_other('tiny') order by class_id"
    assert answer(tiny, sql) == [*enumerate(data.CLASSES), (len(data.CLASSES), "Other")]


def test_outcomes_are_by_hand(tiny) -> None:
    cases = {"1, 1, 1": "kept", "1, 2, 1": "fixed", "1, 1, 2": "broken", "1, 2, 3": "rerouted", "1, 2, 2": "stuck"}
    for values, outcome in (cases | {"null, 1, 1": None}).items():
        assert answer(tiny, f"select outcome_of({values})") == [(outcome,)]


def test_moves(tiny) -> None:
    sql = "select epoch, next_epoch, predicted, next_predicted from moves('tiny', 'test') where instance_id = 2"
    assert sorted(answer(tiny, sql)) == [(0, 1, 0, 2), (1, 3, 2, 2), (3, 4, 2, 1)]
    assert answer(tiny, "select count(*) from moves('tiny', 'test')") == [(3 * len(data.TINY),)]


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 7), (3, 7), (20, 20), (1, 10**6)])
def test_wilson(tiny, right: int, n: int) -> None:
    z, p = 1.96, right / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    ends = "wilson_low(p, n), wilson_high(p, n), wilson_centre(p, n) - wilson_half(p, n)"
    [(low, high, unbounded)] = answer(tiny, f"select {ends} from (select {right} / {n} as p, {n} as n)")
    assert low == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-11)
    assert high == pytest.approx(min(1, (centre + half) / (1 + z * z / n)), abs=1e-12)
    assert unbounded == pytest.approx(low, abs=1e-11)
    assert low == 0 if right == 0 else low > 0


def test_wilson_of_nothing_is_null(tiny) -> None:
    assert answer(tiny, "select wilson_low(null, 0), wilson_high(0.5, 0)") == [(None, None)]


def test_explainer_runs(tiny) -> None:
    data.add_run(tiny, "explaining", kind="explain", source="tiny")
    data.add_run(tiny, "failed", kind="explain", source="tiny", status="FAILED")
    data.add_run(tiny, "comparing", kind="compare", source="tiny")
    data.add_run(tiny, "elsewhere", kind="explain", source="other")
    assert answer(tiny, "from explainer_runs('tiny') order by all") == [("explaining",), ("failed",)]


def test_probabilities_of(tiny) -> None:
    of_all, of_top = "[0.1, 0.6, 0.3]::real[], null, null", "null, [1, 2], [0.6, 0.3]::real[]"
    for columns, expected in ((of_all, [0.3, 0.1, 0.6]), (of_top, [0.3, None, 0.6]), ("null, null, null", [None] * 3)):
        [(found,)] = answer(tiny, f"select probabilities_of([2, 0, 1], {columns})")
        assert found == [None if value is None else pytest.approx(value) for value in expected]


@pytest.mark.parametrize("table", ["maps", "attributions"])
def test_newest_of(tiny, table: str) -> None:
    """Started last, then the higher run ID, then the lower class; a run that is not in the table comes last."""
    started = {"early": "2026-01-02", "late": "2026-01-03", "later id": "2026-01-03"}
    for run_id, started_at in started.items():
        data.add_run(tiny, run_id, started_at, "explain", source="tiny")
    data.add_run(tiny, "comparing", "2026-01-04", "compare", source="tiny")
    even = np.ones((8, 8))
    for instance_id, makers in enumerate((["late", "early"], ["late", "later id"], ["unknown", "early"], ["unknown"])):
        for maker in makers:
            data.add_map(tiny, maker, even, instance_id=instance_id)
    data.add_map(tiny, "early", even, instance_id=4, target=2, target_kind="class")
    data.add_map(tiny, "early", even, instance_id=4, target=1, target_kind="class")
    data.add_map(tiny, "late", even, instance_id=0, epoch=3, split="val")
    data.add_map(tiny, "comparing", even, method="random")
    sql = f"select instance_id, method, run_id, target from newest_of('{table}', 'tiny', 'test', '{{}}') order by all"
    assert answer(tiny, sql.format("predicted")) == [
        (0, "random", "comparing", 0),
        (0, "saliency", "late", 0),
        (1, "saliency", "later id", 0),
        (2, "saliency", "early", 0),
        (3, "saliency", "unknown", 0),
    ]
    assert answer(tiny, sql.format("class")) == [(4, "saliency", "early", 1)]


@pytest.mark.parametrize("table", ["maps", "attributions"])
def test_sampled_maps(tiny, table: str) -> None:
    """Of a random sample alone, whichever run made the newest map; of a method without a sample all that there are."""
    for run_id, started_at in {"sampling": "2026-01-02", "choosing": "2026-01-03"}.items():
        data.add_run(tiny, run_id, started_at, "explain", source="tiny")
    even = np.ones((8, 8))
    data.add_map(tiny, "sampling", even, instance_id=0, sampled=True)
    data.add_map(tiny, "sampling", even, instance_id=1, sampled=None)  # of an earlier version
    data.add_map(tiny, "choosing", even, instance_id=1, sampled=False)
    data.add_map(tiny, "choosing", even, instance_id=2, sampled=False)
    data.add_map(tiny, "choosing", even, instance_id=2, sampled=False, epoch=3)
    data.add_map(tiny, "choosing", even, instance_id=2, sampled=False, method="occlusion")
    columns = "epoch, method, instance_id, run_id"
    sql = f"select {columns} from sampled_maps('{table}', 'tiny', 'test', 'predicted') order by all"
    assert answer(tiny, sql) == [
        (3, "saliency", 2, "choosing"),
        (4, "occlusion", 2, "choosing"),
        (4, "saliency", 0, "sampling"),
        (4, "saliency", 1, "choosing"),
    ]


NUMBERS = [[3.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0], [0.5, 0.25, 0.5, 7.0, 0.25, 0.5], [2.0], []]


@pytest.mark.parametrize("numbers", NUMBERS)
def test_centred_ranks(tiny, numbers: list[float]) -> None:
    expected = rankdata(numbers) - (len(numbers) + 1) / 2
    assert tiny.execute("select centred_ranks($1::float[])", [numbers]).fetchone() == (expected.tolist(),)


def test_centred_ranks_of_what_is_no_number(tiny) -> None:
    """NaN is the largest number, as DuckDB orders it."""
    assert answer(tiny, "select centred_ranks(['nan', '1', 'nan']::float[])") == [([0.5, -1, 0.5],)]


def test_rank_correlation(tiny) -> None:
    one, other = [0.3, 0.1, 0.1, 2.0, 5.0], [1.0, 0.0, 3.0, 3.0, 2.0]
    sql = "select rank_correlation(centred_ranks($1::float[]), centred_ranks($2::float[]))"
    assert tiny.execute(sql, [one, other]).fetchone()[0] == pytest.approx(spearmanr(one, other).statistic)
    assert tiny.execute(sql, [one, [1.0] * 5]).fetchone() == (None,)


def test_explanation_histories(tiny) -> None:
    up, down = np.arange(64.0).reshape(8, 8), np.arange(64.0)[::-1].reshape(8, 8)
    for epoch, values in ((1, down), (3, up), (4, 2 * up)):
        data.add_map(tiny, "explained", values, instance_id=2, epoch=epoch)
    data.add_map(tiny, "explained", up, instance_id=3)  # at one epoch alone
    for epoch, values in ((3, up), (4, np.ones((8, 8)))):
        data.add_map(tiny, "explained", values, instance_id=1, epoch=epoch)
    sql = """
        select instance_id, epoch, to_previous, to_last, is_settled, predicted, last_predicted, is_predicted
        from explanation_histories('tiny', 'test', 'predicted', 0.8) order by all"""
    assert answer(tiny, sql) == [
        (1, 3, None, None, None, 1, 0, False),  # the last map is even
        (1, 4, None, None, None, 0, 0, True),
        (2, 1, None, -1, False, 2, 1, False),
        (2, 3, -1, 1, True, 2, 1, False),
        (2, 4, 1, 1, True, 1, 1, True),
    ]


def test_comparison_scores(tiny) -> None:
    data.add_run(tiny, "old", "2026-01-02", "compare", source="tiny")
    data.add_run(tiny, "new", "2026-01-03", "compare", source="tiny")
    data.add_run(tiny, "stopped", "2026-01-04", "compare", source="tiny", status="FAILED")
    for run_id in ("old", "new", "stopped"):
        data.add_scores(tiny, run_id, "shap", "insertion", [0.5])
    sql = "select run_id from comparison_scores('{}', {})"
    assert answer(tiny, sql.format("tiny", "null")) == [("new",)]
    assert answer(tiny, sql.format("tiny", "'stopped'")) == [("stopped",)]
    assert answer(tiny, sql.format("other", "'old'")) == []
    ranks = "select run_id from ranked_comparisons('{}') order by place"
    assert answer(tiny, ranks.format("tiny")) == [("new",), ("old",), ("stopped",)]
    assert answer(tiny, ranks.format("other")) == []
    tiny.execute("update runs set status = 'RUNNING' where kind = 'compare'")
    assert answer(tiny, sql.format("tiny", "null")) == [("stopped",)]


def test_shortcut_comparison(tiny) -> None:
    """The newest finished comparison that pasted patches, however new those without are."""
    trial = {
        "source_run_id": "tiny", "epoch": 1, "class_id": 0, "split": "val", "instance_id": 0, "donor_id": 0,
        "donor_class": 0, "patch_top": 0, "patch_left": 0, "patch_side": 1, "predicted_before": 0, "predicted_after": 0,
    }  # fmt: skip
    sql = "select run_id from shortcut_comparison('tiny')"
    assert answer(tiny, sql) == []
    for day, run_id, kind in (
        (2, "old", "pasted"),
        (3, "new", "pasted"),
        (4, "covering", "covered"),
        (5, "none", None),
    ):
        data.add_run(tiny, run_id, f"2026-01-0{day}", "compare", source="tiny")
        if kind:
            data.insert(tiny, "patch_trials", [trial | {"run_id": run_id, "trial": kind}])
    assert answer(tiny, sql) == [("new",)]
    assert answer(tiny, "select run_id from shortcut_comparison('other')") == []


def test_better_direction(tiny) -> None:
    metrics = {"insertion": "higher", "road_lerf_0.2": "higher", "randomized/conv": "lower", "share_object": None}
    found = {metric: answer(tiny, f"select better_direction('{metric}')")[0][0] for metric in metrics}
    assert found == metrics


def test_least_value(tiny) -> None:
    metrics = {"insertion": 0, "road_morf_30": 0, "road_gap": -1, "randomized/conv": -1, "epoch_0_signed": -1}
    assert {metric: answer(tiny, f"select least_value('{metric}')")[0][0] for metric in metrics} == metrics


@pytest.mark.parametrize(
    ("k", "n", "p"),
    [(0, 1, 0.5), (3, 10, 0.3), (10, 10, 1), (9, 10, 1), (0, 5, 0), (990, 1000, 0.999), (4810, 10_000, 0.5)],
)
def test_binomial(tiny, k: int, n: int, p: float) -> None:
    sql = f"select binomial_two_sided({k}, {n}, {p}), binomial({k}, {n}, {p}), ln_choose({n}, {k})"
    [(chance, exactly, ways)] = answer(tiny, sql)
    assert chance == pytest.approx(min(1, 2 * binom.cdf(k, n, p), 2 * binom.sf(k - 1, n, p)), rel=1e-8, abs=1e-200)
    assert exactly == pytest.approx(binom.pmf(k, n, p), rel=1e-8, abs=1e-200)
    assert ways == pytest.approx(math.log(math.comb(n, k)), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(
    ("k", "drawn", "marked", "total"),
    [(0, 1, 0, 5), (3, 10, 20, 100), (10, 10, 10, 10), (0, 10, 3, 13), (150, 1000, 1300, 10_000)],
)
def test_hypergeometric_two_sided(tiny, k: int, drawn: int, marked: int, total: int) -> None:
    [(chance,)] = answer(tiny, f"select hypergeometric_two_sided({k}, {drawn}, {marked}, {total})")
    known = hypergeom(total, marked, drawn)
    assert chance == pytest.approx(min(1, 2 * known.cdf(k), 2 * known.sf(k - 1)), rel=1e-8)


@pytest.mark.parametrize("p", [1e-8, 0.001, 0.0243, 0.3, 0.5, 0.9, 0.97575, 1 - 1e-6])
def test_normal_quantile(tiny, p: float) -> None:
    assert answer(tiny, f"select normal_quantile({p}::double)")[0][0] == pytest.approx(norm.ppf(p), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 7.5, 19, 31, 499, 10**6])
def test_t_quantile(tiny, df: float) -> None:
    for p in (1e-6, 0.005, 0.025, 0.2, 0.5, 0.6, 0.975, 0.9995):
        [(found, beyond)] = answer(
            tiny, f"select t_quantile({p}::double, {df}), t_two_sided({2 * min(p, 1 - p)}::double, {df})"
        )
        assert found == pytest.approx(t.ppf(p, df), rel=1e-5, abs=1e-12)
        assert p == 0.5 or beyond == pytest.approx(abs(found))


@pytest.mark.parametrize("df", [1, 2, 3, 4, 9, 32, 999, 1000, 10**6])
def test_t_tails(tiny, df: int) -> None:
    for statistic in (0, 0.1, -1, 2.5, 40):
        [(found,)] = answer(tiny, f"select t_tails({statistic}, {df})")
        assert found == pytest.approx(2 * t.sf(abs(statistic), min(df, 1000)), abs=1e-12)


DRAWS = {
    "normal": (lambda draw, shape: draw.normal(0.5, 0.1, shape), 0.5),
    "skewed": (lambda draw, shape: draw.beta(0.2, 2, shape), 1 / 11),
    "two values": (lambda draw, shape: draw.binomial(1, 0.05, shape), 0.05),
    "mostly equal": (lambda draw, shape: np.where(draw.random(shape) < 0.95, 0.3, draw.random(shape)), 0.31),
}


@pytest.mark.parametrize("level", [0.05, 0.01])
@pytest.mark.parametrize("kind", DRAWS)
def test_mean_low_and_mean_high_hold_their_level(tiny, kind: str, level: float) -> None:
    draw, mean = DRAWS[kind]
    [(n,)] = answer(tiny, "select images_for_interval()")
    for count in (n, 5 * n):
        values = draw(np.random.default_rng(count), (3000, count))
        given = {"average": values.mean(1).tolist(), "deviation": values.std(1, ddof=1).tolist()}
        sql = f"""
            select mean_low(average, deviation, {count}, 0, {level}) > {mean}
                or mean_high(average, deviation, {count}, 1, {level}) < {mean}
            from (select unnest($average) as average, unnest($deviation) as deviation)"""
        missed = np.mean([bool(row[0]) for row in tiny.execute(sql, given).fetchall()])
        assert missed < level + 3 * math.sqrt(level * (1 - level) / 3000)


@pytest.mark.parametrize("level", [0.05, 1e-5])
def test_the_interval_of_equal_numbers_is_not_a_point(tiny, level: float) -> None:
    """Of a share of 1 - (level / 2)^(1/n) of all, n numbers show none with probability level / 2."""
    ends = f"mean_low(1.0, 0.0, {{0}}, 0, {level}), mean_high(1.0, 0.0, {{0}}, 1, {level})"
    sql = f"select {ends}, half_with_end(2.0, 1, 0, {{0}}, 0)"
    [(low, high, half)] = answer(tiny, sql.format(100))
    assert low == pytest.approx((level / 2) ** 0.01, rel=1e-6)
    assert (high, half) == (1, pytest.approx(2 / 101, rel=1e-3))
    assert answer(tiny, sql.format(19))[0][:2] == (None, None)


def test_bounded_low_of_few_numbers(tiny) -> None:
    """Of one, all of the range; of two, what Student's t says, within it."""
    assert answer(tiny, "select bounded_low(0.5, null, 1, -1, 0.05)") == [(-1,)]
    [(low,)] = answer(tiny, "select bounded_low(0.5, 0.01, 2, -100, 0.05)")
    values = np.array([0.5 - 0.01 / math.sqrt(2), 0.5 + 0.01 / math.sqrt(2), -100])
    assert low == pytest.approx(max(values.mean() - t.ppf(0.975, 1) * values.std(ddof=1) / math.sqrt(3), -100))


def test_reach_low_and_reach_high(tiny) -> None:
    sql = "select reach_low($1::double[], -1), reach_high($1::double[], 1)"
    for numbers, reach in (
        ([0.1, 0.2, 0.3], (-0.1, 0.5)),
        ([-0.5, 0.1, 0.5], (-1, 1)),
        ([0.1, 0.1, 0.3], (-1, 1)),  # more than half are equal
        ([0.1, 0.1, 0.3, 0.3], (-0.1, 0.5)),
        ([0.2], (-1, 1)),
    ):
        assert tiny.execute(sql, [numbers]).fetchone() == pytest.approx(reach)


def test_sign_flips(tiny) -> None:
    found = answer(tiny, "select flip, signs from sign_flips([[0, 3], [0, 1, 2, 3]]) where len(places) = 4 order by 1")
    assert len({tuple(signs) for _, signs in found}) == len(found) == 8  # each way once, without mirror images
    both = dict(answer(tiny, "select flip, signs from sign_flips([[0, 3], [0, 1, 2, 3]]) where len(places) = 2"))
    assert all(both[flip] == [signs[0], signs[3]] for flip, signs in found)
    for n in (13, 32, 100):
        sql = f"select signs from sign_flips([range({n})]) order by flip"
        drawn = np.array([signs for (signs,) in answer(tiny, sql)])
        assert drawn.shape == (2048, n)
        assert (drawn[0] == 1).all()
        assert set(np.unique(drawn)) == {-1, 1}
        assert abs(drawn.sum(1).var() / n - 1) < 4 * math.sqrt(2 / 2048)  # signs of different images are unrelated
        assert drawn.tolist() == [signs for (signs,) in answer(tiny, sql)]


def test_sign_flip_tests(tiny) -> None:
    """Of what is 0, of one image, and of differences that speak with one voice; exact tests in the queries' tests."""
    sql = """
        with made as (
            select * from (values (1, range(8), [0, 0, 0, 0, 0, 0, 0, 0]), (2, range(8), [1, 2, 3, 1, 2, 3, 1, 2]),
                (3, range(8), [null, null, 5, null, null, null, null, null])) as made(hypothesis, places, numbers)
        )
        select hypothesis, p_value, p_adjusted from sign_flip_tests('made') order by 1"""
    assert answer(tiny, sql) == [(1, 1, 1), (2, 2 / 256, 2 / 256), (3, 1, 1)]


def test_sign_flip_tests_where_only_some_rows_have_the_first_image(tiny) -> None:
    """[0, 1, 2, ...] and [1, 2, ...] are different images, though DuckDB's hash() is the same for both."""
    sql = """
        with made as (
            select * from (values (1, range(8), [1, 1, 1, 1, 1, 1, 1, 1]), (2, range(1, 8), [1, 1, 1, 1, 1, 1, 1]))
                as made(hypothesis, places, numbers)
        )
        select hypothesis, p_value from sign_flip_tests('made') order by 1"""
    assert answer(tiny, sql) == [(1, 2 / 2**8), (2, 2 / 2**7)]


def test_corrected_by_holm(tiny) -> None:
    """By hand, with ties and a null: the lowest times their number, then each at least the one before."""
    sql = """
        with made as (
            select * from (values ('a', 1e-2), ('b', 4e-2), ('c', 1e-2), ('d', null), ('e', 3e-2), ('f', 9e-1))
                as made(name, p_value)
        )
        select name, p_value, p_adjusted from corrected_by_holm('made') order by name"""
    corrected = {"a": 0.05, "b": 0.09, "c": 0.05, "d": None, "e": 0.09, "f": 0.9}
    assert {name: p and pytest.approx(p) for name, p in corrected.items()} == {
        name: p_adjusted for name, _, p_adjusted in answer(tiny, sql)
    }
    assert answer(tiny, sql.replace("1e-2", "6e-1"))[0][2] == 1


def add_concepts(connection: duckdb.DuckDBPyConnection) -> None:
    row = {"run_id": "ice", "source_run_id": "tiny", "layer": "conv", "concept_key": "k", "vector": [1.0]}
    row |= {"threshold": 0.5, "description": "round", "label": None, "concept_id": 0}
    data.insert(connection, "concepts", [row | {"epoch": 1}, row | {"epoch": 3, "label": "wheels"}])
    score = {"run_id": "ice", "split": "test", "concept_id": 0, "score": 1.0, "present": True}
    scores = [score | {"epoch": epoch, "instance_id": i} for epoch, i in ((1, 0), (1, 1), (3, 4), (3, 5))]
    data.insert(connection, "concept_scores", scores)


def test_concepts_of_epoch(tiny) -> None:
    add_concepts(tiny)
    sql = "select epoch, concept from concepts_of_epoch('tiny', {})"
    assert answer(tiny, sql.format("null")) == [(3, "wheels")]
    assert answer(tiny, sql.format("1")) == [(1, "round")]
    assert answer(tiny, sql.format("2")) == []


def test_scored_classes(tiny) -> None:
    add_concepts(tiny)
    found = answer(tiny, "from scored_classes('tiny') order by all")
    assert found == [("ice", 1, 0), ("ice", 3, 3), ("ice", 3, None)]  # nobody knows what image 5 shows


def test_concept_effects_are_none_of_an_earlier_version(tiny) -> None:
    """Its test compared fractions of signs, which saturate, so what it found beyond chance need not be."""
    cell = {"run_id": "ice", "epoch": 3, "concept_id": 0, "prevalence": 0.5, "tcav_sign": 1.0, "tcav_magnitude": 2.0}
    cell |= {"contribution": 0.25, "p_value": 0.03, "significant": True}
    data.insert(tiny, "tcav_scores", [cell | {"class_id": 0, "alignment": 0.5}])
    data.insert(tiny, "tcav_scores", [cell | {"class_id": 1}])
    found = answer(tiny, "select class_id, tcav_magnitude, significant from concept_effects() order by all")
    assert found == [(0, 2.0, True), (1, 2.0, None)]


def test_rights_and_wrongs(tiny) -> None:
    """A change counts only if both its epochs lie in the range; images may be missing at an epoch."""
    for first, final in ((1, 4), (0, 3), (3, 4)):
        rows = answer(
            tiny,
            f"""
            select epoch, instance_id, label, ok, ok_before, predicted, row_number() over history
            from rights_and_wrongs('tiny', 'test', {first}, {final})
            join predictions using (epoch, instance_id, label)
            where run_id = 'tiny' and split = 'test'
            window history as (partition by instance_id order by epoch)
            order by instance_id, epoch""",
        )
        before: dict[int, bool] = {}
        for epoch, image, label, ok, ok_before, predicted, number in rows:
            assert first <= epoch <= final
            assert ok == (predicted == label)
            assert ok_before == (None if number == 1 else before[image])
            before[image] = ok
        assert rows


def test_learning_counts(tiny) -> None:
    sql = """
        select n, n_right, lost, learned, first_right, last_right, last_lost, right_at_end
        from learning_counts('tiny', 'test', {}, {}) where instance_id = {}"""
    assert answer(tiny, sql.format("null", "null", 1)) == [(4, 2, 1, 2, 1, 4, 3, True)]
    assert answer(tiny, sql.format(3, 3, 1)) == [(1, 0, 0, 0, None, None, None, False)]  # its way there began before
    assert answer(tiny, sql.format(1, "null", 2)) == [(3, 1, 0, 1, 4, 4, None, True)]
    assert answer(tiny, sql.format("null", "null", 4)) == [(4, 0, 0, 0, None, None, None, False)]
    assert answer(tiny, sql.format("null", "null", 5)) == []  # without a label


def test_data_map(tiny) -> None:
    tiny.execute("update predictions set p_sq = 0.6 where instance_id = 4 and epoch > 0")
    tiny.execute("update predictions set p_sq = 0.51 where instance_id = 3 and epoch = 1")
    found = answer(
        tiny, "select instance_id, region, ambiguity from data_map('tiny', 'test', 1, null, null) order by all"
    )
    assert found == [
        (0, "easy", pytest.approx(0.18, abs=1e-6)),
        (1, "ambiguous", 0.5),  # an even choice
        (2, "ambiguous", 0.5),
        (3, "easy", pytest.approx(1 - 1.51 / 3, abs=1e-6)),
        (4, "hard", pytest.approx(0.4, abs=1e-6)),
    ]
    [(deviation, el2n)] = answer(
        tiny, "select p_true_std, el2n from data_map('tiny', 'test', 1, null, 1) where instance_id = 1"
    )
    assert deviation == pytest.approx(np.std(np.float32(data.TINY[1][2][1:])), abs=1e-7)
    assert el2n == pytest.approx(math.sqrt(0.5 - 1.2 + 1), abs=1e-6)
    tiny.execute("update predictions set p_true = null, p_sq = null")
    sql = "select distinct region, ambiguity, el2n from data_map('tiny', 'test', 1, null, 3)"
    assert answer(tiny, sql) == [(None, None, None)]


def test_most_striking(tiny) -> None:
    weights = "(3, 0.5), (1, 0.5 + 1e-9), (2, null), (4, 0.7)"  # the first two are equal by 6 digits
    sql = f"with candidates(instance_id, weight) as (values {weights}) from most_striking('candidates', {{}})"
    assert answer(tiny, sql.format(9)) == [(4, 1), (1, 2), (3, 3), (2, 4)]
    assert answer(tiny, sql.format(2)) == [(4, 1), (1, 2)]


def test_trained_on(tiny) -> None:
    splits = ["train", "train_seen", "train_folds", "val", "test", "extra:train"]
    found = [answer(tiny, f"select trained_on('{split}')") for split in splits]
    assert found == [[(True,)], [(True,)], [(False,)], [(False,)], [(False,)], [(False,)]]


def test_telling_predictions(tiny) -> None:
    """Of epochs 0, 1, 3 and 4 the middle one is 1."""
    data.insert(tiny, "predictions", data.tiny_rows("tiny", "train"))
    sql = """
        select epoch, bool_and(unlearned), bool_or(unlearned), count(distinct instance_id)
        from telling_predictions('tiny', '{}', {}, {}) group by epoch order by epoch"""
    all_of_five = (True, True, 5)  # one has no label
    assert answer(tiny, sql.format("test", "null", "null")) == [(epoch, *all_of_five) for epoch in (1, 3, 4)]
    assert answer(tiny, sql.format("test", 0, 1)) == [(epoch, *all_of_five) for epoch in (0, 1)]
    assert answer(tiny, sql.format("train", "null", 3)) == [(epoch, *all_of_five) for epoch in (1, 3)]
    learned = (False, False, 5)
    assert answer(tiny, sql.format("train", "null", "null")) == [(1, *all_of_five), (3, *learned), (4, *learned)]


def test_label_support_without_margins_is_by_predictions(tiny) -> None:
    tiny.execute("update predictions set margin = null where instance_id in (1, 2) and epoch <> 3")
    tiny.execute("update predictions set margin = null where instance_id = 2")
    found = dict(answer(tiny, "select instance_id, (aum, score) from label_support('tiny', 'test', null, null)"))
    assert found[1] == (-1, pytest.approx(1 / (1 + math.exp(-1))))  # by the margin that is left
    assert found[2] == (None, pytest.approx(2 / 3))


def test_suggested_classes_are_of_the_images_asked(tiny) -> None:
    asked = "with asked as (select unnest([4, 5, 0]) as instance_id)"
    sql = f"{asked} from suggested_classes('asked', 'tiny', 'test', null, null) order by instance_id"
    assert answer(tiny, sql) == [
        (0, 3, pytest.approx(0.9), None, 0, 0),
        (4, 3, pytest.approx(0.4 / 3), 1, 2, pytest.approx(2 / 3)),
    ]


def test_label_doubts(tiny) -> None:
    sql = """
        select suggested, times, n, aum, score, disputed
        from label_doubts('tiny', '{}', {}, {}) where instance_id = {}"""
    [(*found, score, disputed)] = answer(tiny, sql.format("test", "null", "null", 4))  # from epoch 1 on
    assert found == [1, 2, 3, -2]
    assert (score, disputed) == (pytest.approx(1 / (1 + math.exp(-2))), True)
    assert answer(tiny, sql.format("test", 3, "null", 4))[0][:3] == (1, 2, 2)
    assert answer(tiny, sql.format("test", 0, 1, 4))[0][:3] == (2, 2, 2)
    [never] = answer(tiny, sql.format("test", "null", "null", 0))  # never mistaken for another, and yet it has a row
    assert never == (None, 0, 3, 1, pytest.approx(1 / (1 + math.e)), False)
    assert answer(tiny, sql.format("test", "null", "null", 5)) == []  # without a label


def test_label_doubts_of_images_trained_on_begin_at_epoch_1(tiny) -> None:
    """All their epochs count for the score; for label_risks those before wrong labels are learned by heart."""
    margins = {0: -9, 1: -1, 2: -1, 3: 3, 4: 3}
    for split in ("train_seen", "val"):
        rows = [data.prediction("tiny", split, epoch, 0, 1, 1, 0.5) | {"margin": m} for epoch, m in margins.items()]
        data.insert(tiny, "predictions", rows)
    sql = "select n, aum, disputed from label_doubts('tiny', '{}', null, null)"
    assert answer(tiny, sql.format("train_seen")) == [(4, 1, True)]
    assert answer(tiny, sql.format("val")) == [(3, pytest.approx(5 / 3), False)]


@pytest.mark.parametrize("split", ["test", "train_seen"])
@pytest.mark.parametrize("rate", [0, 0.1, 0.3])
def test_no_more_label_errors_are_expected_than_there_are(rate: float, split: str) -> None:
    """The estimate is a low one, as some contradicted labels may be mistakes that never die out."""
    connection = data.empty()
    images, wrong = 1500, round(1500 * rate)
    data.insert(connection, "predictions", data.noisy_rows("noisy", split, images, rate, seed=3))
    sql = "select instance_id, p_wrong, p_wrong_low, p_wrong_high, kind from label_risks('noisy', '{}', null, null)"
    rows = answer(connection, sql.format(split))
    assert len(rows) == images  # each labelled image has one
    assert all(0 <= low <= high <= 1 and 0 <= p <= 1 for _, p, low, high, _ in rows)
    claimed = [row for row in rows if row[4] == "suspect"]
    assert all(row[1] >= 0.5 for row in claimed)
    if not rate:
        assert claimed == []
        assert sum(row[1] for row in rows) < 0.01 * images
        return
    assert len(claimed) == sum(row[1] >= 0.5 for row in rows)
    precision = np.mean([row[0] < wrong for row in claimed])
    assert np.mean([row[2] for row in claimed]) <= precision <= np.mean([row[3] for row in claimed])
    assert precision - 0.3 <= np.mean([row[1] for row in claimed]) <= precision
    assert len(claimed) > 0.5 * wrong
    assert 0.6 * wrong <= sum(row[1] for row in rows) <= wrong


@pytest.mark.parametrize("size", [300, 3000])
def test_a_model_that_is_mistaken_although_sure_makes_no_label_suspect(size: int) -> None:
    """Mistakes that die out as slowly as 1 / certainty^2, and all labels right."""
    draw = np.random.default_rng(size)
    certainty = draw.gamma(3, 2, size)
    mistaken = draw.random(size) < np.minimum(0.75, 3 / (1 + certainty**2))
    rows = [
        data.prediction("sure", "test", 1, number, number % 2, (number + int(wrong)) % 2, 0.5)
        | {"p_predicted": 1 / (1 + math.exp(-log_odds)), "margin": -log_odds if wrong else log_odds}
        for number, (log_odds, wrong) in enumerate(zip(certainty.tolist(), mistaken.tolist(), strict=True))
    ]
    connection = data.empty()
    data.insert(connection, "predictions", rows)
    found = answer(connection, "select kind, count(*) from label_errors('sure', 'test', null, null) group by kind")
    assert dict(found) == {"disputed": mistaken.sum(), "supported": size - mistaken.sum()}


def test_label_errors_that_cannot_be_estimated_are_null() -> None:
    connection = data.empty()
    rows = data.noisy_rows("noisy", "test", 200, 0.2, seed=1)
    sql = "select count(*), count(p_wrong), count(p_wrong_low), count(p_wrong_high), count(kind) from label_errors"

    def counted(rows: list[dict]) -> tuple:
        connection.execute("delete from predictions")
        data.insert(connection, "predictions", rows)
        return answer(connection, f"{sql}('noisy', 'test', null, null)")[0]

    assert counted(rows) == (200, 200, 200, 200, 200)
    assert counted([row for row in rows if row["instance_id"] < 99]) == (99, 0, 0, 0, 0)
    assert counted([row for row in rows if row["instance_id"] < 100]) == (100,) * 5
    assert counted([row | {"p_predicted": 0.7} for row in rows]) == (200, 0, 0, 0, 0)  # equally sure of all
    imported = dict.fromkeys(("p_true", "p_predicted", "p_sq", "margin"))
    assert counted([row | imported for row in rows]) == (200, 0, 0, 0, 0)
    shuffled = np.random.default_rng(0).integers(0, 4, 200).tolist()  # by image
    assert counted([row | {"label": shuffled[row["instance_id"]]} for row in rows]) == (200, 0, 0, 0, 0)


def test_tells_classes_apart_in_as_many_cases_as_shuffled_labels_allow(tiny) -> None:
    """The level is held for predictions of uneven classes, and what is little better than chance is found."""
    draw, found = np.random.default_rng(1), {"guessing": 0, "a fifth known": 0}
    for _ in range(60):
        labels = draw.choice(3, 150, p=[0.6, 0.3, 0.1])
        guesses = draw.choice(3, 150, p=[0.7, 0.2, 0.1])
        known = np.where(draw.random(150) < 0.2, labels, guesses)
        for name, predicted in (("guessing", guesses), ("a fifth known", known)):
            tiny.execute("delete from predictions where run_id = 'guesser'")
            data.insert(tiny, "predictions", [
                data.prediction("guesser", "test", 1, key, int(label), int(guess), 0.5)
                for key, (label, guess) in enumerate(zip(labels, predicted, strict=True))
            ])  # fmt: skip
            [(apart,)] = answer(tiny, "from tells_classes_apart('guesser', 'test', null, 0.05)")
            found[name] += apart
    assert found["guessing"] <= 9  # 3 on average, more than 9 in 0.1 % of cases
    assert found["a fifth known"] >= 30
    assert answer(tiny, "from tells_classes_apart('guesser', 'val', null, 0.05)") == [(False,)]


def test_what_to_check_is_what_the_questions_say(tiny) -> None:
    """Reasons of instances_to_check are rows of the questions that define them, on random predictions."""
    data.insert(tiny, "predictions", data.noisy_rows("random", "test", 300, 0.2, seed=5))
    data.link_all(tiny)

    def asked(name: str, **values: str) -> list[dict]:
        return queries.run(tiny, name, {"run_id": "random", "limit": "1000"} | values).dicts

    reasons: dict[str, set[int]] = {}
    for row in asked("instances_to_check"):
        reasons.setdefault(row["reason"], set()).add(row["instance_id"])
    suspects, learned, mapped = asked("label_suspects"), asked("forgetting"), asked("cartography")
    assert reasons["suspect_label"] != set()
    assert reasons["suspect_label"] == {row["instance_id"] for row in suspects if row["aum"] < 0}
    assert reasons["ambiguous"] == {row["instance_id"] for row in mapped if row["region"] == "ambiguous"}
    assert reasons.get("never_right", set()) == {row["instance_id"] for row in learned if row["never_learned"]}
    wrong_at_end = {row["instance_id"] for row in learned if row["n_right"] and not row["right_at_end"]}
    assert reasons.get("forgotten", set()) == wrong_at_end


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (0, 5), (5, 5), (7, 9), (600, 1100)])
def test_coin_tail_is_the_binomial_test(tiny, hits: int, n: int) -> None:
    expected = binomtest(hits, n, alternative="greater").pvalue if n else 1
    assert answer(tiny, f"select coin_tail({hits}, {n})") == [(pytest.approx(expected, rel=1e-9),)]


@pytest.mark.parametrize(
    ("hits", "n", "others", "m"), [(9, 10, 3, 10), (0, 4, 2, 3), (500, 520, 8000, 9000), (3, 3, 0, 1)]
)
def test_fisher_tail_is_fishers_test(tiny, hits: int, n: int, others: int, m: int) -> None:
    expected = fisher_exact([[hits, n - hits], [others, m - others]], alternative="greater").pvalue
    assert answer(tiny, f"select fisher_tail({hits}, {n}, {hits + others}, {m})") == [(pytest.approx(expected),)]
    assert answer(tiny, f"select fisher_tail(0, 0, {others}, {m})") == [(None,)]


def test_concept_prevalences_are_fishers_test(tiny) -> None:
    shown = {0: (9, 10), 1: (2, 20), 2: (3, 12)}  # by class: images that show the concept, and all
    labels = [label for label, (_, n) in shown.items() for _ in range(n)]
    present = [place < hits for hits, n in shown.values() for place in range(n)]
    image = {"run_id": "many", "split": "test", "source": ""}
    data.insert(tiny, "instances", [image | {"instance_id": key, "label": label} for key, label in enumerate(labels)])
    data.insert(tiny, "concept_scores", [
        {"run_id": "its ice", "epoch": 1, "split": "test", "instance_id": key, "concept_id": 0, "score": 1.0,
         "present": is_there} for key, is_there in enumerate(present)])  # fmt: skip
    found = dict(answer(tiny, "select class_id, p_value from concept_prevalences('many') where run_id = 'its ice'"))
    for label, (hits, n) in shown.items():
        others, m = sum(present) - hits, len(labels) - n
        expected = fisher_exact([[hits, n - hits], [others, m - others]], alternative="greater").pvalue
        assert found[label] == pytest.approx(expected)
    tiny.execute("delete from instances where run_id = 'many' and label > 0")
    assert answer(tiny, "select p_value from concept_prevalences('many') where run_id = 'its ice'") == [(None,)]


def test_a_class_without_images_in_a_split_has_no_gap_in_precision(tiny) -> None:
    """No test image is a bird, so one predicted as a bird can only be wrong."""
    held_out = [data.prediction("tiny", "val", 4, key, key % 3, key % 3, 0.9) for key in range(60)]
    data.insert(tiny, "predictions", held_out)
    assert answer(tiny, "select * from predictions where run_id = 'tiny' and split = 'test' and epoch = 4 "
                        "and predicted = 2 and label is not null")  # fmt: skip
    measured = answer(tiny, "select class_id from split_gaps('tiny', 'test') where metric = 'precision' order by all")
    assert measured == [(0,), (1,)]


def test_split_gaps_counts_and_corrects(tiny) -> None:
    held_out = [data.prediction("tiny", "val", 4, key, key % 2, key % 2, 0.9) for key in range(40)]
    data.insert(tiny, "predictions", held_out)
    rows = answer(tiny, "select class_id, metric, val_hits, val_n, hits, n, p_value from split_gaps('tiny', 'test')")
    counts = {(class_id, metric): tuple(numbers) for class_id, metric, *numbers, _ in rows}
    assert counts == {  # at epoch 4: cats 0 0, dogs 1 2, a fish misclassified as a dog
        (None, "accuracy"): (40, 40, 3, 5),
        (0, "recall"): (20, 20, 2, 2),
        (1, "recall"): (20, 20, 1, 2),
        (0, "precision"): (20, 20, 2, 2),
        (1, "precision"): (20, 20, 1, 2),
    }
    p_values = {(class_id, metric): p_value for class_id, metric, *_, p_value in rows}
    whole = fisher_exact([[40, 0], [3, 2]], alternative="greater").pvalue
    assert p_values[None, "accuracy"] == pytest.approx(5 * whole)
    assert p_values[1, "recall"] == pytest.approx(4 * fisher_exact([[20, 0], [1, 1]], alternative="greater").pvalue)
    assert p_values[0, "recall"] == 1
    assert answer(tiny, "from split_gaps('tiny', 'val')") == []


GAPS = "select class_id, metric, p_value from split_gaps('even', 'test')"


def test_a_class_that_is_rarer_in_the_split_has_no_gap_in_precision(tiny) -> None:
    """Of each class's images the same fraction is right; only how many there are differs."""

    def predictions(split: str, cats: int, dogs: int) -> list[dict]:
        labels = [0] * cats + [1] * dogs
        return [
            data.prediction("even", split, 1, key, label, 0 if key % 10 == 0 else label, 0.9)
            for key, label in enumerate(labels)
        ]

    def gaps(cats: int, dogs: int) -> dict[tuple, float]:
        tiny.execute("delete from predictions where run_id = 'even'")
        data.insert(tiny, "predictions", predictions("val", 900, 100) + predictions("test", cats, dogs))
        return {tuple(key): p_value for *key, p_value in answer(tiny, GAPS)}

    before = gaps(900, 100)
    assert before[0, "precision"] == 1
    rarer = gaps(100, 900)
    assert fisher_exact([[900, 10], [100, 90]], alternative="greater").pvalue < 1e-20  # of the precision alone
    assert rarer[0, "precision"] == 1
    tiny.execute(
        "update predictions set predicted = 0 where run_id = 'even' and split = 'test' and instance_id % 2 = 0"
    )
    more_often_seen = {tuple(key): p_value for *key, p_value in answer(tiny, GAPS)}
    assert more_often_seen[0, "precision"] < 1e-6


def test_images_of(tiny) -> None:
    """As `stored_split` has it."""
    splits = ["train", "train_seen", "train_folds", "val", "test", "extra:train"]
    found = [value for split in splits for (value,) in answer(tiny, f"select images_of('{split}')")]
    assert found == ["train"] * 3 + splits[3:] == [stored_split(split) for split in splits]


def add_version(connection: duckdb.DuckDBPyConnection, run_id: str, digest: str, images: list[tuple]) -> None:
    """A run on a version of the data whose test images are (source, content), in their order."""
    data.add_run(connection, run_id)
    connection.execute("update runs set data_digest = ? where run_id = ?", [digest, run_id])
    rows = [
        {"run_id": run_id, "split": "test", "instance_id": number, "label": 0, "source": source, "content": content}
        for number, (source, content) in enumerate(images)
    ]
    data.insert(connection, "instances", rows)


SAME = "select instance_id, image from same_images('{}', 'test') where run_id = '{}' order by all"


def test_images_of_the_same_data_are_the_same_by_source() -> None:
    """Whatever their number is, and whatever their content; of several of one source, the k-th is the k-th."""
    connection = data.empty()
    add_version(connection, "one", "d", [("a", "1"), ("b", "2"), ("b", "3"), ("c", None)])
    add_version(connection, "two", "d", [("b", "9"), ("c", None), ("a", "1"), ("b", "3"), ("b", "2"), ("new", "4")])
    assert answer(connection, SAME.format("one,two", "one")) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert answer(connection, SAME.format("one,two", "two")) == [(0, 1), (1, 3), (2, 0), (3, 2), (4, None), (5, None)]
    assert answer(connection, SAME.format("one,two", "none")) == []


def test_images_of_other_data_are_the_same_by_content() -> None:
    """A version without the first image, whose rows therefore are one lower."""
    connection = data.empty()
    add_version(connection, "one", "d", [("0", "p"), ("1", "q"), ("2", "r"), ("3", "q")])
    add_version(connection, "two", "e", [("0", "q"), ("1", "r"), ("2", "q"), ("3", "q"), ("4", "new")])
    assert answer(connection, SAME.format("one,two", "two")) == [(0, 1), (1, 2), (2, 3), (3, None), (4, None)]
    add_version(connection, "resized", "f", [("1", "x"), ("0", "y")])
    assert answer(connection, SAME.format("one,resized", "resized")) == [(0, 1), (1, 0)]
    add_version(connection, "of earlier versions", "g", [("1", None), ("7", None)])
    found = answer(connection, SAME.format("one,of earlier versions", "of earlier versions"))
    assert found == [(0, 1), (1, None)]


def test_images_that_no_run_recorded_are_the_same_by_number(tiny) -> None:
    data.insert(tiny, "predictions", data.tiny_rows("twin", "test"))
    by_number = [(number, number) for number in range(len(data.TINY))]
    assert answer(tiny, SAME.format("tiny,twin", "twin")) == by_number
    assert answer(tiny, SAME.format("twin,tiny", "tiny")) == by_number


def test_same_classes(tiny) -> None:
    """By name; what the first run does not know has an id below 0."""
    data.add_classes(tiny, "twin", ["bird", "newt", "cat"])
    sql = "select class_id, same_class from same_classes('{}') where run_id = 'twin' order by all"
    assert answer(tiny, sql.format("tiny,twin")) == [(0, 2), (1, -2), (2, 0)]
    assert answer(tiny, sql.format("unnamed,twin")) == []
    data.add_classes(tiny, "repeating", ["cat", "cat"])
    again = "select class_id, same_class from same_classes('repeating,twin') where run_id = 'repeating' order by all"
    assert answer(tiny, again) == [(0, 0), (1, 1)]


def test_grouped_predictions(tiny) -> None:
    """Shared are images that all runs predicted, with one label."""
    for run_id in ("twin", "third"):
        data.add_tiny_run(tiny, run_id)
    tiny.execute("update predictions set label = 2 where run_id = 'twin' and instance_id = 0")
    tiny.execute("update instances set source = 'elsewhere' where run_id = 'third' and instance_id = 1")
    sql = """
        select is_other, run_id, epoch, count(*), count(instance_id), count(*) filter (is_shared)
        from grouped_predictions('tiny,twin,tiny', 'third,twin', 'test', {}, {}) group by all order by all"""
    n = len(data.TINY)
    assert answer(tiny, sql.format("null", 1)) == [
        (False, "tiny", 4, n, n, n - 2),
        (False, "twin", 4, n, n, n - 2),
        (True, "third", 1, n, n - 1, n - 2),
        (True, "twin", 1, n, n, n - 2),
    ]
    shared = "select count(*) from grouped_predictions('tiny', 'tiny', 'test', 0, 4) where is_shared"
    assert answer(tiny, shared) == [(2 * n,)]  # one of them has no label


def test_group_votes(tiny) -> None:
    """Of two runs and a third one: as many votes as runs, on every image that all predicted."""
    for run_id in ("twin", "third"):
        data.add_tiny_run(tiny, run_id)
    tiny.execute("update predictions set predicted = 3 where run_id = 'twin' and instance_id = 1 and epoch = 4")
    tiny.execute("update instances set source = 'elsewhere' where run_id = 'third' and instance_id = 2")
    votes = "from group_votes('tiny,twin', 'third', 'test', null, null)"
    sizes = f"select is_other, n_seeds, sum(n), count(distinct instance_id) {votes} group by all order by all"
    n = len(data.TINY) - 1
    assert answer(tiny, sizes) == [(False, 2, 2 * n, n), (True, 1, n, n)]
    split = f"select predicted, n {votes} where instance_id = 1 and not is_other order by 1"
    assert [count for _, count in answer(tiny, split)] == [1, 1]


def test_compared_predictions_translate_classes(tiny) -> None:
    """Two versions of a data set with other class IDs; a class that the first one lacks is wrong there."""
    data.add_classes(tiny, "twin", ["newt", *data.CLASSES])
    rows = [row | {"predicted": row["predicted"] + 1} for row in data.tiny_rows("twin", "test")]
    rows = [row | {"label": None if row["label"] is None else row["label"] + 1} for row in rows]
    data.insert(tiny, "predictions", [row | {"predicted": 0} if row["instance_id"] == 2 else row for row in rows])
    data.add_instances(tiny, "twin", "test", [label for label, *_ in data.TINY])
    sql = "select other_predicted, outcome, other_id from compared_predictions('tiny', 'twin', 'test', 4, 4) order by 3"
    assert answer(tiny, sql) == [
        (0, "kept", 0),
        (0, "kept", 1),
        (-1, "broken", 2),
        (2, "stuck", 3),
        (1, "stuck", 4),
        (0, None, 5),
    ]


def test_compared_predictions_are_of_the_same_images(tiny: duckdb.DuckDBPyConnection) -> None:
    """By source and label; an image of which one of these differs is another one."""
    data.add_tiny_run(tiny, "twin")
    compared = "select instance_id, outcome from compared_predictions('tiny', 'twin', 'test', {}, {}) order by all"
    alike = [(0, "kept"), (1, "kept"), (2, "kept"), (3, "stuck"), (4, "stuck"), (5, None)]
    assert answer(tiny, compared.format("null", "null")) == alike
    assert answer(tiny, compared.format(0, 4)) == [
        *alike[:1],
        (1, "fixed"),
        (2, "fixed"),
        (3, "broken"),
        (4, "rerouted"),
        (5, None),
    ]
    tiny.execute("update predictions set label = 2 where run_id = 'twin' and instance_id = 0")
    tiny.execute("update instances set source = 'elsewhere' where run_id = 'twin' and instance_id = 1")
    assert answer(tiny, compared.format("null", "null")) == alike[2:]
    assert answer(tiny, compared.format(99, "null")) == []


# --- several trainings


@pytest.mark.parametrize(("n_first", "n_all"), [(1, 2), (2, 5), (3, 6), (6, 12)])
def test_regroupings_are_all_ways_to_choose_the_first_group(n_first: int, n_all: int) -> None:
    rows = data.empty().execute(f"from regroupings({n_first}, {n_all})").fetchall()
    ways: dict[int, set[int]] = {}
    for way, member, is_first in rows:
        ways.setdefault(way, set()).update({member} if is_first else set())
    assert sorted(map(sorted, ways.values())) == sorted(map(list, itertools.combinations(range(n_all), n_first)))
    assert ways[0] == set(range(n_first))


def test_of_many_members_regroupings_are_drawn() -> None:
    rows = data.empty().execute("from regroupings(5, 14)").fetchall()
    ways: dict[int, list[tuple[int, bool]]] = {}
    for way, member, is_first in rows:
        ways.setdefault(way, []).append((member, is_first))
    assert len(ways) == 2048
    assert all(sum(is_first for _, is_first in way) == 5 and len(way) == 14 for way in ways.values())
    assert {member for member, is_first in ways[0] if is_first} == set(range(5))
    often = [sum((member, True) in way for way in ways.values()) for member in range(14)]
    assert np.allclose(often, 2048 * 5 / 14, atol=130)  # 6 standard deviations


def test_regrouping_tests() -> None:
    """Of 4 and 4 members, those of a group alike, there are 35 ways, and none of them has a wider gap."""
    connection = data.empty()
    rows = [
        {"hypothesis": name, "member": one, "other_member": other, "similarity": float(is_alike(one, other))}
        for name, is_alike in (("told", lambda one, other: (one < 4) == (other < 4)), ("even", lambda one, other: 1))
        for one, other in itertools.combinations(range(8), 2)
    ]
    connection.register("similarities", pa.Table.from_pylist(rows))
    found = answer(connection, "from regrouping_tests('similarities', 4, 8) order by all")
    assert found == [("even", 12, 1, 1, pytest.approx(1 / 35)), ("told", 12, 1, *[pytest.approx(1 / 35)] * 2)]


def test_last_epochs_are_those_of_the_split(tiny: duckdb.DuckDBPyConnection) -> None:
    data.insert(
        tiny,
        "predictions",
        [
            data.prediction("short", split, epoch, 0, 0, 0, 0.9)
            for split, epoch in (("test", 2), ("val", 3), ("test", 1))
        ],
    )
    asked = "select * from last_epochs('tiny,short,absent', 'test') order by run_id"
    assert answer(tiny, asked) == [("short", 2), ("tiny", 4)]


def test_maps_of_trainings_are_those_that_other_questions_take(tiny: duckdb.DuckDBPyConnection) -> None:
    random = np.random.default_rng(6)
    data.add_tiny(tiny, "twin")
    for run_id in ("tiny", "twin"):
        for name in (f"{run_id} explained", f"{run_id} again"):
            data.add_run(tiny, name, f"2026-01-0{len(name) % 5 + 2}", "explain", source=run_id)
            for k, method, sampled in ((0, "saliency", True), (1, "saliency", False), (2, "shap", False)):
                place = {"instance_id": k, "method": method, "sampled": sampled}
                data.add_map(tiny, name, random.normal(size=(8, 8)), run_id, **place)
    columns = "source_run_id, epoch, method, instance_id, map8"
    both = f"select {columns} from maps_of_trainings('tiny,twin', 'test', 'predicted') order by all"
    each = [
        f"select {columns} from sampled_maps('attributions', '{one}', 'test', 'predicted')" for one in ("tiny", "twin")
    ]
    rows = answer(tiny, both)
    assert [row[:4] for row in rows] == [
        (run, 4, *key) for run in ("tiny", "twin") for key in (("saliency", 0), ("shap", 2))
    ]
    assert rows == answer(tiny, " union all ".join(each) + " order by all")
    assert answer(tiny, "select distinct last_epoch from maps_of_trainings('tiny', 'test', 'predicted')") == [(4,)]


def test_the_newest_job_with_scores_of_the_split_says_what_concepts_there_are(tiny: duckdb.DuckDBPyConnection) -> None:
    for name, started, split in (
        ("old", "2026-01-01", "test"),
        ("new", "2026-01-02", "test"),
        ("val", "2026-01-03", "val"),
    ):
        data.add_run(tiny, name, started, "explain", source="tiny")
        key = {"run_id": name, "epoch": 4, "concept_id": 0}
        row = key | {"source_run_id": "tiny", "layer": f"of {name}", "concept_key": "0", "vector": [1.0]}
        data.insert(tiny, "concepts", [row | {"threshold": 0.5, "description": "round"}])
        data.insert(tiny, "concept_scores", [key | {"split": split, "instance_id": 0, "score": 1.0, "present": True}])
    assert answer(tiny, "from newest_concepts('tiny', 'test', null)") == [("new", 4, "of new", None)]
    assert answer(tiny, "from newest_concepts('tiny', 'test', 3)") == []


# --- changes of two groups


def test_score_changes_of_two_runs_are_mcnemars() -> None:
    """Exact and two-sided; 0 lies inside the interval unless that is significant, whatever is fixed and broken."""
    connection = data.empty()
    cases = [(n, fixed, broken) for n in (1, 6, 30) for fixed in range(n + 1) for broken in range(n - fixed + 1)]
    rows = [
        {"hypothesis": place, "images": n, "run_id": run, "is_other": run == 1, "instance_id": number}
        | {"score": int(number < fixed if run else fixed <= number < fixed + broken)}
        for place, (n, fixed, broken) in enumerate(cases)
        for run in (0, 1)
        for number in range(n)
    ]
    table = pa.Table.from_pylist([row | {"seeds": 1, "other_seeds": 1} for row in rows])
    connection.register("scores", table)
    columns = "change, change_low, change_high, p_value, changed"
    sql = f"select {columns} from score_changes('scores', 1, 0.05) order by hypothesis"
    for (n, fixed, broken), (change, low, high, p_value, changed) in zip(cases, answer(connection, sql), strict=True):
        assert (change, changed) == (pytest.approx((fixed - broken) / n), fixed + broken)
        expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1
        assert p_value == pytest.approx(expected)
        assert -1 <= low <= change + 1e-9
        assert change - 1e-9 <= high <= 1
        assert (low < 0 < high) if p_value > 0.05 else (low >= 0 or high <= 0)


def test_what_cannot_be_significant_is_not_counted() -> None:
    """Of six rows two can be significant at 0.05 / 3; at 0.05 / 2, a third one could."""
    connection = data.empty()
    rows = [
        ("a", 0.01, 0.012),
        ("b", 0.002, 0.5),
        ("c", 0.02, 0.02),
        ("d", 0.03, 0.03),
        ("e", 1.0, 1.0),
        ("f", 1.0, 1.0),
    ]
    connection.register(
        "tested", pa.table(dict(zip(("name", "least_p", "p_value"), zip(*rows, strict=True), strict=True)))
    )
    sql = "select name, p_value, round(p_adjusted, 6) from corrected_by_tarone('tested', {}) order by name"
    left_out = [(name, p_value, None) for name, _, p_value in rows]
    assert answer(connection, sql.format(0.05)) == [("a", 0.012, 0.024), ("b", 0.5, 0.5), *left_out[2:]]
    assert answer(connection, sql.format(0.0001)) == left_out
    assert answer(connection, sql.format(1))[2] == ("c", 0.02, 0.06)
