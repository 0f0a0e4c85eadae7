"""One page that answers the research questions on a training run, from all that is remembered of it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from pipelines.asking.formats import as_text
from pipelines.common.outputs import name_page
from pipelines.common.settings import ReportSettings
from pipelines.common.wording import plural
from pipelines.lifecycle.child_run import run_guard, start_child
from pipelines.lifecycle.groups import list_finished
from pipelines.lifecycle.run_inputs import read_recorded_settings
from pipelines.pages.evidence import Evidence
from pipelines.reporting.check_table import draw_check_table, draw_label_table
from pipelines.reporting.checks import list_checks
from pipelines.reporting.facts import gather_facts
from pipelines.reporting.group_report import write_group_report
from pipelines.reporting.page import render
from pipelines.reporting.story import Finding, list_findings, write_headline, write_note
from pipelines.reporting.subject import make_subject
from tracking import catalogue, committing, display, runs
from tracking.catalogue import RunRecord
from tracking.files import write_text
from tracking.home import Home
from tracking.reading import connect
from xai import METHODS

CHECK = "instances_to_check.csv"
CHECK_TABLE = "images_to_check.json"
LABEL_TABLE = "labels_to_check.json"  # of training images


@dataclass(frozen=True)
class Written:
    """What a report consists of."""

    page: Path  # beside the InstanceFlow page, to which it links
    copy: Path  # the same without that link, for the report's own run
    check: Path  # the list of images to check
    tables: dict[str, list[dict]]  # with pictures, for MLflow; none without rows
    note: str  # of the report's own run, in Markdown
    headline: str
    findings: list[Finding]  # for the runs that were read

    @property
    def files(self) -> dict[str, Path]:
        """The files of the report's own run, by name."""
        return {self.page.name: self.copy, self.check.name: self.check}


def report(settings: ReportSettings, home: Home) -> str:
    """Make the page and log it to the training run and to a run of its own; returns its path.

    The page of a group of seeds is logged to its first run alone.
    """
    source, *others = records = catalogue.resolve_all(home, settings.run)
    if others:
        with runs.staging_folder(home) as folder:
            with connect(home, run_ids=[record.run_id for record in records]) as connection:
                page = write_group_report(folder, settings, home, records, connection)
            return str(runs.log_page(home, source, page))
    with runs.staging_folder(home) as folder:
        shown = [source.run_id, *(member.run_id for member in list_finished(home, source.seed_group))]
        with connect(home, run_ids=shown) as connection:  # closed before the index is written to
            written = write_report(folder, settings, home, source, connection)
        if not runs.unreachable(home):
            _commit(settings, home, source, written)
        return str(runs.log_page(home, source, written.page))


def rerun(record: RunRecord, home: Home, data: str | None) -> str:
    """Report again with a run's own settings, on what is remembered now; the run ID."""
    known = read_recorded_settings(home, record, ReportSettings)
    report(replace(known, run=record.source, data=data or known.data), home)
    return catalogue.resolve(home, "latest", ("report",)).run_id


def write_report(
    folder: Path, settings: ReportSettings, home: Home, source: RunRecord, connection: DuckDBPyConnection
) -> Written:
    """The page and the list of images to check, in `folder`, and what MLflow shows of them.

    Raises InputError where there is nothing to report on.
    """
    subject = make_subject(settings, home, source, Evidence(connection, source.run_id))
    facts = gather_facts(subject)
    made = datetime.now(UTC)
    found = list_checks(subject)
    columns = ["split", "instance_id", "reason"]
    listed = as_text("csv", columns, [tuple(row[column] for column in columns) for row in found.rows])
    name = name_page("report", settings.split)
    methods = facts.faithfulness.order() if facts.faithfulness else list(METHODS)
    labels = facts.training_labels
    is_blind = facts.accuracy.classes == "blind"  # contradicted labels then say nothing
    tables = {
        CHECK_TABLE: draw_check_table(subject, found.rows, methods),
        LABEL_TABLE: draw_label_table(subject, labels) if labels.is_worth_a_look and not is_blind else [],
    }
    copies = folder / "copies"  # as MLflow keeps a file's name
    copies.mkdir()
    return Written(
        page=write_text(folder / name, render(facts, made)),
        copy=write_text(copies / name, render(facts, made, is_copy=True)),
        check=write_text(folder / CHECK, listed + "\n"),
        tables={table: rows for table, rows in tables.items() if rows},
        note=write_note(facts),
        headline=write_headline(facts),
        findings=list(list_findings(facts)),
    )


def _commit(settings: ReportSettings, home: Home, source: RunRecord, written: Written) -> None:
    tables = [f"`{name}` ({plural(len(rows), 'image')})" for name, rows in written.tables.items()]
    note = (
        f"{written.headline}.\n\n{written.note}\n\n"
        f"Report on `{source.name}` (run `{source.run_id}`), split {settings.split}: `{written.page.name}`. "
        f"Pictures, in the evaluation tab and among the files: {' and '.join(tables) or 'none'}. All images to check, "
        f"with every reason: `{CHECK}`."
    )
    run = start_child(home, "report", "report", settings, source, {"study.split": settings.split}, note)
    with run_guard(run):
        if written.tables:
            display.log_tables(run, written.tables)
        for finding in written.findings:
            display.set_finding(run, finding.sentence, finding.verdict, finding.run_id)
        committing.commit(run, "report", written.files, {}, None)
