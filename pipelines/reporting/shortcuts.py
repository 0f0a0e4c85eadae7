"""What a report leads with, where there is something: classes that a patch decides, and a gap between the splits."""

from dataclasses import dataclass

from pipelines.reporting.evidence import Answer
from pipelines.reporting.found_shortcuts import ask_clusters, ask_gap, ask_shortcuts, list_clusters_inside
from pipelines.reporting.subject import Subject
from xai.map_clusters import MIN_MAPS

SHARES = {1: "an eighth", 2: "a quarter", 3: "three eighths", 4: "half"}  # of the image's side, by eighths
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
    return Shortcuts(decided, gap, found, gap.where(is_lower=True), tried, clusters)


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
