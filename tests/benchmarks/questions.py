"""What do questions about a large run cost, beside plain DuckDB and pandas on the same files?

    python tests/benchmarks/questions.py --home HOME [--run-id latest] [--questions accuracy_by_epoch ...]

Each answer is made by a process of its own: `study ask QUESTION --format csv`; the question's SQL in a DuckDB without
an index, over the run's Parquet files, its rows fetched as an Arrow table; and, of some questions, pandas, which leaves
out what it cannot do in a few lines: intervals, names of classes, the probability that a label is wrong. Figures are
processor seconds, seconds of the clock, and peak MiB.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pyarrow.parquet import ParquetFile

import queries
from tracking.catalogue import resolve
from tracking.home import Home, find_home
from tracking.reading import _open_files

ROOT = Path(__file__).parents[2]
QUESTIONS = (
    "accuracy_by_epoch", "confusion_by_epoch", "class_metrics_by_epoch", "hard_classes", "flow_links",
    "transition_outcomes", "label_suspects", "instances_to_check", "forgetting", "cartography", "instance_metrics",
)  # fmt: skip
ANSWER = "import sys; sys.path.insert(0, 'tests/benchmarks'); import questions; questions.{function}(*sys.argv[1:])"


def answer_from_files(path: str, run_id: str, question: str) -> None:
    """Answer a question by plain DuckDB, over the committed files."""
    with _open_files(find_home(path)) as connection:
        queries.run_to_table(connection, question, {"run_id": run_id})


def answer_by_pandas(path: str, run_id: str, question: str) -> None:
    """Answer one of PANDAS with the columns that it needs."""
    columns, answer = PANDAS[question]
    folder = find_home(path).run_folder(run_id) / "predictions"
    files = sorted(folder.glob("*.parquet"))
    answer(pd.concat([ParquetFile(file).read(columns).to_pandas() for file in files]))


def find_accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    rows["ok"] = rows["label"] == rows["predicted"]
    return rows.groupby(["split", "epoch"])[["ok", "p_true"]].mean()


def count_confusions(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby(["split", "epoch", "label", "predicted"]).size()


def count_links(rows: pd.DataFrame) -> pd.Series:
    rows = rows[rows["split"] == "test"].sort_values(["instance_id", "epoch"])
    rows["before"] = rows.groupby("instance_id")["predicted"].shift()
    return rows.groupby(["epoch", "before", "predicted"]).size()


def find_suspects(rows: pd.DataFrame) -> pd.Series:
    rows = rows[rows["split"] == "test"]
    late = rows[rows["epoch"] >= rows["epoch"].median()]
    return late.groupby("instance_id")["margin"].mean().nsmallest(20)


def map_images(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[(rows["split"] == "test") & (rows["epoch"] > 0)]
    rows["ok"] = rows["label"] == rows["predicted"]
    means = {"p_true": ["mean", "std"], "p_sq": "mean", "ok": "mean"}
    return rows.groupby("instance_id").agg(means).sort_values(("p_sq", "mean"))


def count_forgotten(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[(rows["split"] == "test") & (rows["epoch"] > 0)].sort_values(["instance_id", "epoch"])
    rows["ok"] = rows["label"] == rows["predicted"]
    before = rows.groupby("instance_id")["ok"].shift()
    rows["lost"] = (before == True) & ~rows["ok"]  # noqa: E712, as an image's first has none before it
    return rows.groupby("instance_id")[["ok", "lost"]].sum().sort_values("lost", ascending=False)


PANDAS = {
    "accuracy_by_epoch": (["split", "epoch", "label", "predicted", "p_true"], find_accuracy),
    "confusion_by_epoch": (["split", "epoch", "label", "predicted"], count_confusions),
    "flow_links": (["split", "epoch", "instance_id", "predicted"], count_links),
    "label_suspects": (["split", "epoch", "instance_id", "margin"], find_suspects),
    "cartography": (["split", "epoch", "instance_id", "label", "predicted", "p_true", "p_sq"], map_images),
    "forgetting": (["split", "epoch", "instance_id", "label", "predicted"], count_forgotten),
}


def measure(command: Sequence[str]) -> str:
    """Processor seconds, seconds of the clock and peak MiB of a command. It must succeed."""
    actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started_at = time.monotonic()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(process, 0)
    elapsed = time.monotonic() - started_at
    assert status == 0, f"{command} ended with {os.waitstatus_to_exitcode(status)}"
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return f"{usage.ru_utime + usage.ru_stime:.2f} / {elapsed:.2f} / {usage.ru_maxrss / unit:,.0f}"


def measure_ways(home: Home, run_id: str, question: str) -> list[str]:
    """The cost of a question in this study, in plain DuckDB and in pandas."""
    ask = [sys.executable, "-m", "pipelines.cli", "ask", question, "--run-id", run_id, "--format", "csv"]
    known = [str(home.path), run_id, question]
    costs = [measure([*ask, "--home", str(home.path)])]
    costs.append(measure([sys.executable, "-c", ANSWER.format(function="answer_from_files"), *known]))
    if question in PANDAS:
        costs.append(measure([sys.executable, "-c", ANSWER.format(function="answer_by_pandas"), *known]))
    return [*costs, ""][:3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="study home, such as one that many_rows.py made")
    parser.add_argument("--run-id", default="latest")
    parser.add_argument("--questions", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    flags = parser.parse_args()
    home = find_home(str(flags.home.absolute()))
    run_id = resolve(home, flags.run_id).run_id
    os.chdir(ROOT)
    print("| question | study | plain DuckDB | pandas |")
    print("|---|---|---|---|")
    for question in flags.questions:
        print(f"| `{question}` |", " | ".join(measure_ways(home, run_id, question)), "|", flush=True)


if __name__ == "__main__":
    main()
