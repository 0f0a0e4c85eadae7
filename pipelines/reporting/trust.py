"""Question (a): which methods follow the model here, and which would look alike without it."""

from collections.abc import Iterable

from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.html import Cell, Html, html, table
from pipelines.reporting.pointing import pointing_sentence
from pipelines.reporting.regions import REFERENCES, names
from pipelines.reporting.techniques import called
from pipelines.reporting.words import NONE, interval_of, percent, sized, value, value_between
from xai import METHODS

RANKING = {"insertion": "insertion", "deletion": "deletion", "road_gap": "ROAD"}  # metrics that judge a method
EVERYTHING, SIGNED = "randomized/everything", "randomized_signed/everything"
COLUMNS = {
    "insertion": "insertion ↑",
    "deletion": "deletion ↓",
    "road_gap": "ROAD gap ↑",
    EVERYTHING: "random weights ↓",
    SIGNED: "with signs ↓",
    "epoch_0": "untrained ↓",
    "points_at_glyph": "on the glyph ↑",  # planted data only
    "points_at_decoy": "on the decoy ↓",
}


def trust(by_method: Answer, differences: Answer) -> tuple[list[Said], Html]:
    """Sentences and a table; answers of faithfulness_by_method and faithfulness_differences."""
    rows = [row for row in by_method.rows if row["method"] in METHODS]
    sentences = [
        *said(pointing_sentence(by_method.rows), by_method, key=True),
        *said(random_sentence(rows), by_method, key=True),
        *said(edge_sentence(differences.rows), differences),
        *said(best_sentence(rows, differences.rows), differences, key=True),
        *said(randomization_sentence(rows), by_method, key=True),
    ]
    return sentences, _table(by_method)


def random_sentence(rows: list[dict]) -> str | None:
    """Which methods beat random maps by all measures, and which fail by which."""
    judged = [row for row in rows if row["metric"] in RANKING and row["beats_random"] is not None]
    if not judged:
        return None
    methods = in_order(row["method"] for row in judged)
    failed = {
        method: [RANKING[row["metric"]] for row in judged if row["method"] == method and not row["beats_random"]]
        for method in methods
    }
    passed = [method for method in methods if not failed[method]]
    metrics = names([RANKING[metric] for metric in RANKING if any(row["metric"] == metric for row in judged)])
    n = sized(min(row["n"] for row in judged))
    fails = "; ".join(f"{names([method])} by {names(own)}" for method, own in failed.items() if own)
    if not fails:
        return f"By {metrics} all methods beat random maps ({n})."
    if not passed:
        return f"No method beats random maps by all of {metrics} ({n}); not shown to beat them: {fails}."
    return f"By {metrics} these beat random maps ({n}): {names(passed)}. Not shown to beat them: {fails}."


def in_order(methods: Iterable[str]) -> list[str]:
    there = set(methods)
    return [method for method in METHODS if method in there]


def edge_sentence(rows: list[dict]) -> str | None:
    """Which methods are not shown to be better than an edge detector, which knows nothing of the model."""
    beside = [row for row in rows if row["metric"] in RANKING and "edge" in (row["method_a"], row["method_b"])]
    beside = [row | {"method": other_of(row, "edge")} for row in beside if other_of(row, "edge") in METHODS]
    if not beside:
        return None
    methods = in_order(row["method"] for row in beside)
    failed = {
        method: [RANKING[row["metric"]] for row in beside if row["method"] == method and row["better_method"] != method]
        for method in methods
    }
    fails = "; ".join(f"{names([method])} by {names(own)}" for method, own in failed.items() if own)
    return (
        f"Not shown to be better than an edge detector: {fails}." if fails else "All are better than an edge detector."
    )


def other_of(row: dict, method: str) -> str:
    return row["method_b"] if row["method_a"] == method else row["method_a"]


def best_sentence(rows: list[dict], differences: list[dict]) -> str | None:
    """Who is best by which metrics, those with the same verdict together."""
    found: dict[str, list[str]] = {}
    for metric, name in RANKING.items():
        if (text := verdict(rows, differences, metric)) is not None:
            found.setdefault(text, []).append(name)
    return " ".join(f"By {names(metrics)} {text}." for text, metrics in found.items()) or None


def verdict(rows: list[dict], differences: list[dict], metric: str) -> str | None:
    """The best method by a metric, called so only if it beats each of the others; else who is not told apart."""
    own = [row for row in rows if row["metric"] == metric and row["mean"] is not None]
    if len(own) < 2:
        return None
    sign = -1 if own[0]["better"] == "lower" else 1
    leader = max(own, key=lambda row: sign * row["mean"])["method"]
    won = [row for row in differences if row["metric"] == metric and row["better_method"] == leader]
    beaten = {other_of(row, leader) for row in won}
    equals = [method for method in in_order(row["method"] for row in own) if method not in beaten | {leader}]
    if not equals:
        return f"{names([leader])} is better than all other methods compared"
    if len(equals) == len(own) - 1:
        return "no method is shown to be best"
    return f"{names([leader])} leads, but is not told apart from {names(equals)}"


def randomization_sentence(rows: list[dict]) -> str | None:
    """How alike maps stay when all weights are made random, as estimates, from the method that is least so."""
    own = [row for row in rows if row["metric"] == EVERYTHING and row["method"] in METHODS and row["mean"] is not None]
    if not own:
        return None
    least, most = min(own, key=lambda row: row["mean"]), max(own, key=lambda row: row["mean"])
    ends = [f"{value(row['mean'])}{interval_of(row['low'], row['high'])} ({called(row['method'])})"
            for row in (least, most)]  # fmt: skip
    spread = ends[0] if least is most else f"from {ends[0]} to {ends[1]}"
    return (
        f"With random weights in place of the trained ones, the mean rank correlation of a method's maps with those of "
        f"the model is {spread} ({sized(min(row['n'] for row in own))}): the higher it is, the more they show the "
        "image and the less what was learned."
    )


def _table(found: Answer) -> Html:
    rows = {(row["method"], row["metric"]): row for row in found.rows}
    there = [method for method in (*METHODS, *REFERENCES) if any(method == key for key, _ in rows)]
    columns = {metric: name for metric, name in COLUMNS.items() if any(metric == key for _, key in rows)}
    lines = [
        [REFERENCES.get(method, called(method)), *(_cell(rows.get((method, metric))) for metric in columns)]
        for method in there
    ]
    first = next(iter(found.rows))
    caption = html(
        "Faithfulness at epoch {}, {}, mean and 95 % interval. ✓ beats random maps, ✗ not shown to. Insertion and "
        "ROAD: higher is better; deletion: lower. Last columns: rank correlation with maps of random weights, of "
        "magnitudes and with signs, and with those of the untrained network; low is better. "
        "With nothing to tell apart, any false ✓ comes in at most {} of studies, any false difference between two "
        "methods in at most {}.{}",
        first["epoch"], sized(max(row["n"] for row in found.rows)), percent(VERDICTS["beats_random"].level),
        percent(VERDICTS["method_differences"].level), found.mark,
    )  # fmt: skip
    return table(caption, ("method", *columns.values()), lines)


def _cell(row: dict | None) -> Cell:
    if row is None or row["mean"] is None:
        return Cell(NONE)
    judged = row["metric"] in RANKING and row["beats_random"] is not None
    beats = (" ✓" if row["beats_random"] else " ✗") if judged else ""
    digits = 3 if row["metric"] in RANKING else 2
    ends = value_between(row["low"], row["high"], digits)
    text = html("{}{}<br><small>{}</small>", value(row["mean"], digits), beats, ends)
    return Cell(text, kind="warn" if row["method"] in METHODS and beats == " ✗" else "")
