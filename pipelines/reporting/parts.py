"""Question (a): which parts of an image decide its class? Where maps lie, how far methods agree, images to show."""

from dataclasses import dataclass

from pipelines.pages.evidence import Answer
from pipelines.reporting.criteria import IMAGES_FOR_CONTRAST, VERDICTS
from pipelines.reporting.examples import ExplainedImages, read_explained
from pipelines.reporting.subject import Subject
from xai import METHODS

EVEN = {"centre": 16 / 64, "border": 28 / 64}  # fractions of a map that is the same everywhere
PLACES = ("centre", "border", "object")


@dataclass(frozen=True)
class Place:
    """How much of the maps lies on one place, beside a map that knows nothing."""

    name: str
    even: float  # fraction of an even map there, or of a random one on the object
    more: list[str]  # methods that put more there beyond chance
    less: list[str]
    equal: list[str]  # no difference shown
    least: dict  # rows of attribution_regions with the least and the most there
    most: dict

    @property
    def known(self) -> int:
        return len(self.more) + len(self.less) + len(self.equal)


@dataclass(frozen=True)
class BesideEdges:
    """What an edge detector, which knows nothing of the model, puts on a place, and which methods put more there."""

    place: str
    fraction: float
    more: list[str]


@dataclass(frozen=True)
class Contrast:
    """Whether maps of wrong predictions lie elsewhere than those of right ones."""

    right: int  # images
    wrong: int
    compared: int  # methods and places
    apart: list[tuple[str, str, float, float]]  # method, place, fraction for right and for wrong predictions

    @property
    def enough(self) -> bool:
        return min(self.right, self.wrong) >= IMAGES_FOR_CONTRAST


@dataclass(frozen=True)
class Agreement:
    """Rank correlations of pairs of methods."""

    source: Answer  # of attribution_agreement
    rows: list[dict]  # pairs on all images, most alike first
    lower: int  # pairs that agree less where the model is wrong, beyond chance
    higher: int
    compared: int  # pairs with enough right and wrong predictions


@dataclass(frozen=True)
class Parts:
    """What the maps of one epoch say."""

    explained: ExplainedImages
    images: int  # explained by any method
    shared: int  # explained by all methods
    regions: Answer  # of attribution_regions, with 95 % intervals
    rows: list[dict]  # its rows of the methods, in the registry's order, and of references
    tested: Answer  # the same with intervals that hold together
    places: dict[str, Place]
    edges: list[BesideEdges]
    contrast: Contrast | None
    agreement: Agreement | None

    @property
    def best(self) -> Place | None:
        """The place where most methods put more than a map without knowledge; the object first of several."""
        ranked = sorted(self.places.values(), key=lambda place: (-len(place.more), place.name != "object"))
        return ranked[0] if ranked and ranked[0].more else None

    def edges_at(self, place: str) -> BesideEdges | None:
        return next((one for one in self.edges if one.place == place), None)

    @property
    def none_wrong(self) -> bool:
        """Whether no wrong prediction is explained."""
        return all(row["predicted"] == row["label"] for row in self.explained.answer.rows)

    @property
    def absent(self) -> list[str]:
        """Methods without maps here."""
        return [method for method in METHODS if method not in self.explained.methods]


def find_epoch(subject: Subject) -> int | None:
    """The last epoch of which the split has maps of the predicted class; None without any."""
    rows = subject.ask("explained").where(split=subject.split, target_kind="predicted")
    return max((row["epoch"] for row in rows if row["method"] in METHODS), default=None)


def gather_parts(subject: Subject) -> Parts | None:
    """None if no image of the split is explained."""
    epoch = find_epoch(subject)
    if epoch is None:
        return None
    explained = read_explained(subject, epoch)
    shown, tested = ask_regions(subject, epoch)
    agreed = subject.ask("attribution_agreement", epoch=epoch, split=subject.split, level=VERDICTS["agreement"].level)
    beside = [row for row in shown.rows if row["method"] in ("random", "edge") and row["subset"] == "all"]
    return Parts(
        explained, len({row["instance_id"] for row in explained.answer.rows}),
        len(set.intersection(*map(explained.instances, explained.methods))),
        shown, [*of_methods(shown.rows), *beside], tested, judge_places(tested.rows), compare_with_edges(tested.rows),
        contrast(tested.rows), gather_agreement(agreed),
    )  # fmt: skip


def ask_regions(subject: Subject, epoch: int) -> tuple[Answer, Answer]:
    """Answers of attribution_regions: with 95 % intervals, and with those that hold jointly at the report's level."""
    answer = subject.ask("attribution_regions", epoch=epoch, split=subject.split)
    count = sum(row[f"{place}_low"] is not None for row in answer.rows for place in PLACES)
    level = VERDICTS["places"].level / max(count, 1)
    return answer, subject.ask("attribution_regions", epoch=epoch, split=subject.split, level=level)


def of_methods(rows: list[dict], subset: str = "all") -> list[dict]:
    """Rows of the methods, in the registry's order; references such as random left out."""
    order = {method: number for number, method in enumerate(METHODS)}
    return sorted(
        (row for row in rows if row["subset"] == subset and row["method"] in order),
        key=lambda row: order[row["method"]],
    )


def judge_places(rows: list[dict]) -> dict[str, Place]:
    """By place, which methods put more or less there than a map without knowledge; rows of attribution_regions.

    On the object that map is a random one, whose own interval counts too.
    """
    of_all_images = of_methods(rows)
    random = next((row for row in rows if (row["method"], row["subset"]) == ("random", "all")), None)
    expected = {place: (share, share, share) for place, share in EVEN.items()}
    if random and random["object_low"] is not None:
        expected["object"] = (random["object"], random["object_low"], random["object_high"])
    places = {}
    for place, (even, low, high) in expected.items():
        measured = [row for row in of_all_images if row[f"{place}_low"] is not None]
        if not measured:
            continue
        more = [row["method"] for row in measured if row[f"{place}_low"] > high]
        less = [row["method"] for row in measured if row[f"{place}_high"] < low]
        equal = [row["method"] for row in measured if row["method"] not in (*more, *less)]
        order = sorted(measured, key=lambda row: row[place])
        places[place] = Place(place, even, more, less, equal, order[0], order[-1])
    return places


def compare_with_edges(rows: list[dict]) -> list[BesideEdges]:
    """Which methods look at centre and object more than an edge detector; rows of attribution_regions."""
    edge = next((row for row in rows if (row["method"], row["subset"]) == ("edge", "all")), None)
    if edge is None:
        return []
    compared = []
    for place in ("centre", "object"):
        measured = [row for row in of_methods(rows) if None not in (row[f"{place}_low"], edge[f"{place}_high"])]
        if measured:
            more = [row["method"] for row in measured if row[f"{place}_low"] > edge[f"{place}_high"]]
            compared.append(BesideEdges(place, edge[place], more))
    return compared


def contrast(rows: list[dict]) -> Contrast | None:
    """Where maps of wrong predictions lie elsewhere, beyond both intervals; rows of attribution_regions."""
    right, wrong = of_methods(rows, "right"), of_methods(rows, "wrong")
    if not right or not wrong:
        return None
    others = {row["method"]: row for row in wrong}
    apart, compared = [], 0
    for row in right:
        other = others.get(row["method"])
        for place in PLACES:
            low, high = f"{place}_low", f"{place}_high"
            if other is None or row[low] is None or other[low] is None:
                continue
            compared += 1
            if row[low] > other[high] or row[high] < other[low]:
                apart.append((row["method"], place, row[place], other[place]))
    n, m = (min(row["n"] for row in subset) for subset in (right, wrong))
    return Contrast(n, m, compared, apart)


def gather_agreement(answer: Answer) -> Agreement | None:
    """None with fewer than two methods."""
    rows = sorted(
        (row for row in pairs(answer.rows, "all") if row["spearman"] is not None), key=lambda row: -row["spearman"]
    )
    if not rows:
        return None
    compared = compare_agreement(pairs(answer.rows, "right"), pairs(answer.rows, "wrong"))
    return Agreement(
        answer, rows,
        sum(row["agrees"] == "lower" for row in compared), sum(row["agrees"] == "higher" for row in compared),
        len(compared),
    )  # fmt: skip


def pairs(rows: list[dict], subset: str) -> list[dict]:
    """Pairs of methods; references such as random left out."""
    return [row for row in rows if row["subset"] == subset and {row["method_a"], row["method_b"]} <= set(METHODS)]


def compare_agreement(right: list[dict], wrong: list[dict]) -> list[dict]:
    """Rows of wrong predictions of the pairs that have enough images of both kinds, as the question judges them."""
    counts = {(row["method_a"], row["method_b"]): row["n"] for row in right}
    return [
        row
        for row in wrong
        if row["n"] >= IMAGES_FOR_CONTRAST and counts.get((row["method_a"], row["method_b"]), 0) >= IMAGES_FOR_CONTRAST
    ]
