"""Everything that the page says, gathered before a word is written."""

from dataclasses import dataclass

from pipelines.common.wording import plural
from pipelines.diffing.criteria import SAME_CONCEPT, VERDICTS
from pipelines.diffing.flow import Flow, draw_changes
from pipelines.diffing.images import Gallery, fill_gallery
from pipelines.diffing.pair import Pair, Side
from pipelines.pages.evidence import Answer
from pipelines.pages.reviews import Reviews, read_reviews
from tracking.catalogue import SHORT_ID
from tracking.errors import InputError

UNSAID = ("name", "seed", "group", "data", "threads", "memory", "evaluation_batch")  # settings that make no recipe
SETTING = 40  # characters of a setting's value


@dataclass(frozen=True)
class Facts:
    """What is known of both models. Where one is a group, no part speaks of single images."""

    pair: Pair
    settings: list[tuple[str, str, str]]  # that differ: name, value of A, of B
    outcome: Answer  # of fixed_and_broken
    shared: int  # images that both predicted; of a group, labelled ones
    classes: Answer  # of improvement_by_class
    calibration: Answer  # of calibration_change
    churn: Answer
    flow: Flow | None
    gallery: Gallery | None
    reviews: Reviews  # of the images as A has them
    explanations: Answer  # of explanation_change
    concepts: Answer | None  # of concept_change


def gather_facts(pair: Pair) -> Facts:
    """Raises InputError if no image is in both."""
    outcome = pair.ask("fixed_and_broken", level=VERDICTS["accuracy"].level)
    flow = None if pair.has_group else draw_changes(pair)
    shared = flow.of if flow else sum(row["n"] for row in outcome.rows)
    if not shared:
        names = " and ".join(side.record.run_id[:SHORT_ID] for side in pair.sides)
        raise InputError(
            f"runs {names} share no image of split {pair.split!r}; name a split that no seed draws, such as test, with "
            "--split, or two runs on the same data"
        )
    return Facts(
        pair=pair,
        settings=list_differences(*pair.sides),
        outcome=outcome,
        shared=shared,
        classes=pair.ask("improvement_by_class", level=VERDICTS["classes"].level),
        calibration=pair.ask("calibration_change", level=VERDICTS["calibration"].level),
        churn=pair.ask("churn", level=VERDICTS["churn"].level),
        flow=flow,
        gallery=None if pair.has_group else fill_gallery(pair),
        reviews=read_reviews(pair.evidence, pair.here.record.run_id),
        explanations=pair.ask("explanation_change", level=VERDICTS["explanations"].level),
        concepts=None if pair.has_group else pair.ask("concept_change", same=SAME_CONCEPT),
    )


def list_differences(here: Side, other: Side) -> list[tuple[str, str, str]]:
    """Recorded settings of the first runs that differ, and the seeds."""
    found = []
    params, other_params = here.record.params, other.record.params
    for name in sorted(params.keys() | other_params.keys()):
        values = params.get(name), other_params.get(name)
        if values[0] != values[1] and name not in UNSAID:
            found.append((name, str(values[0])[:SETTING], str(values[1])[:SETTING]))
    seeds, other_seeds = _list_seeds(here), _list_seeds(other)
    return found if seeds == other_seeds else [*found, ("seed", seeds, other_seeds)]


def _list_seeds(side: Side) -> str:
    known = [str(record.seed) for record in side.records if record.seed is not None]
    return ", ".join(known) if len(known) <= 5 else plural(len(known), "seed")
