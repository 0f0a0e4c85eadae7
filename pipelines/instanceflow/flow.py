"""The InstanceFlow page of a run: how every instance was classified, epoch by epoch.

Pühringer, Hinterreiter, Streit 2020, arXiv 2007.11353.
"""

from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from pipelines.common.outputs import name_page
from pipelines.common.progress import work
from pipelines.common.settings import FlowSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.instanceflow.export import export
from pipelines.instanceflow.page import write_page
from pipelines.instanceflow.pairing import read_pair
from pipelines.instanceflow.record import read_record
from tracking import catalogue, runs
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

MEMORY = 0.4  # GB for questions: more would keep parts of a large run's files that were read once


def flow(settings: FlowSettings, home: Home) -> str | Any:  # Any, so that of one run it may be used as a text
    """Make the page and log it to the run, or export the run for InstanceFlow; returns the file's path.

    Each finished run of a group of seeds gets a page of its own; returns the list of their paths, by seed.
    """
    if settings.export is not None or settings.other is not None:  # which take single runs
        return _flow_run(catalogue.resolve(home, settings.run), settings, home)
    members = catalogue.resolve_all(home, settings.run)
    if members[0].seed_group != settings.run:
        return _flow_run(members[0], settings, home)
    paths = []
    with work(f"group {settings.run}", len(members), "pages") as pages:
        for member in members:
            with pages.part(1):
                paths.append(_flow_run(member, settings, home))
    return paths


def _flow_run(run: catalogue.RunRecord, settings: FlowSettings, home: Home) -> str:
    if settings.export is not None:
        if settings.data is not None:
            raise InputError("--export writes no pictures, so it takes no --data; leave one of them out")
        if settings.other is not None:
            raise InputError("--export writes one run; leave out the second")
        return export(run, settings.split, Path(settings.export), home)

    other = None if settings.other is None else catalogue.resolve(home, settings.other)
    shown = [one.run_id for one in (run, other) if one]
    with connect(home, MEMORY, run_ids=shown) as connection, runs.staging_folder(home) as folder:
        page = write_flow(folder, run, other, settings, home, connection)
        return str(runs.log_page(home, run, page))


def write_flow(
    folder: Path,
    run: catalogue.RunRecord,
    other: catalogue.RunRecord | None,
    settings: FlowSettings,
    home: Home,
    connection: DuckDBPyConnection,
) -> Path:
    """The page of one run or of two, in `folder`. Raises InputError where there is nothing to show."""
    if other is None:
        name = name_page("flow", settings.split)
        record, other_record = read_record(connection, run, settings.split), None
    else:
        name = name_page("flow", settings.split, other.run_id)
        record, other_record = read_pair(connection, run, other, settings.split)
    page = write_page(folder / name, record, connection, home, settings.data, other_record)
    epochs = plural(len(record.epochs), "epoch")
    if other_record is not None:
        epochs = f"{len(record.epochs)} and {plural(len(other_record.epochs), 'epoch')}"
    say(f"{plural(len(record.labels), 'instance')}, {epochs}, {page.stat().st_size / 1e6:.1f} MB")
    return page
