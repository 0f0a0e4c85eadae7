"""The whole study in one go, and a summary of what to look at next."""

from dataclasses import fields

import queries
from pipelines.answers import table
from pipelines.explain import explain
from pipelines.settings import ExplainSettings, RunSettings, TrainSettings
from pipelines.train import train
from tracking.home import Home
from tracking.reading import connect


def run(settings: RunSettings, home: Home) -> str:
    """Train, explain the last checkpoint with every method, and summarise."""
    trained = train(TrainSettings(**{f.name: getattr(settings, f.name) for f in fields(TrainSettings)}), home)
    explained = explain(ExplainSettings(run=trained), home)
    return _summary(home, trained, explained)


def _summary(home: Home, trained: str, explained: list[str]) -> str:
    with connect(home) as connection:
        accuracy = queries.run(connection, "accuracy_by_epoch", {"run_id": trained}).rows
        pairs = queries.run(connection, "confused_pairs", {"run_id": trained, "limit": "3"})
        (name,) = connection.execute("select name from runs where run_id = ?", [trained]).fetchone()
    last = {row[0]: row for row in accuracy}
    flag = f" --home {home.path}"
    return "\n".join(
        [
            f"training run   {trained}  ({name})",
            *(f"explainer run  {run_id}" for run_id in explained),
            "accuracy       " + ", ".join(f"{split} {row[4]:.1%}" for split, row in last.items()),
            "",
            "most confused in the test split:",
            table(pairs.columns, pairs.rows),
            "",
            f"look   study ui{flag}",
            f"ask    study ask{flag}                (the catalogue of questions)",
            f"       study ask hard_classes{flag}",
            f'       study explain latest --epochs all --where "predicted <> label"{flag}',
        ]
    )
