"""The whole study in one go, and a summary of what to look at next."""

import queries
from pipelines.explain import explain
from pipelines.flow import flow
from pipelines.settings import ExplainSettings, FlowSettings, RunSettings
from pipelines.train import train
from tracking.home import Home, find_home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS

SHOWN = 16  # test instances with a map from every method
HELD_OUT = 300  # test instances, or as many as there are, on which concepts are judged


def run(settings: RunSettings, home: Home) -> str:
    """Train, explain the last checkpoint with every method, make the InstanceFlow page, and summarise."""
    trained = train(settings, home)
    explained = []
    for methods, count in ((tuple(METHODS), SHOWN), (CONCEPT_METHODS, HELD_OUT)):
        chosen = ExplainSettings(run=trained, method=methods, where=f"instance_id < {count}")
        explained += explain(chosen, home, leave_out=True)
    page = flow(FlowSettings(run=trained, data=settings.data), home)
    return _summary(home, trained, explained, page)


def _summary(home: Home, trained: str, explained: list[str], page: str) -> str:
    with connect(home) as connection:
        accuracies = queries.run(connection, "accuracy_by_epoch", {"run_id": trained})
        pairs = queries.run(connection, "confused_pairs", {"run_id": trained, "limit": "3"})
        names = dict(connection.execute("select run_id, name from runs").fetchall())
    flag = "" if home == find_home() else f" --home {home.path}"
    return "\n".join(
        [
            f"training run   {trained}  ({names[trained]})",
            *(f"explainer run  {run_id}  ({names[run_id]})" for run_id in explained),
            f"accuracy       {_accuracy(accuracies)}",
            *(f"confused       {line}" for line in _confused(pairs)),
            "",
            f"look   {page}",
            f"       study ui{flag}",
            f"ask    study ask{flag}",
            f"       study ask hard_classes{flag}",
            f'       study explain latest --epochs all --where "predicted <> label"{flag}',
        ]
    )


def _accuracy(answer: queries.Answer) -> str:
    rows = (dict(zip(answer.columns, row, strict=True)) for row in answer.rows)
    last = {row["split"]: row["accuracy"] for row in rows}  # epochs ascend
    return f"test {last['test']:.2%}, val {last['val']:.2%}, train as seen {last['train_seen']:.2%}"


def _confused(answer: queries.Answer) -> list[str]:
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    if not rows:
        return ["nothing: every test image is predicted right"]
    return [
        f"{row['name_a']} and {row['name_b']}: {row['n']} test images "
        f"({row['a_as_b']} {row['name_a']} as {row['name_b']}, {row['b_as_a']} {row['name_b']} as {row['name_a']})"
        for row in rows
    ]
