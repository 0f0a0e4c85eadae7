"""What `study run` prints at its end: the study in a few lines, and what to look at next."""

import textwrap
from collections.abc import Iterator

from pipelines.common.wording import plural
from pipelines.pages.evidence import Evidence
from pipelines.pages.words import SPACE, between, images_of, number, percent
from pipelines.reporting.accuracy import few_sentence, judge_classes, uneven_sentence
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.found_shortcuts import LEVEL
from pipelines.reporting.labels import gather_training_labels
from pipelines.reporting.shortcuts import find_carriers, place_of
from tracking.home import Home, find_home
from tracking.reading import connect

NAME_WIDTH = 13
WIDTH = 110
PAIRS = 3  # pairs of confused classes
Line = tuple[str, str]  # its name, or nothing where it continues, and its text


def summarise(home: Home, training_run: str, other_runs: list[str], report_page: str, flow_page: str) -> str:
    """Accuracy, the shortcuts found, suspect labels, confused classes, where the pages are, and what to run next."""
    with connect(home, run_ids=[training_run, *other_runs]) as connection:
        evidence = Evidence(connection, training_run)
        classes = connection.execute("select name from classes where run_id = ? order by class_id", [training_run])
        class_names = [name for (name,) in classes.fetchall()]
        sql = "select run_id, kind, name from runs"
        runs = {run_id: (kind, name) for run_id, kind, name in connection.execute(sql).fetchall()}
        explainers = plural(sum(runs[run_id][0] == "explain" for run_id in other_runs), "explainer run")
        lines = [
            *describe_findings(evidence, class_names, "test"),
            ("runs", f"{training_run} ({runs[training_run][1]}), {explainers}, 1 comparison"),
        ]
    text = "\n".join(line for name, words in lines for line in _wrap(name, words.replace(SPACE, " ")))

    flag = "" if home == find_home() else f" --home {home.path}"
    # paths and commands are never wrapped, so that they can be copied
    next_steps = [
        ("read", report_page),
        ("look", flow_page),
        ("", f"study ui{flag}"),
        ("ask", f"study ask shortcuts{flag}"),
        ("", f"study ask label_suspects --split train_seen{flag}"),
        ("", f"study ask faithfulness_by_method{flag}"),
        ("", f'study explain latest --epochs all --where "predicted <> label"{flag}'),
    ]
    return text + "\n\n" + "\n".join(f"{name:{NAME_WIDTH}}{words}" for name, words in next_steps)


def describe_findings(evidence: Evidence, class_names: list[str], split: str) -> list[Line]:
    """Accuracy on a split, the shortcuts found, suspect training labels and confused classes."""
    return [
        *_describe_accuracy(evidence, class_names, split),
        *describe_shortcuts(evidence, split),
        *_describe_mistakes(evidence, split),
    ]


def _describe_accuracy(evidence: Evidence, class_names: list[str], split: str) -> Iterator[Line]:
    last = {row["split"]: row for row in evidence.ask("accuracy_by_epoch").rows}  # epochs ascend
    own, val = last[split], last.get("val") if split != "val" else None
    interval = between(own["low"], own["high"], own["n"])
    validation = f", validation {percent(val['accuracy'], val['n'])} of {number(val['n'])}" if val else ""
    yield (
        "accuracy",
        f"{split} {percent(own['accuracy'], own['n'])} of {number(own['n'])} images (95 % interval {interval})"
        f"{validation}",
    )
    hard_classes = evidence.ask("hard_classes", split=split).rows
    for caution in (uneven_sentence(hard_classes, images_of(split)), few_sentence(hard_classes, class_names)):
        if caution:
            yield "", caution


def describe_shortcuts(evidence: Evidence, split: str) -> Iterator[Line]:
    """What a comparison found of patches that decide a class."""
    answer = evidence.ask("shortcuts", split=split, level=LEVEL)
    found = answer.where(verdict="found")
    if not found:
        yield "shortcut", "none found" if any(row["n"] for row in answer.rows) else "not tested"
    for row in found:
        name, n = row["class_name"], row["n"]
        controls = max(row["follows_elsewhere"], row["follows_others"])
        yield (
            "shortcut",
            f"class {name} leans on a patch at the {place_of(row)}. Pasted into other images, it makes "
            f"{percent(row['follows'], n)} of them {name}; control patches, at most {percent(controls, n)}.",
        )
        carriers = find_carriers(evidence, split, row["class_id"])
        if carriers and carriers.misled:
            carrying = sum(bool(image["carries"]) for image in carriers.misled)
            yield (
                "",
                f"{number(carrying)} of the {number(len(carriers.misled))} {split} images misclassified as {name} "
                "carry it.",
            )
        elif row["n_covered"]:
            yield (
                "",
                f"Without it, {percent(row['leaves'], row['n_covered'])} of the images of {name} are no longer "
                f"recognised; without another patch, {percent(row['leaves_elsewhere'], row['n_covered'])}.",
            )
        if row["precision"] is not None and row["val_precision"] is not None:
            yield (
                "",
                f"Precision of class {name}: {percent(row['precision'])} on the test images, "
                f"{percent(row['val_precision'])} on the validation images.",
            )


def _describe_mistakes(evidence: Evidence, split: str) -> Iterator[Line]:
    differences = evidence.ask("class_differences", split=split, level=VERDICTS["class_accuracy"].level)
    if judge_classes(evidence.ask("hard_classes", split=split).rows, differences.rows) == "blind":
        yield "classes", "the model is not shown to tell them apart, so its mistakes say nothing of labels or classes"
        return
    yield from _describe_labels(evidence)
    yield from _describe_confusions(evidence, split)


def _describe_labels(evidence: Evidence) -> Iterator[Line]:
    found = gather_training_labels(evidence)
    labels, suspect = plural(found.n, "training label"), len(found.suspect)
    contradicted = f"the model contradicts {number(found.disputed)} of {labels}"
    if not found.is_estimated:
        yield "labels", f"{contradicted}; how many are wrong cannot be estimated"
    elif not suspect:
        yield "labels", f"{contradicted}; none is shown to be wrong, so look at them"
    else:
        yield (
            "labels",
            f"{number(suspect)} of {labels} {'is' if suspect == 1 else 'are'} suspect: if at most a few percent of "
            f"the model's surest answers are mistakes, an estimated {percent(found.p_wrong, suspect)} of such labels "
            f"are wrong (95 % interval {between(found.low, found.high, suspect)}).",
        )


def _describe_confusions(evidence: Evidence, split: str) -> Iterator[Line]:
    parts = [
        f"{row['name_a']} and {row['name_b']} ({row['a_as_b']} {row['name_a']} as {row['name_b']}, "
        f"{row['b_as_a']} {row['name_b']} as {row['name_a']})"
        for row in evidence.ask("confused_pairs", split=split, limit=PAIRS).rows
    ]
    yield "confused", "; ".join(parts) or f"nothing: none of the {images_of(split)} is misclassified"


def _wrap(name: str, text: str) -> list[str]:
    """Lines of a text, its name before the first."""
    wrapped = textwrap.wrap(text, WIDTH - NAME_WIDTH, break_long_words=False, break_on_hyphens=False)
    names = [name] + [""] * (len(wrapped) - 1)
    return [f"{first:{NAME_WIDTH}}{line}" for first, line in zip(names, wrapped, strict=True)]
