"""Preprocessing as part of the model: equal to the libraries' own to the last bit, differentiable, recorded."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import transforms as v1

from pipelines.models.checkpoints import load_model, save_model
from pipelines.models.preprocessing import CenterCrop, Grey, Pad, Preprocess, Preprocessing, Resize
from pipelines.models.transforms import describe_transform
from tracking.errors import InputError
from xai import METHODS, MethodInputs
from xai.method import Region, enlarge_maps

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
FLOAT = v2.ToDtype(torch.float32, scale=True)
TRANSFORMS = {
    "resize, crop": v1.Compose([v1.Resize(64), v1.CenterCrop(56), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "squash": v1.Compose([v1.Resize((40, 50), InterpolationMode.BICUBIC), v1.ToTensor()]),
    "nearest": v1.Compose([v1.Resize((19, 70), InterpolationMode.NEAREST), v1.ToTensor()]),
    "lanczos": v1.Compose([v1.Resize(21, InterpolationMode.LANCZOS), v1.ToTensor()]),
    "crop, resize": v1.Compose([v1.CenterCrop(41), v1.Resize(24), v1.ToTensor(), v1.Normalize([0.5] * 3, [0.5] * 3)]),
    "larger crop": v1.Compose([v1.CenterCrop((101, 30)), v1.ToTensor()]),
    "pad": v1.Compose([v1.Pad((1, 2, 3, 5), fill=7), v1.ToTensor(), v1.Normalize((0.5,), (0.5,))]),
    "pad floats": v1.Compose([v1.ToTensor(), v1.Pad((1, 2), fill=0.25)]),
    "grey to three": v1.Compose([v1.Grayscale(3), v1.Resize(30), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "grey": v1.Compose([v1.Grayscale(1), v1.ToTensor(), v1.Normalize((0.1,), (0.3,))]),
    "tensors of v1": v1.Compose([v1.PILToTensor(), v1.Resize(40), v1.ConvertImageDtype(torch.float32)]),
    "floats of v1": v1.Compose([v1.ToTensor(), v1.Resize(40, antialias=False), v1.Normalize(MEAN, STD)]),
    "tensors of v2": v2.Compose([v2.ToImage(), v2.Resize(40), v2.CenterCrop(32), FLOAT, v2.Normalize(MEAN, STD)]),
    "floats of v2": v2.Compose([v2.ToImage(), FLOAT, v2.Compose([v2.Resize((40, 40))]), v2.Normalize(MEAN, STD)]),
    "of weights": models.ResNet18_Weights.DEFAULT.transforms(),
    "one alone": v1.ToTensor(),
}
REFUSED = {
    "random": (v1.Compose([v1.RandomHorizontalFlip(), v1.ToTensor()]), "RandomHorizontalFlip .* nothing random"),
    "lambda": (v1.Compose([v1.ToTensor(), v1.Lambda(abs)]), "transform Lambda cannot become part of the model"),
    "function": (lambda image: image, "transform <lambda> cannot"),
    "no transform": ("Resize", "transform str cannot"),
    "no tensor": (v1.Compose([v1.Resize(3)]), "does not end in a float tensor"),
    "whole levels": (v2.ToDtype(torch.float32), "ToDtype to anything but torch.float32 with scale=True"),
    "after": (v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.Pad(2)]), "Pad after Normalize"),
    "before": (v2.Compose([v2.ToImage(), v2.Normalize(MEAN, STD)]), "Normalize before ToTensor"),
    "longest": (v1.Compose([v1.Resize(8, max_size=9), v1.ToTensor()]), "Resize with max_size"),
    "mirrored margin": (v1.Compose([v1.Pad(2, padding_mode="reflect"), v1.ToTensor()]), "Pad with anything but"),
    "grey tensor": (v1.Compose([v1.ToTensor(), v1.Grayscale()]), "Grayscale of a tensor cannot .* before ToTensor"),
}


def picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    values = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return values if channels == 3 else values[..., 0]


def stored(pixels: np.ndarray) -> Tensor:
    """A picture as the model takes it, [1, C, H, W]."""
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("size", [(32, 32), (61, 47), (48, 77)])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_it_does_what_the_transform_does(name: str, size: tuple[int, int]) -> None:
    transform, pixels = TRANSFORMS[name], picture(*size)
    preprocessing = describe_transform(transform)
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    images = stored(pixels).requires_grad_()
    made = Preprocess(preprocessing, (3, *size))
    output = made(images)
    assert output.shape[1:] == made.output_shape
    expected = torch.as_tensor(transform(Image.fromarray(pixels)))[None]
    # torchvision's v2 divides in another order
    assert torch.equal(output, expected) or ("v2" in name and torch.allclose(output, expected, rtol=0, atol=2e-6))
    output.sum().backward()
    rows, columns = images.grad[0].abs().sum(0).nonzero().T  # every pixel that is seen has a gradient
    seen = made.seen
    if name not in ("nearest", "floats of v1"):
        assert rows.max() - rows.min() + 1 >= min(size[0], seen.height) - 1
        assert columns.max() - columns.min() + 1 >= min(size[1], seen.width) - 1


@pytest.mark.parametrize(
    ("preprocessing", "shape", "becomes", "words"),
    [
        (
            Preprocessing((Resize((40,), "bicubic"), CenterCrop((36, 36))), 3, (0.485, 0.456, 0.406), (0.229, 0.2, 1)),
            (3, 32, 48),
            "3 x 36 x 36",
            "resized to 40 x 60 (bicubic), then cropped to 36 x 36 around its centre, then normalised by mean (0.485, "
            "0.456, 0.406) and standard deviation (0.229, 0.2, 1)",
        ),
        (
            Preprocessing((Grey(), CenterCrop((9, 4)), Pad((1, 2, 0, 0))), 3, std=(0.25,)),
            (3, 5, 6),
            "3 x 11 x 5",
            "turned grey, then cropped and filled up with black to 9 x 4 around its centre, then padded to 11 x 5, "
            "then repeated to 3 channels, then normalised by mean 0 and standard deviation 0.25",
        ),
        (Preprocessing((Grey(),), scale=0.5), (1, 8, 6), "1 x 4 x 3", "shrunk to 4 x 3"),
    ],
)
def test_a_sentence_says_what_becomes_of_a_picture(
    preprocessing: Preprocessing, shape: tuple[int, int, int], becomes: str, words: str
) -> None:
    sentence = f"Before the network gets a picture, it is {words}, which makes it {becomes} (channels, height, width)."
    assert Preprocess(preprocessing, shape).describe() == sentence


@pytest.mark.parametrize("steps", [(), (Resize((32,)), CenterCrop((32, 32)), Pad((0, 0, 0, 0)))])
def test_steps_that_change_nothing_are_not_mentioned(steps: tuple) -> None:
    made = Preprocess(Preprocessing(steps), (3, 32, 32))
    assert made.describe() == "The network gets pictures as they are, in 0..1."


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_any_size_is_resized_as_pillow_does(mode: str) -> None:
    random = np.random.default_rng(3)
    for height, width, new_height, new_width in random.integers(3, 70, (40, 4)).tolist():
        pixels = picture(height, width)
        resized = Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling[mode.upper()])
        made = Resize((new_height, new_width), mode, rounding="pillow")(stored(pixels))
        assert torch.equal(made, stored(np.array(resized)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_part_of_a_model_is_named(name: str) -> None:
    transform, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as refused:
        describe_transform(transform)
    assert "\n" not in str(refused.value)


def test_grey_pictures_become_as_many_channels_as_the_network_takes() -> None:
    pixels = picture(9, 7, channels=1)
    preprocessing = describe_transform(v1.Compose([v1.Grayscale(3), v1.ToTensor(), v1.Normalize(MEAN, STD)]))
    output = Preprocess(preprocessing, (1, 9, 7))(stored(pixels))
    assert torch.allclose(output, v1.Normalize(MEAN, STD)(v1.ToTensor()(Image.fromarray(pixels).convert("RGB"))))
    assert Preprocess(Preprocessing(channels=3), (1, 9, 7)).output_shape == (3, 9, 7)
    with pytest.raises(InputError, match="takes 1 channels and the images have 3; only grey images"):
        Preprocess(Preprocessing(channels=1), (3, 9, 7))
    with pytest.raises(InputError, match="3 values of mean, for 1 channels"):
        Preprocess(Preprocessing(mean=(0.1, 0.2, 0.3)), (1, 9, 7))


def test_gradients_are_those_without_rounding() -> None:
    """Also of images beyond black and white, as SmoothGrad makes them."""
    images = (2 * stored(picture(12, 9)) - 0.5).requires_grad_()
    weights = torch.rand(3, 20, 15, generator=torch.Generator().manual_seed(0))
    gradients = []
    for rounding in ("pillow", "v2", None):
        resized = Resize((20, 15), "bilinear", rounding=rounding)(images)
        gradients.append(torch.autograd.grad((resized * weights).sum(), images)[0])
        assert rounding is None or (resized.min() >= 0 and resized.max() <= 1)
    assert torch.allclose(gradients[0], gradients[2], atol=1e-5)
    assert torch.allclose(gradients[1], gradients[2], atol=1e-6)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"steps": [{"step": "turn"}]}', '{"mean": [0], "colour": 1}', "{"])
def test_a_description_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no description of a preprocessing"):
        Preprocessing.from_json(text)


def test_checkpoints_of_earlier_versions_load(tmp_path) -> None:
    """Their first layer had mean, std and scale, and they keep these names."""
    made = nn.Sequential()
    made.add_module("normalise", Preprocess(Preprocessing((CenterCrop((4, 4)), Pad((1, 1, 1, 1)), Grey())), (3, 8, 8)))
    assert list(made.state_dict()) == ["normalise.mean", "normalise.std", "normalise.scale"]
    file = save_model(made, tmp_path / "x.safetensors")
    made.normalise.mean.fill_(3)
    load_model(made, file)
    assert not made.normalise.mean.any()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), Region(0, 0, 20, 40)),
        ((Resize((10,)), CenterCrop((10, 10))), Region(0, 10, 20, 20)),
        ((CenterCrop((10, 10)), Resize((30, 30))), Region(5, 15, 10, 10)),
        ((Pad((4, 2, 0, 0)),), Region(-2, -4, 22, 44)),
        ((Resize((40, 40)), CenterCrop((20, 20))), Region(5, 10, 10, 20)),
    ],
)
def test_the_part_that_is_seen_is_known(steps: tuple, expected: Region) -> None:
    assert Preprocess(Preprocessing(steps), (3, 20, 40)).seen == expected


def layer_methods(make: Callable[[], nn.Module], preprocessing: Preprocessing, images: Tensor) -> dict[str, Tensor]:
    """The map of each method of the pictures [1, 3, H, W]."""
    torch.manual_seed(0)
    preprocess = Preprocess(preprocessing, tuple(images.shape[1:]))
    model = nn.Sequential(preprocess, make()).eval()
    inputs = MethodInputs(background=torch.full_like(images, 0.1), samples=200, seen=preprocess.seen)
    return {
        name: method.attribute(model, images, torch.zeros(1, dtype=int), inputs).maps
        for name, method in METHODS.items()
    }


def test_every_method_maps_the_stored_picture_behind_a_resize_and_crop() -> None:
    """The network sees the middle of a wide picture, and its evidence lies in that part's left half."""

    def make() -> nn.Module:
        convolution = nn.Conv2d(3, 2, 5, padding=2)
        nn.init.constant_(convolution.weight, 0.1)
        linear = nn.Linear(2 * 4 * 4, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(2, 8))  # the left columns
        return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), linear)

    images = torch.zeros(1, 3, 24, 48)
    images[..., 4:20, 14:22] = 0.9
    preprocessing = Preprocessing((Resize((32,), "bicubic", rounding="pillow"), CenterCrop((28, 28))), mean=(0.5,))
    for name, maps in layer_methods(make, preprocessing, images).items():
        assert maps.shape == (1, 24, 48), name
        mass = maps[0].abs()
        assert mass[:, 12:25].sum() > 0.8 * mass.sum() > 0, name
        assert mass[:, :9].sum() < 0.02 * mass.sum(), name


def test_maps_of_a_layer_lie_over_what_it_sees() -> None:
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    laid = enlarge_maps(maps, (4, 8), Region(0, 2, 4, 4))
    assert torch.equal(laid[:, :, 2:6], enlarge_maps(maps, (4, 4)))
    assert not laid[:, :, :2].any()
    assert not laid[:, :, 6:].any()
    beyond = enlarge_maps(maps, (2, 2), Region(-1, -1, 4, 4))
    assert torch.equal(beyond, enlarge_maps(maps, (4, 4))[:, 1:3, 1:3])
