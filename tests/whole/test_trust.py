"""What lies in a run's folder is not believed: changed files are named and left out, forged ones do nothing."""

import csv
import io
import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from pipelines import cli
from pipelines.asking.sql_process import executed
from pipelines.data.datasets import load_dataset
from pipelines.models.checkpoints import load_model
from pipelines.models.networks import build_model
from support.commands import said
from support.homes import forge, place_of, up_to_date
from support.places import ROOT
from tracking import catalogue, commits, reading
from tracking.catalogue import RunRecord, list_runs
from tracking.errors import InputError
from tracking.files import write_table
from tracking.home import Home
from tracking.index import rebuild
from tracking.reading import _open_files, connect

COUNTED = "select epoch, count(*) from {table} where run_id = '{run_id}' group by all order by all"


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return Path.touch, (self.place,)


@pytest.fixture
def own(home: Home, study: Home, trained: RunRecord) -> Home:
    """A home whose files a test may change: the shared study's training run and its maps."""
    shutil.copytree(study.artifacts, home.artifacts, dirs_exist_ok=True)
    return home


@pytest.fixture(autouse=True)
def faults_are_named_again() -> None:
    reading._warn_once.cache_clear()


def epochs_in(home: Home, record: RunRecord, table: str = "predictions") -> list[list[int]]:
    """Epochs that have rows, in the index and in the files."""
    sql = COUNTED.format(table=table, run_id=record.run_id)
    with connect(home) as index, _open_files(home) as files:
        return [[epoch for epoch, _ in connection.execute(sql).fetchall()] for connection in (index, files)]


def truncate(place: Path, _: Path) -> None:
    place.write_bytes(place.read_bytes()[:-100])


def flip(place: Path, _: Path) -> None:
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)


CHANGES = {
    "changed": flip,
    "truncated": truncate,
    "empty": lambda place, _: place.write_bytes(b""),
    "missing": lambda place, _: place.unlink(),
    "swapped": lambda place, other: place.write_bytes(other.read_bytes()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("known", [True, False], ids=["after", "before"])
def test_a_changed_file_is_named_and_left_out(own: Home, trained: RunRecord, caplog, change: str, known: bool) -> None:
    """Whether it was changed after or before it came into the index; restored, it is back."""
    table, other = (place_of(own, trained, f"predictions/epoch_000{epoch}.parquet") for epoch in (1, 2))
    before = table.read_bytes()
    if known:
        assert epochs_in(own, trained) == [[0, 1, 2, 3]] * 2
    CHANGES[change](table, other)
    assert epochs_in(own, trained) == [[0, 2, 3]] * 2
    assert epochs_in(own, trained, "predictions_live") == [[0, 2, 3]] * 2
    [line] = {record.message for record in caplog.records}
    assert str(table) in line
    table.write_bytes(before)
    assert epochs_in(own, trained) == [[0, 1, 2, 3]] * 2


def test_full_maps_are_checked_too(own: Home, trained: RunRecord, caplog) -> None:
    [explained] = [record for record in catalogue.read_records(own) if record.kind == "explain"]
    assert epochs_in(own, explained, "maps") == [[0, 1, 3]] * 2
    flip(place_of(own, explained, "attributions/saliency_epoch_0001_part_000.parquet"), Path())
    assert epochs_in(own, explained, "maps") == [[0, 3]] * 2
    assert "was changed after it was committed" in caplog.text


def test_a_rebuilt_index_leaves_out_the_same(own: Home, trained: RunRecord) -> None:
    flip(place_of(own, trained, "predictions/epoch_0000.parquet"), Path())
    rebuild(own)
    assert epochs_in(own, trained) == [[1, 2, 3]] * 2


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("checkpoints/epoch_0003.safetensors", ("explain", "{run}", "--count", "2")),
        ("config.json", ("explain", "{run}", "--count", "2")),
        ("config.json", ("rerun", "{run}")),
        ("resume/odd.safetensors", ("resume", "{run}")),
        ("checkpoints/epoch_0003.safetensors", ("resume", "{run}")),
    ],
)
def test_changed_weights_and_settings_are_refused(
    own: Home, trained: RunRecord, capsys, path: str, command: tuple[str, ...]
) -> None:
    known = place_of(own, trained, "run.json")
    known.write_text(json.dumps(trained.content() | {"status": "FAILED"}))  # else there is nothing to resume
    flip(place_of(own, trained, path), Path())
    before = sorted(own.artifacts.iterdir())
    code, line = said(capsys, own, *(part.format(run=trained.run_id) for part in command))
    assert code == 2, line
    assert f"{place_of(own, trained, path)} was changed after it was committed" in line
    assert sorted(own.artifacts.iterdir()) == before


def test_no_pickle_is_loaded(own: Home, trained: RunRecord, tmp_path: Path, capsys) -> None:
    """Not even one that the commit names rightly."""
    made = tmp_path / "made"
    path = "checkpoints/epoch_0003.safetensors"
    place_of(own, trained, path).write_bytes(pickle.dumps(Malicious(made)))
    forge(own, trained, "epoch_0003", lambda commit: commit)
    code, line = said(capsys, own, "explain", trained.run_id, "--count", "2")
    assert (code, made.exists()) == (2, False)
    assert "does not fit the model" in line
    data = load_dataset("digits", None, own, val_fraction=0.1, seed=0, size=8)
    with pytest.raises(ValueError, match="does not fit"):
        load_model(build_model("cnn", data, 0), place_of(own, trained, path))


FORGED = {
    "outside": lambda commit: commit | {"files": [{"path": "../../../../secret.parquet", "sha256": "0" * 64}]},
    "absolute": lambda commit: commit | {"files": [{"path": "/etc/passwd", "sha256": "0" * 64}]},
    "a table outside": lambda commit: commit | {"files": [{"path": "predictions/../../../x.parquet", "sha256": "0"}]},
    "another run": lambda commit: commit | {"run_id": "0" * 32},
    "another unit": lambda commit: commit | {"unit": "epoch_0007"},
    "a list": lambda commit: [commit],
    "no files": lambda commit: commit | {"files": None},
    "other parts": lambda commit: commit | {"extra": 1},
    "a path of a number": lambda commit: commit | {"files": [{"path": 3, "sha256": "0" * 64}]},
    "a metric of text": lambda commit: commit | {"metrics": {"x": "<script>"}},
    "a time without bounds": lambda commit: commit | {"time_ms": 10**30},
}


@pytest.mark.parametrize("change", FORGED)
def test_forged_commits_are_refused(own: Home, trained: RunRecord, tmp_path: Path, capsys, caplog, change: str) -> None:
    """Nothing continues from them, and questions are answered without them."""
    write_table(tmp_path / "secret.parquet", {"epoch": [1]})
    forge(own, trained, "epoch_0001", FORGED[change])
    code, line = said(capsys, own, "explain", trained.run_id, "--count", "2")
    assert (code, "commits/epoch_0001.json is not a commit of this run" in line) == (2, True)
    assert epochs_in(own, trained) == [[0, 2, 3]] * 2
    rebuild(own)
    assert epochs_in(own, trained) == [[0, 2, 3]] * 2
    [line] = {record.message for record in caplog.records}
    assert "commits/epoch_0001.json is not a commit of this run and unit; its rows are left out until it is" in line


CUT = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "not text": lambda content: b"\xff\xfe" + content,
}


@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("known", [True, False], ids=["after", "before"])
def test_a_damaged_commit_is_named_and_its_unit_left_out(
    own: Home, trained: RunRecord, caplog, capsys, cut: str, known: bool
) -> None:
    """Whether it was damaged after or before it came into the index; restored, its rows are back."""
    place = place_of(own, trained, "commits/epoch_0001.json")
    before = place.read_bytes()
    if known:
        assert epochs_in(own, trained) == [[0, 1, 2, 3]] * 2
    place.write_bytes(CUT[cut](before))
    assert epochs_in(own, trained) == [[0, 2, 3]] * 2
    assert up_to_date(own)
    assert cli.main(["ask", "accuracy_by_epoch", "--format", "csv", "--home", str(own.path)]) == 0
    assert {row["epoch"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))} == {"0", "2", "3"}
    for record in catalogue.read_records(own):
        if record.kind == "explain":
            assert epochs_in(own, record, "attributions") == [[0, 1, 3]] * 2
    [line] = {record.message for record in caplog.records}
    assert line == f"{place} is not a commit of this run and unit; its rows are left out until it is restored"
    place.write_bytes(before)
    assert epochs_in(own, trained) == [[0, 1, 2, 3]] * 2


RECORDS = {
    "not JSON": "{",
    "deep": "[" * 100_000,
    "a list": "[]",
    "a run elsewhere": json.dumps({"run_id": "0" * 32}),
    "binary": "\udcff\udcfe",
}


@pytest.mark.parametrize("text", RECORDS.values(), ids=RECORDS)
def test_forged_records_are_named(own: Home, trained: RunRecord, capsys, text: str) -> None:
    place = place_of(own, trained, "run.json")
    place.write_text(text, errors="surrogateescape")
    for command in (("ask", "runs"), ("train",), ("sql", "from runs")):
        code, line = said(capsys, own, *command)
        assert code == 2
        assert str(place) in line


def test_rows_belong_to_the_run_in_whose_folder_they_lie(own: Home, trained: RunRecord) -> None:
    """A run cannot speak for another one."""
    before = epochs_in(own, trained)
    other = replace(trained, run_id="f" * 32, name="other")
    table = "predictions/epoch_0003.parquet"
    shutil.copytree(own.run_folder(trained.run_id), own.run_folder(other.run_id))
    place_of(own, other, "run.json").write_text(json.dumps(other.content()))
    for file in place_of(own, other, "commits").iterdir():
        forge(own, other, file.stem, lambda commit: commit | {"run_id": other.run_id})
    assert place_of(own, other, table).read_bytes() == place_of(own, trained, table).read_bytes()
    for record in (trained, other):
        assert epochs_in(own, record) == before
    with connect(own) as index, _open_files(own) as files:
        sql = "select run_id, count(*) from predictions_live group by all order by all"
        assert index.execute(sql).fetchall() == files.execute(sql).fetchall()
        assert len({count for _, count in index.execute(sql).fetchall()}) == 1


def test_a_table_that_is_none_is_named_and_left_out(own: Home, trained: RunRecord, capsys, caplog) -> None:
    """A file that its commit names rightly and DuckDB cannot read."""
    place_of(own, trained, "predictions/epoch_0001.parquet").write_bytes(b"PAR1 no table PAR1")
    forge(own, trained, "epoch_0001", lambda commit: commit)
    assert cli.main(["ask", "accuracy_by_epoch", "--format", "csv", "--home", str(own.path)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["epoch"] for row in rows if row["split"] == "test"} == {"0", "2", "3"}
    [line] = caplog.messages
    assert "epoch_0001.parquet does not hold rows of table predictions" in line


ENDLESS = "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t"
LIMITS = [
    ("select count(*) from range(10000000000000)", ("--seconds", "1"), "stopped after 1 s"),
    (ENDLESS, ("--seconds", "1"), "stopped after 1 s"),
    ("from range(10000000)", ("--seconds", "1"), "stopped after 1 s"),  # most of it is Python's rows and text
    ("from range(100000000)", ("--seconds", "1", "--format", "csv"), "stopped after 1 s"),  # after many of its lines
    ("select length(regexp_replace(repeat('a', 900000000), 'a', 'bb', 'g'))", ("--memory", "1"), "stopped at 1 GB"),
    ("select list(i) from range(2000000000) t(i)", ("--memory", "1"), "stopped at 1 GB"),
    ("select repeat('x', 2000000000)", ("--memory", "1"), "stopped at 1 GB"),
    ("select string_agg(repeat('x', 1000), ',') from range(100000000)", ("--memory", "1"), "stopped at 1 GB"),
    ("select " + "(" * 20_000 + "1" + ")" * 20_000, (), "over 500 brackets"),
    ("select " + "not " * 20_000 + "true", (), "expression depth"),
    ("select " + "1 + " * 20_000 + "1", (), "expression depth"),
]
USED = """
import resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run(sys.argv[1:]).returncode
print(code, time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"""


@pytest.mark.parametrize(("query", "flags", "line"), LIMITS, ids=[query[:40] for query, *_ in LIMITS])
def test_sql_stops_at_its_limits(study: Home, capsys, query: str, flags: tuple[str, ...], line: str) -> None:
    code, found = said(capsys, study, "sql", query, *flags)
    assert code == 2, line
    assert line in found


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in other units")
def test_no_query_takes_more_than_it_may(study: Home) -> None:
    """Cells, rows and their text count, not only what DuckDB counts itself."""
    query = "select list(range::varchar || repeat('x', 20)) from range(20000000)"
    command = [sys.executable, "-m", "pipelines.cli", "sql", query, "--home", str(study.path), "--memory", "1"]
    found = subprocess.run([sys.executable, "-c", USED, *command], cwd=ROOT, capture_output=True, text=True)
    code, seconds, peak = map(float, found.stdout.split())
    assert (code, found.stderr) == (2, "study: stopped at 1 GB; narrow it, or allow more: --memory\n")
    assert peak < 1.3e9
    assert seconds < 60


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_question_leaves_no_process(study: Home, way: signal.Signals) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "sql", ENDLESS, "--home", str(study.path)]
    asking = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{asking.pid}/task/{asking.pid}/children")
    while not (own := children.read_text().split()):
        time.sleep(0.02)
    threads = Path(f"/proc/{own[0]}/task")
    while len(list(threads.iterdir())) < 3:  # DuckDB has begun
        time.sleep(0.02)
    asking.send_signal(way)
    code = asking.wait(20)
    assert (code, asking.stderr.read()) == ((-9, "") if way == signal.SIGKILL else (130, "study: stopped\n"))
    deadline = time.monotonic() + 20
    while threads.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


STATEMENTS = {
    "update extensions": "update", "explain update extensions": "update", "/* x */ -- y\n update extensions": "update",
    "connect x": "connect", "use memory": "use", "attach 'x' as x": "attach", "detach x": "detach", "load json": "load",
    "install json": "install", "checkpoint": "checkpoint", "force checkpoint": "force", "vacuum": "vacuum",
    "analyze": "analyze", "set threads = 1": "set", "reset threads": "reset", "set variable a = 1": "set",
    "pragma threads = 2": "pragma", "import database 'x'": "import", "export database 'x'": "export",
    "copy runs to 'x'": "copy", "copy from database study to x": "copy", "prepare p as select 1": "prepare",
    "execute p": "execute", "deallocate p": "deallocate", "begin": "begin", "commit": "commit", "rollback": "rollback",
    "comment on table runs is 'x'": "comment", "alter table runs add column x int": "alter",
    "truncate runs": "truncate",
    "drop table runs": "drop", "create view x as select 1": "create", "create macro x() as 1": "create",
    "insert into runs from runs": "insert", "delete from runs": "delete", "update runs set name = 'x'": "update",
    "merge into runs using runs r on true when matched then delete": "merge", "create secret (type s3)": "create",
    "explain analyze delete from runs": "delete", "explain (format json) copy runs to 'x'": "copy",
}  # fmt: skip
WRITING = (
    "with x as (delete from runs returning *) from x",
    "explain analyze with x as (insert into runs from runs returning *) from x",
    "pragma import_database('x')",
    "from enable_logging()",
    "pragma enable_profiling",
    "explain",
    "",
)
READING = (
    "from runs", "with a as (select 1) from a", "values (1)", "table runs", "(select 1)", "-- x\nselect 1;",
    "describe runs",
    "summarize runs", "show tables", "show all tables", "pivot runs on kind", "unpivot (select 1 as a) on a",
    "pragma show_tables", "pragma table_info('runs')", "call pragma_version()", "explain select 1",
    "explain analyze select 1", "explain (format json) select 1", "explain analyze pivot runs on kind",
)  # fmt: skip


@pytest.mark.parametrize("files", [False, True], ids=["index", "files"])
def test_only_what_reads_is_run(study: Home, files: bool) -> None:
    """Of every kind of statement that DuckDB 2.0 has, whether the tables come from the index or from the files."""
    with (
        _open_files(study) if files else reading._open_index(study, list_runs(study), reading.EVERYTHING) as connection
    ):
        reading._restrict(connection, study, None)
        for query, word in STATEMENTS.items():
            message = rf"read-only and takes no {word} statement"
            with pytest.raises(InputError, match=message), executed(connection, query):
                pass
        for query in WRITING:
            with pytest.raises(InputError), executed(connection, query) as result:
                result.fetchall()
            with suppress(duckdb.Error):  # it may not have begun a transaction
                connection.rollback()
        for query in READING:
            with executed(connection, query) as result:
                assert result.description
                assert result.fetchall()
            connection.rollback()
        assert connection.execute("select count(*) from runs").fetchone() == (2,)


def test_values_that_python_cannot_hold_are_named(study: Home, capsys) -> None:
    code, line = said(capsys, study, "sql", "select interval 100000000 year")
    assert (code, "value::varchar" in line) == (2, True)


def test_a_large_question_writes_nothing_beside_the_study(study: Home) -> None:
    with connect(study, 1) as connection:
        assert connection.execute("select current_setting('temp_directory')").fetchall() == [("",)]


def test_committed_files_without_a_commit_do_not_count(own: Home, trained: RunRecord) -> None:
    shutil.copy(
        place_of(own, trained, "predictions/epoch_0003.parquet"),
        place_of(own, trained, "predictions/epoch_0004.parquet"),
    )
    assert epochs_in(own, trained) == [[0, 1, 2, 3]] * 2
    assert len(commits.read_epochs(own, trained.run_id)) == 4
