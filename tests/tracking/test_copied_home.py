"""A home that was moved or copied has its own places in MLflow's database before anything is written or deleted."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines import cli
from support.homes import commit_epoch, start
from tracking import locks, mlflow_client, runs
from tracking.catalogue import read_records
from tracking.errors import InputError
from tracking.home import Home, find_home
from tracking.mlflow_db import LOCATIONS


@pytest.fixture
def filled(home: Home) -> Home:
    """A home with a run of one epoch, and in its database places of other people, outside and inside the home."""
    run = start(home)
    commit_epoch(run, 0)
    runs.finish_run(run)
    others = home.path.with_name("study2") / "artifacts"
    execute(home, f"insert into experiments (name, artifact_location) values ('outside', '{others.as_uri()}')")
    execute(home, f"insert into experiments (name, artifact_location) values ('inside', '{home.artifacts.as_uri()}/9')")
    execute(home, "insert into registered_models (name) values ('m')")
    execute(home, f"insert into model_versions (name, version, source) values ('m', 1, '{home.artifacts}/x')")
    return home


def execute(home: Home, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(home.mlflow_db)) as connection, connection:
        return connection.execute(sql).fetchall()


def copied(home: Home, folder: Path) -> Home:
    aside = home.path.with_name("aside")  # a folder cannot be copied into itself
    shutil.copytree(home.path, aside)
    shutil.move(aside, folder)
    return find_home(str(folder))


def places(home: Home) -> dict[str, list[str]]:
    """Every place that MLflow's database has, by its column."""
    found = {}
    for table, column, which in LOCATIONS:
        rows = execute(home, f"select {column} from {table} where {which} and {column} is not null order by 1")
        found[f"{table}.{column}"] = [place for (place,) in rows]
    return found


def moved(before: dict[str, list[str]], one: Home, other: Home) -> dict[str, list[str]]:
    def place(text: str) -> str:
        inside = text.startswith((f"{one.artifacts.as_uri()}/", f"{one.artifacts}/")) or text == one.artifacts.as_uri()
        return text.replace(str(one.artifacts), str(other.artifacts)) if inside else text

    return {name: sorted(map(place, texts)) for name, texts in before.items()}


@pytest.mark.parametrize("where", ["elsewhere", "study3", "study/artifacts/copy", "study/copy", "a b/c's%20"])
def test_asking_a_copy_makes_its_places_its_own(filled: Home, where: str) -> None:
    before = places(filled)
    other = copied(filled, filled.path.parent / where)
    for _ in range(2):
        assert [record.name for record in read_records(other)] == ["one"]
        if " " not in where:  # addresses quote such names
            assert places(other) == moved(before, filled, other)
        else:
            assert all(filled.path.as_uri() + "/" not in place for part in places(other).values() for place in part)
    assert places(filled) == before
    read_records(filled)
    assert places(filled) == before


def test_a_home_that_was_moved_up_is_followed(filled: Home) -> None:
    inner = copied(filled, filled.artifacts / "copy")
    read_records(inner)
    before = places(inner)
    outer = filled.path.with_name("outer")
    shutil.move(inner.path, outer)
    shutil.rmtree(filled.path)
    shutil.move(outer, filled.path)
    read_records(filled)
    assert places(filled) == moved(before, inner, filled)


def test_every_experiment_of_studies_follows(filled: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "second")
    runs.experiment_id.cache_clear()
    runs.log_record(start(filled, "two"))
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    other = copied(filled, filled.path.parent / "other")
    assert len(read_records(other)) == 2
    assert execute(other, f"select count(*) from runs where artifact_uri like '{other.artifacts.as_uri()}/%'") == [(2,)]


def test_one_home_by_two_paths_keeps_its_places(filled: Home) -> None:
    before = places(filled)
    link = filled.path.with_name("link")
    link.symlink_to(filled.path)
    by_link = find_home(str(link))
    assert len(read_records(by_link)) == 1
    runs.log_record(start(by_link, "two"))
    assert places(filled)["experiments.artifact_location"] == before["experiments.artifact_location"]
    assert len(read_records(filled)) == 2


def test_a_copy_of_the_database_alone_is_left_alone(filled: Home, tmp_path: Path) -> None:
    """As one that serves several homes: the files of its runs are not here."""
    other = find_home(str(tmp_path / "other"))
    other.artifacts.mkdir(parents=True)
    shutil.copy(filled.mlflow_db, other.mlflow_db)
    before = places(other)
    assert read_records(other) == []
    assert places(other) == before


def test_nothing_moves_while_a_run_is_written_by_the_other_path(filled: Home) -> None:
    """As where a container and its host see a home by different paths."""
    run = start(filled, "two")
    other = find_home(str(filled.path.with_name("other")))
    filled.path.rename(other.path)
    before = places(other)
    assert len(read_records(other)) == 2
    assert places(other) == before
    with pytest.raises(InputError, match=f"when run {run.run_id[:8]} was started, which is being written"):
        mlflow_client.connect(other)
    locks.release(filled, run.run_id)
    assert mlflow_client.connect(other)
    assert places(other) != before


def test_asking_a_copy_never_fails_for_its_places(filled: Home) -> None:
    other = copied(filled, filled.path.parent / "other")
    before = places(other)
    with closing(sqlite3.connect(other.mlflow_db)) as writer:
        writer.execute("begin exclusive")
        assert len(read_records(other)) == 1
    with closing(sqlite3.connect(other.mlflow_db)) as reader:
        reader.execute("begin")
        reader.execute("select * from runs").fetchall()
        assert cli.main(["ask", "accuracy_by_epoch", "--home", str(other.path)]) == 0
    assert places(other) == before
    read_records(other)
    assert places(other) != before


def test_files_go_to_the_home_in_use(filled: Home) -> None:
    """Even a run that was opened before the home was moved writes nothing to where it was."""
    run = start(filled, "two")
    other = find_home(str(filled.path.with_name("other")))
    filled.path.rename(other.path)
    moved_run = runs.Run(other, run.record, run.client)
    with runs.staging_folder(other) as folder:
        (folder / "a.txt").write_text("a")
        runs.log_file(moved_run, folder / "a.txt", "a.txt")
    assert (other.run_folder(run.run_id) / "a.txt").read_text() == "a"
    assert not filled.path.exists()
    locks.release(filled, run.run_id)


def test_an_experiment_made_in_mlflow_is_taken_if_it_is_empty(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    client = mlflow_client.connect(home)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    mine = client.create_experiment("mine", artifact_location="/elsewhere")
    runs.experiment_id.cache_clear()
    run = start(home)
    assert client.get_run(run.run_id).info.artifact_uri.startswith(home.artifacts.as_uri())
    execute(home, f"update experiments set artifact_location = '/elsewhere' where experiment_id = {mine}")
    execute(home, "update runs set artifact_uri = '/elsewhere/x'")
    runs.experiment_id.cache_clear()
    with pytest.raises(InputError, match="keeps the files of its runs in /elsewhere"):
        runs.experiment_id(home)
