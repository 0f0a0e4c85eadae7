"""The index: made again beside whoever reads and writes it, mended when it is damaged, never in a training's way."""

import logging
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from conftest import ROOT
from test_many import at_once
from test_tracking import commit_epoch, everything, start

from tracking import index
from tracking.home import Home
from tracking.index import ingest, rebuild, up_to_date
from tracking.reading import connect

SECONDS, ROWS = 4, 50
REBUILDS = """
    import sys, time
    from tracking.home import find_home
    from tracking.index import rebuild
    end, done = time.monotonic() + float(sys.argv[2]), 0
    while time.monotonic() < end:
        rebuild(find_home(sys.argv[1]))
        done += 1
    print(done)"""


def rebuilding(home: Home, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(REBUILDS), str(home.path), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(end: float, step: Callable[[], object]) -> int:
    done = 0
    while time.monotonic() < end:
        step()
        done += 1
    return done


def epochs_of(connection: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """Rows of every epoch, by the table and by the files alike."""
    [table, live] = [
        dict(connection.execute(f"select epoch, count(*) from {name} group by 1 order by 1").fetchall())
        for name in ("predictions", "predictions_live")
    ]
    assert table == live
    return table


def files_of(home: Home) -> list[str]:
    return sorted(name for name in os.listdir(home.path) if "study.duckdb" in name)


def test_rebuilding_writing_and_asking_at_once(home: Home) -> None:
    run, written = start(home), [0]
    commit_epoch(run, 0, ROWS)
    other = rebuilding(home, SECONDS)
    end = time.monotonic() + SECONDS

    def write() -> None:
        commit_epoch(run, written[0] + 1, ROWS)
        written[0] += 1
        ingest(home, [run.run_id])

    def ask() -> None:
        before = written[0]
        with connect(home) as connection:
            found = epochs_of(connection)
        assert list(found) == list(range(len(found)))
        assert len(found) > before
        assert set(found.values()) == {ROWS}

    steps = (write, ask, ask, lambda: rebuild(home))
    done = at_once([lambda step=step: until(end, step) for step in steps])
    out, errors = other.communicate(timeout=60)
    assert all(isinstance(count, int) and count > 0 for count in done), done
    assert (other.returncode, int(out) > 0, errors) == (0, True, "")
    assert ingest(home, wait=5)
    with connect(home) as connection:
        assert epochs_of(connection) == dict.fromkeys(range(written[0] + 1), ROWS)
    assert up_to_date(home)
    assert files_of(home) == ["study.duckdb", "study.duckdb.lock"]


def test_who_reads_the_index_goes_on_while_it_is_made_again(home: Home) -> None:
    run = start(home)
    commit_epoch(run, 0)
    ingest(home)
    with connect(home) as reader:
        commit_epoch(run, 1)
        assert rebuild(home) == 1
        assert epochs_of(reader) == {0: 3}
    with connect(home) as connection:
        assert epochs_of(connection) == {0: 3, 1: 3}


def test_a_second_rebuild_waits_for_the_first_and_an_ingest_does_not(home: Home) -> None:
    commit_epoch(start(home), 0)
    with index.writing_index(home, 0):
        assert not ingest(home, wait=0.05)
        with connect(home) as connection:
            assert epochs_of(connection) == {0: 3}
        other = rebuilding(home, 0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    assert (other.communicate(timeout=60)[1], up_to_date(home)) == ("", True)


def write_log(place: Path, rows: int) -> bytes:
    """The log of another database at `place`, left by a process that was killed, and that database with it."""
    code = f"""
        import duckdb, os
        connection = duckdb.connect({str(place)!r}, config={index.STORAGE!r})
        connection.execute("create table t as select range as i from range({rows}); checkpoint; delete from t")
        os._exit(0)"""
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    return Path(f"{place}.wal").read_bytes()


@pytest.mark.parametrize(
    "mend", [rebuild, ingest, lambda home: connect(home).close()], ids=["rebuild", "ingest", "ask"]
)
@pytest.mark.parametrize("damage", ["log", "zero", "random", "middle", "leftovers"])
def test_a_damaged_index_is_mended(home: Home, tmp_path: Path, damage: str, mend, caplog) -> None:
    run = start(home)
    commit_epoch(run, 0)
    ingest(home)
    commit_epoch(run, 1)
    content, size = home.database.read_bytes(), home.database.stat().st_size
    log, beside = home.path / "study.duckdb.wal", home.path / ".study.duckdb.new"
    match damage:
        case "log":
            log.write_bytes(write_log(tmp_path / "other", 5))
        case "zero":
            home.database.write_bytes(b"")
        case "random":
            home.database.write_bytes(os.urandom(size))
        case "middle":
            home.database.write_bytes(content[:8192] + os.urandom(4096) + content[12288:])
        case "leftovers":
            shutil.copy(home.database, beside)
            Path(f"{beside}.wal").write_bytes(b"half")
    mend(home)
    assert up_to_date(home)
    assert files_of(home) == ["study.duckdb", "study.duckdb.lock"]
    with connect(home) as connection:
        assert epochs_of(connection) == {0: 3, 1: 3}
    assert caplog.messages == []


def test_a_folder_in_the_place_of_the_index_is_named(home: Home, caplog) -> None:
    commit_epoch(start(home), 0)
    home.database.mkdir()
    for _ in range(2):
        assert not ingest(home)
        with connect(home) as connection:
            assert epochs_of(connection) == {0: 3}
    reason = f"{home.database} is a folder; move it away, then rebuild again: study rebuild"
    assert caplog.messages == [f"study.duckdb is not up to date ({reason}); the runs' files are"]
    with pytest.raises(index.InputError, match=r"is a folder; move it away"):
        rebuild(home)
    assert list(home.database.iterdir()) == []


ERRORS = (duckdb.OutOfMemoryException, duckdb.TransactionException, duckdb.ConstraintException, duckdb.IOException,
          duckdb.InternalException, duckdb.FatalException, duckdb.Error, MemoryError, OSError)  # fmt: skip
FAILURES = [("_store_views", error) for error in ERRORS] + [
    (place, error) for place in ("add_unit", "_is_current") for error in (duckdb.FatalException, OSError)
]


@pytest.mark.parametrize(("place", "error"), FAILURES)
def test_an_index_that_cannot_be_written_stops_no_training(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str, error: type[Exception]
) -> None:
    run = start(home)
    commit_epoch(run, 0)
    ingest(home)

    def fail(*_) -> None:
        raise error("what it says\nand on")

    with monkeypatch.context() as patch:
        patch.setattr(index, place, fail)
        if place == "_is_current":  # as if the index were damaged, and no other could be made
            patch.setattr(index, "_store_views", fail)
        for epoch in (1, 2):
            commit_epoch(run, epoch)
            assert not ingest(home)
    [line] = caplog.messages
    assert line.startswith("study.duckdb is not up to date (")
    assert "\n" not in line
    assert files_of(home) == ["study.duckdb", "study.duckdb.lock"]
    assert ingest(home)
    with connect(home) as connection:
        assert everything(connection, "predictions") == everything(connection, "predictions_live")
        assert epochs_of(connection) == {0: 3, 1: 3, 2: 3}


def test_nothing_is_said_of_an_index_that_another_writes(home: Home, caplog) -> None:
    commit_epoch(start(home), 0)
    caplog.set_level(logging.DEBUG, logger="tracking")
    with index.writing_index(home, 0):
        assert not ingest(home, wait=0)
    assert caplog.messages == []
