"""What the command `study` starts: it finds this program's own packages, whatever else is on the path.

A user's PYTHONPATH comes before installed packages, and folders named `pipelines`, `queries` or `tracking` are common.
So this file is installed under a name of its own, `xai_study_launch`, and imports our packages from where they lie.
Little is imported before a signal is expected, as until then Ctrl-C would show a traceback.
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


def own_folder(installed: Path) -> Path:
    """The folder of our packages: where this file is `installed`, or the checkout of an editable installation."""
    if (installed / "pipelines" / "launch.py").is_file():
        return installed
    from importlib.metadata import distributions
    from json import loads
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    [distribution] = distributions(name="xai-study", path=[str(installed)])
    return Path(url2pathname(urlsplit(loads(distribution.read_text("direct_url.json") or "{}")["url"]).path))


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGINT)):  # Windows lacks SIGHUP
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves a closed terminal
            signal.signal(number, _end)  # until the command listens, it has made nothing
    sys.meta_path.insert(0, OwnPackages(own_folder(Path(__file__).resolve().parent)))
    from pipelines.cli import main as run

    return run()


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"study: stopped\n")
    finally:
        os._exit(130)
