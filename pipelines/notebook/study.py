"""A study as Python has it. Little is imported until it is needed, so that opening one is quick."""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipelines.common.settings import DiffSettings, FlowSettings, ReportSettings, SqlSettings
from pipelines.lifecycle.python_errors import plain_errors
from tracking.errors import InputError
from tracking.home import Home, find_home

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection

    from pipelines.notebook.instance import ShownInstance
    from pipelines.notebook.maps import Maps
    from pipelines.notebook.pages import Page
    from pipelines.notebook.questions import Catalogue
    from pipelines.pages.pictures import Pictures
    from tracking.catalogue import RunRecord


@plain_errors()
def open_study(home: str | os.PathLike[str] | None = None) -> Study:
    """The study in a home. Raises InputError if there is none."""
    found = find_home(None if home is None else os.fspath(home))
    if not found.artifacts.is_dir():
        raise InputError(f"no study in {found.path}; pipelines.train(home=...) or `study train` makes one")
    return Study(found)


class Study:
    """Everything that is remembered in a home: runs, questions, SQL, maps, images and pages.

    A `run` is a run ID, a unique prefix of one, a run name, or latest. Only what is committed is read, also while
    trainings run. Nothing here changes the study; `pipelines.train` and its like do, which take it as their `home`.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pictures: tuple[tuple[str, str | None], Pictures] | None = None  # of the run shown last

    @property
    def path(self) -> Path:
        """The folder of the home."""
        return self._home.path

    def __fspath__(self) -> str:
        return str(self._home.path)

    def __repr__(self) -> str:
        return f"Study({str(self._home.path)!r})"

    @property
    def ask(self) -> Catalogue:
        """Every question: `ask("hard_classes", run="latest")`; `ask.hard_classes` explains it and can be called."""
        from pipelines.notebook.questions import Catalogue

        return Catalogue(self._home)

    def questions(self) -> pd.DataFrame:
        """Names and texts of all questions."""
        import pandas as pd

        import queries

        texts = [(name, queries.header(name).question) for name in queries.NAMES]
        return pd.DataFrame(texts, columns=["name", "question"])

    def runs(self) -> pd.DataFrame:
        """All runs, newest first."""
        return self.ask("runs")

    @plain_errors()
    def sql(self, query: str, *, seconds: int = 60, memory: int = 4) -> pd.DataFrame:
        """The answer to any read-only SQL, such as "from predictions where label = 3"; as safe as `study sql`.

        Raises InputError if the query is wrong, takes longer than `seconds` or needs more than `memory` GB.
        """
        from pipelines.asking.sql import sql_to_table
        from pipelines.notebook.frames import to_frame

        return to_frame(sql_to_table(SqlSettings(query=query, seconds=seconds, memory=memory), self._home))

    @plain_errors()
    def maps(
        self,
        run: str = "latest",
        method: str = "shap",
        *,
        where: str | None = None,
        instances: Iterable[int] | None = None,
        epoch: int | None = None,
        split: str = "test",
        target: str = "predicted",
        data: str | os.PathLike[str] | None = None,
    ) -> Maps:
        """A method's maps of a training run, with their images, as arrays; by default of all images it explained.

        `where` is an SQL condition on the epoch's predictions, such as "label = 3 and predicted = 5", and `epoch` by
        default the last that the method explained; `data` says where the data set is if it moved. Raises InputError if
        there are none.
        """
        from pipelines.notebook.maps import read_maps
        from tracking.reading import connect

        with connect(self._home) as connection:
            record = self._resolve(run)
            return read_maps(
                connection, lambda: self._read_pictures(connection, record, data), record, method, where=where,
                instances=None if instances is None else [_to_whole("instances", one) for one in instances],
                epoch=None if epoch is None else _to_whole("epoch", epoch), split=split, target=target,
            )  # fmt: skip

    @plain_errors()
    def show(
        self,
        run: str,
        instance_id: int,
        *,
        split: str = "test",
        data: str | os.PathLike[str] | None = None,
    ) -> ShownInstance:
        """One image, its predictions over the epochs and its heatmaps, inline in a notebook."""
        from pipelines.notebook.instance import show_instance
        from tracking.reading import connect

        with connect(self._home) as connection:
            record = self._resolve(run)
            pictures = self._read_pictures(connection, record, data)
            return show_instance(connection, pictures, record, _to_whole("instance_id", instance_id), split)

    @plain_errors()
    def flow(
        self,
        run: str = "latest",
        other: str | None = None,
        *,
        split: str = "test",
        data: str | os.PathLike[str] | None = None,
        height: int = 720,
    ) -> Page:
        """The InstanceFlow page inline in a notebook, `height` pixels high; with `other`, of two runs."""
        from pipelines.instanceflow.flow import write_flow
        from pipelines.notebook.pages import Page
        from tracking.reading import connect

        settings = FlowSettings(run=run, other=other, split=split, data=_to_path(data))
        record, other_record = self._resolve(run), None if other is None else self._resolve(other)
        with connect(self._home) as connection, TemporaryDirectory() as folder:
            page = write_flow(Path(folder), record, other_record, settings, self._home, connection)
            return Page(f"InstanceFlow page of run {run}", page.read_text(encoding="utf-8"), height)

    @plain_errors()
    def diff(
        self,
        run: str,
        other: str,
        *,
        split: str = "test",
        data: str | os.PathLike[str] | None = None,
        height: int = 720,
    ) -> Page:
        """Two models image by image, inline in a notebook: runs, epochs such as RUN:3, or groups of seeds."""
        from pipelines.diffing.diff import write_diff
        from pipelines.notebook.pages import Page
        from tracking.reading import connect

        settings = DiffSettings(run=run, other=other, split=split, data=_to_path(data))
        with connect(self._home) as connection, TemporaryDirectory() as folder:
            page = write_diff(Path(folder), settings, self._home, connection)
            return Page(f"Comparison of {run} and {other}", page.read_text(encoding="utf-8"), height)

    @plain_errors()
    def report(
        self,
        run: str = "latest",
        *,
        split: str = "test",
        data: str | os.PathLike[str] | None = None,
        height: int = 720,
    ) -> Page:
        """The report on a run, or on a group of seeds, inline in a notebook, `height` pixels high."""
        from pipelines.notebook.pages import Page
        from pipelines.reporting.group_report import write_group_report
        from pipelines.reporting.report import write_report
        from tracking.catalogue import resolve_all
        from tracking.reading import connect

        record, *others = records = resolve_all(self._home, run)
        settings = ReportSettings(run=run, split=split, data=_to_path(data))
        with connect(self._home) as connection, TemporaryDirectory() as folder:
            if others:
                page = write_group_report(Path(folder), settings, self._home, records, connection)
                return Page(f"Report on group {run}", page.read_text(encoding="utf-8"), height)
            page = write_report(Path(folder), settings, self._home, record, connection).page
            return Page(f"Report on run {record.name}", page.read_text(encoding="utf-8"), height)

    def _resolve(self, run: str) -> RunRecord:
        from tracking.catalogue import resolve

        return resolve(self._home, run)

    def _read_pictures(
        self, connection: DuckDBPyConnection, run: RunRecord, data: str | os.PathLike[str] | None
    ) -> Pictures:
        """The images of a run; those of the run asked for last stay loaded."""
        from pipelines.pages.pictures import read_pictures

        wanted = (run.run_id, _to_path(data))
        if self._pictures is None or self._pictures[0] != wanted:
            self._pictures = wanted, read_pictures(connection, self._home, run, wanted[1])
        return self._pictures[1]


def _to_path(data: str | os.PathLike[str] | None) -> str | None:
    return None if data is None else os.fspath(data)


def _to_whole(name: str, value: object) -> int:
    """A whole number, which may be NumPy's."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} is {value!r}; it takes a whole number")
    return int(value)
