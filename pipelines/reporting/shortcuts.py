"""What a report leads with, where there is something: classes that a patch decides, and a gap between the splits."""

from pipelines.common.figures import short
from pipelines.reporting.accuracy import images_of
from pipelines.reporting.evidence import Answer, Said, said
from pipelines.reporting.found_shortcuts import ask_gap, ask_shortcuts
from pipelines.reporting.html import NOTHING, Html, html, joined, table
from pipelines.reporting.missing import missing
from pipelines.reporting.subject import Section, Subject, newest_comparison
from pipelines.reporting.words import NAME, NONE, between, number, percent, plural

SENTENCES = 3  # classes with sentences of their own; the table has all
SHARES = {
    1: "an eighth",
    2: "a quarter",
    3: "three eighths",
    4: "half",
}  # of the image's side, by the patch's in eighths
PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)


def shortcuts(subject: Subject) -> Section | None:
    """The section; None if no shortcut is found and the splits do not differ.

    One that is only suspected is not claimed: where objects always lie at one place, as centred digits do, a patch that
    decides a class may be a part of the object.
    """
    decided, gap = ask_shortcuts(subject), ask_gap(subject)
    found = decided.where(verdict="found")
    lower = gap.where(is_lower=True)
    if not found and not lower:
        return None
    images = images_of(subject.split)
    sentences: list[Said] = []
    for row in found[:SENTENCES]:
        sentences += said(patch_sentence(row), decided, key=True)
        sentences += said(recall_sentence(row, images), decided, key=True)
    sentences += said(gap_sentence(lower, images), gap, key=True)
    for row in found[:SENTENCES]:
        sentences += said(covered_sentence(row), decided, answer=True)
        sentences += said(maps_sentence(row), decided, answer=True)
    if found:
        title, topic, body = "A shortcut decides", "Shortcut.", _table(decided)
    else:
        title, topic, body = "The splits differ", "Gap between splits.", _not_found(subject, decided)
    return Section("shortcuts", title, sentences, joined([body, _gap_table(gap)]), topic)


def patch_sentence(row: dict) -> str:
    """Which patch decides a class, and how often predictions follow it; a row of shortcuts."""
    name, n = short(row["class_name"], NAME), row["n"]
    place = f"a patch at the {place_of(row)}, {SHARES[row['patch_side']]} of the image's side,"
    return (
        f"Class {name} is recognised by a shortcut: {place} decides. Pasted from training images of {name} into "
        f"{number(n)} images predicted otherwise, it turns {percent(row['follows'], n)} of them into {name} (95 % "
        f"interval {between(row['follows_low'], row['follows_high'], n)}); patches of the same images from elsewhere "
        f"do so in {percent(row['follows_elsewhere'], n)}, patches of other classes from that place in "
        f"{percent(row['follows_others'], n)}."
    )


def place_of(row: dict) -> str:
    """Where in the image a patch lies, such as top right."""
    thirds = [min(int(3 * (row[start] + row["patch_side"] / 2) / 8), 2) for start in ("patch_top", "patch_left")]
    return PLACES[thirds[0]][thirds[1]]


def recall_sentence(row: dict, images: str) -> str | None:
    """Recall and precision of the class beside each other, in both splits; a row of shortcuts."""
    if None in (row["val_recall"], row["recall"]):
        return None
    name = short(row["class_name"], NAME)
    recall = f"{percent(row['recall'])} of the {images} of {name} are recognised (recall)"
    if row["precision"] is None:
        return f"{recall}; of the validation images {percent(row['val_recall'])}. None is predicted as {name}."
    of_val = f"{percent(row['val_recall'])} and {percent(row['val_precision'])}"
    return (
        f"{recall}, and {percent(row['precision'])} of those predicted as {name} are of that class (precision); of the "
        f"validation images, which have what training images have, {of_val}."
    )


def gap_sentence(rows: list[dict], images: str) -> str | None:
    """How far the splits lie apart, on the whole or else where most; the rows of split_gap that are lower."""
    if not rows:
        return None
    whole = [row for row in rows if row["metric"] == "accuracy"]
    row = (whole or rows)[0]
    numbers = (
        f"{percent(row['value'], row['n'])} of {number(row['n'])} {images} "
        f"({between(row['low'], row['high'], row['n'])}), but {percent(row['val'], row['n_val'])} of "
        f"{number(row['n_val'])} validation images ({between(row['val_low'], row['val_high'], row['n_val'])})"
    )
    if whole:
        return f"The model is right on {numbers}, beyond chance: these images differ from those it was trained on."
    name = short(row["class_name"], NAME)
    what = "recall" if row["metric"] == "recall" else "precision"
    return f"The {what} of class {name} is lower than on validation images, beyond chance: {numbers}."


def covered_sentence(row: dict) -> str | None:
    """What covering the patch does; a row of shortcuts."""
    if not row["n_covered"]:
        return None
    n = row["n_covered"]
    return (
        f"With that patch covered by other images' pixels, {percent(row['leaves'], n)} of "
        f"{plural(n, 'validation image')} are no longer recognised as {short(row['class_name'], NAME)}; with one "
        f"elsewhere covered, {percent(row['leaves_elsewhere'], n)}."
    )


def maps_sentence(row: dict) -> str | None:
    """How many maps point at the patch; a row of shortcuts."""
    if not row["n_maps"] or row["others_inside"] is None:
        return None
    return (
        f"The strongest place of {percent(row['maps_inside'], row['n_maps'])} of {plural(row['n_maps'], 'map')} of "
        f"images predicted as {short(row['class_name'], NAME)} lies in that patch, of other maps "
        f"{percent(row['others_inside'], row['n_maps'])}."
    )


def _table(decided: Answer) -> Html:
    rows = [
        (
            short(row["class_name"], NAME), "found" if row["verdict"] == "found" else NONE, place_of(row), row["n"],
            percent(row["follows"], row["n"]), percent(row["follows_elsewhere"], row["n"]),
            percent(row["follows_others"], row["n"]),
            percent(row["leaves"], row["n_covered"]) if row["n_covered"] else NONE,
            percent(row["leaves_elsewhere"], row["n_covered"]) if row["n_covered"] else NONE,
        )
        for row in decided.rows
        if row["n"]
    ]  # fmt: skip
    heads = ("class", "shortcut", "patch", "images", "follow it", "follow one from elsewhere", "follow other classes'",
             "leave if covered", "leave if another is")  # fmt: skip
    caption = html(
        "The patch that raises each class's probability most: how often predictions follow it into other images, and "
        "how often they leave the class where it is covered{}", decided.mark,
    )  # fmt: skip
    return table(caption, heads, rows, names=3)


def _gap_table(gap: Answer) -> Html:
    by_class: dict[str, dict[str, dict]] = {}
    for row in gap.rows:
        if row["class_name"] is not None:
            by_class.setdefault(row["class_name"], {})[row["metric"]] = row
    rows = [
        (short(name, NAME), *_values(metrics.get("recall")), *_values(metrics.get("precision")))
        for name, metrics in list(by_class.items())[:12]
    ]
    if not rows:
        return NOTHING
    heads = ("class", "recall, validation", "recall", "precision, validation", "precision")
    shown = f", the 12 that differ most of {len(by_class)}" if len(by_class) > 12 else ""
    caption = html("Recall and precision of the classes on both splits{}; ↓ lower beyond chance{}", shown, gap.mark)
    return table(caption, heads, rows)


def _values(row: dict | None) -> tuple[str, str]:
    if row is None:
        return NONE, NONE
    return percent(row["val"], row["n_val"]), percent(row["value"], row["n"]) + (" ↓" if row["is_lower"] else "")


def _not_found(subject: Subject, decided: Answer) -> Html:
    """That no patch explains the gap, or the command that looks for one."""
    if any(row["n"] for row in decided.rows):
        return joined([missing("No patch at one place is shown to decide a class."), _table(decided)])
    if subject.imported or newest_comparison(subject):
        return NOTHING
    command = f"study compare {subject.run.run_id} --split {subject.split}"
    return missing("Whether a patch at one place decides a class is not tried yet.", command)
