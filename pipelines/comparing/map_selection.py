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

NARROW_INTERVAL_COUNT = 500  # instances under which intervals are wide
Makers = dict[str, dict[str, list[int]]]  # method: explainer run: instances whose map of that run counts


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
        return np.array(sorted(i for made in next(iter(self.makers.values())).values() for i in made))

    def maker(self, method: str) -> str:
        """The explainer run that made most of a method's maps."""
        return max(self.makers[method], key=lambda run_id: len(self.makers[method][run_id]))

    def maps(self, connection: duckdb.DuckDBPyConnection, method: str, instances: np.ndarray) -> Tensor:
        """Full maps of a method, [N, H, W], of instances in ascending order."""
        asked = set(instances.tolist())
        pairs = [(maker, i) for maker, made in self.makers[method].items() for i in made if i in asked]
        makers, ids = zip(*pairs, strict=True)
        values: dict[str, object] = {"split": self.split, "target": self.target, "epoch": self.epoch, "method": method}
        values |= {"makers": list(makers), "instances": list(ids)}
        found = queries.execute(connection, "maps_of_runs", values).fetchnumpy()
        height, width = int(found["height"][0]), int(found["width"][0])
        return torch.from_numpy(np.stack(list(found["map"]))).view(-1, height, width)


def select_maps(connection: duckdb.DuckDBPyConnection, run_id: str, settings: CompareSettings) -> MapSelection:
    """What the settings mean, by the tables as they are now. Raises InputError if nothing can be compared."""
    if unknown := [method for method in settings.method if method not in METHODS]:
        raise InputError(f"no method {unknown[0]!r} makes maps; there are: {', '.join(METHODS)}")
    place = {"run_id": run_id, "split": settings.split, "target": settings.target}
    epoch = _epoch(connection, place, settings)
    makers: Makers = {}
    for method, maker, instance in queries.execute(connection, "compared_maps", place | {"epoch": epoch}).fetchall():
        makers.setdefault(method, {}).setdefault(maker, []).append(instance)
    wanted = settings.method or tuple(makers)
    if missing := [method for method in wanted if method not in makers]:
        raise InputError(
            f"no maps of {missing[0]} at epoch {epoch} of {settings.split}; there are: {', '.join(makers)}; make "
            f"them with `study explain {run_id[:8]} --method {missing[0]} --split {settings.split} --epochs {epoch}`"
        )
    return MapSelection(
        run_id, settings.split, settings.target, epoch, _shared({name: makers[name] for name in wanted})
    )


def _epoch(connection: duckdb.DuckDBPyConnection, place: dict[str, str], settings: CompareSettings) -> int:
    """The epoch that is set, else the one explained by most methods, the latest among equals."""
    there = [epoch for (epoch,) in queries.execute(connection, "compared_epochs", place).fetchall()]
    if not there:
        raise InputError(_nothing(connection, place))
    if settings.epoch is not None and settings.epoch not in there:
        raise InputError(f"no maps at epoch {settings.epoch}; there are some at {', '.join(map(str, sorted(there)))}")
    return there[0] if settings.epoch is None else settings.epoch


def _nothing(connection: duckdb.DuckDBPyConnection, place: dict[str, str]) -> str:
    sql = "select split, count(*) from instances where run_id = ? group by split order by split"
    counts = dict(connection.execute(sql, [place["run_id"]]).fetchall())
    run, split, target = place["run_id"][:8], place["split"], place["target"]
    if split not in counts:
        return f"no split {split!r} in the run; there are: {', '.join(counts)}"
    count = min(NARROW_INTERVAL_COUNT, counts[split])
    return (
        f"run {run} has no maps of split {split} for target {target}; `study explain {run} --method saliency "
        f"integrated_gradients shap --split {split} --target {target} --count {count}` makes some"
    )


def _shared(makers: Makers) -> Makers:
    """The same for the instances that every method explained."""
    by_method = {method: {i for made in runs.values() for i in made} for method, runs in makers.items()}
    shared = set.intersection(*by_method.values())
    if not shared:
        counts = ", ".join(f"{method} {len(there)}" for method, there in by_method.items())
        raise InputError(f"no instance is explained by all of these methods ({counts} instances); name some: --method")
    kept = {m: {run: [i for i in made if i in shared] for run, made in runs.items()} for m, runs in makers.items()}
    return {method: {run: made for run, made in runs.items() if made} for method, runs in kept.items()}
