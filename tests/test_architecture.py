"""The arrows between packages and between the folders of pipelines/, and that asking stays quick."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from support.places import PACKAGES

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "pipelines": {"pipelines", "xai", "tracking", "queries"},
    "xai": {"xai"},
    "tracking": {"tracking"},
    "queries": {"queries"},
}
# the door for people, `tracking.open`, imports what is built on its package when it is called
DOORS = {"tracking/__init__.py": {"pipelines"}}
LIBRARIES = {
    "mlflow": {"tracking"},
    "torch": {"pipelines", "xai"},
    "duckdb": {"tracking", "queries", "pipelines"},
}
# folder of pipelines/: the folders that it may import, none upward
STEPS = {
    "common": set(),
    "data": {"common"},
    "drawing": {"common"},
    "models": {"common", "data"},
    "lifecycle": {"common", "data", "drawing", "models"},
    "training": {"common", "data", "models", "lifecycle"},
    "improving": {"common", "data", "diffing", "lifecycle", "training"},
    "importing": {"common", "data", "models", "lifecycle"},
    "recording": {"common", "data", "models", "lifecycle"},
    "predicting": {"common", "data", "models", "lifecycle"},
    "judging": {"common", "data"},
    "explaining": {"common", "data", "models", "lifecycle"},
    "comparing": {"common", "data", "drawing", "models", "lifecycle", "explaining"},
    "instanceflow": {"common", "data", "lifecycle"},
    "asking": {"common"},
    "pages": {"common", "data", "drawing", "lifecycle"},
    "reporting": {"common", "data", "drawing", "models", "lifecycle", "explaining", "asking", "pages"},
    "diffing": {"common", "data", "drawing", "lifecycle", "pages"},
    "home": {"common", "lifecycle"},
    "notebook": {"common", "lifecycle", "asking", "diffing", "instanceflow", "pages", "reporting"},
}
# modules of no folder, which may know every step
SPANNING = {"cli", "commands", "functions", "stub", "kinds", "launch", "study", "resuming", "rerunning", "seeds"}
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
    path = file.relative_to(ROOT)
    package = path.parts[0]
    names = imported(file)
    assert names & set(PACKAGES) <= ALLOWED[package] | DOORS.get(path.as_posix(), set())
    for library, allowed in LIBRARIES.items():
        assert library not in names or package in allowed, f"{file} imports {library}"


def imported_modules(file: Path) -> set[str]:
    """Dotted names of everything a file imports, also inside functions; of `from a import b` both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("step", STEPS)
def test_steps_know_only_what_lies_beneath_them(step: str) -> None:
    for file in (ROOT / "pipelines" / step).rglob("*.py"):
        known = {name.split(".")[1] for name in imported_modules(file) if name.startswith("pipelines.")}
        assert known <= STEPS[step] | {step}, file


def test_every_module_of_pipelines_has_its_step() -> None:
    paths = (file.relative_to(ROOT / "pipelines") for file in FILES if file.is_relative_to(ROOT / "pipelines"))
    assert {path.parts[0] for path in paths} == {"__init__.py", *STEPS, *(f"{name}.py" for name in SPANNING)}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_hides_a_module(package: str) -> None:
    for folder in {file.parent for file in FILES if file.is_relative_to(ROOT / package)}:
        names = ".".join(folder.relative_to(ROOT).parts)
        for module in (file.stem for file in folder.glob("*.py") if file.stem not in ("__init__", "launch")):
            found = getattr(import_module(names), module, None) or import_module(f"{names}.{module}")
            assert isinstance(found, ModuleType), f"{names}.{module} is hidden by {found}"


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


def test_commands_load_no_library_that_only_some_models_and_methods_need() -> None:
    """Each of these takes seconds and 70 to 160 MB, in every command and in every process that a command starts."""
    seldom_needed = {"torchvision", "torch._dynamo", "shap", "timm", "transformers", "lightning"}
    code = (
        "import gc, sys; from pipelines.commands import COMMANDS, load_step\n"
        "for name in COMMANDS: load_step(name)\n"
        "assert gc.isenabled()\n"
        f"print(sorted({seldom_needed} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
