"""The entry point of the command `study`: it finds its own packages, even if others on the path share their names.

A user's PYTHONPATH comes before installed packages, and folders named `pipelines`, `queries` or `tracking` are common.
So this file is installed under a unique name, `xai_study_launch`, and imports our packages from their own folder.
Little is imported before signals are handled, because until then Ctrl-C would show a traceback.
"""

import os
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FrameType, ModuleType

PACKAGES = ("pipelines", "xai", "tracking", "queries")


class OwnPackages:
    """Finds our packages in one folder, before the path is searched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(self.folder)]) if name in PACKAGES else None


def find_packages(installed: Path) -> Path:
    """The folder of our packages: where this file is `installed`, or the checkout of an editable installation."""
    if (installed / "pipelines" / "launch.py").is_file():
        return installed
    from importlib.metadata import distributions
    from json import loads
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    [distribution] = distributions(name="xai-study", path=[str(installed)])
    direct_url = loads(distribution.read_text("direct_url.json") or "{}")
    return Path(url2pathname(urlsplit(direct_url["url"]).path))


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGINT)):  # Windows lacks SIGHUP
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores a closed terminal
            signal.signal(number, _end)  # until the command handles signals, there is nothing to clean up
    sys.meta_path.insert(0, OwnPackages(find_packages(Path(__file__).resolve().parent)))
    from pipelines.cli import main as run

    return run()


def _end(number: int, frame: FrameType | None) -> None:
    try:
        if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, one says so
            os.write(2, b"study: stopped\n")
    finally:
        os._exit(130)
