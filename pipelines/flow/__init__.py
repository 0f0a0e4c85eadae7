"""The InstanceFlow page of a run: which instance was classified as what, epoch by epoch."""

from pathlib import Path

from pipelines.flow.page import write_page
from pipelines.flow.record import read_record
from pipelines.flow_export import export
from pipelines.recorded import say
from pipelines.settings import FlowSettings
from tracking import catalogue, runs
from tracking.home import Home
from tracking.reading import connect

PAGE = "flow.html"


def flow(settings: FlowSettings, home: Home) -> str:
    """Make the page and log it to the run, or export the run for InstanceFlow; returns the file's path."""
    run = catalogue.resolve(home, settings.run)
    if settings.export is not None:
        return str(export(run, settings.split, Path(settings.export), home))
    with connect(home) as connection:
        record = read_record(connection, run, settings.split)
        return str(_logged(home, run, record, connection, settings.data))


def _logged(home: Home, run: catalogue.RunRecord, record, connection, data: str | None):
    name = PAGE if record.splits[0] == "test" else f"flow_{record.splits[0].replace(':', '_')}.html"
    with runs.staging() as folder:
        page = write_page(folder / name, record, connection, home, data)
        say(f"{len(record.labels):,} instances, {len(record.epochs)} epochs, {page.stat().st_size / 1e6:.1f} MB")
        runs.log_file(runs.Run(home, run, runs.connect(home)), page, name)
    return home.run_folder(run.run_id) / name
