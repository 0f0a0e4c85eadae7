"""Rebuilds the index from the runs' files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.common.progress import work
from pipelines.common.settings import RebuildSettings
from tracking import index
from tracking.home import Home, check_writable, is_copy


def rebuild(settings: RebuildSettings, home: Home) -> str:
    """Rebuild the index, including the runs on an MLflow server if one is in use; returns its path."""
    check_writable(home)
    if is_copy(home):
        from tracking.remote import fetch  # imports mlflow, which is slow and rarely needed here

        with _showing("fetch") as show:
            fetch(home, show)
    with _showing("rebuild") as show:
        index.rebuild(home, show)
    return str(home.database)


@contextmanager
def _showing(name: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how many of how many runs are done."""
    with work(name, 0, "runs") as all_runs:

        def show(done: int, total: int) -> None:
            all_runs.total = total
            all_runs.advance(done - all_runs.done)

        yield show
