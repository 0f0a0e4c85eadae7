"""Draws an epoch's concepts and logs the pictures to its run."""

import numpy as np

from pipelines.common.figures import render_figure, short
from pipelines.explaining.concepts import figures
from pipelines.explaining.concepts.concept_set import TARGET_AGREEMENT, ConceptSet
from pipelines.explaining.concepts.names import Examples, NamedConcept
from pipelines.explaining.concepts.words import describe_stability
from pipelines.explaining.job import ConceptJob
from tracking import display, runs


def draw_concepts(job: ConceptJob, run: runs.Run, epoch: int, concepts: ConceptSet, named: list[NamedConcept]) -> None:
    """A card per concept, prevalence and TCAV by class as matrices, and the curve by which their number was chosen."""
    origin = f"epoch {epoch}, {job.layer.name}, {job.source.record.name}"
    folder = f"concept_cards/epoch_{epoch:04d}"
    # with their numbers of images, as a fraction of few images says little, and of none nothing
    class_sizes = zip(job.source.data.classes, concepts.tcav.images.tolist(), strict=True)
    classes = tuple(f"{short(name, 12)} ({count})" for name, count in class_sizes)

    titles = [
        f"concept {concept_id}: {concept.label}" if concept.label else f"concept {concept_id}"
        for concept_id, concept in enumerate(named)
    ]
    cards = [
        figures.Card(
            title=f"{titles[concept_id]}    {origin}",
            description=f"{concept.description}; {describe_stability(concepts.stability[concept_id].item())}",
            full_colour=float(concept.highest.maps.max()) or 1.0,
            highest=_panel(job, epoch, concepts, concept.highest, concept_id),
            lowest=_panel(job, epoch, concepts, concept.lowest, concept_id),
            prevalence=concepts.tcav.prevalence[concept_id].numpy(),
            tcav_sign=concepts.tcav.tcav_sign[concept_id].numpy(),
            contribution=concepts.tcav.contribution[concept_id].numpy(),
            significant=concepts.tcav.significant[concept_id].numpy(),
        )
        for concept_id, concept in enumerate(named)
    ]
    for concept_id, picture in enumerate(figures.draw_cards(cards, classes)):
        display.log_picture(run, picture, f"{folder}_concept_{concept_id:02d}.png")
    for concept_id, picture in enumerate(figures.draw_squares(cards, classes)):
        display.log_image(run, picture, f"concept/{concept_id:02d}", epoch)

    row_names = [f"{title}: {concept.description.split(';')[0]}" for title, concept in zip(titles, named, strict=True)]
    for measure in ("prevalence", "tcav_sign"):
        values = getattr(concepts.tcav, measure).numpy()
        figure = figures.matrix(values, row_names, classes, concepts.stable.numpy(), f"{measure}, {origin}")
        display.log_picture(run, render_figure(figure), f"{folder}_{measure}.png")
    if concepts.choice:
        figure = figures.count_curve(concepts.choice, TARGET_AGREEMENT, f"number of concepts, {origin}")
        display.log_picture(run, render_figure(figure), f"{folder}_number_of_concepts.png")


def _panel(job: ConceptJob, epoch: int, concepts: ConceptSet, examples: Examples, concept_id: int) -> figures.Panel:
    instances = job.source.instances[epoch][examples.rows]
    split = job.source.data.splits[job.settings.split]
    labels = split.labels[instances].tolist()
    scores = concepts.scores[examples.rows, concept_id].tolist()
    captions = [
        f"#{instance} {job.source.data.classes[label][:12]}  {score:.3g}"
        for instance, label, score in zip(instances, labels, scores, strict=True)
    ]
    return figures.Panel(split.rgb(instances), np.asarray(examples.maps), captions)
