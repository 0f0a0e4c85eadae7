"""Question (b): what each concept looks like."""

import io
from pathlib import Path

from PIL import Image

from pipelines.common.figures import short
from pipelines.reporting.criteria import SMALLEST_CONTRIBUTION
from pipelines.reporting.evidence import marks
from pipelines.reporting.found_concepts import FoundConcepts
from pipelines.reporting.html import Html, html, joined
from pipelines.reporting.missing import hint
from pipelines.reporting.pictures import uri_of
from pipelines.reporting.words import value

CARDS = 12  # concepts with a picture
IMAGES = (0.092, 0.54)  # part of a card's height that holds its images, above bars that the report draws as tables
GREY = " Grey: concepts that other images do not lead to."
SHADES = 128  # colours of a picture: photographs stay recognisable, and small


def cards(found: FoundConcepts) -> Html:
    """A card for each of the first concepts: description, classes, the images that show it most and least."""
    order = sorted(found.names.items(), key=lambda item: (item[0] in found.unstable, item[0]))  # stable ones first
    made = [_card(found, concept, name) for concept, name in order[:CARDS]]
    left = f" {CARDS} of {len(found.names)}, stable ones with most energy first." if len(order) > CARDS else ""
    names = hint("To give a concept a name of your own:", f'study label-concept {found.run_id} 0 "a name"')
    intro = html("<h3>What the concepts look like</h3><p>Images that show each concept most, and least, each with the "
                 "map of the concept beside it (one scale for each concept) and its score.{}{}</p>",
                 left, marks(found.by_class, found.examples))  # fmt: skip
    return joined([intro, *made, names])


def titled(concept: int, name: str, unstable: bool) -> Html:
    """A concept's number and the beginning of its name, grey if it is not stable."""
    title = html("<b>{}</b> {}", concept, short(name.split(";")[0], 44))
    return html('<span class="unstable">{}</span>', title) if unstable else title


def _card(found: FoundConcepts, concept: int, name: str) -> Html:
    carries = max(found.by_class.where(concept_id=concept), key=lambda row: row["contribution"])
    adds = (
        f"It adds most to the logit of {short(carries['class_name'], 28)} ({value(carries['contribution'])})."
        if carries["contribution"] >= SMALLEST_CONTRIBUTION
        else "It adds to no class's logit."
    )
    shown = [
        f"#{row['instance_id']} ({short(row['label_name'], 20)})" for row in found.examples.where(concept_id=concept)
    ]
    unstable = concept in found.unstable
    return html(
        '<div class="card{}"><h4>Concept {}: {}</h4><p>{}{} Strongest in {}.</p>{}</div>\n',
        " unstable" if unstable else "", concept, name.split("; see")[0],
        "Not stable: other images do not lead to it. " if unstable else "", adds, ", ".join(shown),
        _picture(found.card(concept), concept),
    )  # fmt: skip


def _picture(file: Path, concept: int) -> Html:
    """The images of a logged card."""
    if not file.is_file():
        return html('<p class="none">Its picture is not among the explainer run\'s files.</p>')
    with Image.open(file, formats=("PNG",)) as card:
        top, bottom = (round(share * card.height) for share in IMAGES)
        part = card.convert("RGB").crop((0, top, card.width, bottom))
    out = io.BytesIO()
    part.quantize(SHADES, method=Image.Quantize.MEDIANCUT).save(out, "PNG", optimize=True)
    return html('<img class="wide" src="{}" alt="Images that show concept {} most, and least, with its maps">',
                Html(uri_of(out.getvalue())), concept)  # fmt: skip
