"""What a report leads with, where there is something: classes that a patch decides, and a gap between the splits."""

from dataclasses import dataclass

from pipelines.reporting.evidence import Answer
from pipelines.reporting.found_shortcuts import ask_gap, ask_shortcuts
from pipelines.reporting.subject import Subject

SHARES = {1: "an eighth", 2: "a quarter", 3: "three eighths", 4: "half"}  # of the image's side, by eighths
PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)


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
    return Shortcuts(decided, gap, decided.where(verdict="found"), gap.where(is_lower=True), tried)


def place_of(row: dict) -> str:
    """Where in the image a patch lies, such as top right; a row of shortcuts."""
    thirds = [min(int(3 * (row[start] + row["patch_side"] / 2) / 8), 2) for start in ("patch_top", "patch_left")]
    return PLACES[thirds[0]][thirds[1]]
