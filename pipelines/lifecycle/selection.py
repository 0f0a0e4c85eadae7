"""Which epochs and which instances an explainer job looks at."""

import hashlib

import duckdb
import numpy as np

from pipelines.common.settings import ExplainSettings
from tracking.commits import EpochCommit
from tracking.errors import InputError

DEFAULT_COUNT = 64


def choose_epochs(wanted: str, done: list[EpochCommit]) -> list[int]:
    """Epochs that `wanted` means: last, best, all, or a list of numbers. Raises InputError if one is not there."""
    if not done:
        raise InputError("the run has no committed epoch yet; wait for one, or `study resume` it")
    last = done[-1].epoch
    if wanted == "last":
        return [last]
    if wanted == "best":
        return [max(done, key=lambda commit: commit.metrics["val_accuracy"]).epoch]
    if wanted == "all":
        return [commit.epoch for commit in done]
    chosen = parse_numbers(wanted, "--epochs")
    if missing := [epoch for epoch in chosen if epoch > last]:
        raise InputError(f"no epoch {missing[0]} in the run; there are 0 to {last}")
    there = {commit.epoch for commit in done}
    if missing := [epoch for epoch in chosen if epoch not in there]:
        kept = ", ".join(map(str, sorted(there)))
        raise InputError(f"the checkpoint of epoch {missing[0]} was pruned; there are those of {kept}")
    return chosen


def choose_instances(
    settings: ExplainSettings, connection: duckdb.DuckDBPyConnection, run_id: str, epoch: int, count: int
) -> np.ndarray:
    """Instance IDs to explain at an epoch, ascending, of the split's `count`; none if no row fits --where."""
    ways = [name for name in ("instances", "count", "where") if getattr(settings, name) is not None]
    if len(ways) > 1:
        raise InputError(f"--{ways[0]} and --{ways[1]} both choose instances; give one")
    if settings.instances is not None:
        chosen = parse_numbers(settings.instances, "--instances")
        if missing := [instance for instance in chosen if instance >= count]:
            raise InputError(f"no instance {missing[0]} in split {settings.split}; there are 0 to {count - 1}")
        return np.array(chosen)
    if settings.where is not None:
        return _where(settings.where, settings.split, connection, run_id, epoch)
    if settings.count is not None and settings.count > count:
        raise InputError(f"--count {settings.count}: split {settings.split} has {count} instances")
    return sample_instances(min(settings.count or DEFAULT_COUNT, count), count)


def sample_instances(wanted: int, count: int) -> np.ndarray:
    """So many of a split's `count` instances, ascending, each class with about its share.

    The images of a folder come class by class, so the first ones would be of one class. The order they are drawn in is
    always the same, so that a larger sample holds every smaller one.
    """
    drawn = sorted(range(count), key=lambda instance: hashlib.sha256(b"%d" % instance).digest())
    return np.array(sorted(drawn[:wanted]))


def parse_numbers(text: str, flag: str) -> list[int]:
    """Whole numbers from 0 on, separated by commas; each once, ascending."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"{flag} is {text!r}; it takes whole numbers such as 0,5,10")
    return sorted({int(part) for part in parts})


def _where(
    condition: str, explained: str, connection: duckdb.DuckDBPyConnection, run_id: str, epoch: int
) -> np.ndarray:
    split = "train_seen" if explained == "train" else explained
    if not condition.strip():
        raise InputError('--where is empty; it takes a condition such as "label = 3 and predicted = 5"')
    # the condition sees these rows alone, and the line break ends a comment in it
    sql = f"""
        select instance_id from (
            select * from predictions where run_id = $run_id and epoch = $epoch and split = $split
        ) where ({condition}
        )"""
    try:
        duckdb.SQLExpression(condition)  # one whole expression, so the brackets around it close no earlier
        rows = connection.execute(sql, {"run_id": run_id, "epoch": epoch, "split": split}).fetchnumpy()
    except duckdb.Error as error:
        reason = str(error).split("\n\nLINE")[0].splitlines()[0]
        raise InputError(
            f'--where {condition!r} is no condition: {reason}; columns: `study sql "describe predictions"`'
        ) from None
    return np.unique(rows["instance_id"])
