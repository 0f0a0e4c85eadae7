"""The images that changed: each with both models' probabilities and, where both have them, their maps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

import queries
from pipelines.common.heatmaps import full_colour_magnitude
from pipelines.common.splits import stored_split
from pipelines.diffing.criteria import GROUP_IMAGES, IMAGES, LIKELIEST, METHODS
from pipelines.diffing.pair import Pair, Side
from pipelines.pages.evidence import Answer
from pipelines.pages.pictures import Picture, heatmap, read_sources
from xai import METHODS as REGISTRY

KINDS = {
    "broken": "Broken: A is right, B is not",
    "fixed": "Fixed: B is right, A is not",
    "rerouted": "Both are wrong, in different ways",
    None: "Predicted differently; the label is unknown",
}


@dataclass(frozen=True)
class MapPair:
    """Both models' maps of an image by one method, on one scale."""

    method: str
    pictures: tuple[Picture, Picture]


@dataclass(frozen=True)
class ChangedImage:
    """An image that the models predict differently."""

    row: dict  # of compared_instances
    other_id: int  # its number in the other run
    picture: Picture
    likeliest: tuple[list[tuple[str, float]], list[tuple[str, float]]]  # classes and probabilities, of each model
    maps: list[MapPair]


@dataclass(frozen=True)
class Gallery:
    """Images that changed, the most changed of each kind, with maps first."""

    source: Answer  # of compared_instances
    changed: dict[str | None, list[dict]]  # all rows that changed, by kind
    shown: dict[str | None, list[ChangedImage]]
    methods: tuple[str, ...]  # whose maps are shown
    explained: int  # images with maps of both models
    why_none: str | None  # why there are no pictures

    def has(self, *, signed: bool) -> bool:
        """Whether any map shown is signed, or any is not."""
        return any(REGISTRY[method].signed is signed for method in self.methods)


@dataclass(frozen=True)
class GroupGallery:
    """Images that most seeds of one group get right and most of the other get wrong, with pictures of the first."""

    source: Answer  # of seed_changes
    changed: dict[str, list[dict]]  # its rows that are broken or fixed in most seeds
    shown: dict[str, list[tuple[dict, Picture]]]
    why_none: str | None  # why there are no pictures


def fill_group_gallery(pair: Pair) -> GroupGallery:
    """Choose and draw images where at least one side is a group."""
    source = pair.ask("seed_changes")
    changed: dict[str, list[dict]] = {"broken": [], "fixed": []}
    for row in source.rows:
        was_wrong = is_mostly_wrong(row["n_wrong"], row["n_seeds"])
        is_wrong = is_mostly_wrong(row["other_n_wrong"], row["other_n_seeds"])
        if was_wrong != is_wrong:
            changed["broken" if is_wrong else "fixed"].append(row)
    split = stored_split(pair.split)
    sources = read_sources(pair.evidence.connection, pair.here.record.run_id, split)
    shown = {
        kind: [
            (row, pair.pictures.thumbnail(split, row["instance_id"], sources.get(row["instance_id"])))
            for row in rows[:GROUP_IMAGES]
        ]
        for kind, rows in changed.items()
    }
    return GroupGallery(source, changed, shown, pair.pictures.why_none)


def is_mostly_wrong(n_wrong: int, n_seeds: int) -> bool:
    """Whether more than half of the seeds are wrong."""
    return n_wrong > n_seeds / 2


def fill_gallery(pair: Pair) -> Gallery:
    """Choose and draw images of two single models."""
    source = pair.ask("compared_instances")
    changed: dict[str | None, list[dict]] = {kind: [] for kind in KINDS}
    for row in source.rows:
        if row["predicted"] != row["other_predicted"]:
            changed[row["outcome"]].append(row)
    values = {
        "run_id": pair.here.record.run_id, "other_run_id": pair.other.record.run_id, "split": pair.split,
        "epoch": pair.here.epoch, "other_epoch": pair.other.epoch,
    }  # fmt: skip
    images = queries.execute(pair.evidence.connection, "pair_images", values).fetchall()
    # of each image that changed, its number in the other run, and where it lies in the data set
    places: dict[int, tuple[int, str | None]] = {one: (other, image_source) for one, other, image_source in images}
    methods_by_image = list_explained(pair, pair.here, places)
    other_methods_by_image = list_explained(pair, pair.other, [other_id for other_id, _ in places.values()])
    explained = {
        one: methods_by_image.get(one, set()) & other_methods_by_image.get(other, set())
        for one, (other, _) in places.items()
    }
    chosen = {
        kind: sorted(rows, key=lambda row: not explained[row["instance_id"]])[:IMAGES] for kind, rows in changed.items()
    }
    rows = [row for of_kind in chosen.values() for row in of_kind]
    shared_methods = {method for row in rows for method in explained[row["instance_id"]]}
    methods = tuple(method for method in REGISTRY if method in shared_methods)[:METHODS]
    drawn = {image.row["instance_id"]: image for image in _draw_all(pair, rows, places, methods)}
    return Gallery(
        source, changed, {kind: [drawn[row["instance_id"]] for row in rows] for kind, rows in chosen.items() if rows},
        methods, sum(bool(methods) for methods in explained.values()), pair.pictures.why_none,
    )  # fmt: skip


def list_explained(pair: Pair, side: Side, instance_ids: Iterable[int]) -> dict[int, set[str]]:
    """By image, the methods that explained what the model predicts of it."""
    found: dict[int, set[str]] = {}
    values = _scope_of(pair, side, instance_ids)
    for instance_id, method in queries.execute(pair.evidence.connection, "explained_images", values).fetchall():
        found.setdefault(instance_id, set()).add(method)
    return found


def _draw_all(
    pair: Pair, rows: Sequence[dict], places: dict[int, tuple[int, str | None]], methods: Sequence[str]
) -> list[ChangedImage]:
    ids = [row["instance_id"] for row in rows]
    other_ids = [places[instance_id][0] for instance_id in ids]
    likeliest = _read_likeliest(pair, pair.here, ids)
    other_likeliest = _read_likeliest(pair, pair.other, other_ids)
    maps_of_here = _read_maps(pair, pair.here, ids, methods)
    maps_of_other = _read_maps(pair, pair.other, other_ids, methods)
    drawn = []
    for place, (instance_id, other_id) in enumerate(zip(ids, other_ids, strict=True)):
        source = places[instance_id][1]
        image = pair.pictures.image(pair.split, instance_id, source)
        maps = []
        for method in methods:
            one, two = maps_of_here.get((instance_id, method)), maps_of_other.get((other_id, method))
            if image is not None and one is not None and two is not None:
                maps.append(_draw_maps(image, method, (one, two), instance_id))
        picture = pair.pictures.thumbnail(pair.split, instance_id, source)
        drawn.append(ChangedImage(rows[place], other_id, picture, (likeliest[place], other_likeliest[place]), maps))
    return drawn


def _draw_maps(image: np.ndarray, method: str, both: tuple[np.ndarray, np.ndarray], instance_id: int) -> MapPair:
    """Both maps over the image, the strongest of either in the full colour."""
    full = full_colour_magnitude(np.concatenate([values.ravel() for values in both]))
    first, second = (
        heatmap(image, values, REGISTRY[method].signed, f"{method} of {letter}, image {instance_id}", full)
        for letter, values in zip("AB", both, strict=True)
    )
    return MapPair(method, (first, second))


def _read_likeliest(pair: Pair, side: Side, instance_ids: Sequence[int]) -> list[list[tuple[str, float]]]:
    """Of each image the likeliest classes, likeliest first; none where the run keeps no probabilities of classes."""
    sql = "select class_id, name from classes where run_id = ?"
    names = dict(pair.evidence.connection.execute(sql, [side.record.run_id]).fetchall())
    values = {
        "run_id": side.record.run_id, "splits": [pair.split] * len(instance_ids), "instance_ids": list(instance_ids),
        "epoch": side.epoch,
    }  # fmt: skip
    found: list[list[tuple[str, float]]] = [[] for _ in instance_ids]
    rows = queries.execute(pair.evidence.connection, "flow_probabilities", values).fetchall()
    for place, probabilities, classes, shares in rows:
        kept = enumerate(probabilities) if probabilities else zip(classes, shares, strict=True)
        order = sorted(kept, key=lambda one: (-one[1], one[0]))[:LIKELIEST]
        found[place] = [(names[class_id], share) for class_id, share in order]
    return found


def _read_maps(
    pair: Pair, side: Side, instance_ids: Sequence[int], methods: Sequence[str]
) -> dict[tuple[int, str], np.ndarray]:
    """By image and method, the newest map [H, W] of the predicted class."""
    scope = _scope_of(pair, side, instance_ids) | {"methods": list(methods)}
    rows = queries.execute(pair.evidence.connection, "maps_of_changed", scope).fetchall()
    return {
        (instance_id, method): np.array(values, np.float32).reshape(height, width)
        for instance_id, method, height, width, values in rows
    }


def _scope_of(pair: Pair, side: Side, instance_ids: Iterable[int]) -> dict[str, object]:
    return {
        "run_id": side.record.run_id, "split": pair.split, "epoch": side.epoch, "instance_ids": list(instance_ids)
    }  # fmt: skip
