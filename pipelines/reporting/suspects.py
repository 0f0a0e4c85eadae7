"""Question (c): images whose label is doubtful."""

from pipelines.common.figures import short
from pipelines.reporting.attention import explained_epoch
from pipelines.reporting.criteria import DOUBTFUL_LABEL
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.examples import ExplainedImages, read_explained
from pipelines.reporting.html import NOTHING, Html, html, table
from pipelines.reporting.maps import maps_of
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import NONE, number, of, percent, plural, value

SHOWN = 8  # suspects shown


def suspects(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences, and the most suspicious images with their maps."""
    found = subject.ask("label_suspects", split=subject.split, limit=subject.n)
    sentences = said(suspects_sentence(found.rows, subject.n), found, answer=True)
    doubtful = [row for row in found.rows if row["kind"] == "mislabelled"][:SHOWN]
    rows = doubtful or found.rows[: SHOWN // 2]
    if not rows:
        return sentences, NOTHING
    head = "Images whose label is doubtful" if doubtful else "Images that late epochs took for another class"
    return sentences, html("<h3>{}</h3>{}{}", head, _table(subject, rows, found), _maps(subject, rows))


def suspects_sentence(rows: list[dict], n: int) -> str:
    """How many labels the late epochs contradict; rows of label_suspects."""
    doubtful = [row for row in rows if row["kind"] == "mislabelled"]
    if not doubtful:
        return "No label is contradicted by three quarters of the late epochs."
    sure = sum(row["confidence"] is not None and row["confidence"] < DOUBTFUL_LABEL for row in doubtful)
    most = (
        f"; to {number(sure)} of their labels the model gives under {percent(DOUBTFUL_LABEL, 1)} on average"
        if sure
        else ""
    )
    return (
        f"{of(len(doubtful), n)} are taken for one and the same other class by at least three quarters of late epochs"
        f"{most}. Each is either mislabelled or hard with a right label: look before changing anything."
    )


def _table(subject: Subject, rows: list[dict], found: Answer) -> Html:
    sources = _sources(subject, [row["instance_id"] for row in rows])
    lines = [
        (
            subject.pictures.thumbnail(subject.split, row["instance_id"], sources.get(row["instance_id"])),
            f"#{row['instance_id']}", short(row["label_name"], 28), short(row["suggested_name"], 28),
            percent(row["suggested_share"]), percent(row["confidence"]) if row["confidence"] is not None else NONE,
            value(row["aum"]), value(row["score"]),
        )
        for row in rows
    ]  # fmt: skip
    heads = ("image", "ID", "label", "taken for", "share of late epochs", "confidence in the label", "margin", "score")
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
