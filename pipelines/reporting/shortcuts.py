"""What a report leads with, where there is something: classes that a patch decides, and a gap between the splits."""

from collections.abc import Collection
from dataclasses import dataclass

from scipy.stats import fisher_exact

from pipelines.pages.evidence import Answer, Evidence
from pipelines.reporting.criteria import CONCEPT_STANDS_FOR_CLASS, MOST_UNCLEAR, VERDICTS, holm
from pipelines.reporting.faithfulness import Faithfulness
from pipelines.reporting.found_concepts import FoundConcepts
from pipelines.reporting.found_shortcuts import ask_clusters, ask_gap, ask_shortcuts, list_clusters_inside
from pipelines.reporting.subject import Subject
from xai.map_clusters import MIN_MAPS

SHARES = {1: "an eighth", 2: "a quarter", 3: "three eighths", 4: "half"}  # of the image's side, by eighths
ON_PATCH = """
    with trial as (
        select distinct epoch
        from patch_trials
        join ranked_comparisons('{run_id}') using (run_id)
        where trial = 'pasted'
        qualify place = min(place) over ()
    ), strongest as (
        select
            made.method,
            made.instance_id,
            known.label,
            known.predicted,
            list_transform(made.map8, lambda number: abs(number)) as magnitudes,
            list_position(magnitudes, list_max(magnitudes)) - 1 as cell
        from sampled_maps('attributions', '{run_id}', '{split}', 'predicted') as made
        semi join explainer_runs('{run_id}') as explainers
            on explainers.run_id = made.run_id
        join labelled_predictions('{run_id}', '{split}') as known
            on known.epoch = made.epoch
            and known.instance_id = made.instance_id
        where
            made.epoch in (select epoch from trial)
            and list_max(magnitudes) > 0
    )
    select
        method,
        instance_id,
        label,
        predicted,
        (
            cell // 8 between {top} and {bottom}
            and cell % 8 between {left} and {right}
        ) as is_inside
    from strongest
    order by method, instance_id"""
EXAMPLE = """
    select
        split,
        instance_id,
        donor_id,
        predicted_before,
        predicted_after
    from patch_trials
    join ranked_comparisons('{run_id}') using (run_id)
    where
        trial = 'pasted'
        and class_id = {class_id}
    qualify place = min(place) over ()
    order by predicted_after = class_id desc, instance_id"""
IN_CONCEPTS = """
    select
        concept_id,
        instance_id
    from concept_scores
    where
        run_id = '{run_id}'
        and epoch = {epoch}
        and split = '{split}'
        and present
    order by concept_id, instance_id"""
NEAREST = 3  # images named of a cluster of maps
PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)


@dataclass(frozen=True)
class MapCluster:
    """Maps of a class by one method that lie together, strongest on the patch that decides the class."""

    source: Answer  # of attribution_clusters
    method: str
    n: int  # maps in it
    n_maps: int  # of the class
    nearest: list[str]  # the images whose maps are most like its mean


@dataclass(frozen=True)
class MapsOnPatch:
    """How often the maps of a random sample of images are strongest in the patch that decides a class."""

    source: Answer  # a row per method and image
    images: int  # of the sample
    own: int  # of them predicted as the class
    by_method: list[tuple[str, int, int]]  # method, and in how many of how many of these images, most often first
    others: tuple[int, int]  # maps of images predicted otherwise, of all methods: strongest there, of how many
    wrong: tuple[int, int]  # misclassified images most of whose maps are strongest there, of how many
    right: tuple[int, int]  # correctly classified ones likewise
    differ: bool  # whether these two fractions do, beyond chance


@dataclass(frozen=True)
class Carriers:
    """Which images of the split carry the patch that decides a class; rows of shortcut_images."""

    source: Answer
    class_id: int

    def of(self, *, carries: bool) -> list[dict]:
        return [row for row in self.source.rows if bool(row["carries"]) is carries]

    @property
    def misled(self) -> list[dict]:
        """Images misclassified as the class."""
        return [row for row in self.source.rows if row["predicted"] == self.class_id != row["label"]]

    @property
    def missed(self) -> list[dict]:
        """Images of the class misclassified as another."""
        return [row for row in self.source.rows if row["label"] == self.class_id != row["predicted"]]


@dataclass(frozen=True)
class PatchConcept:
    """A stable concept whose images carry a patch more often than others do, beyond chance."""

    source: Answer  # the images that show each concept
    concept_id: int
    carrying: int
    n: int  # images that show it
    others_carrying: int
    others: int


@dataclass(frozen=True)
class Shortcuts:
    """What is shown of patches and of the splits.

    A shortcut that is only suspected is not claimed: where objects always lie at one place, as centred digits do, a
    patch that decides a class may be a part of the object.
    """

    decided: Answer  # of shortcuts
    gap: Answer  # of split_gap
    found: list[dict]  # rows of shortcuts with that verdict
    lower: list[dict]  # rows of split_gap that are lower than on validation images
    tried: bool  # whether any patch was tried
    clusters: dict[int, MapCluster]  # by class found
    maps: dict[int, MapsOnPatch]  # by class found that has maps
    carriers: dict[int, Carriers]  # by class found whose carriers can be told
    concepts: dict[int, PatchConcept]  # by class found whose patch a concept stands for
    examples: dict[int, Answer]  # by class found, images with the patch pasted, those that follow it first

    @property
    def by_class(self) -> dict[str, dict[str, dict]]:
        """Rows of split_gap by class and metric, the classes that differ most first."""
        found: dict[str, dict[str, dict]] = {}
        for row in self.gap.rows:
            if row["class_name"] is not None:
                found.setdefault(row["class_name"], {})[row["metric"]] = row
        return found

    @property
    def is_explained(self) -> bool:
        """Whether the widest gap is of a class with a shortcut, whose figures stand there already."""
        found = {row["class_id"] for row in self.found}
        return self.widest is not None and self.widest["metric"] != "accuracy" and self.widest["class_id"] in found

    @property
    def widest(self) -> dict | None:
        """The gap of the whole model, else the one with the lowest p-value."""
        return next((row for row in self.lower if row["metric"] == "accuracy"), next(iter(self.lower), None))


def gather_shortcuts(subject: Subject, faithfulness: Faithfulness | None, found: FoundConcepts | None) -> Shortcuts:
    """Shortcuts and gaps at the report's level; `faithfulness` says whose maps may be spoken of."""
    decided, gap = ask_shortcuts(subject), ask_gap(subject)
    tried = any(row["n"] for row in decided.rows)
    rows = decided.where(verdict="found")
    trusted = faithfulness.beating if faithfulness else []
    clusters = {row["class_id"]: cluster for row in rows if (cluster := find_cluster(subject, row, trusted))}
    carriers = {
        row["class_id"]: known
        for row in rows
        if (known := find_carriers(subject.evidence, subject.split, row["class_id"]))
    }
    maps = {row["class_id"]: find_maps(subject, row) for row in rows if row["n_maps"]}
    concepts = find_concepts_of_patches(subject, found, carriers) if found else {}
    examples = {
        row["class_id"]: subject.evidence.sql(
            EXAMPLE.format(run_id=subject.run.run_id, class_id=row["class_id"]),
            f"Into which images is the patch of {row['class_name']} pasted, and what are they then predicted as?",
        )
        for row in rows
    }
    return Shortcuts(
        decided, gap, rows, gap.where(is_lower=True), tried, clusters, maps, carriers, concepts, examples
    )  # fmt: skip


def find_maps(subject: Subject, patch: dict) -> MapsOnPatch:
    """Where the sampled maps are strongest, by method; a row of shortcuts, which counts the same maps in all."""
    last = patch["patch_side"] - 1
    statement = ON_PATCH.format(
        run_id=subject.run.run_id, split=subject.split.replace("'", "''"),
        top=patch["patch_top"], bottom=patch["patch_top"] + last,
        left=patch["patch_left"], right=patch["patch_left"] + last,
    )  # fmt: skip
    found = subject.evidence.sql(statement, "Of which images are the maps strongest in the patch, by method?")
    return count_maps(found, patch["class_id"])


def count_maps(answer: Answer, class_id: int) -> MapsOnPatch:
    """Counts of the rows of a method and an image each."""
    of_class = [row for row in answer.rows if row["predicted"] == class_id]
    by_method: dict[str, list[bool]] = {}
    for row in of_class:
        by_method.setdefault(row["method"], []).append(row["is_inside"])
    counts = [(method, sum(inside), len(inside)) for method, inside in by_method.items()]
    others = [row["is_inside"] for row in answer.rows if row["predicted"] != class_id]

    by_image: dict[int, list[dict]] = {}
    for row in answer.rows:
        by_image.setdefault(row["instance_id"], []).append(row)
    mostly = {True: [0, 0], False: [0, 0]}  # by whether the image is classified correctly
    for rows in by_image.values():
        side = mostly[rows[0]["label"] == rows[0]["predicted"]]
        side[0] += 2 * sum(row["is_inside"] for row in rows) > len(rows)
        side[1] += 1
    (right_inside, right), (wrong_inside, wrong) = mostly[True], mostly[False]
    chance = fisher_exact([[wrong_inside, wrong - wrong_inside], [right_inside, right - right_inside]]).pvalue
    return MapsOnPatch(
        answer, len(by_image), len({row["instance_id"] for row in of_class}),
        sorted(counts, key=lambda count: (-count[1] / count[2], count[0])), (sum(others), len(others)),
        (wrong_inside, wrong), (right_inside, right), bool(chance <= VERDICTS["shortcut_places"].level),
    )  # fmt: skip


def find_carriers(evidence: Evidence, split: str, class_id: int) -> Carriers | None:
    """None where no image was tried, or where it is unclear of too many whether they carry the patch."""
    found = evidence.ask("shortcut_images", split=split, class_id=class_id)
    for row in found.rows:
        row["is_right_covered"] = row["predicted_covered"] == row["label"]
    unclear = sum(row["carries"] is None for row in found.rows)
    if not found.rows or unclear > MOST_UNCLEAR * len(found.rows):
        return None
    return Carriers(found, class_id)


def find_concepts_of_patches(
    subject: Subject, found: FoundConcepts, carriers: dict[int, Carriers]
) -> dict[int, PatchConcept]:
    """By class, the stable concept that stands for its patch: half or more of its images carry it, beyond chance."""
    statement = IN_CONCEPTS.format(run_id=found.run_id, epoch=found.epoch, split=subject.split.replace("'", "''"))
    if not carriers:
        return {}
    source = subject.evidence.sql(statement, "Which images show each concept?")
    scored = {
        image for (image,) in subject.evidence.connection.execute(
            "select distinct instance_id from concept_scores where run_id = ? and epoch = ? and split = ?",
            [found.run_id, found.epoch, subject.split],
        ).fetchall()
    }  # fmt: skip
    candidates: dict[tuple[int, int], PatchConcept] = {}
    chances: dict[tuple[int, int], float] = {}
    for class_id, known in carriers.items():
        judged = scored & {row["instance_id"] for row in known.source.rows}
        carrying = judged & {row["instance_id"] for row in known.of(carries=True)}
        for concept in found.names.keys() - found.unstable:
            shown = judged & {row["instance_id"] for row in source.where(concept_id=concept)}
            both, neither = len(shown & carrying), len(judged - shown - carrying)
            others = len(carrying - shown)
            candidates[class_id, concept] = PatchConcept(
                source, concept, both, len(shown), others, len(judged - shown)
            )  # fmt: skip
            table = [[both, len(shown) - both], [others, neither]]
            chances[class_id, concept] = fisher_exact(table, alternative="greater").pvalue
    corrected = holm(chances)
    best: dict[int, PatchConcept] = {}
    for (class_id, concept), one in candidates.items():
        is_shown = corrected[class_id, concept] <= VERDICTS["shortcut_concepts"].level
        if is_shown and one.carrying >= CONCEPT_STANDS_FOR_CLASS * one.n:
            before = best.get(class_id)
            if before is None or (one.carrying / one.n, one.carrying) > (before.carrying / before.n, before.carrying):
                best[class_id] = one
    return best


def find_cluster(subject: Subject, patch: dict, trusted: Collection[str]) -> MapCluster | None:
    """The largest cluster on a patch, a row of shortcuts, of the methods whose maps can be trusted.

    None if the class has too few maps to be clustered, or all of them are in one cluster.
    """
    for row in list_clusters_inside(subject, patch):
        n_maps = round(row["n"] / row["fraction"])
        if row["method"] in trusted and MIN_MAPS <= n_maps != row["n"]:
            nearest = [f"#{instance}" for instance in row["instance_ids"][:NEAREST]]
            return MapCluster(ask_clusters(subject), row["method"], row["n"], n_maps, nearest)
    return None


def place_of(row: dict) -> str:
    """Where in the image a patch lies, such as top right; a row of shortcuts."""
    thirds = [min(int(3 * (row[start] + row["patch_side"] / 2) / 8), 2) for start in ("patch_top", "patch_left")]
    return PLACES[thirds[0]][thirds[1]]
