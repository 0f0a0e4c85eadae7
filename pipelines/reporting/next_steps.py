"""What to do next: images worth a look, and commands that look closer."""

from dataclasses import replace
from itertools import groupby

from pipelines.common.figures import short
from pipelines.reporting.evidence import Answer, said
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.html import Html, html, joined
from pipelines.reporting.missing import hint
from pipelines.reporting.subject import Section, Subject
from pipelines.reporting.words import plural, series
from xai import METHODS

TITLE = "What to do next"
SHOWN = 9  # images of each reason on the page: three rows of three
REASONS = {
    "suspect_label": "Label contradicted",
    "confident_wrong": "Wrong, and sure of it",
    "never_right": "Never right",
    "forgotten": "Learned and lost",
    "ambiguous": "Ambiguous to the model",
}
LOOK = "integrated_gradients shap"  # methods that explain instances one by one here


def to_check(subject: Subject) -> Answer:
    """The images worth a look, with reasons; where a shortcut decides, contradicted labels say nothing."""
    found = subject.ask("instances_to_check", split=subject.split)
    misleading = list_misleading(subject)
    rows = [
        row
        for row in found.rows
        if row["reason"] != "suspect_label" or misleading.isdisjoint((row["label_name"], row["predicted_name"]))
    ]
    return replace(found, rows=rows)


def next_steps(subject: Subject) -> Section:
    found = to_check(subject)
    by_reason = {
        reason: list(rows) for reason, rows in groupby(sorted(found.rows, key=_order), key=lambda row: row["reason"])
    }
    sentences = said(check_sentence(by_reason), found)
    parts = [_images(subject, reason, rows, found) for reason, rows in by_reason.items()]
    return Section("next", TITLE, sentences, joined([*parts, _commands(subject, found)]))


def _order(row: dict) -> tuple[int, str]:
    known = list(REASONS)
    return (known.index(row["reason"]) if row["reason"] in known else len(known), row["reason"])


def check_sentence(by_reason: dict[str, list[dict]]) -> str:
    if not by_reason:
        return "No image stands out: none is doubtful, forgotten, never right, ambiguous or wrong with confidence."
    images = len({row["instance_id"] for rows in by_reason.values() for row in rows})
    parts = [f"{REASONS.get(reason, reason).lower()} ({len(rows)})" for reason, rows in by_reason.items()]
    return (
        f"{plural(images, 'image is', 'images are')} worth a look: {series(parts)}; at most 20 of each reason are "
        "listed, in instances_to_check.csv among the report's files."
    )


def _images(subject: Subject, reason: str, rows: list[dict], found: Answer) -> Html:
    """Thumbnails with what speaks for the reason."""
    shown = joined(
        html(
            "<div>{}<p><b>#{}</b> {} → {}<br>{}</p></div>",
            subject.pictures.thumbnail(subject.split, row["instance_id"], row["source"]), row["instance_id"],
            short(row["label_name"], 24), short(row["predicted_name"], 24), row["detail"],
        )
        for row in rows[:SHOWN]
    )  # fmt: skip
    left = f", the first {SHOWN} of {len(rows)}" if len(rows) > SHOWN else ""
    head = html("<h3>{}{}{}</h3>", REASONS.get(reason, reason), left, found.mark)
    return html('{}<div class="gallery">{}</div>\n', head, shown)


def _commands(subject: Subject, found: Answer) -> Html:
    if subject.imported or not found.rows:
        return Html("")
    ids = ",".join(str(row) for row in dict.fromkeys(row["instance_id"] for row in found.rows))
    wrong = any(row["accuracy"] < 1 for row in subject.ask("hard_classes", split=subject.split).rows)
    every = subject.explain(*METHODS, more=' --where "predicted <> label"')
    return joined([
        html("<h3>To look closer</h3>"),
        hint("Explain these images:", subject.explain(*LOOK.split(), more=f" --instances {ids}")),
        hint("Explain all that is wrong:", every) if wrong else "",
    ])  # fmt: skip
