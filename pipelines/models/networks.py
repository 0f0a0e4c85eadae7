"""Models: the built-in CNN, and any factory of the user's."""

import copy
import inspect
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pipelines.common.settings import UNKNOWN_MODEL, TrackedSettings
from pipelines.common.terminal import say
from pipelines.common.user_code import errors_reported, import_factory
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset
from pipelines.data.names import format_name
from pipelines.models import user_errors
from pipelines.models.libraries import own_preprocessing, read_model_args, split_library
from pipelines.models.preprocessing import Preprocess, Preprocessing, join_sides
from pipelines.models.randomness import seed_generators
from pipelines.models.transforms import describe_transform
from tracking.errors import InputError

SUM_TOLERANCE = 1e-5  # maximum distance from 1 of a sum of float32 probabilities
WHITENING_IMAGES = 1000  # training images whose patches initialise the first layer
WHITENING_PIXELS = 64 * 64 * WHITENING_IMAGES  # in all of them: of large images fewer do, with as many patches


class Classifier(nn.Sequential):
    """What is trained and kept: the preprocessing, then the network."""

    normalise: Preprocess
    network: nn.Module


class MainLogits(nn.Module):
    """A network that returns its logits among other things, as those of Hugging Face do, returns them alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return main_logits(self.network(images))


def cnn(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """Convolutions with batch normalisation, ReLU and max pooling, then a dense ReLU layer.

    Each ReLU is a module of its own and none works in place, as SHAP and hooks need it. `features` ends in a ReLU,
    so its output is non-negative, as factorizing it needs. The pooled head takes images of any size from 8x8.
    """
    channels, height, width = image_shape
    # 2x2 filters are enough to detect colours and edges, and leave odd sides that pooling halves well
    first_width = 8 * channels
    side = min(height, width) - 1
    features = [nn.Sequential(nn.Conv2d(channels, first_width, 2, bias=False), nn.BatchNorm2d(first_width), nn.ReLU())]
    # the last block keeps the size: at half the side, concepts and Grad-CAM would have maps of only a few pixels
    for narrow, wide, pool in ((first_width, 64, True), (64, 128, True), (128, 256, False)):
        features.append(_block(narrow, wide, pool=pool and side > 1))
        features.append(_block(wide, wide, pool=False))
        side //= 2
    head = nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveMaxPool2d(1),
            flatten=nn.Flatten(),
            dense=nn.Linear(256, 128),
            relu=nn.ReLU(),
            dropout=nn.Dropout(0.1),
            logits=nn.Linear(128, num_classes),
        )
    )
    return nn.Sequential(OrderedDict(features=nn.Sequential(*features), head=head))


@torch.no_grad()
def whiten(convolution: nn.Conv2d, images: Tensor) -> None:
    """Initialise a first layer with filters whose outputs on image patches are uncorrelated and of equal variance.

    The patches' principal directions, divided by their standard deviation, each with both signs because a ReLU follows;
    as Jordan 2024, 2404.00498, section 3.1, but trainable.
    """
    patches = nn.functional.unfold(images, convolution.kernel_size).transpose(1, 2).flatten(0, 1)  # [P, C kh kw]
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / (variances + 5e-4).sqrt()).T.flip(0)  # largest variance first
    signed_filters = torch.cat([filters, -filters])[: len(convolution.weight)]
    convolution.weight[: len(signed_filters)] = signed_filters.view(-1, *convolution.weight.shape[1:])


def _block(channels: int, width: int, *, pool: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))  # before normalising: a quarter of the work
    layers += [nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


Network = TypeVar("Network", bound=nn.Module)
Settings = TypeVar("Settings", bound=TrackedSettings)
MODELS: dict[str, Callable[..., nn.Module]] = {"cnn": cnn}


def build_tracked_model(settings: TrackedSettings, data: Dataset, *, seed: int | None = None) -> Classifier:
    """The untrained model of a run with checkpoints, from its recorded settings; `seed` is by default the run's."""
    preprocessing = Preprocessing.from_json(settings.transform) if settings.transform else normalise_by_statistics(data)
    if settings.channels is not None:
        preprocessing = replace(preprocessing, channels=settings.channels)
    return build_model(
        settings.model,
        data,
        settings.seed if seed is None else seed,
        model_args=settings.model_args,
        preprocessing=preprocessing,
    )


def resolve_transform(settings: Settings) -> Settings:
    """The settings with `transform` as a description in JSON, or None for normalised images.

    That of a network of timm or torchvision is its own by default. Raises InputError on a transform that cannot become
    part of the model.
    """
    text = settings.transform
    if text is None:
        preprocessing = own_preprocessing(settings.model, settings.model_args)
    elif text == "none":
        preprocessing = Preprocessing()
    elif ":" in text and not text.startswith("{"):
        transform: Any = import_factory(text, "transform")
        if inspect.isroutine(transform) or inspect.isclass(transform):
            with errors_reported(f"transform {text} cannot be made"):
                transform = transform()
        preprocessing = describe_transform(transform)
    else:
        preprocessing = Preprocessing.from_json(text)
    return replace(settings, transform=None if preprocessing is None else preprocessing.to_json())


def build_model(
    name: str,
    data: Dataset,
    seed: int,
    *,
    model_args: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> Classifier:
    """The untrained model `name` for the data, its weights drawn from `seed`.

    `name` is a key of MODELS or package.module:factory; `model_args` are the factory's arguments, a JSON object. Its
    network gets preprocessed images [N, C, H, W], by default normalised ones, and returns logits [N, num_classes].
    Raises InputError for any other model, and for one whose code raises an error.
    """
    is_built_in = name in MODELS
    if name == UNKNOWN_MODEL:
        raise InputError(
            "the run was recorded without a function that builds its model; give --model package.module:function "
            "and, if it takes arguments, --model-args"
        )
    if not is_built_in and not name.partition(":")[2]:
        raise InputError(
            f"no model {name!r}; there are: {', '.join(MODELS)}, timm:NAME and torchvision:NAME, or give "
            "package.module:factory"
        )
    preprocess = Preprocess(preprocessing or normalise_by_statistics(data), data.image_shape)
    seed_generators(seed)
    arguments = read_model_args(model_args)
    with_arguments = f" with --model-args {json.dumps(arguments)}" if arguments else ""
    problem = f"model {name}{with_arguments} does not take images {preprocess.output_shape}"
    with errors_reported(problem):
        network = _call_factory(name, len(data.classes), preprocess.output_shape, arguments)
    if not isinstance(network, nn.Module):
        raise InputError(f"{problem}: it returns {_describe_type(network)}; a factory returns a torch.nn.Module")
    user_errors.watch_model(name, map(type, network.modules()))
    model = Classifier(OrderedDict(normalise=preprocess, network=network)).eval()

    train_images = data.splits["train"].images
    if is_built_in:
        pixels_per_image = math.prod(data.image_shape[1:])
        count = min(WHITENING_IMAGES, max(1, WHITENING_PIXELS // pixels_per_image))
        convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        whiten(convolution, model.normalise(train_images[:count].float() / 255))
    images = train_images[:2].float() / 255
    with errors_reported(problem), torch.no_grad():
        logits = keep_main_logits(model, images)
    check_logits(name, logits, (2, len(data.classes)), name_sources(data))
    _choose_layout(model, images)
    return model


def normalise_by_statistics(data: Dataset) -> Preprocessing:
    """Zero mean and unit standard deviation of the training pixels, per channel."""
    return Preprocessing(mean=data.mean, std=data.std)


def _call_factory(name: str, class_count: int, image_shape: tuple[int, int, int], arguments: dict[str, Any]) -> object:
    """What a factory returns for the arguments, and for num_classes and image_shape where it takes them."""
    library, network = split_library(name)
    if library is not None:
        return library.make(network, **{"num_classes": class_count} | arguments)
    factory = MODELS[name] if name in MODELS else import_factory(name, "model")
    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    if takes_any or "num_classes" in parameters:
        arguments = {"num_classes": class_count} | arguments
    if "image_shape" in parameters:  # by name alone: torchvision's factories pass any others on, and fail
        arguments = {"image_shape": image_shape} | arguments
    return factory(**arguments)


def keep_main_logits(model: Classifier, images: Tensor) -> Any:
    """The model's output for images; if that has more than logits in evaluation mode, the model is changed."""
    output = model(images)
    if isinstance(output, Tensor) or not isinstance(main_logits(output), Tensor):
        return output
    model.network = MainLogits(model.network)
    return model(images)


def _choose_layout(model: Classifier, images: Tensor) -> None:
    """Put a model that works in torch's default layout into channels_last if it works in that too.

    One that takes an image apart with `view` does not. Every build chooses alike, because it depends only on the code.
    """
    try:
        with torch.no_grad():
            model.to(memory_format=torch.channels_last)(images.clone(memory_format=torch.channels_last))
    except (Exception, SystemExit):
        model.to(memory_format=torch.contiguous_format)
        model.normalise.default_layout = True


def copy_model(model: Network) -> Network:
    """A copy with its own tensors. deepcopy alone would turn a script module's parameters into computed tensors."""
    with torch.no_grad():
        copied = copy.deepcopy(model)
    for weight, original in zip(copied.parameters(), model.parameters(), strict=True):
        weight.requires_grad_(original.requires_grad)
    return copied


def main_logits(output: Any) -> Any:
    """The output that a classifier is trained on: with auxiliary heads, the one named `logits`."""
    if isinstance(output, Mapping):
        return output.get("logits", output)
    return getattr(output, "logits", output)


def name_sources(data: Dataset) -> str:
    """The flags that say for which classes and pictures a model is, and for which ones it has to be."""
    shape = f"{plural(len(data.classes), 'class', 'classes')}, pictures of {join_sides(data.image_shape)}"
    if data.name == "recorded":  # with their labels, by the loop: no flag changes that
        return f"--model and --model-args (needed: {shape})"
    place = f" --data {format_name(data.location)}" if data.location else ""
    return f"--model and --model-args, and --dataset {format_name(data.name)}{place} ({shape})"


def check_logits(name: str, logits: object, shape: tuple[int, int], sources: str, when: str = "") -> None:
    """Raise InputError unless `logits` are finite, float32 and of `shape` (images, classes).

    `sources` are what to check if the numbers of outputs and classes differ.
    """
    requirement = f"it must return one float32 logit for each of {shape[1]} classes"
    if not isinstance(logits, Tensor):
        raise InputError(
            f"model {name} returns {_describe_type(logits)}{when}; {requirement}; wrap it in a module that "
            "returns only these (in training, auxiliary outputs may come too, in a named tuple or dict whose `logits` "
            "are the main ones)"
        )
    if logits.ndim == 2 and len(logits) == shape[0] and logits.shape[1] != shape[1]:
        raise InputError(
            f"model {name} returns {plural(logits.shape[1], 'logit')} per image{when}, and the data set has "
            f"{plural(shape[1], 'class', 'classes')}; check {sources}"
        )
    if logits.shape != shape:
        raise InputError(f"model {name} returns {tuple(logits.shape)} for {shape[0]} images{when}; {requirement}")
    if logits.dtype != torch.float32:
        raise InputError(f"model {name} returns {str(logits.dtype).removeprefix('torch.')}{when}; {requirement}")
    if not logits.isfinite().all():
        raise InputError(f"model {name} returns logits that are not finite before any training; check its weights")


def check_scale(name: str, logits: Tensor) -> None:
    """Raise InputError on probabilities instead of logits; say so of log-probabilities, which are valid logits."""
    if _sum_to_one(logits) and logits.min() >= 0:
        raise InputError(
            f"model {name} returns probabilities (each row sums to 1), but the loss takes logits; remove its softmax"
        )
    if _sum_to_one(logits.exp()):
        say(f"model {name} returns log-probabilities; they are trained and explained in place of logits")


def _sum_to_one(values: Tensor) -> bool:
    return bool((values.sum(1) - 1).abs().max() < SUM_TOLERANCE)


def _describe_type(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
