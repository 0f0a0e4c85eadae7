"""The whole study in one go, and a summary of what to look at next."""

import queries
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
from xai import CONCEPT_METHODS, METHODS

EVERY_EPOCH = ("saliency", "grad_cam")  # cheap methods, which explain every epoch
MAP_COUNT = 32  # test instances with a map from every method
CONCEPT_COUNT = 300  # test instances, or as many as there are, on which concepts are judged
RANDOMIZATION_COUNT = 8  # instances of the randomization test, which costs as much as explaining five times


def run(settings: RunSettings, home: Home) -> str:
    """Train, explain with every method, compare the methods, make both pages, and summarise."""
    trained = train(settings, home)
    explained = _explain(trained, settings.epochs, home)
    compared = compare(CompareSettings(run=trained, randomization_count=RANDOMIZATION_COUNT), home)
    flow_page = flow(FlowSettings(run=trained, data=settings.data), home)
    report_page = report(ReportSettings(run=trained, data=settings.data), home)  # last, as it links to the others
    return _summary(home, trained, [*explained, compared], [report_page, flow_page])


def _explain(trained: str, epochs: int, home: Home) -> list[str]:
    """Run IDs of all explainer runs; methods that are not applicable to the model are named and left out."""
    with connect(home) as connection:
        sql = "select count(*) from instances where run_id = ? and split = 'test'"
        [(test_images,)] = connection.execute(sql, [trained]).fetchall()
    jobs = (
        (EVERY_EPOCH, "all", MAP_COUNT),
        (tuple(method for method in METHODS if method not in EVERY_EPOCH), "last", MAP_COUNT),
        (tuple(CONCEPT_METHODS), f"1,{epochs}", CONCEPT_COUNT),
    )
    explained = []
    for methods, chosen_epochs, count in jobs:
        settings = ExplainSettings(run=trained, method=methods, epochs=chosen_epochs, count=min(count, test_images))
        explained += explain(settings, home, leave_out=True)
    return explained


def _summary(home: Home, trained: str, others: list[str], pages: list[str]) -> str:
    """Runs, accuracies, confused classes, and commands to go on with: a line each."""
    with connect(home) as connection:
        accuracies = queries.run(connection, "accuracy_by_epoch", {"run_id": trained})
        pairs = queries.run(connection, "confused_pairs", {"run_id": trained, "limit": "3"})
        hard_classes = queries.run(connection, "hard_classes", {"run_id": trained}).dicts
        classes = connection.execute("select name from classes where run_id = ? order by class_id", [trained])
        class_names = [name for (name,) in classes.fetchall()]
        runs = connection.execute("select run_id, kind, name from runs").fetchall()
    kinds_and_names = {run_id: (kind, name) for run_id, kind, name in runs}

    lines = []
    for run_id in (trained, *others):
        kind, name = kinds_and_names[run_id]
        lines.append((f"{kind} run", f"{run_id}  ({name})"))
    lines.append(("accuracy", _accuracy(accuracies)))
    for caution in (uneven_sentence(hard_classes, images_of("test")), few_sentence(hard_classes, class_names)):
        if caution:
            lines.append(("", caution.replace(SPACE, " ")))
    lines += [("confused", line) for line in _confused(pairs)]

    flag = "" if home == find_home() else f" --home {home.path}"
    report_page, flow_page = pages
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


def _accuracy(answer: queries.Answer) -> str:
    last = {row["split"]: row["accuracy"] for row in answer.dicts}  # epochs ascend
    return f"test {last['test']:.2%}, val {last['val']:.2%}, train as seen {last['train_seen']:.2%}"


def _confused(answer: queries.Answer) -> list[str]:
    if not answer.rows:
        return ["nothing: no test image is misclassified"]
    return [
        f"{row['name_a']} and {row['name_b']}: {row['n']} test images "
        f"({row['a_as_b']} {row['name_a']} as {row['name_b']}, {row['b_as_a']} {row['name_b']} as {row['name_a']})"
        for row in answer.dicts
    ]
