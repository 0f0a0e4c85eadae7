"""Cards of all techniques that the report shows: each method's own, InstanceFlow's and the comparison's."""

import re
from dataclasses import dataclass

from pipelines.drawing.style import REFERENCE_NAMES
from pipelines.pages.evidence import Answer
from pipelines.reporting.parts import find_epoch
from pipelines.reporting.subject import Subject
from xai import CONCEPT_METHODS, METHODS
from xai.method import DEVELOPERS, Card

TECHNIQUES = {
    **{name: method.card for name, method in (METHODS | CONCEPT_METHODS).items()},
    "instanceflow": Card(
        name="InstanceFlow",
        source="Pühringer, Hinterreiter, Streit 2020, arXiv 2007.11353",
        why="debugging and improving: which images are learned, lost and mixed up, and since when",
        who=DEVELOPERS,
        what="the predicted class of every image after every epoch (instance-based analysis over time)",
        how="flows between classes from epoch to epoch, with the images behind each (study flow)",
        when="during and after training",
        where="any classifier whose epochs are logged",
        limits="Epochs are snapshots: what happens between them is not seen; a move is not its cause.",
    ),
    "compare": Card(
        name="Comparing methods",
        source="Petsiuk 2018, arXiv 1806.07421; Rong 2022, arXiv 2202.00449 (ROAD); Adebayo 2018, arXiv 1810.03292",
        why="comparing and selecting: which explanations follow the model, and which would look alike without it",
        who=DEVELOPERS,
        what="maps of all methods on the same images, beside random maps and an edge detector",
        how="pixels are put in or taken out by their rank, weights are made random; differences tested by sign flips",
        when="after training, on maps that are there",
        where="any image classifier with maps of two methods or more",
        limits="Altered images are unlike any the model has seen; a faithful map need not be easy to understand.",
    ),
}  # fmt: skip
ARXIV = re.compile(r"(arXiv (\d{4}\.\d{4,5}))")


@dataclass(frozen=True)
class MethodFigures:
    """By method, the row of explained that says of its maps at the last explained epoch what limits them."""

    source: Answer
    rows: dict[str, dict]


def called(method: str) -> str:
    """A method's or reference's name within a sentence; the key of one that has none."""
    name = TECHNIQUES[method].name if method in TECHNIQUES else REFERENCE_NAMES.get(method, method)
    return name if any(letter.isupper() for letter in name[1:]) else name.lower()


def link_papers(source: str) -> list[tuple[str, str | None]]:
    """A card's source in pieces, each with the arXiv number it is, if it is one."""
    first, *rest = ARXIV.split(source)
    found: list[tuple[str, str | None]] = [(first, None)]
    for name, number, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        found += [(name, number), (text, None)]
    return found


def gather_method_figures(subject: Subject) -> MethodFigures | None:
    """None if nothing is explained."""
    epoch = None if subject.imported else find_epoch(subject)
    if epoch is None:
        return None
    made = subject.ask("explained", together="yes")
    rows = made.where(split=subject.split, epoch=epoch, target_kind="predicted")
    return MethodFigures(made, {row["method"]: row for row in rows})
