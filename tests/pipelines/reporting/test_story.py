"""What MLflow says of a report's findings: headline, notes and verdicts."""

from types import SimpleNamespace

import pytest

from pipelines.common.settings import ReportSettings
from pipelines.home import study_view
from pipelines.reporting import story
from pipelines.reporting.report import report
from tracking import display, mlflow_client, runs
from tracking.catalogue import resolve
from tracking.home import Home


def read_note(home: Home, run_id: str) -> str:
    return mlflow_client.connect(home).get_run(run_id).data.tags[runs.NOTE]


def test_descriptions_begin_with_what_was_found_and_keep_what_someone_wrote(copy: Home) -> None:
    training = resolve(copy, "latest", ("train",))
    client = mlflow_client.connect(copy)
    own = f"{read_note(copy, training.run_id)}\n\nMy own words."
    client.set_tag(training.run_id, runs.NOTE, own)
    for _ in range(2):
        report(ReportSettings(), copy)
    note = read_note(copy, resolve(copy, "latest", ("report",)).run_id)
    headline, findings, *_ = note.split("\n\n")
    accuracy = client.get_run(training.run_id).data.metrics["test_accuracy"]
    assert headline.startswith(f"{100 * accuracy:.1f} % test accuracy")
    assert findings.startswith(f"- **accuracy**: test {100 * accuracy:.1f} % of ")
    assert "\n- **labels**: " in findings
    assert "\n- **shortcut**: not tested" in findings  # as no methods were compared
    assert read_note(copy, training.run_id) == f"**Found:** {headline}\n\n{own}"
    assert display.read_finding(copy, training.run_id) == headline


def test_the_experiment_says_what_was_found_before_what_to_open(copy: Home) -> None:
    report(ReportSettings(), copy)
    study_view.save_views(copy)
    note = display.read_experiment_tags(copy)[runs.NOTE]
    found, links = note.split(" **Open:** ")
    assert found == display.read_finding(copy, resolve(copy, "latest", ("train",)).run_id)
    assert "accuracy" in found
    assert links.startswith("[report](#/experiments/")
    assert all(f"[{what}](#/" in links for what in ("charts and heatmaps", "images to check"))


@pytest.fixture
def facts() -> SimpleNamespace:
    """Of a study with a shortcut, contradicted labels and one method that stands out."""
    patch = {"class_name": "0", "patch_top": 0, "patch_left": 0, "patch_side": 2}
    return SimpleNamespace(
        subject=SimpleNamespace(split="test"),
        accuracy=SimpleNamespace(last={"accuracy": 0.712, "n": 798}, classes="misled"),
        shortcuts=SimpleNamespace(found=[patch], tried=True),
        training_labels=SimpleNamespace(disputed=46, n=899, is_worth_a_look=True),
        faithfulness=SimpleNamespace(undefeated=["shap"]),
    )


def test_the_headline_names_what_stands_out(facts: SimpleNamespace) -> None:
    assert story.write_headline(facts) == (
        "71.2 % test accuracy; shortcut found: class 0, patch at the top left; 46 of 899 training labels contradicted; "
        "most faithful maps: SHAP"
    )


def test_the_headline_claims_nothing_that_was_not_looked_for(facts: SimpleNamespace) -> None:
    facts.shortcuts = SimpleNamespace(found=[], tried=False)
    facts.faithfulness = None
    facts.accuracy.classes = "blind"
    assert story.write_headline(facts) == "71.2 % test accuracy"
    facts.accuracy.classes = "alike"
    facts.training_labels.is_worth_a_look = False  # so many are contradicted that most are mistakes of the model
    assert story.write_headline(facts) == "71.2 % test accuracy"
    facts.shortcuts.tried = True
    assert story.write_headline(facts) == "71.2 % test accuracy; no shortcut found"


def test_concepts_are_named_with_the_class_that_shows_them_most() -> None:
    rows = [
        {"concept_id": concept, "class_name": name, "prevalence": prevalence}
        for concept, name, prevalence in ((0, "3", 0.25), (0, "cat", 0.5), (4, "3", 0.8), (4, "cat", 0.1))
    ]
    found = SimpleNamespace(names=dict.fromkeys(range(5)), stable_rows=rows)
    patterns = SimpleNamespace(found=found, kept={"answers_kept": 0.912, "n": 399})
    assert story.describe_concepts(patterns).replace("\u00a0", " ") == (
        "2 of 5 concepts are stable. Each, and the class whose images show it most often: concept 0 in 50.0 % of cat "
        "and concept 4 in 80.0 % of class 3. Given the concepts alone, the model keeps 91.2 % of its answers."
    )
    nothing = SimpleNamespace(found=SimpleNamespace(names=found.names, stable_rows=[]), kept=None)
    assert story.describe_concepts(nothing) == "None of 5 concepts is stable: other images lead to others."
