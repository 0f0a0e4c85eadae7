"""The index: made again beside whoever reads and writes it, mended when it is damaged, never in a training's way."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from support.commands import at_once
from support.homes import attribution_rows, commit_epoch, everything, fresh, prediction_rows, start, up_to_date
from support.places import ROOT
from tracking import committing, index, ingesting, runs
from tracking.catalogue import read_records
from tracking.files import read_json, sha256, write_json, write_table
from tracking.home import Home
from tracking.index import ingest, rebuild
from tracking.reading import _open_files, connect
from tracking.runs import Run, staging_folder
from tracking.tables import columns, exact_pattern, select_sound_files

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


@pytest.fixture
def home(home: Home) -> Home:
    """A home whose index is still to be made."""
    home.database.unlink()
    return home


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
    (place, error) for place in ("add_units", "_is_current") for error in (duckdb.FatalException, OSError)
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


def forge(run: Run, epoch: int, wrong: dict[str, object]) -> Path:
    """Commit an epoch whose file has the committed sha256, and columns with other values, or none where null."""
    unit = f"epoch_{epoch:04d}"
    rows = prediction_rows(run.run_id, epoch, 3) | wrong
    with staging_folder(run.home) as folder:
        file = write_table(folder / f"{unit}.parquet", {name: rows[name] for name in rows if rows[name] is not None})
        committing.commit(run, unit, {f"predictions/{unit}.parquet": file}, {}, epoch)
    return run.home.run_folder(run.run_id) / f"predictions/{unit}.parquet"


WRONG = {
    "text": {"label": ["one", "two", "three"]},
    "column": {"label": None},
    "missing": {"instance_id": [0, None, 2]},
    "structure": {"epoch": [{"a": 1}] * 3},
    "large": {"predicted": [2**40] * 3},
}


@pytest.mark.parametrize("name", [*WRONG, "bytes", "pages"])
def test_a_forged_file_is_named_and_only_its_unit_left_out(home: Home, caplog, name: str) -> None:
    run = start(home)
    commit_epoch(run, 0)
    place = forge(run, 1, WRONG.get(name, {}))
    commit_epoch(run, 2)
    if name in ("bytes", "pages"):
        content = place.read_bytes()
        place.write_bytes(b"no table" if name == "bytes" else content[:4] + bytes(200) + content[204:])
        record = home.run_folder(run.run_id) / "commits/epoch_0001.json"
        known = read_json(record)
        known["files"][0]["sha256"] = sha256(place)
        write_json(record, known)
    # footers tell nothing of pages that were changed before the commit: only where rows are ingested they are all read
    for asked in (connect, connect) if name == "pages" else (connect, connect, _open_files):
        with asked(home) as connection:
            assert epochs_of(connection) == {0: 3, 2: 3}
    assert up_to_date(home)
    with duckdb.connect(str(home.database), read_only=True) as stored:
        assert epochs_of(stored) == {0: 3, 2: 3}
    assert all(line.startswith(f"{place} does not hold rows of table predictions (") for line in caplog.messages)
    assert 1 <= len(caplog.messages) <= 2  # DuckDB may say it in two ways
    rebuild(home)
    place.unlink()
    with connect(home) as connection:
        assert epochs_of(connection) == {0: 3, 2: 3}


def test_maps_that_cannot_be_read_are_left_out_alone(home: Home, caplog) -> None:
    run = start(home)
    with staging_folder(home) as folder:
        for number, changed in enumerate(({}, {"map": None}, {"map": ["x", "y"]})):
            path = f"attributions/saliency_epoch_0001_part_{number:03}.parquet"
            rows = attribution_rows(run.run_id) | changed
            file = write_table(folder / Path(path).name, {key: rows[key] for key in rows if rows[key] is not None})
            committing.commit(run, f"part_{number}", {path: file}, {}, 1)
    for asked in (connect, _open_files):
        with asked(home) as connection:
            assert [len(everything(connection, table)) for table in ("attributions", "maps")] == [2, 2]
    assert len(caplog.messages) >= 2
    assert all("part_001" in line or "part_002" in line for line in caplog.messages)


def fail(*_) -> None:
    raise AssertionError("read in full")


def test_footers_tell_that_files_fit_their_tables(study: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at the values, which takes far longer."""
    with _open_files(study) as connection:
        before = {table: everything(connection, table) for table in (*columns(), "maps")}
    monkeypatch.setattr(ingesting, "_check_rows", fail)
    with _open_files(study) as connection:
        assert {table: everything(connection, table) for table in (*columns(), "maps")} == before


NULLS = pa.nulls(3)
ODD = {  # columns of predictions as other programs store them, and whether footers tell that they fit
    "wide": ({"label": [0, 1, 2**31 - 1], "margin": pa.array([1, 2, 3], pa.float64())}, True),
    "no label": ({"label": NULLS, "margin": NULLS}, True),
    "over the end": ({"label": [0, 1, 2**31]}, False),
    "below the end": ({"label": [0, -(2**31) - 1, 1]}, False),
    "over a float's end": ({"margin": [0.0, 1e300, 1.0]}, False),
    "digits": ({"label": ["1", "2", "3"]}, False),
    "without the needed": ({"predicted": NULLS}, False),
    "lists": ({"label": [[1]] * 3}, False),
    "no lists": ({"probabilities": [0.5] * 3}, False),
    "no rows": ({name: [] for name in prediction_rows("", 0, 0)}, False),
}


@pytest.mark.parametrize("name", ODD)
def test_what_footers_tell_of_odd_files(tmp_path: Path, name: str) -> None:
    wrong, told = ODD[name]
    file = write_table(tmp_path / "a [b].parquet", prediction_rows("", 1, 3) | wrong)
    with duckdb.connect() as connection:
        assert (
            connection.execute(select_sound_files("predictions", exact_pattern(file))).fetchall()
            == [(str(file),)] * told
        )


def asked_by_another_user(home: Home) -> tuple[int, int]:
    """Predictions and their runs, as somebody finds them who may only read what all may read."""
    groups, nobody = os.getgroups(), 65534
    os.setgroups([])
    os.setresgid(nobody, nobody, 0)
    os.setresuid(nobody, nobody, 0)
    try:
        with connect(home) as connection:
            assert epochs_of(connection)
            return connection.execute("select count(*), count(distinct run_id) from predictions").fetchone()
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@pytest.fixture
def shared_home(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Iterator[Home]:
    """A home of root's with two runs of two epochs, which everybody may read."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who can ask as another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = fresh(Path(folder), empty_tracker)
        for name in ("one", "two"):
            run = start(home, name)
            for epoch in range(2):
                commit_epoch(run, epoch)
            runs.finish_run(run)
        yield home


def test_another_user_may_ask(shared_home: Home, caplog) -> None:
    assert asked_by_another_user(shared_home) == (12, 2)
    assert ingest(shared_home)
    assert asked_by_another_user(shared_home) == (12, 2)
    shared_home.database.chmod(0)
    assert asked_by_another_user(shared_home) == (12, 2)
    assert caplog.messages == []


def test_an_index_of_another_user_is_not_replaced(shared_home: Home, caplog) -> None:
    assert ingest(shared_home)
    before = shared_home.database.read_bytes()
    for place in (shared_home.path, shared_home.path / "study.duckdb.lock"):
        place.chmod(0o777)
    shared_home.database.chmod(0)
    for _ in range(2):
        assert asked_by_another_user(shared_home) == (12, 2)
    [message] = caplog.messages
    assert "study.duckdb is not up to date (" in message
    assert "Permission denied" in message
    assert shared_home.database.read_bytes() == before


@pytest.mark.parametrize("part", ["", "artifacts", "artifacts/commits", "artifacts/run.json"])
@pytest.mark.parametrize("indexed", [True, False])
def test_a_run_that_may_not_be_read_is_named_and_left_out(
    shared_home: Home, part: str, indexed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if indexed:
        ingest(shared_home)
    hidden = read_records(shared_home)[0].run_id
    place = shared_home.artifacts / hidden / part
    place.chmod(0)
    assert asked_by_another_user(shared_home) == (6, 1)
    [message] = caplog.messages
    assert message.startswith(str(place))
    assert message.endswith(f" cannot be read (Permission denied); run {hidden[:8]} is left out until it can be")


@pytest.mark.parametrize(("part", "left"), [("predictions", 6), ("predictions/epoch_0001.parquet", 9)])
def test_files_that_may_not_be_read_are_named_and_left_out(shared_home: Home, part: str, left: int, caplog) -> None:
    place = shared_home.run_folder(read_records(shared_home)[0].run_id) / part
    place.chmod(0)
    assert asked_by_another_user(shared_home)[0] == left
    assert len(caplog.messages) == (12 - left) / 3
    assert all(message.startswith(str(place)) for message in caplog.messages)
    assert all("cannot be read (Permission denied); its rows are left out until" in line for line in caplog.messages)


def test_artifacts_that_may_not_be_read_are_refused(shared_home: Home) -> None:
    shared_home.artifacts.chmod(0)
    with pytest.raises(index.InputError, match=r"artifacts cannot be read \(Permission denied\); restore its perm"):
        asked_by_another_user(shared_home)
