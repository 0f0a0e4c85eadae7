"""One page that answers the research questions on a training run, from all that is remembered of it."""

from dataclasses import replace
from pathlib import Path

from duckdb import DuckDBPyConnection

from pipelines.asking.formats import as_csv
from pipelines.common.settings import ReportSettings
from pipelines.lifecycle.child_run import run_guard, start_child
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.reporting.check_table import draw_check_table
from pipelines.reporting.checks import list_checks
from pipelines.reporting.evidence import Evidence
from pipelines.reporting.facts import gather_facts
from pipelines.reporting.page import render
from pipelines.reporting.subject import make_subject
from tracking import catalogue, runs
from tracking.catalogue import RunRecord
from tracking.files import write_text
from tracking.home import Home
from tracking.reading import connect

CHECK = "instances_to_check.csv"
CHECK_TABLE = "images_to_check.json"


def report(settings: ReportSettings, home: Home) -> str:
    """Make the page and log it to the training run and to a run of its own; returns its path."""
    source = catalogue.resolve(home, settings.run)
    with runs.staging_folder(home) as folder:
        with connect(home) as connection:  # closed before the index is written to
            files, checked = write_report(folder, settings, home, source, connection)
        if not runs.unreachable(home):
            _commit(settings, home, source, files, checked)
        return str(runs.log_page(home, source, files[0]))


def rerun(record: RunRecord, home: Home, data: str | None) -> str:
    """Report again with a run's own settings, on what is remembered now; the run ID."""
    known = read_recorded_settings(home, record, ReportSettings)
    report(replace(known, run=record.source, data=data or known.data), home)
    return catalogue.resolve(home, "latest", ("report",)).run_id


def write_report(
    folder: Path, settings: ReportSettings, home: Home, source: RunRecord, connection: DuckDBPyConnection
) -> tuple[tuple[Path, Path], list[dict]]:
    """The page and the list of images to check, in `folder`; and the table of these with pictures.

    Raises InputError where there is nothing to report on.
    """
    subject = make_subject(settings, home, source, Evidence(connection, source.run_id))
    text = render(gather_facts(subject))
    found = list_checks(subject)
    columns = ["split", "instance_id", "reason"]
    listed = as_csv(columns, [tuple(row[column] for column in columns) for row in found.rows])
    name = "report.html" if settings.split == "test" else f"report_{settings.split.replace(':', '_')}.html"
    files = write_text(folder / name, text), write_text(folder / CHECK, listed + "\n")
    return files, draw_check_table(subject, found.rows)


def _commit(
    settings: ReportSettings, home: Home, source: RunRecord, files: tuple[Path, Path], checked: list[dict]
) -> None:
    note = f"Report on `{source.name}` (run `{source.run_id}`), split {settings.split}: `{files[0].name}`, `{CHECK}`."
    run = start_child(home, "report", "report", settings, source, {"study.split": settings.split}, note)
    with run_guard(run):
        if checked:
            runs.log_table(run, checked, CHECK_TABLE)
        runs.commit(run, "report", {file.name: file for file in files}, {}, None)
