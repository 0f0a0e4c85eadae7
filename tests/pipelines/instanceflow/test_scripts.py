"""The page's scripts without a browser: linted, and what they count held against SQL. Needs Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.common.settings import FlowSettings, ImportFlowSettings
from pipelines.instanceflow.flow import flow
from pipelines.instanceflow.import_log import import_flow
from pipelines.instanceflow.page import SCRIPTS, WEB_FOLDER
from support.flow_pages import NODE, computed
from support.homes import answer, fresh
from tracking.home import Home

ESLINT = shutil.which("eslint")
LOG = {
    "name": "restless",
    "labels": ["a", "b", "c"],
    "instances": [{"id": f"i{i}", "actual": i % 3} for i in range(40)],
    "epochs": [{"id": str(e), "classifications": [(i * e + i // 2 + e // 3) % 3 for i in range(40)]} for e in range(9)],
}
OUTCOMES = ("fixed", "broken", "rerouted", "kept", "stuck", "unlabelled")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Home:
    folder = tmp_path_factory.mktemp("restless")
    (folder / "log.json").write_text(json.dumps(LOG))
    home = fresh(folder, empty_tracker)
    import_flow(ImportFlowSettings(file=str(folder / "log.json")), home)
    return home


@pytest.mark.skipif(not NODE, reason="needs node on the PATH")
@pytest.mark.parametrize("source", ["study", "imported"])
def test_counts_of_the_scripts_equal_the_sql(request, tmp_path: Path, source: str) -> None:
    home = request.getfixturevalue(source)
    page = shutil.copy(flow(FlowSettings(), home), tmp_path / "flow.html")
    expression = "{outcomes: outcomesOverTime([...Array(N).keys()]), metrics: metrics(0, E - 1, Array(K).fill(true))}"
    values = computed(page, expression)

    expected = [[row[name] for name in OUTCOMES] for row in answer(home, "transition_outcomes")]
    assert values["outcomes"]["counts"][1:] == expected
    accuracies = [row["accuracy"] for row in answer(home, "accuracy_by_epoch") if row["split"] == "test"]
    correct, counted = values["outcomes"]["correct"], values["outcomes"]["n"]
    assert [k / n for k, n in zip(correct, counted, strict=True)] == pytest.approx(accuracies)

    rows = sorted(answer(home, "instance_metrics"), key=lambda row: row["instance_id"])
    for name in ("n", "score_raw", "frequency_raw", "n_classes_visited", "forgetting", "first_learned"):
        assert values["metrics"][name] == [row[name] for row in rows], name
    for name, tolerance in (("confidence", 1e-4), ("p_true_std", 1e-4), ("aum", 0.006)):
        for value, row in zip(values["metrics"][name], rows, strict=True):
            assert value == (None if row[name] is None else pytest.approx(row[name], abs=tolerance)), name


@pytest.mark.skipif(not ESLINT, reason="needs eslint on the PATH")
def test_scripts_have_no_lint() -> None:
    """They are one module in the page, so they are linted as one."""
    source = "".join((WEB_FOLDER / f"{name}.js").read_text() for name in SCRIPTS)
    config = Path(__file__).with_name("eslint.config.mjs")
    command = [ESLINT, "--config", str(config), "--stdin", "--stdin-filename", str(config.with_name("page.js"))]
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
