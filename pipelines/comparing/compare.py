"""Explanation methods compared on the same instances: how faithful each is, where they agree, when they settle."""

from contextlib import AbstractContextManager
from dataclasses import replace

from pipelines.common import workers
from pipelines.common.costs import CHECK_FRACTION, estimate_measuring
from pipelines.common.metrics import MEANINGS
from pipelines.common.progress import work
from pipelines.common.settings import CompareSettings
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.comparing import shortcuts, summary
from pipelines.comparing.clusters import log_clusters
from pipelines.comparing.comparison import Comparison, Part, list_parts, open_comparison
from pipelines.comparing.map_selection import ENOUGH_INSTANCES, INTERVAL_INSTANCES, MapSelection, select_maps
from pipelines.comparing.measurements import list_shards, measure_part
from pipelines.lifecycle import spreading
from pipelines.lifecycle.child_run import describe_metrics, run_guard, start_child
from pipelines.lifecycle.run_inputs import read_recorded_config, read_recorded_settings
from pipelines.lifecycle.spreading import Opening, Shard
from tracking import catalogue, commits, runs
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.reading import connect
from xai import NotApplicable

NOTE = (
    "Faithfulness of every method against random noise and an edge detector, agreement and drift: `figures/`, "
    "`faithfulness.json`; table attribution_scores; `study ask faithfulness_by_method`."
)


def compare(settings: CompareSettings, home: Home) -> str:
    """Compares the methods that explained a training run; returns the run ID."""
    source = catalogue.resolve(home, settings.run, catalogue.WITH_CHECKPOINTS)
    with connect(home, run_ids=[source.run_id]) as connection:
        selection = select_maps(connection, source.run_id, settings)
    with (
        workers.working(settings.workers, settings.scheduler, home, source.run_id),
        open_comparison(settings, home, selection) as comparison,
    ):
        if chosen_count := len(selection.instances) - len(comparison.sampled):
            say(
                f"compare: {chosen_count} of the {len(selection.instances)} images were chosen by ID or by --where, "
                "not at random, so the results hold for such images alone; for the split: `study explain --count N`"
            )
        return _run_remaining(comparison, _start_run(comparison, home))


def rerun(record: catalogue.RunRecord, home: Home, data: str | None) -> str:
    """Compares again from a run's own record, on the same maps; returns the new run's ID."""
    with open_recorded(record, home, data) as comparison:
        return _run_remaining(comparison, _start_run(comparison, home))


def resume(record: catalogue.RunRecord, home: Home, data: str | None = None) -> str:
    """Resumes a comparing run after its last committed part, on the maps that it was started with."""
    if record.status == "FINISHED":
        raise InputError(f"run {record.run_id[:8]} is finished; nothing to resume")
    with open_recorded(record, home, data) as comparison:
        return _run_remaining(comparison, runs.reopen_run(home, record))


def _start_run(comparison: Comparison, home: Home) -> runs.Run:
    selection = comparison.selection
    source = comparison.source.record
    methods = ", ".join(selection.methods)
    tags = {
        "study.methods": methods,
        "study.n": str(len(selection.instances)),
        "study.epochs": str(selection.epoch),
        "study.split": selection.split,
    }
    note = f"{methods} on `{source.name}` (run `{source.run_id}`), {_describe_scope(selection)}. {NOTE}"
    note += f"\n\n{describe_metrics(MEANINGS)}"
    inputs = {"epoch": selection.epoch, "makers": selection.makers}
    return start_child(home, "compare", "compare", comparison.settings, source, tags, note, inputs)


def open_recorded(record: catalogue.RunRecord, home: Home, data: str | None) -> AbstractContextManager[Comparison]:
    """What a run compares, as it was started; also in a worker."""
    settings = read_recorded_settings(home, record, CompareSettings)
    inputs = read_recorded_config(home, record)["inputs"]
    selection = MapSelection(record.source, settings.split, settings.target, inputs["epoch"], inputs["makers"])
    return open_comparison(replace(settings, data=data or settings.data), home, selection)


def _run_remaining(comparison: Comparison, run: runs.Run) -> str:
    """Measures what is not committed yet; returns the run ID."""
    selection = comparison.selection
    say(f"compare: {', '.join(selection.methods)}, {_describe_scope(selection)}")
    count = len(selection.instances)
    if count < ENOUGH_INSTANCES:
        wide = "intervals are wide" if count >= INTERVAL_INSTANCES else "there are no intervals"
        say(f"compare: n = {count}, so {wide}; more maps from `study explain` (up to {ENOUGH_INSTANCES}) help")
    with run_guard(run):
        parts = list(list_parts(comparison))
        _begin(comparison, run, parts)
        costs = [estimate_measuring(part.method, len(part.instances), randomized=part.randomized) for part in parts]
        checking = CHECK_FRACTION * sum(costs)
        total = sum(costs) + 2 * checking
        with work("comparing", total, cost=total, is_mixed=True) as progress:
            for part, cost in zip(parts, costs, strict=True):
                try:
                    with progress.part(cost):
                        measure_part(comparison, run, part)
                except NotApplicable as error:
                    raise RunError(f"{part.method}: {error}; what came before is kept") from None
            with progress.part(checking):
                log_clusters(comparison, run)
            with progress.part(checking):
                shortcuts.try_patches(comparison, run)
        summary.log(comparison, run)
    return run.run_id


def _begin(comparison: Comparison, run: runs.Run, parts: list[Part]) -> None:
    """Let the workers, if there are any, start on everything that is not committed yet."""
    finished = commits.commits_by_unit(run.home, run.run_id)
    shards: list[Shard] = []
    for part in parts:
        if part.name not in finished:
            shards += list_shards(comparison, run, part)
    if comparison.settings.shortcut_count and shortcuts.UNIT not in finished:
        shards.append(shortcuts.patch_shard(comparison, run))
    spreading.begin(Opening(run.home, run.run_id, open_recorded, (comparison.settings.data,)), shards)


def _describe_scope(selection: MapSelection) -> str:
    count = plural(len(selection.instances), "instance")
    return f"epoch {selection.epoch}, {count} of {selection.split}, target: {selection.target}"
