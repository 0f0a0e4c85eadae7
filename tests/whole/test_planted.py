"""Where the deciding pixels are known, methods of every kind point at them, once the network has learned."""

import pytest

from benchmarks.planted import Pointing, pointing

METHODS = ["saliency", "integrated_gradients", "grad_cam", "ice"]


@pytest.fixture(scope="module")
def found() -> dict[str, Pointing]:
    return pointing(seed=0, epochs=8, count=80, methods=METHODS, threads=1)


@pytest.mark.parametrize("method", METHODS)
def test_points_at_the_glyph_not_at_the_decoy_and_nowhere_untrained(found: dict[str, Pointing], method: str) -> None:
    assert found[method].holds, found[method]
