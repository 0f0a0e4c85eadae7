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

SHOWN = 32  # test instances with a map from every method
WATCHED = ("saliency", "grad_cam")  # cheap methods that explain every epoch
HELD_OUT = 300  # test instances, or as many as there are, on which concepts are judged
RANDOMIZED = 8  # instances explained again with randomized weights, which costs as much as explaining five times


def run(settings: RunSettings, home: Home) -> str:
    """Train, explain with every method, compare the methods, make both pages, and summarise."""
    trained = train(settings, home)
    explained = _explain(trained, settings.epochs, home)
    compared = compare(CompareSettings(run=trained, randomization_count=RANDOMIZED), home)
    flow_page = flow(FlowSettings(run=trained, data=settings.data), home)
    report_page = report(ReportSettings(run=trained, data=settings.data), home)  # last, as it links to the others
    return _summary(home, trained, [*explained, compared], [report_page, flow_page])


def _explain(trained: str, epochs: int, home: Home) -> list[str]:
    """Run IDs of all explainer runs; methods that cannot be right for the model are named and left out."""
    others = tuple(method for method in METHODS if method not in WATCHED)
    jobs = ((WATCHED, "all", SHOWN), (others, "last", SHOWN), (tuple(CONCEPT_METHODS), f"1,{epochs}", HELD_OUT))
    with connect(home) as connection:
        sql = "select count(*) from instances where run_id = ? and split = 'test'"
        [(there,)] = connection.execute(sql, [trained]).fetchall()
    done = []
    for methods, chosen, count in jobs:
        shown = ExplainSettings(run=trained, method=methods, epochs=chosen, count=min(count, there))
        done += explain(shown, home, leave_out=True)
    return done


def _summary(home: Home, trained: str, others: list[str], pages: list[str]) -> str:
    with connect(home) as connection:
        accuracies = queries.run(connection, "accuracy_by_epoch", {"run_id": trained})
        pairs = queries.run(connection, "confused_pairs", {"run_id": trained, "limit": "3"})
        hard = queries.run(connection, "hard_classes", {"run_id": trained}).dicts
        names = connection.execute("select name from classes where run_id = ? order by class_id", [trained]).fetchall()
        known = {run_id: rest for run_id, *rest in connection.execute("select run_id, kind, name from runs").fetchall()}
    flag = "" if home == find_home() else f" --home {home.path}"
    lines = [(f"{kind} run", f"{run_id}  ({name})") for run_id in (trained, *others) for kind, name in [known[run_id]]]
    limits = (uneven_sentence(hard, images_of("test")), few_sentence(hard, [name for (name,) in names]))
    lines += [("accuracy", _accuracy(accuracies)), *(("", limit.replace(SPACE, " ")) for limit in limits if limit)]
    lines += [*(("confused", line) for line in _confused(pairs)), ("", "")]
    lines += [("read", pages[0]), ("look", pages[1]), ("", f"study ui{flag}"), ("ask", f"study ask{flag}")]
    lines += [("", f"study ask faithfulness_by_method{flag}")]
    lines += [("", f'study explain latest --epochs all --where "predicted <> label"{flag}')]
    return "\n".join(f"{name:13}{text}".rstrip() for name, text in lines)


def _accuracy(answer: queries.Answer) -> str:
    last = {row["split"]: row["accuracy"] for row in answer.dicts}  # epochs ascend
    return f"test {last['test']:.2%}, val {last['val']:.2%}, train as seen {last['train_seen']:.2%}"


def _confused(answer: queries.Answer) -> list[str]:
    if not answer.rows:
        return ["nothing: no test image is predicted wrong"]
    return [
        f"{row['name_a']} and {row['name_b']}: {row['n']} test images "
        f"({row['a_as_b']} {row['name_a']} as {row['name_b']}, {row['b_as_a']} {row['name_b']} as {row['name_a']})"
        for row in answer.dicts
    ]
