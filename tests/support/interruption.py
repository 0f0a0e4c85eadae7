"""Trainings that are stopped halfway."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.training import epoch as epochs


@contextmanager
def stopped_at_step(number: int) -> Iterator[None]:
    """Inside, training is interrupted in place of its step `number`, counted from 1; it has to come so far."""
    take_step = epochs._take_step
    steps = 0

    def take_or_stop(*arguments):
        nonlocal steps
        steps += 1
        if steps == number:
            raise KeyboardInterrupt
        return take_step(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "_take_step", take_or_stop)
        with pytest.raises(KeyboardInterrupt):
            yield
