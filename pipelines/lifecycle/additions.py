"""How images are added to a run: with their pixels, so that it has them whatever becomes of the files."""

from typing import Any

import numpy as np

from pipelines.data.added import EXTRA_PREFIX, encode_png
from pipelines.data.raw import CONTENT_DIGITS, Split
from tracking import runs


def commit_addition(run: runs.Run, name: str, number: int, first_id: int, images: Split) -> None:
    """Commit images as addition `number`, from 1, to the run's split extra:`name`, which has `first_id` images so far.

    A label is -1 where it is unknown.
    """
    runs.commit_tables(run, _unit(name, number), _make_tables(run, name, first_id, images), None)


def commit_addition_first(run: runs.Run, name: str, number: int, first_id: int, images: Split) -> bool:
    """The same of a run that several homes may add to; returns False if another home's images have the number."""
    return runs.commit_first(run, _unit(name, number), _make_tables(run, name, first_id, images))


def _unit(name: str, number: int) -> str:
    return f"extra_{name}_{number:04d}"


def _make_tables(run: runs.Run, name: str, first_id: int, images: Split) -> dict[str, dict[str, Any]]:
    count = len(images.labels)
    digests = images.pixel_digests()
    ids = np.arange(first_id, first_id + count, dtype=np.int32)
    instances = {
        "run_id": [run.run_id] * count,
        "split": [EXTRA_PREFIX + name] * count,
        "instance_id": ids,
        "label": np.ma.array(images.labels.int().numpy(), mask=(images.labels < 0).numpy()),
        "source": images.sources,
        "name": [None] * count,
        "content": [digest[:CONTENT_DIGITS] for digest in digests],
    }
    pixels = {"instance_id": ids, "sha256": digests, "png": [encode_png(image) for image in images.images]}
    return {"instances": instances, "pixels": pixels}
