"""What a run ran on: the content of environment.json."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "shap", "scikit-learn", "mlflow", "duckdb", "pandas", "pillow")
SOURCE = Path(__file__).parent.parent


def environment() -> dict:
    """Versions, processor and commit of this process, for people and for `rerun` to compare."""
    return {
        "xai-study": _version("xai-study"),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def git_commit() -> str | None:
    """Commit of the program's checkout, ending in -dirty with uncommitted changes; None outside a checkout."""
    if not (SOURCE / ".git").exists():
        return None
    # a checkout that runs is trusted, whoever owns it, as in a container that mounts it
    command = ["git", "-c", f"safe.directory={SOURCE}", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
