"""About how long each stage takes, in forward passes of one image; the progress of a study is shared out by it."""

from collections.abc import Iterable

# per map or concept image; of 32x32 digits and the cnn, with what each method does by default
MAP_PASSES = {
    "saliency": 3,
    "smooth_grad": 130,
    "integrated_gradients": 30,
    "grad_cam": 3,
    "occlusion": 40,
    "expected_gradients": 600,
    "shap": 900,
    "ice": 40,
}
OTHER_PASSES = 100  # of a method that is not listed
DRAWING_PASSES = 10  # drawing and storing a map
TRAINING_PASSES = 1.5  # one training image in one epoch, evaluation included
FAITHFULNESS_PASSES = 50  # measuring one map
RANDOMIZED_STAGES = 4  # times that the randomization test explains an image again
CHECK_FRACTION = 0.05  # of measuring all maps, per further check
PAGE_FRACTION = 0.02  # of a study, per page


def estimate_training(image_count: int, epoch_count: int) -> float:
    return TRAINING_PASSES * image_count * epoch_count


def estimate_explaining(methods: Iterable[str], image_count: int) -> float:
    return sum(image_count * (MAP_PASSES.get(method, OTHER_PASSES) + DRAWING_PASSES) for method in methods)


def estimate_measuring(method: str, image_count: int, *, randomized: bool) -> float:
    if randomized:
        return image_count * RANDOMIZED_STAGES * MAP_PASSES.get(method, OTHER_PASSES)
    return image_count * FAITHFULNESS_PASSES
