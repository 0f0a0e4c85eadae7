"""What a run ran on: the content of environment.json."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "timm", "numpy", "shap", "scikit-learn", "mlflow", "duckdb", "pandas", "pillow")
NEEDED_BY_MODELS = ("xai-study", "torch", "torchvision", "timm", "numpy", "pillow")
SOURCE = Path(__file__).parent.parent


def describe_environment() -> dict:
    """Versions, processor and commit of this process, for people to read and `rerun` to compare."""
    return {
        "xai-study": _installed_version("xai-study"),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: _installed_version(name) for name in PACKAGES},
    }


@cache
def list_requirements() -> tuple[str, ...]:
    """The packages of this process that models need, as pip names them, in their versions."""
    versions = {name: _installed_version(name) for name in NEEDED_BY_MODELS}
    # +cpu and the like name a build, which another machine may not have
    return tuple(f"{name}=={number.partition('+')[0]}" for name, number in versions.items() if number)


def git_commit() -> str | None:
    """Commit of the program's checkout, ending in -dirty with uncommitted changes; None outside a checkout."""
    if not (SOURCE / ".git").exists():
        return None
    # even if another user owns the checkout, as in a container: it is trusted, since it runs
    command = ["git", "-c", f"safe.directory={SOURCE}", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        finished = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() or None


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():  # Linux, where platform.processor() says no more than x86_64
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
