"""Two models on the same images: what the second fixes, breaks and sees differently, on one page."""

import re
from datetime import UTC, datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from pipelines.common.settings import DiffSettings
from pipelines.diffing.facts import gather_facts
from pipelines.diffing.page import render
from pipelines.diffing.pair import make_pair, read_references
from tracking import runs
from tracking.files import write_text
from tracking.home import Home
from tracking.reading import connect


def diff(settings: DiffSettings, home: Home) -> str:
    """Make the page and log it to the first run; returns its path."""
    references = read_references(settings, home)
    shown = [record.run_id for reference in references for record in reference.records]
    with runs.staging_folder(home) as folder:
        with connect(home, run_ids=shown) as connection:  # closed before the page is logged
            page = write_diff(folder, settings, home, connection)
        return str(runs.log_page(home, references[0].records[0], page))


def write_diff(folder: Path, settings: DiffSettings, home: Home, connection: DuckDBPyConnection) -> Path:
    """The page, in `folder`. Raises InputError where there is nothing to compare."""
    pair = make_pair(settings, home, read_references(settings, home), connection)
    here, other = pair.sides
    parts = ["diff"]
    if pair.split != "test":
        parts.append(pair.split)
    if not here.is_last:
        parts.append(f"epoch_{here.epoch}")
    parts += ["against", other.name if other.is_group else other.record.run_id[:8]]
    if not other.is_last:
        parts.append(f"epoch_{other.epoch}")
    name = re.sub(r"[^\w.-]", "_", "_".join(parts))
    return write_text(folder / f"{name}.html", render(gather_facts(pair), datetime.now(UTC)))
