"""One page that answers the research questions on a training run, from all that is remembered of it."""

import shlex
from dataclasses import replace
from pathlib import Path

from duckdb import DuckDBPyConnection

from pipelines.asking.formats import as_csv
from pipelines.common.settings import ReportSettings
from pipelines.lifecycle.child_run import run_guard, start_child
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.reporting.accuracy import accuracy, classes
from pipelines.reporting.appendix import appendix
from pipelines.reporting.attention import attention
from pipelines.reporting.calibration import calibration
from pipelines.reporting.cards import techniques
from pipelines.reporting.check_table import draw_check_table
from pipelines.reporting.evidence import Evidence, answers, details
from pipelines.reporting.html import html, joined
from pipelines.reporting.learned import learned
from pipelines.reporting.model import data, model, training
from pipelines.reporting.next_steps import next_steps, to_check
from pipelines.reporting.page import page
from pipelines.reporting.shortcuts import shortcuts
from pipelines.reporting.struggles import struggles
from pipelines.reporting.subject import Section, Subject, make_subject
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
    text = page(subject, sections(subject))
    found = to_check(subject)
    columns = ["split", "instance_id", "reason"]
    listed = as_csv(columns, [tuple(row[column] for column in columns) for row in found.rows])
    name = "report.html" if settings.split == "test" else f"report_{settings.split.replace(':', '_')}.html"
    files = write_text(folder / name, text), write_text(folder / CHECK, listed + "\n")
    return files, draw_check_table(subject, found.rows)


def sections(subject: Subject) -> list[Section]:
    """All sections in their order: a shortcut first, if there is one, and the queries used last."""
    leading = shortcuts(subject)
    made = [
        *([leading] if leading else []),
        _model(subject),
        attention(subject),
        learned(subject),
        struggles(subject),
        techniques(subject),
        next_steps(subject),
    ]
    return [*made, appendix(subject.evidence, shlex.quote(str(subject.home.path)))]


def _model(subject: Subject) -> Section:
    """Section 1."""
    right, curve = accuracy(subject)
    spread, by_class = classes(subject)
    sure, diagram = calibration(subject)
    body = joined([
        html("<h3>The model</h3>{}", model(subject)), html("<h3>The data</h3>{}", data(subject)),
        html("<h3>How it was trained</h3>{}{}{}", training(subject), details(right), curve),
        html("<h3>By class</h3>{}{}", details(spread), by_class), diagram,
    ])  # fmt: skip
    head = answers([*right, *spread, *sure])
    return Section("model", "The model, its data, and how good it is", head, body, "How good it is.")


def _commit(
    settings: ReportSettings, home: Home, source: RunRecord, files: tuple[Path, Path], checked: list[dict]
) -> None:
    note = f"Report on `{source.name}` (run `{source.run_id}`), split {settings.split}: `{files[0].name}`, `{CHECK}`."
    run = start_child(home, "report", "report", settings, source, {"study.split": settings.split}, note)
    with run_guard(run):
        if checked:
            runs.log_table(run, checked, CHECK_TABLE)
        runs.commit(run, "report", {file.name: file for file in files}, {}, None)
