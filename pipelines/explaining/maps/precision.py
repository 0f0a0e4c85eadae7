"""What `--precision auto` stands for: bfloat16 where that is faster and its maps stand for those of float32."""

import time
from dataclasses import replace

import numpy as np

from pipelines.common.terminal import say
from pipelines.explaining.job import Job
from pipelines.explaining.maps.attribution import explain_batch
from pipelines.explaining.maps.rows import AttributionBatch
from pipelines.models import hardware
from xai import METHODS, NotApplicable
from xai.precision import MIN_CORRELATION, find_difference

CHECKED_IMAGES = 8  # per epoch, explained in both precisions
MIN_IMAGES = 8 * CHECKED_IMAGES  # per epoch, on average: with fewer, the check costs about what it gains
MIN_GAIN = 1.3  # how many times as fast bfloat16 has to be


def resolve_precision(job: Job) -> Job:
    """The job with a precision that is not `auto`, the same at every epoch, so that maps of epochs compare.

    Says what was chosen and why. Methods of a layer make a pass or two, and always in float32.
    """
    if job.method not in METHODS or METHODS[job.method].looks_at_a_layer:
        return _with_precision(job, "float32")
    if job.settings.precision != "auto":
        return job
    if reason := _find_obstacle(job):
        say(f"{job.method} computes in float32: {reason}")
        return _with_precision(job, "float32")
    say(
        f"{job.method} computes in bfloat16: its maps of {CHECKED_IMAGES} images per epoch agree with those of float32 "
        f"(rank correlation {MIN_CORRELATION} or more)"
    )
    return _with_precision(job, "bfloat16")


def _find_obstacle(job: Job) -> str | None:
    """Why the job should not compute in bfloat16; None if it should."""
    by_epoch = job.source.instances
    if not hardware.computes_bfloat16(job.source.device):
        return "this processor has no bfloat16"
    if sum(map(len, by_epoch.values())) < MIN_IMAGES * len(by_epoch):
        return f"for fewer than {MIN_IMAGES} images, checking bfloat16 would take longer than it saves"

    seconds = {"float32": 0.0, "bfloat16": 0.0}
    for epoch, instances in by_epoch.items():
        job.load(epoch)
        # spread evenly, as the instances of a folder are sorted by class
        places = np.unique(np.linspace(0, len(instances) - 1, CHECKED_IMAGES).astype(int))
        batches: dict[str, list[AttributionBatch]] = {}
        for precision in seconds:
            began = time.perf_counter()
            try:
                batches[precision] = explain_batch(_with_precision(job, precision), epoch, instances[places])
            except (RuntimeError, TypeError, NotApplicable) as error:
                if precision == "float32":
                    raise
                return f"the model cannot compute in bfloat16 ({str(error).splitlines()[0]})"
            seconds[precision] += time.perf_counter() - began
        for exact, other in zip(batches["float32"], batches["bfloat16"], strict=True):
            if reason := find_difference(exact.attribution, other.attribution):
                return f"in bfloat16, at epoch {epoch}, {reason}"

    gain = seconds["float32"] / seconds["bfloat16"]
    return None if gain >= MIN_GAIN else f"bfloat16 is only {gain:.1f} times as fast"


def _with_precision(job: Job, precision: str) -> Job:
    return replace(job, settings=replace(job.settings, precision=precision))
