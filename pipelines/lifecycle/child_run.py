"""Runs on a training run: explaining, comparing, reporting. Each is its child in MLflow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipelines.common import stopping
from pipelines.common.checked_settings import CheckedSettings
from pipelines.common.ranks import LostProcess
from pipelines.common.terminal import say
from pipelines.lifecycle.start import commit_child_start
from pipelines.models.user_errors import describe_model_error
from tracking import commits, committing, runs
from tracking.catalogue import RunRecord
from tracking.errors import RunError, from_outside
from tracking.home import Home
from tracking.index import ingest

LONGEST_VALUE, LISTED = 60, 8  # characters of a setting's value in a run's description, and items of a longer list


def start_child(
    home: Home,
    kind: str,
    name: str,
    settings: CheckedSettings,
    source: RunRecord,
    tags: dict[str, str],
    note: str,
    inputs: dict[str, Any] | None = None,
) -> runs.Run:
    """A started run beneath training run `source`, its first unit committed; `name` gets a number if it is taken."""
    with runs.taking_name(home, None, name) as free_name:
        record = runs.new_record(
            kind,
            free_name,
            settings.params(),
            source_run_id=source.run_id,
            dataset=source.dataset,
            data_digest=source.data_digest,
            seed=getattr(settings, "seed", None),
        )
        all_tags = {"study.training": source.name} | tags
        run = runs.start_run(home, record, all_tags, f"{note}\n\n{_describe_settings(settings)}")
        runs.log_record(run)
    commit_child_start(run, settings, inputs)
    return run


def describe_metrics(meanings: Mapping[str, str]) -> str:
    """What a run's metrics mean, as a table in Markdown."""
    return _make_table(("metric", "meaning"), meanings)


def _describe_settings(settings: CheckedSettings) -> str:
    """The settings as a table in Markdown; config.json has those that are too long for it."""
    shown = {f"`{flag}`": f"`{_shorten(value)}`" for flag, value in settings.given().items()}
    return _make_table(("setting", "value"), shown)


def _make_table(heads: tuple[str, str], rows: Mapping[str, str]) -> str:
    return "\n".join(
        [f"| {heads[0]} | {heads[1]} |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    )


def _shorten(value: str) -> str:
    """A long list's first items and how many there are, as MLflow makes the column as wide as its longest value."""
    items = value.split(",")
    if len(value) <= LONGEST_VALUE or len(items) <= LISTED:
        return value
    return f"{','.join(items[:LISTED])}, … ({len(items)} in all)"


def advise_to_resume(run: runs.Run) -> str:
    """How to continue a run that ends early."""
    return f"resume it with: study resume {run.run_id[:8]}"


@contextmanager
def run_guard(run: runs.Run, command: str | None = None, advice: str | None = None) -> Iterator[None]:
    """Work inside belongs to the run, which ends as FINISHED, KILLED or FAILED; `advice` says how to continue it then.

    Messages name the `command`, by default that of the run's kind.

    Raises RunError if the disk, a database or a server fails, or the user's model raises an error.
    """
    say(f"{command or run.record.kind}: run {run.run_id} ({run.record.name})")
    advice = advice or advise_to_resume(run)
    try:
        for commit in commits.read_commits(run.home, run.run_id):  # a crash may have come before its metrics
            committing.log_metrics(run, commit)
        yield
        runs.finish_run(run)
    except BaseException as error:
        if isinstance(error, LostProcess):
            stopping.ignore()  # torchrun will stop this process too, which ends in order already
        # libraries may turn a KeyboardInterrupt into another error
        is_stopped = isinstance(error, KeyboardInterrupt | LostProcess) or stopping.was_asked()
        runs.give_up(run, "KILLED" if is_stopped else "FAILED")
        if is_stopped:
            say(f"stopped; {advice}")
            raise
        reason = describe_model_error(error) or from_outside(error)
        if reason:
            raise RunError(f"{reason}; run {run.run_id[:8]} stopped, what it committed is kept; {advice}") from error
        raise
    ingest(run.home, [run.run_id], wait=5)
