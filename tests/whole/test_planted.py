"""Where the deciding pixels are known, methods of every kind point at them, once the network has learned."""

import pytest

from benchmarks.planted import Pointing, pointing
from pipelines.common.settings import TrainSettings
from pipelines.data import planted

METHODS = ["saliency", "integrated_gradients", "grad_cam", "ice"]
# every image costs as much in small batches, which are more steps: so the network learns in a quarter of the epochs
SETTINGS = TrainSettings(dataset="planted", size=24, epochs=2, batch=48, threads=1)


@pytest.fixture(scope="module")
def found() -> dict[str, Pointing]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "COUNTS", planted.COUNTS | {"test": 200})
        patch.setattr("pipelines.explaining.concepts.concept_set.COUNTS", (2, 3, 4, 5, 6))  # the glyphs are four
        return pointing(SETTINGS, count=40, methods=METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_points_at_the_glyph_not_at_the_decoy_and_nowhere_untrained(found: dict[str, Pointing], method: str) -> None:
    assert found[method].holds, found[method]
