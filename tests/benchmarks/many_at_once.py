"""Is anything lost, wrong or refused when many trainings, explainers and readers share one study home?

    python tests/benchmarks/many_at_once.py [--trainings 4] [--explainers 4] [--seconds 60] [--held]

All trainings start at once in a fresh home, then all explainers; meanwhile a process with two threads, and
`study sql` again and again, ask for the rows of every epoch. An answer is wrong if it holds part of an epoch, or less
than the one before. --held: once more while another process has study.duckdb open for writing, and for reading.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread

from tracking.catalogue import read_records
from tracking.commits import read_commits
from tracking.home import Home, find_home, make_home
from tracking.reading import _open_files, connect
from tracking.tables import columns

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "pipelines.cli")
TRAIN = ("--size", "8", "--batch", "128", "--threads", "1")
EXPLAIN = ("--epochs", "all", "--where", "instance_id < 20")
COUNTED = ("predictions", "predictions_live", "attributions")
SQL = " union all ".join(f"select '{name}', run_id, epoch, count(*) from {name} group by all" for name in COUNTED)
PROCESSES, THREADS, PAUSE = 1, 2, 0.1
HEAD = ("index", "finished", "reads", "of files", "failed", "wrong", "slowest", "median", "rows expected", "found",
        "metrics", "found", "unlike", "seconds")  # fmt: skip
HOLDER = """
    import duckdb, sys, time
    while True:
        try:
            connection = duckdb.connect({place!r}, read_only={read_only})
            break
        except duckdb.Error:
            time.sleep(0.01)
    print("held", flush=True)
    sys.stdin.read()"""
Key = tuple[str, str, int]  # table, run, epoch
Counts = dict[Key, int]


@dataclass
class Tally:
    """What one reader met."""

    seconds: list[float] = field(default_factory=list)
    of_files: int = 0
    failures: list[str] = field(default_factory=list)
    shrunk: list[str] = field(default_factory=list)
    seen: dict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    last: Counts = field(default_factory=dict)

    def ask(self, answer: Callable[[], tuple[Counts, bool]]) -> None:
        began = time.perf_counter()
        try:
            counts, of_files = answer()
        except Exception as error:  # whatever it is, it is counted
            self.failures.append(f"{type(error).__name__}: {error}")
            return
        self.seconds.append(time.perf_counter() - began)
        self.of_files += of_files
        for key, count in counts.items():
            self.seen[key].add(count)
        self.shrunk += [f"{key}: {n}, then {counts.get(key, 0)}" for key, n in self.last.items() if
                        counts.get(key, 0) < n]  # fmt: skip
        self.last = counts


@dataclass(frozen=True)
class Outcome:
    """A study home after all is done, and what its readers met."""

    ends: list[tuple[int, str]]  # exit code and standard error of every command
    tallies: list[Tally]
    status: list[str]
    rows: tuple[int, int]  # in the committed files, in the index
    metrics: tuple[int, int]  # in the commits, in MLflow
    unlike: list[str]  # tables of which index and files say different things
    part: list[str]  # counts that are not those of a whole epoch
    seconds: float

    @property
    def failures(self) -> list[str]:
        return [failure for tally in self.tallies for failure in tally.failures]

    @property
    def wrong(self) -> list[str]:
        return self.part + [one for tally in self.tallies for one in tally.shrunk]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trainings", type=int, default=4)
    parser.add_argument("--explainers", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="the most that all trainings or explainers may take")
    parser.add_argument("--held", action="store_true")
    flags = parser.parse_args()
    print("  ".join(f"{name:>13}" for name in HEAD), flush=True)
    for held in ("free", "write", "read") if flags.held else ("free",):
        with tempfile.TemporaryDirectory() as folder:
            home = find_home(folder)
            report(held, many(home, flags.trainings, flags.explainers, flags.epochs, flags.seconds, held))


def many(home: Home, trainings: int, explainers: int, epochs: int, seconds: float, held: str = "free") -> Outcome:
    """Train, then explain, all at once; `held` says how another process holds the index: free, write or read."""
    make_home(home)
    began = time.perf_counter()
    with asked(home) as tallies, holder(home, held):
        train = ("train", *TRAIN, "--epochs", str(epochs), "--seed")
        ends = at_once(home, [(*train, str(seed)) for seed in range(trainings)], seconds)
        trained = [record.run_id for record in read_records(home) if record.status == "FINISHED"]
        sources = [trained[number % len(trained)] for number in range(explainers)] if trained else []
        ends += at_once(home, [("explain", source, *EXPLAIN) for source in sources], seconds)
    return outcome(home, ends, tallies, time.perf_counter() - began)


def at_once(home: Home, commands: list[tuple[str, ...]], seconds: float) -> list[tuple[int, str]]:
    """Exit code and standard error of commands started together; those that take longer are stopped."""
    started = [start(home, *command) for command in commands]
    deadline, ends = time.monotonic() + seconds, []
    for process in started:
        try:
            _, errors = process.communicate(timeout=max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.terminate()
            _, errors = process.communicate()
        ends.append((process.returncode, errors))
    return ends


def start(home: Home, *command: str) -> subprocess.Popen:
    pipe = subprocess.PIPE
    line = [*COMMAND, *command, "--home", str(home.path)]
    return subprocess.Popen(line, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def holder(home: Home, held: str) -> Iterator[None]:
    """Another process has the index open as soon as it can, until the end."""
    if held == "free":
        yield
        return
    code = textwrap.dedent(HOLDER.format(place=str(home.database), read_only=held == "read"))
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
    try:
        yield
    finally:
        printed, _ = process.communicate()
        assert printed == "held\n"


@contextmanager
def asked(home: Home) -> Iterator[list[Tally]]:
    """Readers ask until the end; the list is filled then."""
    context, tallies, by_command = get_context("spawn"), [], Tally()
    stop, answers, ended = context.Event(), context.Queue(), Event()
    processes = [context.Process(target=read_on, args=(home, stop, answers)) for _ in range(PROCESSES)]
    commands = Thread(target=ask_on, args=(by_command, lambda: by_sql_command(home), ended, 10 * PAUSE))
    for reader in (*processes, commands):
        reader.start()
    try:
        yield tallies
    finally:
        stop.set()
        ended.set()
        tallies += [by_command, *(tally for _ in processes for tally in answers.get(timeout=60))]
        for reader in (*processes, commands):
            reader.join()


def read_on(home: Home, stop, answers) -> None:
    """The threads of one reading process."""
    tallies = [Tally() for _ in range(THREADS)]
    threads = [Thread(target=ask_on, args=(tally, lambda: by_connection(home), stop, PAUSE)) for tally in tallies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put(tallies)


def ask_on(tally: Tally, answer: Callable[[], tuple[Counts, bool]], stop, pause: float) -> None:
    while not stop.wait(pause):
        tally.ask(answer)


def by_connection(home: Home) -> tuple[Counts, bool]:
    """Rows by table, run and epoch, and whether they came from the files."""
    with connect(home) as connection:
        rows = connection.execute(SQL).fetchall()
        [(database,)] = connection.execute("select current_database()").fetchall()
    return {(table, run, epoch): count for table, run, epoch, count in rows}, database == "memory"


def by_sql_command(home: Home) -> tuple[Counts, bool]:
    process = start(home, "sql", SQL, "--format", "csv")
    printed, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    rows = list(csv.reader(printed.splitlines()))[1:]
    return {(table, run, int(epoch)): int(count) for table, run, epoch, count in rows}, False


def outcome(home: Home, ends: list[tuple[int, str]], tallies: list[Tally], seconds: float) -> Outcome:
    with connect(home) as index, _open_files(home) as files:
        wide = {"predictions": "full_predictions"}  # with the columns that the index leaves in files
        tables = {name: f"select * from {wide.get(name, name)} order by all" for name in columns()}
        unlike = [
            name for name, sql in tables.items() if index.execute(sql).fetchall() != files.execute(sql).fetchall()
        ]
    whole, found = rows_in_files(home), by_connection(home)[0]
    part = [f"{key}: {counts} of {whole.get(key)}" for tally in tallies for key, counts in tally.seen.items()
            if counts != {whole.get(key)}]  # fmt: skip
    rows = (sum(whole.values()), sum(found.values()))
    status = [record.status for record in read_records(home)]
    return Outcome(ends, tallies, status, rows, metrics(home), unlike, part, seconds)


def rows_in_files(home: Home) -> Counts:
    """Rows of every committed epoch, as the Parquet files themselves say."""
    from pyarrow.parquet import read_metadata

    counts: Counts = defaultdict(int)
    for record in read_records(home):
        for commit in read_commits(home, record.run_id):
            for file in commit.files:
                table = file.path.split("/")[0]
                if table in COUNTED:
                    number = read_metadata(home.run_folder(record.run_id) / file.path).num_rows
                    counts[table, record.run_id, commit.epoch] += number
                    if table == "predictions":
                        counts["predictions_live", record.run_id, commit.epoch] += number
    return counts


def metrics(home: Home) -> tuple[int, int]:
    """Points that the commits hold, and how many of them MLflow has."""
    from tracking.mlflow_client import connect as mlflow

    expected, found = set(), set()
    for record in read_records(home):
        for commit in read_commits(home, record.run_id):
            expected |= {(record.run_id, key, commit.epoch or 0, value) for key, value in commit.metrics.items()}
    for run_id, key in {(run_id, key) for run_id, key, *_ in expected}:
        points = mlflow(home).get_metric_history(run_id, key)
        found |= {(run_id, key, point.step, point.value) for point in points}
    return len(expected), len(expected & found)


def report(held: str, done: Outcome) -> None:
    times = sorted(second for tally in done.tallies for second in tally.seconds)
    finished = f"{done.status.count('FINISHED')} of {len(done.ends)}"
    of_files = sum(tally.of_files for tally in done.tallies)
    cells = [held, finished, len(times), of_files, len(done.failures), len(done.wrong)]
    cells += [f"{times[-1]:.2f} s", f"{times[len(times) // 2]:.3f} s"] if times else ["-", "-"]
    cells += [*done.rows, *done.metrics, len(done.unlike), f"{done.seconds:.0f}"]
    print("  ".join(f"{cell!s:>13}" for cell in cells), flush=True)
    for code, errors in done.ends:
        if code:
            print(f"exit code {code}: {' '.join(errors.split())[-300:]}")
    for said in (*sorted(set(done.failures))[:10], *done.wrong[:10], *done.unlike):
        print(f"  {said}", flush=True)


if __name__ == "__main__":
    main()
