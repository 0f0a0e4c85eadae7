"""Learning over the epochs: what each fixes and breaks, what is forgotten, when predictions and explanations settle."""

from dataclasses import dataclass

from scipy.stats import binomtest

from pipelines.lifecycle.origin import Origin, read_origin
from pipelines.pages.evidence import Answer
from pipelines.reporting.criteria import VERDICTS, holm
from pipelines.reporting.subject import Subject
from xai import METHODS

EPOCHS = 10  # columns of a table, at most
DWARFS = 3  # times as many images fixed in the first epoch as in any other, from which on a figure leaves it out
FLOWS = 8  # moves listed of the last transition


@dataclass(frozen=True)
class LastStep:
    """What the last epoch did."""

    fixed: int
    broken: int
    rerouted: int
    differs: bool  # whether it fixed or broke more, beyond chance


@dataclass(frozen=True)
class Forgetting:
    """Images learned and lost; rows of forgetting."""

    source: Answer
    n: int
    lost: int  # right after some epoch and wrong after a later one
    back: int  # of them right again at the end
    never: int  # never right


@dataclass(frozen=True)
class Cartography:
    """Images by how sure the model is of them over the epochs; rows of cartography."""

    source: Answer
    n: int
    ambiguous: int
    hard: int
    unsure: int  # right in a quarter to three quarters of the epochs only


@dataclass(frozen=True)
class Settling:
    """When explanations settle, beside the predictions they explain."""

    drift: Answer  # of explanation_drift
    rows: list[dict]  # of its methods
    each: Answer  # of explanation_settling
    epochs: list[int]  # of a table
    counts: dict[str, dict[str, int]]  # by method, images whose explanation settles before, with or after
    later: list[str]  # methods whose explanations settle later than the predictions, beyond chance
    sooner: list[str]
    first: list[dict]  # rows of epoch 0, whose maps are compared with the last
    origin: Origin  # of its network

    @property
    def by_method(self) -> dict[str, dict[int, dict]]:
        """Rows by method, in the registry's order, and epoch."""
        found: dict[str, dict[int, dict]] = {}
        for row in self.rows:
            found.setdefault(row["method"], {})[row["epoch"]] = row
        return {method: found[method] for method in METHODS if method in found}


@dataclass(frozen=True)
class Learning:
    """The epochs of a run with more than one."""

    steps: Answer  # of transition_outcomes
    last: LastStep
    forgetting: Forgetting | None
    cartography: Cartography | None
    settling: Settling | None  # None if a single epoch is explained
    moves_source: Answer  # of flow_links
    moves: list[tuple[str, str, int, int, int]]  # last transition: from, to, images, fixed, broken; largest first
    move_count: int
    moved: int  # images

    @property
    def drawn(self) -> list[dict]:
        """Steps of the figure; rows of transition_outcomes."""
        return choose_drawn(self.steps.rows)


def choose_drawn(rows: list[dict]) -> list[dict]:
    """Rows of transition_outcomes without a first one that would dwarf all others in a figure."""
    first, *rest = rows
    return rest if rest and first["fixed"] > DWARFS * max(row["fixed"] for row in rest) else rows


def gather_learning(subject: Subject) -> Learning | None:
    """None for a single epoch."""
    steps = subject.ask("transition_outcomes", split=subject.split)
    if not steps.rows:
        return None
    last = steps.rows[-1]
    links = subject.ask("flow_links", split=subject.split, from_epoch=last["epoch"], to_epoch=last["next_epoch"])
    moves = list_moves(links.rows)
    return Learning(
        steps, judge_last_step(last), count_forgotten(subject.ask("forgetting", split=subject.split)),
        count_regions(subject.ask("cartography", split=subject.split)), _gather_settling(subject),
        links, moves[:FLOWS], len(moves), sum(n for _, _, n, *_ in moves),
    )  # fmt: skip


def judge_last_step(row: dict) -> LastStep:
    """A row of transition_outcomes."""
    fixed, broken = row["fixed"], row["broken"]
    chance = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1
    return LastStep(fixed, broken, row["rerouted"], bool(chance <= VERDICTS["epochs"].level / 2))


def count_forgotten(answer: Answer) -> Forgetting | None:
    """None where fewer than two epochs count."""
    rows = answer.rows
    if not rows or rows[0]["n"] < 2:
        return None
    return Forgetting(
        answer, len(rows), sum(bool(row["forgetting"]) for row in rows),
        sum(bool(row["forgetting"]) and row["right_at_end"] for row in rows), sum(row["never_learned"] for row in rows),
    )  # fmt: skip


def count_regions(answer: Answer) -> Cartography | None:
    """None without probabilities."""
    judged = [row for row in answer.rows if row["region"] is not None]
    if not judged:
        return None
    ambiguous, hard = (sum(row["region"] == region for row in judged) for region in ("ambiguous", "hard"))
    return Cartography(answer, len(judged), ambiguous, hard, sum(0.25 <= row["correctness"] <= 0.75 for row in judged))


def list_moves(rows: list[dict]) -> list[tuple[str, str, int, int, int]]:
    """Moves between classes: from, to, images, fixed, broken, the largest first; rows of flow_links."""
    moves: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row["source"] != row["target"]:
            counts = moves.setdefault((row["source_name"], row["target_name"]), [0, 0, 0])
            counts[0] += row["n"]
            counts[1] += row["n"] * (row["label"] == row["target"])
            counts[2] += row["n"] * (row["label"] == row["source"])
    return sorted(((*ends, n, fixed, broken) for ends, (n, fixed, broken) in moves.items()), key=lambda move: -move[2])


def _gather_settling(subject: Subject) -> Settling | None:
    if subject.imported:
        return None
    drift = subject.ask("explanation_drift", split=subject.split)
    rows = [row for row in drift.rows if row["method"] in METHODS]
    if not rows:
        return None
    each = subject.ask("explanation_settling", split=subject.split)
    counts = count_settled(each.rows)
    later, sooner = judge_settling(counts)
    first = [row for row in rows if row["epoch"] == 0 and row["to_last"] is not None]
    epochs = spread(sorted({row["epoch"] for row in rows}))
    return Settling(drift, rows, each, epochs, counts, later, sooner, first, read_origin(subject.home, subject.run))


def spread(epochs: list[int]) -> list[int]:
    """At most ten of the epochs, first and last among them."""
    if len(epochs) <= EPOCHS:
        return epochs
    return [epochs[round(place * (len(epochs) - 1) / (EPOCHS - 1))] for place in range(EPOCHS)]


def count_settled(rows: list[dict]) -> dict[str, dict[str, int]]:
    """By method, images whose map settles before, with or after its prediction; rows of explanation_settling."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["settles"] is not None and row["method"] in METHODS:
            counts.setdefault(row["method"], {"before": 0, "with": 0, "after": 0})[row["settles"]] += 1
    return {method: counts[method] for method in METHODS if method in counts}


def judge_settling(counts: dict[str, dict[str, int]]) -> tuple[list[str], list[str]]:
    """Methods whose explanations settle later, and earlier, than their predictions, beyond chance."""
    tested = holm(
        {
            method: binomtest(own["after"], own["after"] + own["before"]).pvalue if own["after"] + own["before"] else 1
            for method, own in counts.items()
        }
    )
    clear = [method for method in counts if tested[method] <= VERDICTS["settling"].level]
    later = [method for method in clear if counts[method]["after"] > counts[method]["before"]]
    return later, [method for method in clear if method not in later]
