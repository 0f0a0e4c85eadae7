"""Everything that the page says, gathered before a word is written."""

from dataclasses import dataclass, fields

from pipelines.common.checked_settings import flag_name, recorded_name
from pipelines.common.outputs import find_page
from pipelines.common.settings import TrainSettings
from pipelines.common.wording import plural
from pipelines.diffing.criteria import SAME_CONCEPT, VERDICTS
from pipelines.diffing.flow import Flow, draw_changes
from pipelines.diffing.images import Gallery, GroupGallery, fill_gallery, fill_group_gallery
from pipelines.diffing.pair import Pair, Side
from pipelines.pages.evidence import Answer
from pipelines.pages.reviews import Reviews, read_reviews
from tracking.catalogue import SHORT_ID
from tracking.errors import InputError

UNSAID = ("name", "seed", "group", "data", "threads", "memory", "evaluation_batch")  # settings that make no recipe
FLAGS = {recorded_name(one): flag_name(one.name) for one in fields(TrainSettings)}  # by the key in a run's record
SETTING = 40  # characters of a setting's value


@dataclass(frozen=True)
class Facts:
    """What is known of both models. Where one is a group, no part speaks of single images."""

    pair: Pair
    settings: list[tuple[str, str, str]]  # that differ: name, value of A, of B
    outcome: Answer  # of fixed_and_broken
    shared: int  # images that all predicted
    classes: Answer  # of improvement_by_class
    calibration: Answer  # of calibration_change
    churn: Answer
    flow: Flow
    gallery: Gallery | None
    group_gallery: GroupGallery | None
    flow_page: str | None  # the InstanceFlow page of both, if it lies beside this page
    reviews: Reviews  # of the images as A has them
    explanations: Answer  # of explanation_change
    concepts: Answer | None  # of concept_change


def gather_facts(pair: Pair) -> Facts:
    """Raises InputError if no image is in both."""
    outcome = judge(pair, "accuracy")
    flow = draw_changes(pair)
    if not flow.of:
        names = " and ".join(side.record.run_id[:SHORT_ID] for side in pair.sides)
        raise InputError(
            f"runs {names} share no image of split {pair.split!r}; name a split that no seed draws, such as test, with "
            "--split, or two runs on the same data"
        )
    here_id, other_id = pair.here.record.run_id, pair.other.record.run_id
    flow_page = None
    if not pair.has_group:
        flow_page = find_page(pair.home, here_id, "flow", pair.split, None if here_id == other_id else other_id)
    return Facts(
        pair=pair,
        settings=list_differences(*pair.sides),
        outcome=outcome,
        shared=flow.of,
        classes=judge(pair, "classes"),
        calibration=judge(pair, "calibration"),
        churn=judge(pair, "churn"),
        flow=flow,
        gallery=None if pair.has_group else fill_gallery(pair),
        group_gallery=fill_group_gallery(pair) if pair.has_group else None,
        flow_page=flow_page,
        reviews=read_reviews(pair.evidence, here_id),
        explanations=judge(pair, "explanations"),
        concepts=None if pair.has_group else judge(pair, "concepts", same=SAME_CONCEPT),
    )


def judge(pair: Pair, part: str, **values: object) -> Answer:
    """The answer of the question behind a part of the page, at the level that the part has."""
    verdict = VERDICTS[part]
    return pair.ask(verdict.question, level=verdict.asked_level, **values)


def list_differences(here: Side, other: Side) -> list[tuple[str, str, str]]:
    """Settings of the first runs that differ, by their flags, and the seeds."""
    found = []
    params, other_params = here.record.params, other.record.params
    for name in sorted(params.keys() | other_params.keys()):
        values = params.get(name), other_params.get(name)
        if values[0] != values[1] and name not in UNSAID:
            found.append((FLAGS.get(name, name), str(values[0])[:SETTING], str(values[1])[:SETTING]))
    seeds, other_seeds = _list_seeds(here), _list_seeds(other)
    return found if seeds == other_seeds else [*found, (FLAGS["seed"], seeds, other_seeds)]


def _list_seeds(side: Side) -> str:
    known = [str(record.seed) for record in side.records if record.seed is not None]
    return ", ".join(known) if len(known) <= 5 else plural(len(known), "seed")
