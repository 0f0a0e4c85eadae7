"""Explanation methods compared on the same instances: how faithful each is, where they agree, when they settle."""

from contextlib import AbstractContextManager
from dataclasses import replace

from pipelines.common.settings import CompareSettings
from pipelines.common.terminal import say
from pipelines.comparing import summary
from pipelines.comparing.comparison import Comparison, list_units, open_comparison
from pipelines.comparing.map_selection import NARROW_INTERVAL_COUNT, MapSelection, select_maps
from pipelines.comparing.measurements import measure_unit
from pipelines.lifecycle.child_run import run_guard, start_child
from pipelines.lifecycle.run_inputs import read_recorded_config, read_recorded_settings
from tracking import catalogue, runs
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.reading import connect
from xai import NotApplicable

NOTE = (
    "Faithfulness of every method against random noise and an edge detector, agreement and drift: `figures/`, "
    "`faithfulness.json`; table attribution_scores; `study ask faithfulness_by_method`."
)


def compare(settings: CompareSettings, home: Home) -> str:
    """Compare the methods that explained a training run; the run ID."""
    source = catalogue.resolve(home, settings.run, ("train",))
    with connect(home) as connection:
        chosen = select_maps(connection, source.run_id, settings)
    with open_comparison(settings, home, chosen) as comparison:
        return _go_on(comparison, _start(comparison, home))


def _start(comparison: Comparison, home: Home) -> runs.Run:
    chosen, source = comparison.chosen, comparison.source.record
    tags = {"study.epochs": str(chosen.epoch), "study.split": chosen.split, "study.methods": ", ".join(chosen.methods)}
    note = f"{', '.join(chosen.methods)} on `{source.name}` (run `{source.run_id}`), {_scope(chosen)}. {NOTE}"
    inputs = {"epoch": chosen.epoch, "makers": chosen.makers}
    return start_child(home, "compare", f"compare-{source.name}", comparison.settings, source, tags, note, inputs)


def rerun(record: catalogue.RunRecord, home: Home, data: str | None) -> str:
    """Compare again from a run's own record, on the same maps."""
    with _recorded(record, home, data) as comparison:
        return _go_on(comparison, _start(comparison, home))


def resume(record: catalogue.RunRecord, home: Home, data: str | None = None) -> str:
    """Go on behind the last committed part of a comparing run, on the maps that it was started with."""
    if record.status == "FINISHED":
        raise InputError(f"run {record.run_id[:8]} is finished; nothing to resume")
    with _recorded(record, home, data) as comparison:
        return _go_on(comparison, runs.reopen_run(home, record))


def _recorded(record: catalogue.RunRecord, home: Home, data: str | None) -> AbstractContextManager[Comparison]:
    settings = read_recorded_settings(home, record, CompareSettings)
    inputs = read_recorded_config(home, record)["inputs"]
    chosen = MapSelection(record.source, settings.split, settings.target, inputs["epoch"], inputs["makers"])
    return open_comparison(replace(settings, data=data or settings.data), home, chosen)


def _go_on(comparison: Comparison, run: runs.Run) -> str:
    """Do what is not committed yet."""
    chosen = comparison.chosen
    say(f"compare: {', '.join(chosen.methods)}, {_scope(chosen)}")
    if (count := len(chosen.instances)) < NARROW_INTERVAL_COUNT:
        say(
            f"compare: n = {count}, so intervals are wide; more maps from `study explain` (up to "
            f"{NARROW_INTERVAL_COUNT}) narrow them"
        )
    with run_guard(run):
        for unit in list_units(comparison):
            try:
                measure_unit(comparison, run, unit)
            except NotApplicable as error:
                raise RunError(f"{unit.method}: {error}; what came before is kept") from None
        summary.log(comparison, run)
    return run.run_id


def _scope(chosen: MapSelection) -> str:
    return f"epoch {chosen.epoch}, {len(chosen.instances)} instances of {chosen.split}, target: {chosen.target}"
