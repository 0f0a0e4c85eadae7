"""The seam to MLflow: what is used of its inside is still there, works as expected, and is used in one module alone."""

import ast
import runpy
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import mlflow
import pytest
import sqlalchemy

from support.places import ROOT
from tracking import mlflow_internals
from tracking.errors import InputError
from tracking.home import Home
from tracking.mlflow_db import schema_revision

PUBLIC = {"mlflow", "mlflow.entities", "mlflow.exceptions"}
FILES = sorted((ROOT / "tracking").glob("*.py"))
SEAM = ROOT / "tracking" / "mlflow_internals.py"
ADVICE = f"is not in MLflow {mlflow.__version__}; find what took its place and change tracking/{SEAM.name}"


def imports(file: Path) -> Iterator[tuple[int, str, str | None]]:
    """Line, module and name of everything that a file imports, in functions too; no name for `import module`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)


INTERNAL = [(module, name) for _, module, name in imports(SEAM) if module.startswith("mlflow.") and name]


def holds(module: str, name: str) -> bool:
    """Whether there is such a module, and the name in it or a module of that name below it."""
    try:
        return hasattr(import_module(module), name) or bool(import_module(f"{module}.{name}"))
    except ImportError:
        return False


@pytest.mark.parametrize(("module", "name"), [*INTERNAL, ("mlflow.store.db.utils", "MAX_RETRY_COUNT")])
def test_mlflow_still_has_what_is_used_of_its_inside(module: str, name: str) -> None:
    assert holds(module, name), f"{module}.{name} {ADVICE}"


def test_what_mlflow_moved_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mlflow.utils.mlflow_tags.MLFLOW_LOGGED_IMAGES")
    told = f"MLflow {mlflow.__version__} has moved a part .* 'MLFLOW_LOGGED_IMAGES'"
    with pytest.raises(InputError, match=told) as error:
        runpy.run_path(str(SEAM))
    assert "\n" not in str(error.value)


def test_mlflow_gives_up_a_database_after_the_tries_it_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_internals.database_utils, "MAX_RETRY_COUNT", None)
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    mlflow_internals.limit_database_tries(3)
    with pytest.raises(sqlalchemy.exc.DatabaseError):  # a folder is no database
        mlflow_internals.database_utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{tmp_path}")
    assert len(pauses) == 2


def test_a_new_database_has_a_known_schema(home: Home) -> None:
    revisions = mlflow_internals.known_schema_revisions()
    assert schema_revision(home) in revisions, f"store/db_migrations/versions {ADVICE}"
    assert len(revisions) > 10


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_only_the_seam_knows_the_inside_of_mlflow(file: Path) -> None:
    found = [(line, module, name) for line, module, name in imports(file) if module.split(".")[0] == "mlflow"]
    if file == SEAM or not found:
        return
    for _, module, name in found:
        assert module in PUBLIC, f"{module} is internal to MLflow; use it in tracking/{SEAM.name}"
        assert not (name or "").startswith("_"), f"{name} is private to MLflow; use it in tracking/{SEAM.name}"
    behind = [line for line, module, name in imports(file) if f"{module}.{name}" == "tracking.mlflow_internals"]
    assert behind, f"import tracking.{SEAM.stem} first, as MLflow reads its settings when it is imported"
    assert min(behind) < min(line for line, *_ in found), f"import tracking.{SEAM.stem} before MLflow"
