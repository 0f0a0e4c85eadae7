"""ICE with TCAV: one epoch's concepts found, described, drawn and committed."""

from dataclasses import asdict

from pipelines.common.terminal import say
from pipelines.explaining.concepts import rows
from pipelines.explaining.concepts.concept_set import TARGET, ConceptSet, find
from pipelines.explaining.concepts.drawing import draw
from pipelines.explaining.concepts.names import NamedConcept, name_concepts
from pipelines.explaining.job import ConceptJob
from tracking import commits, models, runs
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


def probe(job: ConceptJob) -> None:
    """Try the layer on a few images. Raises InputError where concepts cannot be found in it."""
    job.load(next(iter(job.source.epochs)))
    model, images = job.source.model, job.source.background[:JUDGED_IMAGES]
    try:
        check_deterministic(model, images)
        parts = cut_model(model, job.layer)
        check_cut(model, parts, images)
        found = ice.extract_features(model, parts, images)
    except NotApplicable as error:
        raise InputError(f"ice: {error}") from None
    if (job.settings.concepts or 1) > (most := found.shape[1]):
        raise InputError(f"layer {job.layer.name!r} has {most} channels; --concepts takes 1 to {most}")


def explain_epoch(job: ConceptJob, run: runs.Run, epoch: int) -> None:
    """Find, describe, draw and commit the concepts of an epoch, if that is not done yet."""
    unit, instances = f"ice_epoch_{epoch:04d}", job.source.instances[epoch]
    done = commits.epoch_commits(run.home, run.run_id)
    if unit in done:
        models.log_explained_as(run, done[unit], "ice")  # a crash may have come before it
        return
    job.load(epoch)
    found = find(job, instances)
    named = name_concepts(job, run.home, found, instances)
    draw(job, run, epoch, found, named)
    _commit(job, run, unit, epoch, found, named)
    _report(job, epoch, found)


def _commit(
    job: ConceptJob, run: runs.Run, unit: str, epoch: int, found: ConceptSet, named: list[NamedConcept]
) -> None:
    instances, source = job.source.instances[epoch], job.source.record.run_id
    tables = {
        "concepts": rows.concepts(run.run_id, source, epoch, job.layer.name, found, named),
        "concept_scores": rows.scores(run.run_id, epoch, job.settings.split, instances, found),
        "tcav_scores": rows.tcav_scores(run.run_id, epoch, found.tcav),
    }
    metrics = _metrics(found)
    with runs.staging_folder(run.home) as folder:
        files = {
            f"{table}/{unit}.parquet": write_table(folder / table / f"{unit}.parquet", columns)
            for table, columns in tables.items()
        }
        files[f"choice/{unit}.json"] = write_json(folder / "choice" / f"{unit}.json", _choice_record(found))
        commit = runs.commit(run, unit, files, metrics, epoch)
    models.log_explained_as(run, commit, "ice")
    ingest(run.home, [run.run_id])


def _metrics(found: ConceptSet) -> dict[str, float]:
    """Held-out fidelity of the concepts and of its rivals at the same size, and how many cells mean something."""
    kept = {f"{name}_{key}": value for name, kept in found.fidelity.items() for key, value in asdict(kept).items()}
    return {
        "concepts": float(len(found.directions)),
        "significant_share": found.tcav.significant[:, found.tcav.has_images].float().mean().item(),
        "degenerate_classes": float(found.tcav.degenerate.sum()),
        **kept,
    }


def _choice_record(found: ConceptSet) -> dict:
    """How the number of concepts came about, and what TCAV was tested against."""
    choice = found.choice
    return {
        "concepts": len(found.directions),
        "reason": choice.reason if choice else "set by --concepts",
        "trials": [asdict(trial) for trial in choice.trials] if choice else [],
        "target": TARGET,
        "stable_from": STABLE,
        "null": found.tcav.null,
        "threshold": "Otsu's split of the fitting images' scores",
    }


def _report(job: ConceptJob, epoch: int, found: ConceptSet) -> None:
    why = found.choice.reason.replace("_", " ") if found.choice else "as set"
    kept = found.fidelity["nmf"].agreement
    say(f"ice, epoch {epoch}: {len(found.directions)} concepts ({why}) in {job.layer.name}; seeing nothing else, "
        f"the model keeps its answer on {kept:.0%} of held-out images")  # fmt: skip
    if count := int(found.tcav.degenerate.sum()):
        say(f"ice, epoch {epoch}: the head is linear for {count} classes, so their tcav_sign is 0 or 1 by necessity; "
            "name an earlier --layer for a TCAV that says more")  # fmt: skip
    elif not found.tcav.significant.any():
        say(f"ice, epoch {epoch}: no tcav_sign is beyond chance; an earlier --layer may say more")
