"""Is anything lost, doubled or changed when the program is killed at any moment?

    python tests/benchmarks/crash.py [--kills 100] [--seed 0] [--home FOLDER] [--commands train ...]

Trains, explains, compares and ingests once without a stop; then again and again with a SIGKILL at a random moment,
after which the run is resumed (or started again where nothing was committed) and all that is remembered is held
against the first run's: files, tables, metrics, models. Prints a row per command. About 20 seconds a kill. The first
runs may lie in --home already, made by this program, so that --commands needs to name only what is killed.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tracking import commits, mlflow_client, reading, runs
from tracking.catalogue import RunRecord, list_runs, read_records
from tracking.commits import Commit, file_stamp
from tracking.files import sha256
from tracking.home import Home, find_home

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "explain", "compare", "rebuild")
TRAIN = ("train", "--size", "8", "--epochs", "3", "--batch", "128", "--threads", "1")
EXPLAIN = ("--method", "saliency", "smooth_grad", "--samples", "3", "--count", "40", "--epochs", "all")
EARLY = 0.2  # share of kills that may come before the first commit
# what no two rows of a table have in common
KEYS = {
    "metrics": "run_id, epoch, key",
    "instances": "run_id, split, instance_id",
    "classes": "run_id, class_id",
    "predictions": "run_id, epoch, split, instance_id",
    "attributions": "run_id, epoch, method, split, instance_id, target_kind",
    "attribution_scores": "run_id, epoch, method, split, instance_id, metric",
}
COMPARED = ("classes", "instances", "predictions", "attributions", "maps", "attribution_scores")


@dataclass(frozen=True)
class Case:
    """A command to kill, and how long it takes: until something of it is on disk, and until the last of it is."""

    name: str
    command: tuple[str, ...]
    start: float
    rest: float


@dataclass
class Tally:
    """What came of the kills of a command."""

    kills: int = 0
    finished: int = 0  # ended before the signal
    resumed: int = 0
    restarted: int = 0
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", help="folder for the study home, which is kept; default: a temporary one")
    parser.add_argument("--commands", nargs="+", default=COMMANDS, choices=COMMANDS)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, chance = find_home(flags.home or folder), random.Random(flags.seed)
        cases, tallies = prepare(home, flags.commands), {}
        for number, case in enumerate(cases):
            tallies[case.name] = Tally()
            for _ in range(len(range(number, flags.kills, len(cases)))):
                kill_once(home, case, chance, tallies[case.name])
    report(tallies)


def prepare(home: Home, names: Sequence[str]) -> list[Case]:
    """Every command once without a stop; the runs it makes are what later ones are held against."""
    cases = {}
    for name in (name for name in COMMANDS if name in names):
        run = () if name in ("train", "rebuild") else (read_records(home)[0].run_id,)
        flags = {"train": TRAIN[1:], "explain": EXPLAIN}.get(name, ())
        cases[name] = measure(home, name, (name, *run, *flags))
    # comparing first: it takes longer, the more maps there are
    return [cases[name] for name in ("compare", "explain", "train", "rebuild") if name in cases]


def measure(home: Home, name: str, command: tuple[str, ...]) -> Case:
    before, began, written = traces(home), time.monotonic(), []
    process = study(home, *command)
    while process.poll() is None:
        if traces(home) != before:
            before = traces(home)
            written.append(time.monotonic() - began)
        time.sleep(0.002)
    if process.returncode:
        raise SystemExit(f"{name} failed: {process.stderr.read()}")
    return Case(name, command, written[0], max(written[-1] - written[0], 0.3))


def study(home: Home, *command: str) -> subprocess.Popen:
    """The command under way, in a process of its own."""
    arguments = [sys.executable, "-m", "pipelines.cli", *command, "--home", str(home.path)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, cwd=ROOT, env=alone, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def completed(home: Home, *command: str) -> tuple[int, str, str]:
    """Exit code of a command that is not killed, its output, and the last of its messages."""
    process = study(home, *command)
    output, errors = process.communicate()
    return process.returncode, output, "".join(errors.strip().splitlines()[-1:])


def traces(home: Home) -> set:
    """What tells that a command has begun to write: its commits, or another index."""
    return {file_stamp(home.database), *home.artifacts.glob("*/artifacts/commits/*.json")}


def wait_until(begun: Callable[[], bool], process: subprocess.Popen) -> None:
    while process.poll() is None and not begun():
        time.sleep(0.002)


def kill_once(home: Home, case: Case, chance: random.Random, tally: Tally) -> None:
    """Kill the command once, continue with what it left, and note what is wrong then."""
    known = {record.run_id for record in read_records(home)}
    process, moment = killed(home, case, chance)
    tally.kills += process.returncode != 0
    tally.finished += process.returncode == 0
    found = [f"after the kill: {line}" for line in checked(home, known)]
    if process.returncode not in (0, -9):
        found.append(f"ended by itself: {process.stderr.read().strip()}")
    found += recover(home, case, known, tally)
    found += checked(home, known)
    for record in read_records(home):
        if record.run_id not in known and record.status == "FINISHED":
            found += differences(home, record)
    tally.failures += [f"{case.name}, killed {moment}: {line}" for line in found]
    print(f"{case.name}, killed {moment}: {'; '.join(found) or 'as it should be'}", file=sys.stderr, flush=True)


def killed(home: Home, case: Case, chance: random.Random) -> tuple[subprocess.Popen, str]:
    """The ended process, and when it was killed."""
    before, process = traces(home), study(home, *case.command)
    if chance.random() < EARLY:
        pause, moment = chance.uniform(0, case.start), "after {:.2f} s"
    else:
        wait_until(lambda: traces(home) != before, process)
        pause, moment = chance.uniform(0, case.rest), "{:.2f} s after its first trace"
    time.sleep(pause)
    process.kill()
    process.wait()
    return process, moment.format(pause)


def recover(home: Home, case: Case, known: set[str], tally: Tally) -> Iterator[str]:
    """Resume every run that was stopped; without one, or where nothing was committed, start the command again."""
    stopped = [record for record in read_records(home) if record.run_id not in known and record.status != "FINISHED"]
    restarted = not {record.run_id for record in read_records(home)} - known
    for record in stopped:
        if record.status != "KILLED":
            yield f"run {record.run_id} is {record.status}"
        code, _, error = completed(home, "resume", record.run_id)
        tally.resumed += code == 0
        if code == 2 and "start a new one" in error:
            restarted = True
        elif code:
            yield f"resume ended with {code}: {error}"
    if restarted:
        tally.restarted += 1
        code, _, error = completed(home, *case.command)
        if code:
            yield f"started again, it ended with {code}: {error}"


def checked(home: Home, known: set[str]) -> Iterator[str]:
    """What is wrong with the new runs' files, with the tables, or with asking."""
    code, listed, error = completed(home, "ask", "runs", "--format", "csv")
    if code:
        yield f"ask ended with {code}: {error}"
        return
    new = [record.run_id for record in read_records(home) if record.run_id not in known]
    yield from (f"`ask runs` does not list {run_id}" for run_id in new if run_id not in listed)
    for run_id in new:
        yield from broken_files(home, run_id)
        if twice := [key for key, count in pictures(home, run_id).items() if count > 1]:
            yield f"run {run_id} has pictures twice: {twice}"
    yield from doubled_rows(home)
    index, _ = reading.complete_index(home, list_runs(home))
    if index is None:
        yield "study.duckdb is not up to date after a question"
    else:
        index.close()


def broken_files(home: Home, run_id: str) -> Iterator[str]:
    """Committed files that are not what was committed, and epochs missing between others."""
    whole, every = commits.read_epochs(home, run_id), commits.read_commits(home, run_id)
    for commit in every:
        for file in commit.files:
            place = home.run_folder(run_id) / file.path
            overwritten = file.path.startswith("resume/") and commit != whole[-1]  # kept for the last epoch only
            if not overwritten and not (place.is_file() and sha256(place) == file.sha256):
                yield f"{place} is not what was committed"
    if len(whole) != sum(commit.unit.startswith("epoch_") for commit in every):
        yield f"run {run_id} lacks an epoch between others"


def pictures(home: Home, run_id: str) -> Counter[str]:
    """How many files MLflow's page finds for each image key and step."""
    return Counter(path.name.split("+timestamp+")[0] for path in home.run_folder(run_id).glob("images/*.png"))


def doubled_rows(home: Home) -> Iterator[str]:
    with reading.connect(home) as connection:
        for table, key in KEYS.items():
            sql = f"select {key} from {table} group by all having count(*) > 1"
            if rows := connection.execute(sql).fetchall():
                yield f"{table}: {len(rows)} keys twice, as {rows[0]}"


def differences(home: Home, record: RunRecord) -> Iterator[str]:
    """In what a finished run differs from the first one of its kind and method, which nobody stopped."""
    first = next(other for other in read_records(home) if alike(other, record))
    own, wanted = commits.read_commits(home, record.run_id), commits.read_commits(home, first.run_id)
    if {commit.unit for commit in own} != {commit.unit for commit in wanted}:
        yield f"units {sorted(commit.unit for commit in own)}"
    if weights(own) != weights(wanted):
        yield f"run {record.run_id}: other weights"
    if pictures(home, record.run_id) != pictures(home, first.run_id):
        yield f"run {record.run_id}: other pictures"
    yield from other_rows(home, record.run_id, first.run_id)
    yield from other_metrics(home, record.run_id, own)
    if hung(home, record) != hung(home, first):
        yield f"run {record.run_id}: models hold {hung(home, record)}, not {hung(home, first)}"


def alike(one: RunRecord, other: RunRecord) -> bool:
    return one.kind == other.kind and one.params.get("method") == other.params.get("method")


def weights(made: list[Commit]) -> dict[str, str]:
    return {f.path: f.sha256 for commit in made for f in commit.files if f.path.endswith(".safetensors")}


def other_rows(home: Home, run_id: str, first: str) -> Iterator[str]:
    """Tables whose rows of two runs are not the same bits, in the index and in the files."""
    with reading.connect(home) as connection:
        for table in (*COMPARED, "predictions_live"):
            one, other = (
                f"select * exclude (run_id) replace (null as source_run_id) from {table} where run_id = '{run}'"
                if table in ("attributions", "maps", "attribution_scores")
                else f"select * exclude (run_id) from {table} where run_id = '{run}'"
                for run in (run_id, first)
            )
            sql = f"select count(*) from (({one} except all {other}) union all ({other} except all {one}))"
            if count := connection.execute(sql).fetchone()[0]:
                yield f"run {run_id}: {count} rows of {table} are not those of {first}"


def other_metrics(home: Home, run_id: str, made: list[Commit]) -> Iterator[str]:
    """Metrics of MLflow that are not there exactly once, as committed; and the run's status there."""
    client = mlflow_client.connect(home)
    if (status := client.get_run(run_id).info.status) != "FINISHED":
        yield f"run {run_id} is {status} in MLflow"
    wanted = Counter(
        (key, commit.epoch or 0, value, commit.time_ms) for commit in made for key, value in commit.metrics.items()
    )
    for key in sorted({key for key, *_ in wanted}):
        history = Counter((m.key, m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, key))
        if history != Counter({point: count for point, count in wanted.items() if point[0] == key}):
            yield f"run {run_id}: {key} is in MLflow as {sorted(history.elements())}"


def hung(home: Home, record: RunRecord) -> list[tuple]:
    """What hangs of a run on the models of its training's epochs: links, and metrics by epoch and key."""
    client, training = mlflow_client.connect(home), record.source_run_id or record.run_id
    found = client.search_logged_models([runs.experiment_id(home)], f"source_run_id = '{training}'")
    models = {model.model_id: client.get_logged_model(model.model_id) for model in found}
    run = client.get_run(record.run_id)
    links = [*run.inputs.model_inputs, *(run.outputs.model_outputs if run.outputs else [])]
    return sorted(
        [(model.tags["study.epoch"], str(model.status), metric.key) for model in models.values()
         for metric in model.metrics or [] if metric.run_id == record.run_id]
        + [(models[link.model_id].tags["study.epoch"], "link", "") for link in links]
    )  # fmt: skip


def report(tallies: dict[str, Tally]) -> None:
    print(f"{'command':<10}{'kills':>8}{'too late':>10}{'resumed':>10}{'restarted':>11}{'failures':>10}")
    for name, tally in tallies.items():
        cells = f"{tally.kills:>8}{tally.finished:>10}{tally.resumed:>10}{tally.restarted:>11}{len(tally.failures):>10}"
        print(f"{name:<10}{cells}")
    for line in (line for tally in tallies.values() for line in tally.failures):
        print(line)


if __name__ == "__main__":
    main()
