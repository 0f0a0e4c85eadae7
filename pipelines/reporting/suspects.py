"""Question (c): images whose label is doubtful."""

from statistics import fmean

from pipelines.common.figures import short
from pipelines.reporting.attention import explained_epoch
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.examples import ExplainedImages, read_explained
from pipelines.reporting.found_shortcuts import list_misleading
from pipelines.reporting.html import NOTHING, Html, html, table
from pipelines.reporting.maps import maps_of
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import NONE, between, listed, number, of, percent, plural, value

SHOWN = 8  # suspects shown


def suspects(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences, and the most suspicious images with their maps."""
    found = subject.ask("label_suspects", split=subject.split, limit=subject.n)
    misleading = list_misleading(subject)
    known = [row for row in found.rows if misleading.isdisjoint((row["label_name"], row["suggested_name"]))]
    sentences = [
        *said(shortcut_sentence(sorted(misleading)), answer=True),
        *said(suspects_sentence(known) if known else None, found, answer=True),
    ]
    wrong = [row for row in known if row["kind"] == "suspect"][:SHOWN]
    rows = wrong or [row for row in known if row["score"] > 0.5][: SHOWN // 2]
    if not rows:
        return sentences, NOTHING
    head = "Images whose label is suspect" if wrong else "Images whose label the model contradicts most"
    return sentences, html("<h3>{}</h3>{}{}", head, _table(subject, rows, found), _maps(subject, rows))


def shortcut_sentence(classes: list[str]) -> str | None:
    """Of which images nothing is said, as a shortcut decides."""
    if not classes:
        return None
    return (
        f"Nothing is said of labels where the model predicts, or should predict, {listed(classes, 4)}: a shortcut "
        "decides there."
    )


def suspects_sentence(rows: list[dict]) -> str:
    """How many labels are suspect, and what fraction of these would be wrong; all rows of label_suspects."""
    if not any(row["p_wrong"] is not None for row in rows):
        return (
            "How many labels are wrong cannot be estimated: that needs 100 labelled images or more, with probabilities."
        )
    disputed = sum(row["score"] > 0.5 for row in rows)
    wrong = [row for row in rows if row["kind"] == "suspect"]
    if not wrong:
        contradicted = (
            f"the labels of {of(disputed, len(rows))}, which may be its own mistakes" if disputed else "no label"
        )
        return f"No label is shown to be wrong. The model contradicts {contradicted}."
    mean, low, high = (fmean(row[column] for row in wrong) for column in ("p_wrong", "p_wrong_low", "p_wrong_high"))
    return (
        f"The labels of {of(len(wrong), len(rows))} are suspect: the model contradicts them. If at most a few percent "
        f"of its surest answers are mistakes, an estimated {percent(mean, len(wrong))} of these labels are wrong (95 % "
        f"interval {between(low, high, len(wrong))}); if more are, the labels may be right. The model contradicts "
        f"{number(disputed)} labels in all."
    )


def _table(subject: Subject, rows: list[dict], found: Answer) -> Html:
    sources = _sources(subject, [row["instance_id"] for row in rows])
    lines = [
        (
            subject.pictures.thumbnail(subject.split, row["instance_id"], sources.get(row["instance_id"])),
            f"#{row['instance_id']}", short(row["label_name"], 28), short(row["suggested_name"], 28),
            percent(row["suggested_share"]), percent(row["confidence"]) if row["confidence"] is not None else NONE,
            value(row["aum"]), percent(row["p_wrong"]) if row["p_wrong"] is not None else NONE,
        )
        for row in rows
    ]  # fmt: skip
    heads = (
        "image",
        "ID",
        "label",
        "misclassified as",
        "in late epochs",
        "confidence in the label",
        "margin",
        "label wrong",
    )
    caption = html("The {} whose label the late epochs contradict most{}",
                   plural(len(rows), "image"), found.mark)  # fmt: skip
    return table(caption, heads, lines, names=4)


def _sources(subject: Subject, instances: list[int]) -> dict[int, str]:
    """Where images lie in the data set."""
    sql = (
        "select instance_id, source from instances where run_id = ? and split = ? and instance_id in (select unnest(?))"
    )
    return dict(subject.evidence.connection.execute(sql, [subject.run.run_id, subject.split, instances]).fetchall())


def _maps(subject: Subject, rows: list[dict]) -> Html:
    """Maps of the suspects that are explained."""
    epoch = explained_epoch(subject)
    if epoch is None:
        return NOTHING
    explained: ExplainedImages = read_explained(subject, epoch)
    there = {row["instance_id"] for row in explained.answer.rows if row["target_kind"] == "predicted"}
    known = [row["instance_id"] for row in rows if row["instance_id"] in there]
    if known:
        return maps_of(explained, known, "Maps of those of them that are explained.")
    return NOTHING
