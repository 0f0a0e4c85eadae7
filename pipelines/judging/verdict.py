"""Verdicts of reviewers, taken from a file into a training run."""

from pipelines.common.settings import VerdictSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.data.names import format_names
from pipelines.judging.verdict_file import Judgeable, Verdict, check_file, read_file
from tracking import catalogue, committing, runs
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect
from tracking.remote import fetch_run

IMAGES = """
    select split, instance_id, label, source, content
    from instances
    join (select unnest($splits) as split, unnest($instance_ids) as instance_id) using (split, instance_id)
    where run_id = $run_id"""
SPLITS = "select split, max(instance_id) from instances where run_id = ? group by split order by split"
CLASSES = "select class_id, name from classes where run_id = ? order by class_id"
KNOWN = "select split, instance_id, who, verdict, new_label, note from current_verdicts(?)"


def verdict(settings: VerdictSettings, home: Home) -> str:
    """Record the verdicts in a file that a person has not given yet, all or none; returns the run's ID."""
    record = catalogue.resolve(home, settings.run)
    fetch_run(home, record.run_id)  # verdicts may have come from another home
    file = read_file(settings.file)
    named = [(row.split, row.instance_id) for row in file.rows if row.instance_id is not None]
    with connect(home) as connection:  # to all runs, as what was said on others may be known
        splits, instance_ids = [split for split, _ in named], [number for _, number in named]
        scope = {"run_id": record.run_id, "splits": splits, "instance_ids": instance_ids}
        images = {(split, number): rest for split, number, *rest in connection.execute(IMAGES, scope).fetchall()}
        labels = {key: label for key, (label, *_) in images.items()}
        classes, last_ids = (dict(connection.execute(sql, [record.run_id]).fetchall()) for sql in (CLASSES, SPLITS))
        known = {
            (split, number, who): tuple(rest)
            for split, number, who, *rest in connection.execute(KNOWN, [record.run_id]).fetchall()
        }
    verdicts = check_file(file, Judgeable(labels, last_ids, classes), settings.who or runs.user_name())
    new = [one for one in verdicts if _is_new(one, known.get(one.key))]
    if new:
        given_at = catalogue.utc_now()
        rows = [
            {"run_id": record.run_id}
            | dict(zip(("label", "source", "content"), images[one.split, one.instance_id], strict=True))
            | vars(one)
            | {"given_at": given_at}
            for one in new
        ]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        run = runs.open_run(home, record)
        committing.commit_tables(run, f"verdict_{catalogue.digits_of(given_at)}", {"verdicts": columns}, None)
        ingest(home, [record.run_id])
    people = f", by {format_names(sorted({one.who for one in new}))}" if new else ""
    known_count = len(verdicts) - len(new)
    old = f"; {known_count:,} known already" if known_count else ""
    say(f"{plural(len(new), 'new verdict')} on run {record.run_id[:8]}{people}{old}")
    return record.run_id


def _is_new(one: Verdict, known: tuple | None) -> bool:
    """Whether a verdict says anything else than the person's last one on the image, if there is one."""
    if known is None:
        return one.verdict != "withdrawn"
    return known != (one.verdict, one.new_label, one.note)
