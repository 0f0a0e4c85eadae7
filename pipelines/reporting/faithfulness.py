"""Which methods follow the model here, and which would look alike without it."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.common.metrics import JUDGING, name_metric
from pipelines.pages.evidence import Answer
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.subject import Subject, ask_faithfulness, newest_comparison
from tracking.catalogue import RunRecord
from xai import METHODS

RANKING = {metric: name_metric(metric) for metric in JUDGING}
REFERENCES = ("random", "edge")
EVERYTHING, SIGNED = "randomized/everything", "randomized_signed/everything"
# columns of the table: which way is better; the last two are of planted data only
COLUMNS = {
    "insertion": "↑", "deletion": "↓", "road_gap": "↑", EVERYTHING: "↓", SIGNED: "↓", "epoch_0": "↓",
    "points_at_glyph": "↑", "points_at_decoy": "↓",
}  # fmt: skip


@dataclass(frozen=True)
class JudgedMethod:
    """What the comparison shows of one method."""

    method: str
    judged: list[str]  # names of the metrics by which it was compared with random maps
    failed: list[str]  # those by which it is not shown to beat them
    beaten_by: dict[str, list[str]]  # by metric, the methods shown to be better
    like_edges: list[str]  # metrics by which it is not shown to be better than an edge detector

    @property
    def is_undefeated(self) -> bool:
        """Whether it beats random maps by all metrics and no method is shown to be better by any."""
        return bool(self.judged) and not self.failed and not self.beaten_by


@dataclass(frozen=True)
class Pointing:
    """How often the strongest place of a map lies on what decides, where the data says what that is."""

    least: tuple[str, float]  # method, fraction of images
    most: tuple[str, float]
    decoy: float  # largest fraction of any method
    random: float
    n: int


@dataclass(frozen=True)
class Faithfulness:
    """The newest comparison of the methods on the split."""

    run: RunRecord
    by_method: Answer  # of faithfulness_by_method
    differences: Answer  # of faithfulness_differences
    methods: list[JudgedMethod]  # in the registry's order; empty if the comparison is not finished
    pointing: Pointing | None
    uncovered: dict[str, tuple[int, int]]  # by method, maps that leave out a part where several decide together, of n

    @property
    def n(self) -> tuple[int, int]:
        """Least and most images behind a figure."""
        counts = [row["n"] for row in self.by_method.rows]
        return min(counts), max(counts)

    @property
    def undefeated(self) -> list[str]:
        return [one.method for one in self.methods if one.is_undefeated]

    @property
    def measures(self) -> list[str]:
        """Names of the metrics by which any method was compared with random maps."""
        return [name for name in RANKING.values() if any(name in one.judged for one in self.methods)]

    @property
    def beating(self) -> list[str]:
        """The methods that beat random maps by every one of these."""
        return (
            [one.method for one in self.methods if one.judged == self.measures and not one.failed]
            if self.measures
            else []
        )

    @property
    def columns(self) -> dict[str, str]:
        """Names of the metrics that there are, by key."""
        there = {row["metric"] for row in self.by_method.rows}
        return {metric: f"{name_metric(metric)} {way}" for metric, way in COLUMNS.items() if metric in there}

    @property
    def listed(self) -> list[str]:
        """Methods, then references, that there are."""
        there = {row["method"] for row in self.by_method.rows}
        return [method for method in (*METHODS, *REFERENCES) if method in there]

    def has_interval(self, row: dict) -> bool:
        """Whether the mean is an estimate; references do not depend on weights: their likeness is 1 by definition."""
        return row["method"] not in REFERENCES or row["metric"] not in (EVERYTHING, SIGNED, "epoch_0")

    @property
    def sanity(self) -> list[dict]:
        """Rows of the methods on likeness to maps of random weights, the least alike first."""
        rows = [row for row in self.by_method.where(metric=EVERYTHING) if row["method"] in METHODS]
        return sorted((row for row in rows if row["mean"] is not None), key=lambda row: row["mean"])

    def order(self) -> list[str]:
        """Methods by their mean rank over the metrics that judge, best first."""
        ranks: dict[str, list[int]] = {}
        for metric in RANKING:
            own = means(self.by_method.rows, metric)
            for rank, method in enumerate(sorted(own, key=lambda one: own[one], reverse=metric != "deletion")):
                ranks.setdefault(method, []).append(rank)
        return sorted(ranks, key=lambda method: sum(ranks[method]) / len(ranks[method]))


def gather_faithfulness(subject: Subject) -> Faithfulness | None:
    """None without a comparison of the split; a verdict on some of the methods would read as one on all."""
    comparison = newest_comparison(subject)
    if comparison is None:
        return None
    by_method = ask_faithfulness(subject, comparison)
    differences = subject.ask(
        "faithfulness_differences", compare_run=comparison.run_id, level=VERDICTS["method_differences"].level
    )
    finished = comparison.status == "FINISHED"
    return Faithfulness(
        comparison, by_method, differences, judge_methods(by_method.rows, differences.rows) if finished else [],
        find_pointing(by_method.rows) if finished else None,
        {row["method"]: (round((1 - row["mean"]) * row["n"]), row["n"])
         for row in by_method.where(metric="covers_all_parts") if row["method"] in METHODS},
    )  # fmt: skip


def judge_methods(rows: list[dict], differences: list[dict]) -> list[JudgedMethod]:
    """Verdicts on the methods; rows of faithfulness_by_method and faithfulness_differences."""
    judgements = []
    for method in in_order(row["method"] for row in rows):
        by_metric = {row["metric"]: row for row in rows if row["method"] == method}
        judged = [metric for metric in RANKING if metric in by_metric and by_metric[metric]["beats_random"] is not None]
        beaten_by: dict[str, list[str]] = {}
        like_edges = []
        for row in differences:
            if row["metric"] not in RANKING or method not in (row["method_a"], row["method_b"]):
                continue
            other = row["method_b"] if row["method_a"] == method else row["method_a"]
            if other == "edge" and row["better_method"] != method:
                like_edges.append(RANKING[row["metric"]])
            if other in METHODS and row["better_method"] == other:
                beaten_by.setdefault(RANKING[row["metric"]], []).append(other)
        judgements.append(
            JudgedMethod(
                method, [RANKING[metric] for metric in judged],
                [RANKING[metric] for metric in judged if not by_metric[metric]["beats_random"]],
                beaten_by, like_edges,
            )
        )  # fmt: skip
    return judgements


def in_order(methods: Iterable[str]) -> list[str]:
    wanted = set(methods)
    return [method for method in METHODS if method in wanted]


def means(rows: list[dict], metric: str) -> dict[str, float]:
    """The mean of a metric by method, methods in order."""
    by_method = {row["method"]: row["mean"] for row in rows if row["metric"] == metric and row["mean"] is not None}
    return {method: by_method[method] for method in METHODS if method in by_method}


def find_pointing(rows: list[dict]) -> Pointing | None:
    """From the method that hits the deciding glyph least to the one that does most; rows of faithfulness_by_method."""
    glyph, decoy = (
        {row["method"]: row for row in rows if row["metric"] == f"points_at_{place}"} for place in ("glyph", "decoy")
    )
    if not glyph or not decoy:
        return None
    methods = sorted((method for method in glyph if method in METHODS), key=lambda method: glyph[method]["mean"])
    least, most = methods[0], methods[-1]
    return Pointing(
        (least, glyph[least]["mean"]), (most, glyph[most]["mean"]),
        max(decoy[method]["mean"] for method in methods), glyph["random"]["mean"], glyph[most]["n"],
    )  # fmt: skip
