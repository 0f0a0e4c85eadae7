"""MLflow's database lost, damaged or of another version, and what is deleted or renamed in it by others."""

import logging
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.cli import cli as mlflow_cli

from pipelines import cli
from pipelines.common.settings import ImportFlowSettings
from pipelines.instanceflow.import_log import import_flow
from support.commands import said
from support.homes import start, up_to_date
from tracking import mlflow_client, remote, runs
from tracking.catalogue import free_name, read_records, resolve
from tracking.errors import InputError
from tracking.files import write_json
from tracking.home import Home, find_home
from tracking.index import ingest
from tracking.reading import _open_files, connect


@pytest.fixture
def one(home: Home, tmp_path: Path) -> runs.Run:
    """A finished run called one, of one epoch and two instances."""
    log = {"labels": ["cat", "dog"], "instances": [{"id": "a", "actual": 0}, {"id": "b", "actual": 1}]}
    file = write_json(tmp_path / "log.json", log | {"epochs": [{"id": "0", "classifications": [1, 1]}]})
    run_id = import_flow(ImportFlowSettings(str(file), name="one"), home)
    return runs.open_run(home, resolve(home, run_id))


def again(home: Home) -> Home:
    """The home as a new process sees it, which has not opened MLflow's database yet."""
    mlflow_client.connect.cache_clear()
    runs.experiment_id.cache_clear()
    return home


def test_a_lost_database_is_named_and_not_made_again(home: Home, one: runs.Run, capsys, tmp_path: Path) -> None:
    kept = home.mlflow_db.rename(tmp_path / "kept")
    assert resolve(again(home), "one").run_id == one.run_id
    with connect(home) as connection:
        assert connection.execute("select count(*) from predictions").fetchall() == [(2,)]
    code, line = said(capsys, home, "flow", "one")
    assert (code, home.mlflow_db.exists()) == (2, False)
    assert "mlflow.db is gone, but 1 runs lie in" in line
    assert "restore it from a backup" in line
    kept.rename(home.mlflow_db)
    assert runs.open_run(home, one.record).run_id == one.run_id


def garbage(database: Path) -> None:
    database.write_bytes(bytes(range(256)) * 64)


def truncated(database: Path) -> None:
    database.write_bytes(database.read_bytes()[:1000])


def emptied(database: Path) -> None:
    database.write_bytes(b"")


def replaced_by_a_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


def of_another_program(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("create table runs (id)")


DAMAGES = [garbage, truncated, emptied, replaced_by_a_folder, of_another_program]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_named(
    home: Home, one: runs.Run, capsys, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(again(home).mlflow_db)
    before = home.mlflow_db.read_bytes() if home.mlflow_db.is_file() else None
    for command in (
        ("ask", "accuracy_by_epoch"),
        ("sql", "from runs"),
        ("flow", "one"),
        ("import-flow", str(tmp_path / "log.json")),
    ):
        code, line = said(capsys, home, *command)
        assert code == 2
        assert f"{home.mlflow_db} cannot be read as MLflow's database (" in line
        assert "restore it from a backup" in line
    assert before == (home.mlflow_db.read_bytes() if home.mlflow_db.is_file() else None)


@pytest.mark.parametrize(
    ("revision", "told"),
    [("ffffffffffff", "was made by a newer MLflow than"), ("df50e92ffc5e", "was made by an older MLflow; after a")],
)
def test_a_database_of_another_mlflow_is_named(
    home: Home, one: runs.Run, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, revision: str, told: str
) -> None:
    with closing(sqlite3.connect(home.mlflow_db)) as connection, connection:
        connection.execute("update alembic_version set version_num = ?", [revision])
    shutil.copytree(home.path, tmp_path / "copy")  # MLflow looks once a process at a database's version
    other = find_home(str(tmp_path / "copy"))
    for address in ("", other.mlflow_address):  # the second as on a server
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        code, line = said(capsys, again(other), "flow", "one")
        assert code == 2
        assert told in line
        assert ("mlflow db upgrade" in line) == (revision != "ffffffffffff")
    assert resolve(other, "one").run_id == one.run_id


def test_a_deleted_experiment_is_named_and_comes_back(
    home: Home, one: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, caplog
) -> None:
    one.client.delete_experiment(runs.experiment_id(home))
    told = "the experiment 'xai-study' was deleted in MLflow with 1 run; restore it: "
    for command in (("ask", "accuracy_by_epoch"), ("flow", "one"), ("explain",)):
        code, line = said(capsys, home, *command)
        assert code == 2
        assert told in line
    assert cli.main(["ask", "runs", "--home", str(home.path)]) == 0
    assert told in caplog.text  # beside an answer without the runs
    code, line = said(capsys, again(home), "import-flow", str(tmp_path / "log.json"))
    assert code == 2
    assert "the experiment 'xai-study' was deleted in MLflow with its runs; restore it: " in line
    [address, _, *command] = shlex.split(line.partition("restore it: ")[2])
    monkeypatch.setenv(*address.split("=", 1))
    mlflow_cli(command, standalone_mode=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve(home, "one").run_id == one.run_id
    assert runs.experiment_id(again(home))


def test_a_deleted_run_is_named_however_it_is_meant(home: Home, one: runs.Run) -> None:
    one.client.delete_run(one.run_id)
    for reference in (one.run_id, one.run_id[:8], "one"):
        with pytest.raises(InputError, match="was deleted in MLflow; restore it there: ") as error:
            resolve(home, reference)
    [address, *command] = shlex.split(str(error.value).partition("there: ")[2])
    assert address == f"MLFLOW_TRACKING_URI={home.mlflow_address}"
    assert command == ["mlflow", "runs", "restore", "--run-id", one.run_id]


def names(home: Home) -> list[list[tuple]]:
    """Names in table runs, of the index and of the files."""
    with connect(home) as index, _open_files(home) as files:
        return [connection.execute("select name from runs order by 1").fetchall() for connection in (index, files)]


def test_a_renamed_run_has_its_new_name(home: Home, one: runs.Run) -> None:
    ingest(home)
    one.client.update_run(one.run_id, name="the good one")
    assert not up_to_date(home)
    assert names(home) == [[("the good one",)]] * 2
    assert up_to_date(home)
    assert resolve(home, "the good one").run_id == one.run_id
    with pytest.raises(InputError, match="was called 'one'; it was renamed 'the good one' in MLflow"):
        resolve(home, "one")
    assert free_name(home, "one", "") == "one"
    runs.log_record(runs.reopen_run(home, resolve(home, "the good one")))
    assert [record.name for record in read_records(home)] == ["the good one"]


def test_a_run_renamed_while_it_is_written_keeps_the_new_name(home: Home) -> None:
    run = start(home)
    run.client.set_tag(run.run_id, "mlflow.runName", "other")
    runs.finish_run(run)
    assert names(home) == [[("other",)]] * 2


def test_a_run_renamed_on_a_server_has_its_new_name_when_it_is_fetched(home: Home, one: runs.Run) -> None:
    remote._rename(home, one.run_id, "on the server")
    home.mlflow_db.unlink()  # a server's runs are in no database of the home
    assert [record.name for record in read_records(home)] == ["on the server"]
    remote._rename(home, one.run_id, None)
    remote._rename(home, "f" * 32, "no file yet")
    assert [record.name for record in read_records(home)] == ["on the server"]


def test_names_that_clash_after_renaming_are_ambiguous(home: Home, one: runs.Run) -> None:
    two = start(home, "two")
    two.client.update_run(two.run_id, name="one")
    with pytest.raises(InputError, match=rf"'one' means 2 runs: {one.run_id[:8]} \(one\), {two.run_id[:8]} \(one\)"):
        resolve(home, "one")
    two.client.update_run(two.run_id, name=one.run_id)
    assert resolve(home, one.run_id).run_id == one.run_id
    two.client.update_run(two.run_id, name=one.run_id[:8])
    with pytest.raises(InputError, match="means 2 runs"):
        resolve(home, one.run_id[:8])
    assert resolve(home, one.run_id[:9]).run_id == one.run_id
    two.client.update_run(two.run_id, name=one.run_id[:2])
    assert resolve(home, one.run_id[:2]).run_id == two.run_id


def test_a_name_that_is_or_may_be_an_id_is_refused(home: Home, one: runs.Run) -> None:
    for name in (one.run_id, one.run_id[:8], one.run_id[:20].upper()):
        with pytest.raises(InputError, match=f"--name {name} is how the ID of run {one.run_id} begins; choose another"):
            free_name(home, name, "")
    for name in ("0123456789abcdef" * 2, "A" * 32):
        with pytest.raises(InputError, match="looks like a run ID; choose another"):
            free_name(home, name, "")
    for name in (one.run_id[:7], "20240229", one.run_id + "x", "a" * 31):
        assert free_name(home, name, "") == name
    one.client.delete_run(one.run_id)
    with pytest.raises(InputError, match="is how the ID of run"):
        free_name(home, one.run_id[:8], "")


def test_another_home_is_not_looked_at(home: Home, one: runs.Run, tmp_path: Path) -> None:
    other = find_home(str(tmp_path / "other"))
    shutil.copytree(home.artifacts, other.artifacts)
    assert [record.name for record in read_records(other)] == ["one"]


def test_an_error_of_the_database_is_no_traceback(home: Home, caplog) -> None:
    """What MLflow logs of it with a traceback, it raises as well, and that becomes the command's one line."""
    mlflow_client.connect(home)
    try:
        raise sqlite3.OperationalError("database is locked")
    except sqlite3.OperationalError:
        logging.getLogger("mlflow.store.db.utils").exception("SQLAlchemy database error")
    assert caplog.records == []
