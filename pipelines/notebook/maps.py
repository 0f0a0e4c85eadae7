"""Maps of a method as arrays, with the images that they explain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from duckdb import DuckDBPyConnection

import queries
from pipelines.common.terminal import say
from pipelines.common.wording import plural
from pipelines.lifecycle.selection import format_epochs, select_where
from pipelines.pages.pictures import Pictures
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from xai import METHODS

if TYPE_CHECKING:
    import shap

TARGETS = ("predicted", "label")


@dataclass(frozen=True, eq=False)
class Maps:
    """A method's maps of N images at one epoch, in the order of their IDs."""

    run_id: str
    method: str
    epoch: int
    split: str
    classes: tuple[str, ...]  # names by class ID
    ids: np.ndarray  # [N] instance IDs
    images: np.ndarray | None  # [N, 3, H, W], 0..1, float32; None if they cannot be found
    maps: np.ndarray  # [N, H, W], float32, signed if the method is, in logits
    labels: np.ndarray  # [N] class IDs, -1 where unknown
    predicted: np.ndarray  # [N] class IDs at the epoch
    targets: np.ndarray  # [N] class IDs explained
    scores: np.ndarray  # [N] logits of the classes explained
    baseline_scores: np.ndarray  # [N] their logits for the baseline; NaN for methods without one

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.maps.shape[1:]))
        place = f"{self.split}, epoch {self.epoch}, run {self.run_id[:8]}"
        return f"Maps({plural(len(self), 'map')} of {size} by {self.method}, {place})"

    def explanation(self) -> shap.Explanation:
        """For shap's own plots, such as `shap.image_plot`: values and images [N, H, W, 3].

        shap adds the channels up, so each has a third of a map. Raises InputError if the images cannot be found.
        """
        import shap

        if self.images is None:
            raise InputError(
                f"the images of run {self.run_id[:8]} cannot be found; say where they are with data=FOLDER"
            )
        return shap.Explanation(
            values=np.repeat(self.maps[..., None] / 3, 3, axis=3),
            base_values=np.nan_to_num(self.baseline_scores),
            data=self.images.transpose(0, 2, 3, 1),
        )


def read_maps(
    connection: DuckDBPyConnection,
    read_pictures: Callable[[], Pictures],
    run: RunRecord,
    method: str,
    *,
    where: str | None,
    instances: Sequence[int] | None,
    epoch: int | None,
    split: str,
    target: str,
) -> Maps:
    """The maps that there are of the chosen images; says if some have none. Raises InputError if none has one."""
    if where is not None and instances is not None:
        raise InputError("where and instances both choose images; give one")
    epoch = _choose_epoch(connection, run, method, split, target, epoch)
    chosen = {"run_id": run.run_id, "split": split, "target": target, "method": method, "epoch": epoch}
    relation = connection.sql(queries.internal_text("maps_of_images"), params=chosen)
    table = relation.to_arrow_table()
    ids = table["instance_id"].to_numpy().astype(int)
    wanted = ids
    if where is not None:
        wanted = select_where(where, split, connection, run.run_id, epoch)
    elif instances is not None:
        wanted = np.unique(np.array(instances, int))
    table = table.filter(np.isin(ids, wanted))
    at_epoch = f"{method} at epoch {epoch}"
    if not len(wanted):
        raise InputError(f"no image of {split} fits {where!r} at epoch {epoch}")
    if not table.num_rows:
        raise InputError(f"of the {len(wanted)} images of {split} that are chosen, none is explained by {at_epoch}; "
                         f"{len(ids)} others are")  # fmt: skip
    if table.num_rows < len(wanted):
        say(f"{table.num_rows} of the {len(wanted)} images of {split} that are chosen are explained by {at_epoch}")

    ids = table["instance_id"].to_numpy().astype(int)
    pictures = read_pictures()
    if pictures.data is None:
        say(f"without images: {pictures.why_none}")
        images = None
    else:
        images = pictures.data.splits[split].rgb(ids).transpose(0, 3, 1, 2).astype(np.float32)
    [(height, width)] = set(zip(table["height"].to_pylist(), table["width"].to_pylist(), strict=True))
    names = connection.execute("select name from classes where run_id = ? order by class_id", [run.run_id]).fetchall()
    return Maps(
        run_id=run.run_id,
        method=method,
        epoch=epoch,
        split=split,
        classes=tuple(name for (name,) in names),
        ids=ids,
        images=images,
        maps=table["map"].combine_chunks().flatten().to_numpy().reshape(len(ids), height, width).copy(),
        labels=table["label"].fill_null(-1).to_numpy().astype(int),
        predicted=table["predicted"].to_numpy().astype(int),
        targets=table["target"].to_numpy().astype(int),
        scores=table["score"].to_numpy().copy(),
        baseline_scores=table["baseline_score"].to_numpy().copy(),
    )


def _choose_epoch(
    connection: DuckDBPyConnection, run: RunRecord, method: str, split: str, target: str, epoch: int | None
) -> int:
    """The epoch, by default the last one, if it has maps; else raises InputError, which says where there are some."""
    if method not in METHODS:
        raise InputError(f"no method {method!r}; those with maps are: {', '.join(METHODS)}")
    if target not in TARGETS:
        raise InputError(f"target is {target!r}; it takes {' or '.join(TARGETS)}")
    made = queries.run(connection, "explained", {"run_id": run.run_id}).dicts
    fitting = [row for row in made if (row["split"], row["target_kind"], row["method"]) == (split, target, method)]
    epochs = sorted({row["epoch"] for row in fitting})
    if epochs and epoch in (None, *epochs):
        return epochs[-1] if epoch is None else epoch

    by_maker: dict[str, set[int]] = {}
    for row in made:
        if row["method"] in METHODS:
            by_maker.setdefault(f"{row['method']} of {row['split']}", set()).add(row["epoch"])
    there = {name: sorted(numbers) for name, numbers in by_maker.items()}
    listed = ", ".join(
        f"{name} at epoch{'s' if len(numbers) > 1 else ''} {format_epochs(numbers)}" for name, numbers in there.items()
    )
    command = f"study explain {run.run_id[:8]} --method {method} --split {split} --target {target}"
    if epoch is not None:
        command += f" --epochs {epoch}"
    at_epoch = "" if epoch is None else f" at epoch {epoch}"
    raise InputError(
        f"run {run.run_id[:8]} has no maps of the {target} class by {method} of {split}{at_epoch}; there are: "
        f"{listed or 'none yet'}; `{command}` makes them"
    )
