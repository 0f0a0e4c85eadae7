"""ICE with TCAV: finds, describes, draws and commits the concepts of an epoch."""

import math
from dataclasses import asdict

from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.explaining.concepts import rows
from pipelines.explaining.concepts.concept_set import TARGET_AGREEMENT, ConceptSet, find_concepts
from pipelines.explaining.concepts.drawing import draw_concepts
from pipelines.explaining.concepts.names import NamedConcept, name_concepts
from pipelines.explaining.job import ConceptJob
from tracking import commits, committing, models, runs
from tracking.errors import InputError
from tracking.files import write_json, write_table
from tracking.index import ingest
from xai import NotApplicable, ice
from xai.concept_count import STABLE
from xai.cut import JUDGED_IMAGES, check_cut, cut_model
from xai.gradient import check_deterministic

NOTE = (
    "What each concept looks like and which classes it serves: `concept_cards/`; tables concepts, concept_scores and "
    "tcav_scores. Name one with `study label-concept`."
)

MEANINGS = {
    "concepts": "concepts found",
    "stable_concepts": "those of them that other images lead to as well",
    "answers_kept": "fraction of the model's answers that it keeps, given the concepts alone, 0..1",
    "judging_images": "images on which this is measured, none of which had a part in finding the concepts",
    "significant_share": "fraction of pairs of a concept and a class with an effect beyond chance (TCAV), 0..1",
    "degenerate_classes": "classes for which the model is linear after the layer, so TCAV has nothing to tell",
}
MODEL_METRICS = ("concepts", "stable_concepts", "answers_kept")
REASONS = {True: "smallest_that_reaches_target", False: "target_not_reached"}


def probe(job: ConceptJob) -> None:
    """Try the layer on a few images. Raises InputError if concepts cannot be found in it."""
    job.load(next(iter(job.source.epochs)))
    model = job.source.model
    images = job.source.background[:JUDGED_IMAGES]
    try:
        check_deterministic(model, images)
        parts = cut_model(model, job.layer)
        check_cut(model, parts, images)
        channels = ice.extract_features(model, parts, images).shape[1]
    except NotApplicable as error:
        raise InputError(f"ice: {error}") from None
    if job.settings.concepts is not None and job.settings.concepts > channels:
        raise InputError(f"layer {job.layer.name!r} has {channels} channels; --concepts takes 1 to {channels}")


def explain_epoch(job: ConceptJob, run: runs.Run, epoch: int) -> None:
    """Find, describe, draw and commit the concepts of an epoch, if they are not committed yet."""
    unit = f"ice_epoch_{epoch:04d}"
    finished = commits.epoch_commits(run.home, run.run_id)
    if unit in finished:
        # again, as a crash may have come between the commit and this
        models.log_explained(run, finished[unit], _shown_of_model(finished[unit]))
        return
    job.load(epoch)
    instances = job.source.instances[epoch]
    concepts = find_concepts(job, instances)
    named = name_concepts(job, run.home, concepts, instances)
    draw_concepts(job, run, epoch, concepts, named)
    _commit(job, run, unit, epoch, concepts, named)
    _report(job, epoch, concepts)


def _commit(
    job: ConceptJob, run: runs.Run, unit: str, epoch: int, concepts: ConceptSet, named: list[NamedConcept]
) -> None:
    instances = job.source.instances[epoch]
    source_run_id = job.source.record.run_id
    tables = {
        "concepts": rows.concept_columns(run.run_id, source_run_id, epoch, job.layer.name, concepts, named),
        "concept_scores": rows.score_columns(run.run_id, epoch, job.settings.split, instances, concepts),
        "tcav_scores": rows.tcav_columns(run.run_id, epoch, concepts.tcav),
    }
    with runs.staging_folder(run.home) as folder:
        files = {
            f"{table}/{unit}.parquet": write_table(folder / table / f"{unit}.parquet", columns)
            for table, columns in tables.items()
        }
        files[f"choice/{unit}.json"] = write_json(folder / "choice" / f"{unit}.json", _choice_record(concepts))
        details = {  # held-out fidelity of the concepts and of other reducers of the same size
            f"{reducer}_{measure}": value
            for reducer, fidelity in concepts.fidelity.items()
            for measure, value in asdict(fidelity).items()
        }
        commit = committing.commit(run, unit, files, _metrics(concepts), epoch, details)
    models.log_explained(run, commit, _shown_of_model(commit))
    ingest(run.home, [run.run_id])


def _metrics(concepts: ConceptSet) -> dict[str, float]:
    """How many concepts there are, how much of the model they carry, and how much TCAV can tell."""
    tcav = concepts.tcav
    metrics = {
        "concepts": float(len(concepts.directions)),
        "stable_concepts": float(concepts.stable.sum()),
        "significant_share": tcav.significant[:, tcav.has_images].float().mean().item(),
        "degenerate_classes": float(tcav.degenerate.sum()),
    }
    if concepts.judging_images:
        metrics |= {"answers_kept": concepts.answers_kept, "judging_images": float(concepts.judging_images)}
    return metrics


def _shown_of_model(commit: commits.EpochCommit) -> list[str]:
    """The metrics of a commit that the epoch's model shows in MLflow."""
    return [key for key in MODEL_METRICS if key in commit.metrics]


def _choice_record(concepts: ConceptSet) -> dict:
    """How the number of concepts was chosen, and what TCAV was tested against."""
    choice = concepts.choice
    return {
        "concepts": len(concepts.directions),
        "reason": "set by --concepts" if choice is None else REASONS[choice.reached],
        "trials": [asdict(trial) for trial in choice.trials] if choice else [],
        "target": TARGET_AGREEMENT,
        "answers_kept": None if math.isnan(concepts.answers_kept) else concepts.answers_kept,
        "judging_images": concepts.judging_images,
        "stability": [None if math.isnan(value) else value for value in concepts.stability.tolist()],
        "stable_from": STABLE,
        "null": concepts.tcav.null,
        "threshold": "Otsu's split of the fitting images' scores",
    }


def _report(job: ConceptJob, epoch: int, concepts: ConceptSet) -> None:
    say(f"ice, epoch {epoch}: {plural(len(concepts.directions), 'concept')} in {job.layer.name}; other images lead to "
        f"{int(concepts.stable.sum())} of them too")  # fmt: skip
    if concepts.judging_images:
        verdict = "met" if concepts.answers_kept >= TARGET_AGREEMENT else "missed"
        say(f"ice, epoch {epoch}: given these alone, the model keeps its prediction on {concepts.answers_kept:.1%} of "
            f"{concepts.judging_images} images of {job.settings.split} that had no part in finding them "
            f"(target of {TARGET_AGREEMENT:.0%} {verdict})")  # fmt: skip
    if degenerate_classes := int(concepts.tcav.degenerate.sum()):
        say(f"ice, epoch {epoch}: the model is linear after this layer for "
            f"{plural(degenerate_classes, 'class', 'classes')}, whose "
            "tcav_sign is always 0 or 1; an earlier --layer tells more")  # fmt: skip
    elif not concepts.tcav.significant.any():
        say(f"ice, epoch {epoch}: no concept raises or lowers a class's logit beyond chance; "
            "an earlier --layer may tell more")  # fmt: skip
