"""Paths are never patterns: neither Hive's folders, as `epoch=3`, nor characters that mean something to a library."""

import ast
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from support.commands import said
from support.homes import attribution_rows, commit_epoch, everything, fresh, start, up_to_date
from support.places import PACKAGES, ROOT
from tracking import committing, mlflow_client, runs
from tracking.catalogue import read_records
from tracking.files import write_table
from tracking.home import Home, find_home
from tracking.index import ingest
from tracking.reading import _open_files, connect
from tracking.tables import columns

ABOVE = (
    "epoch=3/label=2/predicted=1/split=x/method=y/name=x/run_id=abc/instance_id=7/map=1",
    "study[1]",
    "a*/**",
    "[!a]/n[x/d]x",
    "{1,2}/50%/g%41x/%s/~/~root/i#x/it's mine",
    'l"x/two words/ x /ü/u\u0308/$HOME/x;y/a:b/s3:/@x/x\ny/-x/&x=y+',
)
DECOYS = ("study1", "ax/b", "b/nx/dx")  # which some of them fit if they are patterns
SHOWN = ("runs", "metrics", "classes", "predictions", "attributions", "predictions_live", "maps")
READS = re.compile(r"\bread_(?:parquet|json|ndjson|csv|text|blob)\w*\s*\(|\bparquet_scan\s*\(")
SCANS = re.compile(r"\b(?:from|join)\s+'[^']*\.(?:parquet|json|csv)'")


def fill(home: Home) -> str:
    """ID of a run of two epochs, with classes and maps of one of them."""
    run = start(home)
    for epoch in range(2):
        commit_epoch(run, epoch)
    with runs.staging_folder(home) as folder:
        files = {
            "classes.parquet": {"run_id": [run.run_id], "class_id": [0], "name": ["cat"]},
            "attributions/saliency_epoch_0001_part_000.parquet": attribution_rows(run.run_id),
        }
        made = {path: write_table(folder / Path(path).name, rows) for path, rows in files.items()}
        committing.commit(run, "start", made, {}, None)
    runs.finish_run(run)
    return run.run_id


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> Home:
    """A home with one small run, without an index."""
    home = fresh(tmp_path_factory.mktemp("plain"), empty_tracker)
    fill(home)
    return home


def shown(home: Home) -> dict[str, dict[str, list[tuple]]]:
    """What the home answers by its index, by its files, and to another program that opens its index."""
    with connect(home) as index:
        found = {"index": {table: everything(index, table) for table in SHOWN}}
    assert up_to_date(home)
    with _open_files(home) as files:
        found["files"] = {table: everything(files, table) for table in SHOWN}
    with duckdb.connect(str(home.database), read_only=True) as stored:
        found["stored"] = {table: everything(stored, table) for table in SHOWN}
    return found


@pytest.fixture(scope="module")
def expected(filled: Home) -> dict[str, list[tuple]]:
    found = shown(filled)
    assert found["files"] == found["stored"] == found["index"]
    assert all(found["index"].values())
    assert [row[2:5] for row in found["index"]["predictions"]][:2] == [("test", 0, 1), ("test", 1, 1)]
    return found["index"]


@pytest.mark.parametrize("above", ABOVE)
def test_a_home_answers_wherever_it_lies(filled: Home, expected: dict, tmp_path: Path, above: str) -> None:
    for decoy in DECOYS:
        shutil.copytree(filled.artifacts, tmp_path / decoy / "home" / "artifacts")
    shutil.copytree(filled.artifacts, tmp_path / above / "home" / "artifacts", dirs_exist_ok=True)
    home = find_home(str(tmp_path / above / "home"))
    assert shown(home) == dict.fromkeys(("index", "files", "stored"), expected)


@pytest.mark.parametrize("name", ["study[1]", "g%41x 50% i#x", "epoch=3&a:b@c it's ü"])
def test_mlflow_writes_where_the_home_lies(tmp_path: Path, empty_tracker: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    home = fresh(tmp_path / name, empty_tracker)
    run_id = fill(home)
    assert ingest(home)
    assert os.listdir(tmp_path) == [name]
    assert read_records(home)[0].status == mlflow_client.connect(home).get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in mlflow_client.connect(home).list_artifacts(run_id, "predictions")] == [
        "predictions/epoch_0000.parquet", "predictions/epoch_0001.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["what?", "a?b=c/home", "back\\slash", os.fsdecode(b"\xff")])
def test_a_home_that_a_library_would_misread_is_refused(tmp_path: Path, name: str, capsys) -> None:
    code, line = said(capsys, Home(tmp_path / name), "train", "--size", "8")
    assert (code, "the study home" in line, "choose another --home" in line) == (2, True, True)
    assert list(tmp_path.iterdir()) == []


def texts() -> Iterator[tuple[Path, str]]:
    """Every text that may hold SQL: strings of Python, `{}` in place of what is filled in, and other files whole."""
    for file in sorted(file for package in (*PACKAGES, "tests") for file in (ROOT / package).rglob("*")):
        if file.suffix in (".sql", ".html", ".js"):
            yield file, file.read_text()
        elif file.suffix == ".py" and file != Path(__file__) and "read_" in (source := file.read_text()):
            yield from ((file, text) for text in strings(ast.parse(source)))


def strings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from strings(child)


def arguments(text: str, start: int) -> str:
    """What stands between the bracket before `start` and the one that closes it."""
    depth = 1
    for place, character in enumerate(text[start:], start):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[start:place]
    return text[start:]


def test_nothing_reads_hive_partitions() -> None:
    """Above any home may lie a folder `epoch=3`, whose 3 DuckDB puts in place of the column."""
    calls = [(file, arguments(text, call.end())) for file, text in texts() for call in READS.finditer(text)]
    ours = [(file, call) for file, call in calls if "tests" not in file.parts]
    assert len(ours) >= 2
    refused = ("/etc/", "{tmp}")  # of tests that such calls are refused
    assert [
        (file, call) for file, call in calls
        if "hive_partitioning = false" not in call and not any(word in call for word in refused)
    ] == []  # fmt: skip
    assert [(file, text) for file, text in texts() if SCANS.search(text)] == []


def test_nothing_lets_arrow_or_pandas_read_hive_partitions() -> None:
    """Both take `epoch=3` above a file for a column; `pyarrow.parquet.ParquetFile` reads the file alone."""
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sorted(file for package in (*PACKAGES, "tests") for file in (ROOT / package).rglob("*.py"))
        if "parquet" in (source := file.read_text())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(
            ("parquet.read_table", "pq.read_table", "pd.read_parquet", "pandas.read_parquet", "ParquetDataset")
        )
    ]  # fmt: skip
    assert found == []
    assert {"predictions", "attributions"} <= set(columns())
