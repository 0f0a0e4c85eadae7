"""Question (a): which parts of an image decide its class?"""

from pipelines.reporting.agreement import agreement
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.evidence import Said, answers, details, said
from pipelines.reporting.examples import ExplainedImages, choose, read_explained
from pipelines.reporting.html import NOTHING, Html, html, joined
from pipelines.reporting.maps import for_and_against, maps_of
from pipelines.reporting.missing import hint, missing
from pipelines.reporting.regions import ask_regions, names, regions
from pipelines.reporting.subject import Section, Subject, ask_faithfulness, newest_comparison
from pipelines.reporting.trust import trust
from pipelines.reporting.words import few, plural
from xai import METHODS

LEGEND = (
    "Each map has its own scale. Signed methods: red speaks for the predicted class, blue against it; others: the "
    "brighter, the stronger. Chosen are the lowest IDs, of different classes where there are some, not the best maps."
)
TITLE, TOPIC = "Which parts of an image decide its class?", "Where it looks."

NAMED = 3  # methods that a sentence names one by one; the tables name all


def attention(subject: Subject) -> Section:
    """The section on maps."""
    epoch = explained_epoch(subject)
    if epoch is None:
        return _nothing(subject)
    explained = read_explained(subject, epoch)
    placed, where = regions(*ask_regions(subject, epoch))
    agreed, matrix = agreement(
        subject.ask("attribution_agreement", epoch=epoch, split=subject.split, level=VERDICTS["agreement"].level)
    )
    trusted, table = _trust(subject)
    body = joined([
        _examples(explained),
        html("<h3>Where the maps lie</h3>{}{}", details(placed), where),
        html("<h3>How far methods agree</h3>{}{}", details(agreed), matrix or _one_method(explained)),
        html("<h3>Which methods to trust here</h3>{}{}", details(trusted), table), _absent(explained),
    ])  # fmt: skip
    head = answers([*_scope(explained, subject.epoch), *placed, *trusted, *agreed])
    return Section("attention", TITLE, head, body, TOPIC)


def explained_epoch(subject: Subject) -> int | None:
    """The last epoch of which the split has maps of the predicted class."""
    found = subject.ask("explained")
    rows = found.where(split=subject.split, target_kind="predicted")
    return max((row["epoch"] for row in rows if row["method"] in METHODS), default=None)


def _nothing(subject: Subject) -> Section:
    if subject.imported:
        lacking = said("An imported log has no checkpoints, so nothing of it can be explained.", key=True)
        return Section("attention", TITLE, lacking, topic=TOPIC)
    lacking = said(f"No image of {subject.split} is explained by a map of its predicted class yet.", key=True)
    commands = (
        subject.explain(*METHODS, more=subject.some),
        f"study compare {subject.run.run_id} --split {subject.split}",
    )
    return Section(
        "attention", TITLE, lacking, hint("To explain images, and to compare the methods:", *commands), TOPIC
    )


def _scope(explained: ExplainedImages, last: int) -> list[Said]:
    count = len({row["instance_id"] for row in explained.answer.rows})
    shared = set.intersection(*map(explained.instances, explained.methods))
    each = "" if len(shared) == count else f", {len(shared):,} of them by all"
    labels, classes = len({row["label"] for row in explained.answer.rows}), len(explained.subject.classes)
    some = f" of {labels} of {classes} classes" if labels < classes else ""
    methods = "" if len(explained.methods) > NAMED else f": {names(list(explained.methods))}"
    late = "" if explained.epoch == last else f", which is not the last, {last}"
    return said(
        f"{plural(count, 'image')} of {explained.subject.split}{some} {'is' if count == 1 else 'are'} explained at "
        f"epoch {explained.epoch}{late}, by {plural(len(explained.methods), 'method')}{methods}{each}{few(count)}.",
        explained.answer, key=True,
    )  # fmt: skip


def _examples(explained: ExplainedImages) -> Html:
    right, wrong = choose(explained, True), choose(explained, False)
    if why := explained.subject.pictures.why_none:
        return missing(f"Images and maps cannot be shown: {why}.")
    return joined([
        html('<p class="source">{}</p>', LEGEND),
        maps_of(explained, right, "Right predictions"),
        maps_of(explained, wrong, "Wrong predictions, chosen likewise") or _no_wrong(explained),
        for_and_against(explained, wrong or right),
    ])  # fmt: skip


def _no_wrong(explained: ExplainedImages) -> Html:
    """That no wrong prediction is explained, and the command that explains some if there are any."""
    subject = explained.subject
    [row] = subject.ask("accuracy_by_epoch").where(split=subject.split, epoch=explained.epoch)
    if row["accuracy"] == 1:
        return missing("There is no wrong prediction to show.")
    command = subject.explain(*METHODS, more=f' --epochs {explained.epoch} --where "predicted <> label"')
    return missing("None of the explained images is predicted wrong.", command)


def _trust(subject: Subject) -> tuple[list[Said], Html]:
    comparison = newest_comparison(subject)
    if comparison is None:
        return [], missing(
            f"The methods are not compared on split {subject.split}, so nothing says which of them follow the model.",
            f"study compare {subject.run.run_id} --split {subject.split}",
        )
    sentences, table = trust(
        ask_faithfulness(subject, comparison),
        subject.ask(
            "faithfulness_differences", compare_run=comparison.run_id, level=VERDICTS["method_differences"].level
        ),
    )
    if comparison.status == "FINISHED":
        return sentences, table
    # a verdict on some of the methods would read as one on all
    if comparison.status == "RUNNING":
        return [], joined([missing("The comparison is still going on; so far it has this."), table])
    return [], joined(
        [hint("The comparison was stopped. To go on with it:", f"study resume {comparison.run_id}"), table]
    )


def _one_method(explained: ExplainedImages) -> Html:
    command = explained.subject.explain(*METHODS, more=f" --epochs {explained.epoch}{explained.same}")
    return missing("Agreement needs two methods on the same images.", command)


def _absent(explained: ExplainedImages) -> Html:
    """Methods without maps here, and the command that makes them."""
    absent = [method for method in METHODS if method not in explained.methods]
    if not absent:
        return NOTHING
    command = explained.subject.explain(*absent, more=f" --epochs {explained.epoch}{explained.same}")
    return missing(f"No maps by {names(absent)}.", command)
