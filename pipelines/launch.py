"""What the command `study` starts: it finds this program's own packages, whatever else is on the path.

A user's PYTHONPATH comes before installed packages, and folders named `pipelines`, `queries` or `tracking` are common.
So this file is installed under a name of its own, `xai_study_launch`, and imports our packages from where they lie.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distributions
from json import loads
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import url2pathname

PACKAGES = ("pipelines", "xai", "tracking", "queries")


class OwnPackages:
    """Finds our packages in one folder, before the path is searched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(self.folder)]) if name in PACKAGES else None


def own_folder(installed: Path) -> Path:
    """The folder of our packages: where this file is `installed`, or the checkout of an editable installation."""
    if (installed / "pipelines" / "launch.py").is_file():
        return installed
    [distribution] = distributions(name="xai-study", path=[str(installed)])
    return Path(url2pathname(urlsplit(loads(distribution.read_text("direct_url.json"))["url"]).path))


def main() -> int:
    sys.meta_path.insert(0, OwnPackages(own_folder(Path(__file__).resolve().parent)))
    from pipelines.cli import main as run

    return run()
