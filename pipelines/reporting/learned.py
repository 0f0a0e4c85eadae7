"""Question (b): which patterns has the model learned?"""

from pipelines.common.figures import short
from pipelines.reporting.class_concepts import class_concepts
from pipelines.reporting.concept_history import concept_history
from pipelines.reporting.concepts import GREY, cards, titled
from pipelines.reporting.criteria import ANSWERS_KEPT, CONCEPT_IN_CLASS, VERDICTS
from pipelines.reporting.evidence import answers, details, said
from pipelines.reporting.found_concepts import FoundConcepts, find_concepts, is_own
from pipelines.reporting.html import Cell, Html, html, joined, table
from pipelines.reporting.missing import hint
from pipelines.reporting.numbered import shade
from pipelines.reporting.subject import Section, Subject
from pipelines.reporting.words import between, listed, percent, plural, series

TITLE, TOPIC = "Which patterns has the model learned?", "What it has learned."
CLASSES, CONCEPTS = 12, 20  # columns and rows of a table at the most


def learned(subject: Subject) -> Section:
    """The section on concepts."""
    found = find_concepts(subject)
    if found is None:
        return _nothing(subject)
    own, own_table = class_concepts(found.own)
    over_time, history = concept_history(subject)
    head = [
        *said(concepts_sentence(found.by_class.rows, found.unstable), found.by_class, key=True),
        *said(scored_sentence(list(found.classes.values()), len(subject.classes)), found.own, answer=True),
        *said(fidelity_sentence(found.kept.first()), found.kept, key=True),
        *answers(own),
        *answers(over_time),
    ]
    tested = said(tcav_sentence(found.stable_rows), found.by_class)
    matrix = html("<h3>Concepts and classes</h3>{}{}", details(tested), _matrix(found))
    body = joined([matrix, details(own), own_table, cards(found), history])
    return Section("learned", TITLE, head, body, TOPIC)


def _nothing(subject: Subject) -> Section:
    if subject.imported:
        lacking = said("An imported log has no checkpoints, so no concepts can be found.", key=True)
        return Section("learned", TITLE, lacking, topic=TOPIC)
    lacking = said("No concepts have been looked for yet.", key=True)
    return Section(
        "learned", TITLE, lacking, hint("To look for some:", subject.explain("ice", more=subject.some)), TOPIC
    )


def concepts_sentence(rows: list[dict], unstable: set[int]) -> str:
    """How many concepts there are, in which layer, and for how many classes the stable ones; of concepts_by_class."""
    prevalence: dict[int, list[float]] = {}
    for row in rows:
        prevalence.setdefault(row["concept_id"], []).append(row["prevalence"])
    made = (
        f"In layer {rows[0]['layer']} of epoch {rows[0]['epoch']} the activations are made of "
        f"{plural(len(prevalence), 'concept')}"
    )
    if unstable:
        stable = len(prevalence) - len(unstable)
        made += f", of which {stable or 'none'} {'is' if stable == 1 else 'are'} stable: other images lead to them too"
    if len(unstable) == len(prevalence):
        return f"{made}. What they show is not repeatable, so nothing is said of whom they serve."
    if len({row["class_id"] for row in rows}) == 1:
        return f"{made}; on images of a single class nothing can be said about whom they serve."
    shares = [own for concept, own in prevalence.items() if concept not in unstable]
    beyond_chance = {row["concept_id"] for row in rows if is_own(row)}
    single = sum(
        sum(share >= max(own) / 2 for share in own) == 1
        for concept, own in prevalence.items()
        if concept in beyond_chance and concept not in unstable
    )
    everywhere = sum(min(own) >= 0.5 for own in shares)
    serve, are = ("serves" if single < 2 else "serve"), ("is" if everywhere < 2 else "are")
    return (
        f"{made}; {single or 'none'} of them {serve} a single class (beyond chance, and no other shows it half as "
        f"often), "
        f"{everywhere or 'none'} {are} in half or more of every class's images."
    )


def scored_sentence(names: list[str], classes: int) -> str | None:
    """That images of some classes alone were looked at."""
    if len(names) == classes:
        return None
    return f"Only images of {len(names)} of {classes} classes were looked at: {listed(names)}."


def fidelity_sentence(kept: dict | None) -> str | None:
    """How far the concepts stand for the model, on images that no choice saw; None where it was not measured."""
    if kept is None:
        return None
    n = kept["n"]
    share = f"{percent(kept['answers_kept'], n)} of {plural(n, 'held-out image')}"
    known = f"95 % interval {between(kept['low'], kept['high'], n)}"
    if kept["answers_kept"] >= ANSWERS_KEPT:
        return f"Seeing nothing but these concepts, the model keeps its answer on {share} ({known})."
    return (
        f"Seeing nothing but these concepts, the model keeps its answer on {share} ({known}; aim: "
        f"{percent(ANSWERS_KEPT)}); on the others it depends on what they leave out."
    )


def tcav_sentence(rows: list[dict]) -> str:
    """Which concepts raise or lower which classes' logits beyond chance; rows of concepts_by_class."""
    if all(row["p_value"] is None for row in rows):
        return (
            "Whether a concept raises a class's logit beyond chance is not said: an earlier version tested it in a way "
            "that called weak effects strong. Explain again with ice to have it tested."
        )
    beyond_chance = [row for row in rows if is_beyond_chance(row)]
    level = percent(VERDICTS["concepts"].level)
    if not beyond_chance:
        return (
            f"TCAV: no effect of a concept on a class is beyond chance (0 of {plural(len(rows), 'pair')}, family-wise "
            f"level {level}); an earlier layer may say more."
        )
    there = [row for row in beyond_chance if row["prevalence"] >= CONCEPT_IN_CLASS]
    parts = [
        f"concept {row['concept_id']} {'for' if row['tcav_magnitude'] > 0 else 'against'} "
        f"{short(row['class_name'], 20)}"
        for row in sorted(there, key=lambda row: -abs(row["contribution"]))[:3]
    ]
    where = (
        f"{len(there)} where the class shows the concept" if there else "none of them where the class shows the concept"
    )
    return (
        f"TCAV: {len(beyond_chance)} of {plural(len(rows), 'pair')} of concept and class "
        f"{'is' if len(beyond_chance) == 1 else 'are'} beyond chance (family-wise level {level}), {where} in a tenth "
        f"or more of its images{f', first {series(parts)}' if parts else ''}."
    )


def is_beyond_chance(row: dict) -> bool:
    """Whether the concept's effect on the class's logit holds at the report's level; a row of concepts_by_class."""
    return row["p_value"] is not None and row["p_value"] < VERDICTS["concepts"].level


def _matrix(found: FoundConcepts) -> Html:
    """How often each concept is there in each class."""
    cells = {(row["concept_id"], row["class_id"]): row for row in found.by_class.rows}
    shown = most_uneven(found.by_class.rows)
    lines = [
        [titled(concept, name, concept in found.unstable), *(_cell(cells[concept, one]) for one in shown)]
        for concept, name in sorted(found.names.items())[:CONCEPTS]
    ]
    left = f" Shown are {len(shown)} of {len(found.classes)} classes, those with the strongest concepts."
    caption = html(
        "Prevalence in percent: share of a class's held-out images that show the concept. ▲ ▼: more of the concept "
        "raises or lowers the class's logit beyond chance (TCAV).{}{}{}",
        GREY if found.unstable else "", left if len(shown) < len(found.classes) else "", found.by_class.mark,
    )  # fmt: skip
    heads = ("concept", *(short(found.classes[one], 18) for one in shown))
    return table(caption, heads, lines, "matrix")


def most_uneven(rows: list[dict]) -> list[int]:
    """At most twelve classes, those with the highest prevalence of any concept, in their order."""
    highest: dict[int, float] = {}
    for row in rows:
        highest[row["class_id"]] = max(row["prevalence"], highest.get(row["class_id"], 0))
    return sorted(sorted(highest, key=lambda one: (-highest[one], one))[:CLASSES])


def _cell(row: dict) -> Cell:
    mark = (" ▲" if row["tcav_magnitude"] > 0 else " ▼") if is_beyond_chance(row) else ""
    return Cell(f"{100 * row['prevalence']:.0f}{mark}", kind=shade(row["prevalence"]))
