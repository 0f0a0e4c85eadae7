"""The packages' arrows, and that asking stays quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipelines", "xai", "tracking", "queries")
ALLOWED = {
    "pipelines": {"pipelines", "xai", "tracking", "queries"},
    "xai": {"xai"},
    "tracking": {"tracking"},
    "queries": {"queries"},
}
LIBRARIES = {
    "mlflow": {"tracking"},
    "torch": {"pipelines", "xai"},
    "duckdb": {"tracking", "queries", "pipelines"},
}
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    """Top names of everything a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_arrows(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    names = imported(file)
    assert names & set(PACKAGES) <= ALLOWED[package]
    for library, allowed in LIBRARIES.items():
        assert library not in names or package in allowed, f"{file} imports {library}"


def test_there_is_something_to_hold() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize("command", ["ask", "sql --help", "--help", "train --help"])
def test_asking_imports_neither_torch_nor_mlflow(command: str) -> None:
    code = (
        "import sys; from pipelines.cli import main\n"
        f"try: main({command.split()!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'mlflow', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_no_function_is_long() -> None:
    long = [
        f"{file.relative_to(ROOT)}:{node.name}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 40
    ]
    assert long == []
