"""Which epochs and which instances an explainer job explains."""

import hashlib
from functools import cache

import duckdb
import numpy as np

from pipelines.common.settings import ExplainSettings
from pipelines.common.splits import TRAIN_SEEN
from tracking.commits import EpochCommit
from tracking.errors import InputError

DEFAULT_COUNT = 64  # instances


def choose_epochs(wanted: str, committed: list[EpochCommit]) -> list[int]:
    """The epochs that `wanted` names: last, best, all, or a list of numbers. Raises InputError if one is missing."""
    if not committed:
        raise InputError("the run has no committed epoch yet; wait for one, or `study resume` it")
    last = committed[-1].epoch
    if wanted == "last":
        return [last]
    if wanted == "best":
        if "val_accuracy" not in committed[-1].metrics:
            raise InputError("the run has no validation images, so none of its epochs is best; name some, such as last")
        return [max(committed, key=lambda commit: commit.metrics["val_accuracy"]).epoch]
    if wanted == "all":
        return [commit.epoch for commit in committed]
    chosen = parse_numbers(wanted, "--epochs")
    kept = sorted(commit.epoch for commit in committed)
    missing = [epoch for epoch in chosen if epoch not in kept]
    if missing:
        raise InputError(f"the run has no checkpoint of epoch {missing[0]}; there are those of {format_epochs(kept)}")
    return chosen


def format_epochs(epochs: list[int]) -> str:
    """Ascending epochs for a message; an unbroken range in short."""
    if len(epochs) > 1 and epochs[-1] - epochs[0] == len(epochs) - 1:
        return f"{epochs[0]} to {epochs[-1]}"
    return ", ".join(map(str, epochs))


def choose_instances(
    settings: ExplainSettings, connection: duckdb.DuckDBPyConnection, run_id: str, epoch: int, count: int
) -> np.ndarray:
    """IDs of the instances to explain at an epoch, ascending, of the split's `count`; none if no row fits --where."""
    selectors = [name for name in ("instances", "count", "where") if getattr(settings, name) is not None]
    if len(selectors) > 1:
        raise InputError(f"--{selectors[0]} and --{selectors[1]} both choose instances; give one")
    if settings.also is not None and selectors not in ([], ["count"]):
        raise InputError(f"--also adds images to a random sample, so use it with --count, not with --{selectors[0]}")
    if settings.instances is not None:
        return _read_instances(settings.instances, "--instances", settings.split, count)
    if settings.where is not None:
        return select_where(settings.where, settings.split, connection, run_id, epoch)
    if settings.count is not None and settings.count > count:
        raise InputError(f"--count {settings.count}: split {settings.split} has {count} instances")
    sample = draw_sample(settings, count)
    if settings.also is None:
        return sample
    return np.union1d(sample, _read_instances(settings.also, "--also", settings.split, count))


def draw_sample(settings: ExplainSettings, count: int) -> np.ndarray:
    """IDs of the random sample of a split's `count` instances that the settings draw; none if they choose by ID or row.

    A mean or a test counts these alone: what is chosen by its outcome would shift it.
    """
    if settings.instances is not None or settings.where is not None:
        return np.array([], int)
    return sample_instances(min(settings.count or DEFAULT_COUNT, count), count)


def _read_instances(text: str, flag: str, split: str, count: int) -> np.ndarray:
    chosen = parse_numbers(text, flag)
    missing = [instance for instance in chosen if instance >= count]
    if missing:
        raise InputError(f"no instance {missing[0]} in split {split}; there are 0 to {count - 1}")
    return np.array(chosen)


def sample_instances(size: int, count: int) -> np.ndarray:
    """A fixed random sample of a split's `count` instances, ascending; each class has about its fraction of them.

    Random, because the images of a folder come class by class, so that the first ones are all of one class. The order
    of drawing is always the same, so that smaller samples are subsets of larger ones.
    """
    return np.array(sorted(_drawing_order(count)[:size]))


@cache
def _drawing_order(count: int) -> list[int]:
    return sorted(range(count), key=lambda instance: hashlib.sha256(b"%d" % instance).digest())


def parse_numbers(text: str, flag: str) -> list[int]:
    """Whole numbers from 0, separated by commas; each once, ascending."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"{flag} is {text!r}; it takes whole numbers such as 0,5,10")
    return sorted({int(part) for part in parts})


def select_where(
    condition: str, explained_split: str, connection: duckdb.DuckDBPyConnection, run_id: str, epoch: int
) -> np.ndarray:
    """IDs of the instances whose row of `full_predictions` at an epoch fits an SQL condition, ascending."""
    split = TRAIN_SEEN if explained_split == "train" else explained_split
    if not condition.strip():
        raise InputError('--where is empty; it takes a condition such as "label = 3 and predicted = 5"')
    # the condition sees only these rows, and the line break ends a comment in it
    sql = f"""
        select instance_id from (
            select * from full_predictions where run_id = $run_id and epoch = $epoch and split = $split
        ) where ({condition}
        )"""
    try:
        duckdb.SQLExpression(condition)  # must be one whole expression, so that it cannot close the brackets around it
        rows = connection.execute(sql, {"run_id": run_id, "epoch": epoch, "split": split}).fetchnumpy()
    except duckdb.Error as error:
        reason = str(error).split("\n\nLINE")[0].splitlines()[0]
        raise InputError(
            f'--where {condition!r} is not a valid condition: {reason}; columns: `study sql "describe predictions"`'
        ) from None
    return np.unique(rows["instance_id"])
