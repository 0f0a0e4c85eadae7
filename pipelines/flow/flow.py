"""The InstanceFlow page of a run: how every instance was classified, epoch by epoch.

Pühringer, Hinterreiter, Streit 2020, arXiv 2007.11353.
"""

from pathlib import Path

from pipelines.common.settings import FlowSettings
from pipelines.common.terminal import say
from pipelines.flow.export import export
from pipelines.flow.page import write_page
from pipelines.flow.record import read_record
from tracking import catalogue, runs
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect


def flow(settings: FlowSettings, home: Home) -> str:
    """Make the page and log it to the run, or export the run for InstanceFlow; returns the file's path."""
    run = catalogue.resolve(home, settings.run)
    if settings.export is not None:
        if settings.data is not None:
            raise InputError("--export writes no pictures, so it takes no --data; leave one of them out")
        return export(run, settings.split, Path(settings.export), home)

    file_name = "flow.html" if settings.split == "test" else f"flow_{settings.split.replace(':', '_')}.html"
    with connect(home) as connection, runs.staging_folder(home) as folder:
        record = read_record(connection, run, settings.split)
        page = write_page(folder / file_name, record, connection, home, settings.data)
        say(f"{len(record.labels):,} instances, {len(record.epochs)} epochs, {page.stat().st_size / 1e6:.1f} MB")
        return str(runs.log_page(home, run, page))
