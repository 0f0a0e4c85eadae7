"""The report of a group of seeds: how good the recipe is, what it gets wrong with every seed, and what is chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from pipelines.common.outputs import find_page, name_page
from pipelines.common.policy import policy_of
from pipelines.common.settings import ReportSettings
from pipelines.common.splits import stored_split
from pipelines.data.names import format_name
from pipelines.pages.environment import STYLE
from pipelines.pages.evidence import Answer, Evidence
from pipelines.pages.html import Html
from pipelines.pages.pictures import Picture, read_pictures, read_sources
from pipelines.pages.reviews import Reviews, read_reviews
from pipelines.pages.words import images_of
from pipelines.reporting.page import make_templates
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.files import write_text
from tracking.home import Home

IMAGES = 12  # of each kind


@dataclass(frozen=True)
class WrongImages:
    """Images that some seeds get wrong, of one kind; the most often wrong come first."""

    rows: list[dict]  # of seed_instances
    pictures: list[Picture]  # of the first of them


@dataclass(frozen=True)
class GroupFacts:
    """What is known of a group."""

    name: str
    records: Sequence[RunRecord]  # its finished runs, by seed
    split: str
    evidence: Evidence
    accuracy: Answer  # of seed_accuracy, never empty
    classes: Answer  # of hard_classes: means over seeds
    instances: Answer  # of seed_instances
    stability: Answer  # of seed_stability
    wrong: dict[str, WrongImages]  # by kind: every, most, some
    why_none: str | None  # why there are no pictures
    reviews: Reviews
    reports: dict[str, str]  # by run ID, for those that have one: where it is, beside this page
    flows: dict[str, str]  # the same for InstanceFlow pages

    def count(self, kind: str) -> int:
        """How many images are of a kind."""
        return len(self.wrong[kind].rows)


def write_group_report(
    folder: Path, settings: ReportSettings, home: Home, records: Sequence[RunRecord], connection: DuckDBPyConnection
) -> Path:
    """The page of the finished runs of a group, in `folder`. Raises InputError where there is nothing to report on."""
    facts = gather_group(settings, home, records, connection)
    return write_text(folder / name_page("group_report", settings.split), render_group(facts, datetime.now(UTC)))


def gather_group(
    settings: ReportSettings, home: Home, records: Sequence[RunRecord], connection: DuckDBPyConnection
) -> GroupFacts:
    """Ask every question of the page. Raises InputError if no run has predicted labelled images of the split."""
    first, split = records[0], settings.split
    name, run_ids = first.seed_group or "", ",".join(record.run_id for record in records)
    evidence = Evidence(connection, run_ids, {run_ids: name})
    accuracy = evidence.ask("seed_accuracy", split=split)
    if not accuracy.rows:
        raise InputError(
            f"no run of group {format_name(name)} has predictions of labelled images of split {split!r}; "
            "`study ask accuracy_by_epoch` lists the splits of each"
        )
    instances = evidence.ask("seed_instances", split=split)
    pictures = read_pictures(connection, home, first, settings.data)
    sources = read_sources(connection, first.run_id, stored_split(split))
    wrong = {}
    for kind, rows in sort_wrong(instances.rows).items():
        ids = [row["instance_id"] for row in rows[:IMAGES]]
        drawn = [pictures.thumbnail(stored_split(split), image, sources.get(image)) for image in ids]
        wrong[kind] = WrongImages(rows, drawn)
    return GroupFacts(
        name, records, split, evidence, accuracy,
        classes=evidence.ask("hard_classes", split=split),
        instances=instances,
        stability=evidence.ask("seed_stability", split=split),
        wrong=wrong,
        why_none=pictures.why_none,
        reviews=read_reviews(evidence, first.run_id),
        reports=_find_pages("report", home, records, split),
        flows=_find_pages("flow", home, records, split),
    )  # fmt: skip


def sort_wrong(rows: Sequence[dict]) -> dict[str, list[dict]]:
    """Rows of seed_instances that every seed gets wrong, that most get wrong, and that half or fewer get wrong."""
    kinds: dict[str, list[dict]] = {"every": [], "most": [], "some": []}
    for row in rows:
        if row["n_wrong"] == row["n_seeds"]:
            kinds["every"].append(row)
        elif row["n_wrong"]:
            kinds["most" if row["fraction_wrong"] > 0.5 else "some"].append(row)
    return kinds


def _find_pages(kind: str, home: Home, records: Sequence[RunRecord], split: str) -> dict[str, str]:
    pages = {record.run_id: find_page(home, record.run_id, kind, split) for record in records}
    return {run_id: f"../../{run_id}/artifacts/{page}" for run_id, page in pages.items() if page}


def render_group(facts: GroupFacts, made: datetime) -> str:
    """The whole document, `made` at a time in UTC."""
    return make_templates().get_template("group.html").render(
        facts=facts, split=facts.split, images=images_of(facts.split), stored_split=stored_split(facts.split),
        most=IMAGES, used=facts.evidence.used, style=Html(STYLE), policy=policy_of(styles=(STYLE,)),
        made=f"{made:%Y-%m-%d %H:%M}",
    )  # fmt: skip
