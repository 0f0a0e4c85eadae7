"""All pictures of an epoch's concepts, logged to its run."""

import numpy as np
from matplotlib.figure import Figure

from pipelines.common.figures import pixels, short
from pipelines.explaining.concepts import figures
from pipelines.explaining.concepts.concept_set import ConceptSet
from pipelines.explaining.concepts.names import Examples, NamedConcept
from pipelines.explaining.job import ConceptJob
from tracking import runs
from xai.concept_count import CountChoice


def draw(job: ConceptJob, run: runs.Run, epoch: int, found: ConceptSet, named: list[NamedConcept]) -> None:
    """A card for every concept, the classes' prevalence and TCAV as matrices, and the curve of the choice."""
    classes, place = _counted(job, found), f"epoch {epoch}, {job.layer.name}, {job.source.record.name}"
    folder = f"concept_cards/epoch_{epoch:04d}"
    for concept, one in enumerate(named):
        figure = _card(job, epoch, found, one, concept, f"{title(concept, one)}    {place}")
        card = pixels(figure)
        runs.log_picture(run, card, f"{folder}_concept_{concept:02d}.png")
        runs.log_image(run, card, f"concept/{concept:02d}", epoch)
    names = [f"{title(concept, one)}: {one.description.split(';')[0]}" for concept, one in enumerate(named)]
    for measure in ("prevalence", "tcav_sign"):
        values = getattr(found.tcav, measure).numpy()
        figure = figures.matrix(values, names, classes, f"{measure}, {place}")
        runs.log_picture(run, pixels(figure), f"{folder}_{measure}.png")
    if found.choice:
        runs.log_picture(run, pixels(_curve(found.choice, place)), f"{folder}_number_of_concepts.png")


def title(concept: int, one: NamedConcept) -> str:
    return f"concept {concept}: {one.label}" if one.label else f"concept {concept}"


def _counted(job: ConceptJob, found: ConceptSet) -> tuple[str, ...]:
    """The classes, each with its number of images: what a share of few images says is little, of none nothing."""
    pairs = zip(job.source.data.classes, found.tcav.images.tolist(), strict=True)
    return tuple(f"{short(name, 12)} ({count})" for name, count in pairs)


def _card(job: ConceptJob, epoch: int, found: ConceptSet, one: NamedConcept, concept: int, headline: str) -> Figure:
    tcav = found.tcav
    return figures.concept_card(figures.Card(
        title=headline,
        description=one.description,
        full=float(one.highest.maps.max()) or 1.0,
        highest=_panel(job, epoch, found, one.highest, concept),
        lowest=_panel(job, epoch, found, one.lowest, concept),
        classes=_counted(job, found),
        prevalence=tcav.prevalence[concept].numpy(),
        tcav_sign=tcav.tcav_sign[concept].numpy(),
        contribution=tcav.contribution[concept].numpy(),
        significant=tcav.significant[concept].numpy(),
    ))  # fmt: skip


def _panel(job: ConceptJob, epoch: int, found: ConceptSet, examples: Examples, concept: int) -> figures.Panel:
    instances, split = job.source.instances[epoch][examples.rows], job.source.data.splits[job.settings.split]
    images = split.rgb(instances)
    labels = [job.source.data.classes[label] for label in split.labels[instances].tolist()]
    scores = found.scores[examples.rows, concept].tolist()
    captions = [f"#{i} {name[:12]}  {score:.3g}" for i, name, score in zip(instances, labels, scores, strict=True)]
    return figures.Panel(images, np.asarray(examples.maps), captions)


def _curve(choice: CountChoice, place: str) -> Figure:
    trials = choice.trials
    return figures.count_curve(
        [trial.count for trial in trials], [trial.stability for trial in trials], [trial.fidelity for trial in trials],
        choice.count, f"number of concepts, {place}",
    )  # fmt: skip
