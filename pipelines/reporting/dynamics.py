"""Question (c) over time: what each epoch fixes and breaks, what is forgotten, which images waver."""

from scipy.stats import binomtest

from pipelines.common.figures import short
from pipelines.reporting import figures
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.evidence import Answer, Said, details, said
from pipelines.reporting.html import NOTHING, Html, figure, html, joined, table
from pipelines.reporting.missing import missing
from pipelines.reporting.settling import settling
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import number, of, plural

FLOWS = 8  # flows shown of the last transition


def dynamics(subject: Subject) -> tuple[list[Said], Html]:
    """Sentences and evidence on learning over the epochs."""
    steps = subject.ask("transition_outcomes", split=subject.split)
    forgetting = subject.ask("forgetting", split=subject.split)
    if not steps.rows:
        return [], NOTHING
    waver = subject.ask("cartography", split=subject.split)
    settled, drift = settling(subject)
    sentences = [*said(forgetting_sentence(forgetting.rows), forgetting, key=True), *settled]
    chart = figure(figures.outcomes(steps.rows), html("What each epoch fixes and breaks, in images{}", steps.mark))
    more = [*said(last_step_sentence(steps.rows[-1]), steps), *said(cartography_sentence(waver.rows), waver)]
    learning = html("<h3>Learning over the epochs</h3>{}{}{}", details(more), chart, _flows(subject, steps))
    return sentences, joined([learning, drift])


def last_step_sentence(row: dict) -> str:
    """What the last epoch did; a row of transition_outcomes."""
    fixed, broken = row["fixed"], row["broken"]
    if not fixed and not broken and not row["rerouted"]:
        return "The last epoch changed nothing."
    gain = "a gain" if fixed > broken else "a loss" if fixed < broken else "no change"
    chance = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1
    unclear = fixed != broken and chance > VERDICTS["epochs"].level / 2
    return (
        f"The last epoch fixed {plural(fixed, 'image')} and broke {number(broken)}: {gain} of {abs(fixed - broken)}"
        f"{', no more than chance may make' if unclear else ''}."
    ).replace("no change of 0", "no change")


def forgetting_sentence(rows: list[dict]) -> str | None:
    """How many images were learned and lost, and how many never learned; rows of forgetting."""
    if not rows or rows[0]["n"] < 2:
        return None
    forgotten = sum(bool(row["forgetting"]) for row in rows)
    back = sum(bool(row["forgetting"]) and row["right_at_end"] for row in rows)
    never = sum(row["never_learned"] for row in rows)
    lost = (
        f"{of(forgotten, len(rows))} were right after some epoch and wrong after a later one, "
        f"{number(back) if back else 'none'} of them right again at the end"
        if forgotten
        else "No image that was right after some epoch was wrong after a later one"
    )
    return f"{lost}; {of(never, len(rows)) if never else 'none'} {'was' if never < 2 else 'were'} never right."


def cartography_sentence(rows: list[dict]) -> str | None:
    """How many images are ambiguous, hard, or right in some epochs only; rows of cartography."""
    known = [row for row in rows if row["region"] is not None]
    if not known:
        return None
    ambiguous = sum(row["region"] == "ambiguous" for row in known)
    hard = sum(row["region"] == "hard" for row in known)
    unsure = sum(0.25 <= row["correctness"] <= 0.75 for row in known)
    return (
        f"Over the epochs {of(ambiguous, len(known))} are ambiguous to the model (as unsure as between two equally "
        f"probable classes), and {of(hard, len(known))} are hard (it rather sees another class than the label). "
        f"{of(unsure, len(known))} are right in a quarter to three quarters of the epochs only."
    )


def _flows(subject: Subject, steps: Answer) -> Html:
    """The largest moves of the last transition, and where to see all of them."""
    last = steps.rows[-1]
    found = subject.ask("flow_links", split=subject.split, from_epoch=last["epoch"], to_epoch=last["next_epoch"])
    moves: dict[tuple[str, str], list[int]] = {}
    for row in found.rows:
        if row["source"] != row["target"]:
            own = moves.setdefault((row["source_name"], row["target_name"]), [0, 0, 0])
            own[0] += row["n"]
            own[1] += row["n"] * (row["label"] == row["target"])
            own[2] += row["n"] * (row["label"] == row["source"])
    rows = [
        (f"{short(source, 28)} → {short(target, 28)}", number(n), number(fixed), number(broken))
        for (source, target), (n, fixed, broken) in sorted(moves.items(), key=lambda move: -move[1][0])[:FLOWS]
    ]
    if not rows:
        return _flow_page(subject)
    total = sum(n for n, *_ in moves.values())
    shown = f", the {FLOWS} largest of {len(moves)}" if len(moves) > FLOWS else ""
    caption = html("{} from epoch {} to {}{}: predicted as the first, then as the second{}", plural(total, "move"),
                   last["epoch"], last["next_epoch"], shown, found.mark)  # fmt: skip
    return joined([table(caption, ("move", "images", "fixed", "broken"), rows), _flow_page(subject)])


def _flow_page(subject: Subject) -> Html:
    """Where every image's way through the epochs can be followed."""
    name = "flow.html" if subject.split == "test" else f"flow_{subject.split.replace(':', '_')}.html"
    if (subject.home.run_folder(subject.run.run_id) / name).is_file():
        return html(
            "<p>The way of every image through the epochs: <code>{}</code> among the training run's files.</p>", name
        )
    return missing("The way of every image through the epochs has no page yet.",
                   f"study flow {subject.run.run_id} --split {subject.split}")  # fmt: skip
