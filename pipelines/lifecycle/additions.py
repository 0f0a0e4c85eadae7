"""How images are added to a run: with their pixels, so that the run has them even if the files are deleted."""

import numpy as np

from pipelines.data.added import EXTRA_PREFIX, encode_png
from pipelines.data.raw import CONTENT_DIGITS, Split
from tracking import committing, runs


def commit_addition(run: runs.Run, name: str, number: int, first_id: int, images: Split) -> bool:
    """Commit images as addition `number`, from 1, to the run's split extra:`name`, which has `first_id` images so far.

    A label is -1 where it is unknown. Returns False if another home, which shares the server, has used the number.
    """
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
    return committing.commit_first(run, f"extra_{name}_{number:04d}", {"instances": instances, "pixels": pixels})
