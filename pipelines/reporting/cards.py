"""Section 3: a card for each technique, with what limits it on these data."""

from pipelines.reporting.attention import explained_epoch
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.found_concepts import find_concepts
from pipelines.reporting.html import Html, html, joined
from pipelines.reporting.regions import names
from pipelines.reporting.subject import Section, Subject, ask_faithfulness, newest_comparison
from pipelines.reporting.techniques import QUESTIONS, TECHNIQUES
from pipelines.reporting.trust import RANKING
from pipelines.reporting.words import few, of, percent, series, value
from xai.method import Card

TITLE = "The techniques used"
INTRO = (
    "Each by the six questions of Hohman et al. 2019: why, who, what, how, when and where; then what limits it here."
)


def techniques(subject: Subject) -> Section:
    limits = {**_of_maps(subject), **_of_concepts(subject), **_of_comparison(subject)}
    body = joined(_card(name, technique, limits.get(name)) for name, technique in TECHNIQUES.items())
    return Section("techniques", TITLE, [Said(INTRO)], body)


def _card(name: str, technique: Card, limits: list[Said] | None) -> Html:
    """`limits` are None for a technique that was not used."""
    answers = joined(html("<dt>{}</dt><dd>{}</dd>", question, getattr(technique, question)) for question in QUESTIONS)
    used = limits is not None or name == "instanceflow"
    here = joined([technique.limits, *(one.html for one in limits or []), "" if used else "Not used here."], " ")
    return html(
        '<div class="card"><h3>{}</h3><p class="source">{}</p><dl>{}<dt>limits</dt><dd>{}</dd></dl></div>\n',
        technique.name, technique.source, answers, here,
    )  # fmt: skip


def _of_maps(subject: Subject) -> dict[str, list[Said]]:
    """By method, what its own figures say of its limits."""
    epoch = None if subject.imported else explained_epoch(subject)
    if epoch is None:
        return {}
    made, comparison = subject.ask("explained"), newest_comparison(subject)
    compared = ask_faithfulness(subject, comparison) if comparison else None
    rows = made.where(split=subject.split, epoch=epoch, target_kind="predicted")
    rows = sorted(rows, key=lambda row: row["n"])  # of several runs of a method the one with most images counts
    return {
        row["method"]: [
            *said(completeness_sentence(row), made), *said(zero_sentence(row), made),
            *(_compared(compared, row["method"]) if compared else []),
        ]
        for row in rows
    }  # fmt: skip


def completeness_sentence(row: dict) -> str | None:
    """How many maps do not add up; a row of explained."""
    if row["n_wide_gaps"] is None:
        return None
    if not row["n_wide_gaps"]:
        return f"Here all {row['n']} maps add up to the score's rise within 1 %."
    return (
        f"Here {of(row['n_wide_gaps'], row['n'], 'maps')} miss the score's rise by over 1 %; the mean gap is "
        f"{value(row['mean_abs_delta'], 3)} logits."
    )


def zero_sentence(row: dict) -> str | None:
    return f"Here {of(row['n_zero'], row['n'], 'maps')} are zero everywhere." if row["n_zero"] else None


def _compared(found: Answer, method: str) -> list[Said]:
    """What the comparison found against a method."""
    own = [row for row in found.rows if row["method"] == method]
    failed = [RANKING[row["metric"]] for row in own if row["metric"] in RANKING and row["beats_random"] is False]
    return [
        *said(f"Here it is not shown to beat random maps by {names(failed)}." if failed else None, found),
        *said(covering_sentence(own), found),
    ]  # fmt: skip


def covering_sentence(rows: list[dict]) -> str | None:
    """How many maps leave a part out where several decide together; a method's rows of faithfulness_by_method."""
    covering = next((row for row in rows if row["metric"] == "covers_all_parts"), None)
    if covering is None:
        return None
    n = covering["n"]
    return (
        f"Here several parts decide together, and {of(round((1 - covering['mean']) * n), n, 'maps')} leave one out: it "
        "has less than half of an equal share."
    )


def _of_comparison(subject: Subject) -> dict[str, list[Said]]:
    if (comparison := newest_comparison(subject)) is None:
        return {}
    compared = ask_faithfulness(subject, comparison)
    return {"compare": said(size_sentence(compared.rows), compared)}


def size_sentence(rows: list[dict]) -> str:
    """On how many images the comparison stands."""
    least, most = min(row["n"] for row in rows), max(row["n"] for row in rows)
    return f"Here figures stand on {least if least == most else f'{least} to {most}'} images{few(most)}."


def _of_concepts(subject: Subject) -> dict[str, list[Said]]:
    found = find_concepts(subject)
    return {"ice": said(rivals_sentence(found.fidelity), found.measured)} if found else {}


def rivals_sentence(known: dict[str, float]) -> str | None:
    """How well other ways of factorizing stand for the model, at the same number of concepts."""
    rivals = {"nmf": "these concepts", "pca": "principal components", "kmeans": "clusters"}
    parts = [
        f"{name} {percent(known[f'{key}_agreement'])}" for key, name in rivals.items() if f"{key}_agreement" in known
    ]
    return f"Here, of as many directions each, the model keeps its answer with: {series(parts)}." if parts else None
