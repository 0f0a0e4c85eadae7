"""What a report leads with, where there is something: classes that a patch decides, and a gap between the splits."""

from dataclasses import dataclass

from pipelines.reporting.evidence import Answer
from pipelines.reporting.found_shortcuts import ask_clusters, ask_gap, ask_shortcuts, list_clusters_inside
from pipelines.reporting.subject import Subject
from xai.map_clusters import MIN_MAPS

SHARES = {1: "an eighth", 2: "a quarter", 3: "three eighths", 4: "half"}  # of the image's side, by eighths
ON_PATCH = """
    with strongest as (
        select
            made.method,
            made.instance_id,
            list_transform(made.map8, lambda number: abs(number)) as magnitudes,
            list_position(magnitudes, list_max(magnitudes)) - 1 as cell
        from sampled_maps('attributions', '{run_id}', '{split}', 'predicted') as made
        semi join explainer_runs('{run_id}') as explainers
            on explainers.run_id = made.run_id
        join labelled_predictions('{run_id}', '{split}') as known
            on known.epoch = made.epoch
            and known.instance_id = made.instance_id
        where
            known.predicted = {class_id}
            and made.epoch in (
                select epoch
                from patch_trials
                join ranked_comparisons('{run_id}') using (run_id)
                where trial = 'pasted'
                qualify place = min(place) over ()
            )
    )
    select
        method,
        count(*) as n,
        count(distinct instance_id) as images,
        avg((
            cell // 8 between {top} and {bottom}
            and cell % 8 between {left} and {right}
        )::integer) as inside
    from strongest
    group by method
    order by inside desc, method"""
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
    """How often the maps of images predicted as a class are strongest in the patch that decides it."""

    source: Answer  # by method, most often first: n maps, of how many images, fraction inside

    @property
    def images(self) -> int:
        return max(row["images"] for row in self.source.rows)


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

    @property
    def by_class(self) -> dict[str, dict[str, dict]]:
        """Rows of split_gap by class and metric, the classes that differ most first."""
        found: dict[str, dict[str, dict]] = {}
        for row in self.gap.rows:
            if row["class_name"] is not None:
                found.setdefault(row["class_name"], {})[row["metric"]] = row
        return found

    @property
    def widest(self) -> dict | None:
        """The gap of the whole model, else the one with the lowest p-value."""
        return next((row for row in self.lower if row["metric"] == "accuracy"), next(iter(self.lower), None))


def gather_shortcuts(subject: Subject) -> Shortcuts:
    """Shortcuts and gaps at the report's level."""
    decided, gap = ask_shortcuts(subject), ask_gap(subject)
    tried = any(row["n"] for row in decided.rows)
    found = decided.where(verdict="found")
    clusters = {row["class_id"]: cluster for row in found if (cluster := find_cluster(subject, row))}
    maps = {row["class_id"]: find_maps(subject, row) for row in found if row["n_maps"]}
    return Shortcuts(decided, gap, found, gap.where(is_lower=True), tried, clusters, maps)


def find_maps(subject: Subject, patch: dict) -> MapsOnPatch:
    """The maps of a patch's class by method; a row of shortcuts, which counts the same maps over all methods."""
    last = patch["patch_side"] - 1
    statement = ON_PATCH.format(
        run_id=subject.run.run_id, split=subject.split.replace("'", "''"), class_id=patch["class_id"],
        top=patch["patch_top"], bottom=patch["patch_top"] + last,
        left=patch["patch_left"], right=patch["patch_left"] + last,
    )  # fmt: skip
    return MapsOnPatch(subject.evidence.sql(statement, "By which methods are maps strongest in the patch?"))


def find_cluster(subject: Subject, patch: dict) -> MapCluster | None:
    """The largest cluster on a patch, a row of shortcuts; None if its class has too few maps to be clustered."""
    for row in list_clusters_inside(subject, patch):
        n_maps = round(row["n"] / row["fraction"])
        if n_maps >= MIN_MAPS:
            nearest = [f"#{instance}" for instance in row["instance_ids"][:NEAREST]]
            return MapCluster(ask_clusters(subject), row["method"], row["n"], n_maps, nearest)
    return None


def place_of(row: dict) -> str:
    """Where in the image a patch lies, such as top right; a row of shortcuts."""
    thirds = [min(int(3 * (row[start] + row["patch_side"] / 2) / 8), 2) for start in ("patch_top", "patch_left")]
    return PLACES[thirds[0]][thirds[1]]
