"""Training of one run or, with --seeds, of a group of runs that differ only in their seed."""

from dataclasses import replace
from typing import Any

from pipelines.common import ranks
from pipelines.common.progress import work
from pipelines.common.settings import AUTO, ResumeSettings, TrainSettings
from pipelines.common.terminal import say
from pipelines.lifecycle.groups import parse_seeds
from pipelines.training import train as training
from pipelines.training.beginning import find_source, resolve_source
from pipelines.training.recipe import DEFAULT_MODEL
from tracking import catalogue, runs
from tracking.catalogue import SHORT_ID, RunRecord
from tracking.errors import DivergedError, InputError, RunError
from tracking.home import Home


def train(settings: TrainSettings, home: Home) -> str | Any:  # Any, so that without seeds it may be used as a text
    """Train; the run's ID, or the list of the IDs of all runs if there are `seeds`."""
    return training.train(settings, home) if settings.seeds is None else _train_group(settings, settings.seeds, home)


def _train_group(settings: TrainSettings, wanted: str, home: Home) -> list[str]:
    """Train a run per seed that the group lacks, and resume those that were interrupted; the IDs of all, in order.

    A seed that diverges does not keep the others from being trained. Raises RunError about it when they are.
    """
    seeds = parse_seeds(wanted)
    if settings.seed != TrainSettings.seed:
        raise InputError("--seed and --seeds both say which seeds; give one")
    if settings.name is not None:
        raise InputError("--name names one run, and --seeds makes several; --group names them together")
    if ranks.world() > 1:
        raise InputError(
            "--seeds trains one run after the other; with torchrun, start each with its --seed and --group"
        )
    runs.check_start(home, None)
    settings = resolve_source(settings, find_source(settings, home))  # once, as `latest` is soon another run
    group = settings.group
    if group is None:
        model = DEFAULT_MODEL if settings.model == AUTO else settings.model
        default = f"{settings.dataset.partition(':')[0]}-{model.rpartition(':')[2]}-seeds"
        group = catalogue.free_name(home, None, default)
    say(
        f"group {group}: seeds {', '.join(map(str, seeds))}; after a stop, the same command with --group {group} "
        "continues"
    )

    members = {member.seed: member for member in catalogue.read_members(home, group)}
    run_ids, diverged = [], []
    with work(f"group {group}", len(seeds), "seeds") as group_work:
        for seed in seeds:
            with group_work.part(1):
                try:
                    run_ids.append(_train_seed(replace(settings, seeds=None, seed=seed, group=group), members, home))
                except DivergedError as error:
                    say(f"seed {seed}: {error}")
                    diverged.append(str(seed))
    if diverged:
        raise RunError(
            f"group {group}: of {len(seeds)} seeds, {len(diverged)} diverged ({', '.join(diverged)}), which questions "
            "and pages leave out; try a lower --lr with another --group"
        )
    return run_ids


def _train_seed(settings: TrainSettings, members: dict[int | None, RunRecord], home: Home) -> str:
    """Train the run of one seed, or resume it if it was interrupted; returns its ID."""
    member = members.get(settings.seed)
    if member is None:
        return training.train(settings, home)
    if member.status == "FINISHED":
        say(f"seed {settings.seed}: run {member.run_id[:SHORT_ID]} ({member.name}) is finished")
        return member.run_id
    from pipelines.resuming import resume  # here, as runs of every kind can be resumed, whose modules take a second

    return resume(ResumeSettings(run=member.run_id, data=settings.data), home)
