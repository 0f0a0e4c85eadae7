"""The whole study in one command, and a summary with what to look at next."""

import queries
from pipelines.common.costs import PAGE_FRACTION, estimate_explaining, estimate_measuring
from pipelines.common.progress import Work, work
from pipelines.common.settings import CompareSettings, ExplainSettings, FlowSettings, ReportSettings, RunSettings
from pipelines.comparing.compare import compare
from pipelines.explaining.explain import explain
from pipelines.flow.flow import flow
from pipelines.reporting.accuracy import few_sentence, images_of, uneven_sentence
from pipelines.reporting.report import report
from pipelines.reporting.words import SPACE
from pipelines.training.train import train
from tracking.home import Home, find_home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS, REFERENCES

EVERY_EPOCH_METHODS = ("saliency", "grad_cam")  # cheap ones, which explain every epoch
MAP_COUNT = 32  # test instances with a map from every method
CONCEPT_COUNT = 300  # test instances, or all if there are fewer, on which concepts are scored
RANDOMIZATION_COUNT = 8  # instances of the randomization test, which costs as much as explaining five times


def run(settings: RunSettings, home: Home) -> str:
    """Train, explain with every method, compare the methods, make both pages, and summarise."""
    explaining = sum(cost for *_, cost in _list_jobs(settings.epochs))
    comparing = _estimate_comparing()
    page = PAGE_FRACTION * (explaining + comparing)
    with work("", explaining + comparing + 2 * page) as stages:
        with stages.part(None):  # its cost is known once the data is loaded
            run_id = train(settings, home)
        explainer_runs = _explain(run_id, settings.epochs, home, stages)
        with stages.part(comparing):
            comparison = compare(CompareSettings(run=run_id, randomization_count=RANDOMIZATION_COUNT), home)
        with stages.part(page), work("making the flow page", 1):
            flow_page = flow(FlowSettings(run=run_id, data=settings.data), home)
        with stages.part(page), work("making the report", 1):  # last, as it links to the others
            report_page = report(ReportSettings(run=run_id, data=settings.data), home)
    return _summarise(home, run_id, [*explainer_runs, comparison], report_page, flow_page)


def _list_jobs(epochs: int) -> list[tuple[tuple[str, ...], str, int, float]]:
    """Methods explained together, the epochs and the number of images that they explain, and their cost."""
    other_methods = tuple(method for method in METHODS if method not in EVERY_EPOCH_METHODS)
    concepts = tuple(CONCEPT_METHODS)
    return [
        (EVERY_EPOCH_METHODS, "all", MAP_COUNT, estimate_explaining(EVERY_EPOCH_METHODS, MAP_COUNT * (epochs + 1))),
        (other_methods, "last", MAP_COUNT, estimate_explaining(other_methods, MAP_COUNT)),
        (concepts, f"1,{epochs}", CONCEPT_COUNT, estimate_explaining(concepts, CONCEPT_COUNT * 2)),
    ]


def _estimate_comparing() -> float:
    measured = sum(estimate_measuring(method, MAP_COUNT, randomized=False) for method in (*METHODS, *REFERENCES))
    return measured + sum(estimate_measuring(method, RANDOMIZATION_COUNT, randomized=True) for method in METHODS)


def _explain(run_id: str, epochs: int, home: Home, stages: Work) -> list[str]:
    """Run IDs of all explainer runs; methods that are not applicable to the model are named and left out."""
    with connect(home) as connection:
        sql = "select count(*) from instances where run_id = ? and split = 'test'"
        [(test_count,)] = connection.execute(sql, [run_id]).fetchall()
    explainer_runs = []
    for methods, chosen_epochs, count, cost in _list_jobs(epochs):
        settings = ExplainSettings(run=run_id, method=methods, epochs=chosen_epochs, count=min(count, test_count))
        with stages.part(cost):
            explainer_runs += explain(settings, home, leave_out=True)
    return explainer_runs


def _summarise(home: Home, training_run: str, other_runs: list[str], report_page: str, flow_page: str) -> str:
    """One line per run, accuracy, pair of confused classes, and command to run next."""
    with connect(home) as connection:
        accuracies = queries.run(connection, "accuracy_by_epoch", {"run_id": training_run}).dicts
        pairs = queries.run(connection, "confused_pairs", {"run_id": training_run, "limit": "3"}).dicts
        hard_classes = queries.run(connection, "hard_classes", {"run_id": training_run}).dicts
        classes = connection.execute("select name from classes where run_id = ? order by class_id", [training_run])
        class_names = [name for (name,) in classes.fetchall()]
        runs = connection.execute("select run_id, kind, name from runs").fetchall()
    kinds_and_names = {run_id: (kind, name) for run_id, kind, name in runs}

    lines = []
    for run_id in (training_run, *other_runs):
        kind, name = kinds_and_names[run_id]
        lines.append((f"{kind} run", f"{run_id}  ({name})"))

    last = {row["split"]: row["accuracy"] for row in accuracies}  # epochs ascend
    accuracy = f"test {last['test']:.2%}, val {last['val']:.2%}, train as seen {last['train_seen']:.2%}"
    lines.append(("accuracy", accuracy))
    for caution in (uneven_sentence(hard_classes, images_of("test")), few_sentence(hard_classes, class_names)):
        if caution:
            lines.append(("", caution.replace(SPACE, " ")))

    if not pairs:
        lines.append(("confused", "nothing: no test image is misclassified"))
    for row in pairs:
        a, b = row["name_a"], row["name_b"]
        counts = f"{row['a_as_b']} {a} as {b}, {row['b_as_a']} {b} as {a}"
        lines.append(("confused", f"{a} and {b}: {row['n']} test images ({counts})"))

    flag = "" if home == find_home() else f" --home {home.path}"
    lines += [
        ("", ""),
        ("read", report_page),
        ("look", flow_page),
        ("", f"study ui{flag}"),
        ("ask", f"study ask{flag}"),
        ("", f"study ask faithfulness_by_method{flag}"),
        ("", f'study explain latest --epochs all --where "predicted <> label"{flag}'),
    ]
    return "\n".join(f"{name:13}{text}".rstrip() for name, text in lines)
