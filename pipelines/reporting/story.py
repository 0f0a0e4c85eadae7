"""What a report found, in the words that MLflow shows: a headline, the notes of runs, and a verdict on each."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.common.figures import capital
from pipelines.common.wording import plural
from pipelines.data.added import EXTRA_PREFIX
from pipelines.pages.environment import call_class
from pipelines.pages.words import SPACE, listed, number, percent, series
from pipelines.reporting.facts import Facts
from pipelines.reporting.page import list_methods
from pipelines.reporting.patterns import Patterns
from pipelines.reporting.shortcuts import place_of
from pipelines.reporting.study_summary import describe_findings, describe_shortcuts

CLASSES = 3  # named in a headline


@dataclass(frozen=True)
class Finding:
    """What a report says of a run that it read, for MLflow's list of runs and the run's own page."""

    run_id: str
    verdict: str  # a few words; empty if there is none
    sentence: str


def write_headline(facts: Facts) -> str:
    """The study in one line: accuracy, shortcuts, contradicted training labels and the most faithful methods."""
    last = facts.accuracy.last
    parts = [f"{percent(last['accuracy'], last['n'])} {facts.subject.split} accuracy", *_describe_shortcut(facts)]
    labels = facts.training_labels
    if labels.is_worth_a_look and facts.accuracy.classes != "blind":
        parts.append(f"{number(labels.disputed)} of {number(labels.n)} training labels contradicted")
    if facts.faithfulness and facts.faithfulness.undefeated:
        parts.append(f"most faithful maps: {list_methods(facts.faithfulness.undefeated)}")
    return "; ".join(parts).replace(SPACE, " ")


def write_note(facts: Facts) -> str:
    """The findings as a list in Markdown, in the words of `study run`."""
    subject = facts.subject
    lines = describe_findings(subject.evidence, list(subject.classes), subject.split)
    listing = "\n".join(f"- **{name}**: {words}" if name else f"  {words}" for name, words in lines)
    return listing.replace(SPACE, " ")


def list_findings(facts: Facts) -> Iterator[Finding]:
    """What is to be said of the training run, the comparison and the run that found concepts."""
    subject, faithfulness, patterns = facts.subject, facts.faithfulness, facts.patterns
    if not subject.split.startswith(EXTRA_PREFIX):  # images added later say less of a training than its own do
        verdict = "shortcut found" if facts.shortcuts.found else "no shortcut found" if facts.shortcuts.tried else ""
        yield Finding(subject.run.run_id, verdict, f"{write_headline(facts)}.")
    if faithfulness:
        found = [call_class(row["class_name"]) for row in facts.shortcuts.found]
        verdict = f"shortcut: {listed(found, CLASSES)}" if found else "no shortcut" if facts.shortcuts.tried else ""
        sentences = [words for _, words in describe_shortcuts(subject.evidence, subject.split)] if found else []
        if facts.shortcuts.tried and not found:
            sentences = ["No class is shown to lean on a patch."]
        if faithfulness.undefeated:
            sentences.append(f"Most faithful maps: {list_methods(faithfulness.undefeated)}.")
        if sentences:
            yield Finding(faithfulness.run.run_id, verdict, capital(" ".join(sentences).replace(SPACE, " ")))
    if patterns and facts.accuracy.classes != "blind":
        verdict = f"{patterns.stable} of {len(patterns.found.names)} stable"
        yield Finding(patterns.found.run_id, verdict, describe_concepts(patterns).replace(SPACE, " "))


def _describe_shortcut(facts: Facts) -> Iterator[str]:
    found = facts.shortcuts.found
    if len(found) == 1:
        yield f"shortcut found: {call_class(found[0]['class_name'])}, patch at the {place_of(found[0])}"
    elif found:
        yield f"shortcuts found: {listed([call_class(row['class_name']) for row in found], CLASSES)}"
    elif facts.shortcuts.tried:
        yield "no shortcut found"


def describe_concepts(patterns: Patterns) -> str:
    """Which concepts are stable, which class shows each of them most often, and what they carry together."""
    stable = sorted({row["concept_id"] for row in patterns.found.stable_rows})
    count = len(patterns.found.names)
    if not stable:
        return f"None of {plural(count, 'concept')} is stable: other images lead to others."
    parts = []
    for concept in stable:
        rows = [row for row in patterns.found.stable_rows if row["concept_id"] == concept]
        most = max(rows, key=lambda row: row["prevalence"])
        parts.append(f"concept {concept} in {percent(most['prevalence'])} of {call_class(most['class_name'])}")
    are = "is" if len(stable) == 1 else "are"
    sentence = (
        f"{len(stable)} of {plural(count, 'concept')} {are} stable. Each, and the class whose images show it most "
        f"often: {series(parts)}."
    )
    if patterns.kept:
        kept = percent(patterns.kept["answers_kept"], patterns.kept["n"])
        sentence += f" Given the concepts alone, the model keeps {kept} of its answers."
    return sentence
