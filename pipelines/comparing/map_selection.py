"""Which maps are compared: one epoch, one split, one kind of target, the instances that every method explained."""

from dataclasses import dataclass

import duckdb
import numpy as np
import torch
from torch import Tensor

import queries
from pipelines.common.settings import CompareSettings
from tracking.errors import InputError
from xai import METHODS

ENOUGH_INSTANCES = 500  # below this, intervals are wide
INTERVAL_INSTANCES = 20  # below this, none is shown: images_for_interval of macros.sql
Makers = dict[str, dict[str, list[int]]]  # by method, then explainer run: instances whose map comes from that run


@dataclass(frozen=True)
class MapSelection:
    """The maps compared, by the runs that made them; N instances, the same for every method."""

    run_id: str  # training run
    split: str
    target: str
    epoch: int
    makers: Makers

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.makers)

    @property
    def instances(self) -> np.ndarray:
        """Instance IDs, ascending, [N]."""
        first_method = self.makers[self.methods[0]]
        return np.array(sorted(instance for instances in first_method.values() for instance in instances))

    def main_maker(self, method: str) -> str:
        """The explainer run that made most of a method's maps."""
        return max(self.makers[method], key=lambda run_id: len(self.makers[method][run_id]))

    def find_sampled(self, connection: duckdb.DuckDBPyConnection) -> np.ndarray:
        """The instances that every method explained as part of a random sample, ascending; others were chosen."""
        scope = {"run_id": self.run_id, "split": self.split, "target": self.target, "epoch": self.epoch}
        sampled: dict[str, set[int]] = {method: set() for method in self.methods}
        for method, instance in queries.execute(connection, "sampled_instances", scope).fetchall():
            if method in sampled:
                sampled[method].add(instance)
        return np.array(sorted(set.intersection(*sampled.values()) & set(self.instances.tolist())))

    def read_maps(self, connection: duckdb.DuckDBPyConnection, method: str, instances: np.ndarray) -> Tensor:
        """Full maps of a method, [N, H, W], for instances in ascending order."""
        columns = queries.execute(connection, "maps_of_runs", self.name_maps(method, instances)).fetchnumpy()
        height, width = int(columns["height"][0]), int(columns["width"][0])
        return torch.from_numpy(np.stack(list(columns["map"]))).view(-1, height, width)

    def name_maps(self, method: str, instances: np.ndarray) -> dict[str, object]:
        """Parameters of an internal query for a method's maps of instances."""
        wanted = set(instances.tolist())
        makers: list[str] = []
        instance_ids: list[int] = []
        for maker, made_instances in self.makers[method].items():
            for instance in made_instances:
                if instance in wanted:
                    makers.append(maker)
                    instance_ids.append(instance)
        return {
            "split": self.split,
            "target": self.target,
            "epoch": self.epoch,
            "method": method,
            "makers": makers,
            "instances": instance_ids,
        }


def select_maps(connection: duckdb.DuckDBPyConnection, run_id: str, settings: CompareSettings) -> MapSelection:
    """The maps that the settings stand for, given today's tables. Raises InputError if there is nothing to compare."""
    if unknown := [method for method in settings.method if method not in METHODS]:
        raise InputError(f"no method {unknown[0]!r} makes maps; there are: {', '.join(METHODS)}")
    scope = {"run_id": run_id, "split": settings.split, "target": settings.target}
    epoch = _choose_epoch(connection, scope, settings)
    makers: Makers = {}
    for method, maker, instance in queries.execute(connection, "compared_maps", scope | {"epoch": epoch}).fetchall():
        makers.setdefault(method, {}).setdefault(maker, []).append(instance)
    methods = settings.method or tuple(makers)
    if missing := [method for method in methods if method not in makers]:
        raise InputError(
            f"no maps of {missing[0]} at epoch {epoch} of {settings.split}; there are: {', '.join(makers)}; make "
            f"them with `study explain {run_id[:8]} --method {missing[0]} --split {settings.split} --epochs {epoch}`"
        )
    shared_makers = _keep_shared_instances({method: makers[method] for method in methods})
    return MapSelection(run_id, settings.split, settings.target, epoch, shared_makers)


def _choose_epoch(connection: duckdb.DuckDBPyConnection, scope: dict[str, str], settings: CompareSettings) -> int:
    """The epoch in the settings, else the one that most methods explained, the latest of several."""
    epochs = [epoch for (epoch,) in queries.execute(connection, "compared_epochs", scope).fetchall()]
    if not epochs:
        raise InputError(_explain_no_maps(connection, scope))
    if settings.epoch is None:
        return epochs[0]
    if settings.epoch not in epochs:
        raise InputError(f"no maps at epoch {settings.epoch}; there are some at {', '.join(map(str, sorted(epochs)))}")
    return settings.epoch


def _explain_no_maps(connection: duckdb.DuckDBPyConnection, scope: dict[str, str]) -> str:
    sql = "select split, count(*) from instances where run_id = ? group by split order by split"
    counts = dict(connection.execute(sql, [scope["run_id"]]).fetchall())
    run, split, target = scope["run_id"][:8], scope["split"], scope["target"]
    if split not in counts:
        return f"no split {split!r} in the run; there are: {', '.join(counts)}"
    count = min(ENOUGH_INSTANCES, counts[split])
    return (
        f"run {run} has no maps of split {split} for target {target}; `study explain {run} --method saliency "
        f"integrated_gradients shap --split {split} --target {target} --count {count}` makes some"
    )


def _keep_shared_instances(makers: Makers) -> Makers:
    """The same, without the instances that some method did not explain. Raises InputError if none is left."""
    explained = {method: set().union(*by_run.values()) for method, by_run in makers.items()}
    shared: set[int] = set.intersection(*explained.values())
    if not shared:
        counts = ", ".join(f"{method} {len(instances)}" for method, instances in explained.items())
        raise InputError(f"no instance is explained by all of these methods ({counts} instances); name some: --method")
    kept: Makers = {}
    for method, by_run in makers.items():
        kept[method] = {}
        for run_id, instances in by_run.items():
            if shared_instances := [instance for instance in instances if instance in shared]:
                kept[method][run_id] = shared_instances
    return kept
