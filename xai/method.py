"""What every explanation method receives and returns."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MAX_PASS_SIZE = 128  # images per pass; larger batches are slower on a CPU and take more memory
_PASS_LIMIT: ContextVar[int] = ContextVar("images per pass that fit into memory", default=MAX_PASS_SIZE)
_PASS_TYPE: ContextVar[torch.dtype] = ContextVar("what passes compute in", default=torch.float32)


def pass_size() -> int:
    """Images per pass through the model, at most: MAX_PASS_SIZE, or fewer inside `limit_pass_size`."""
    return min(MAX_PASS_SIZE, _PASS_LIMIT.get())


@contextmanager
def limit_pass_size(images: int) -> Iterator[None]:
    """Passes inside take at most this many images, where a method uses `gradient.split_into_passes`."""
    token = _PASS_LIMIT.set(images)
    try:
        yield
    finally:
        _PASS_LIMIT.reset(token)


def pass_type() -> torch.dtype:
    """What passes through the model compute in: float32, or another type inside `compute_passes_in`."""
    return _PASS_TYPE.get()


@contextmanager
def compute_passes_in(dtype: torch.dtype) -> Iterator[None]:
    """Passes inside compute in this type, by torch.autocast, where a method uses `gradient` for them.

    What methods return stays float32, and its scores are those that float32 gives.
    """
    token = _PASS_TYPE.set(dtype)
    try:
        yield
    finally:
        _PASS_TYPE.reset(token)


class NotApplicable(ValueError):
    """The method would be wrong for this model or input; the message says why and what to do."""


@dataclass(frozen=True)
class Layer:
    """A layer with spatial output."""

    name: str  # as in named_modules
    channels_last: bool = False  # whether its output is [N, h, w, c] rather than [N, c, h, w]


@dataclass(frozen=True)
class Region:
    """A rectangle of an image, in its pixels; it may reach beyond the image's edges."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class MethodInputs:
    """What a method may use besides model, images and targets. Everything has a default."""

    ids: Tensor | None = None  # [N] instance IDs, which seed all randomness; default 0..N-1
    seed: int = 0
    background: Tensor | None = None  # [B, C, H, W] images to draw baselines from; default: one grey image
    samples: int | None = None  # passes per image, for sampling-based methods; default: by method
    layer: Layer | str | None = None  # for layer-based methods; a name is checked again; default: see choose_layer
    seen: Region | None = None  # what layers see of the image, as after a crop; default: all of it

    def generator(self, row: int) -> torch.Generator:
        """Random generator of one instance, the same in any batch."""
        instance = row if self.ids is None else int(self.ids[row])
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {instance}".encode()))

    def background_images(self, images: Tensor) -> Tensor:
        """The background images [B, C, H, W], with the type and device of `images`."""
        if self.background is None:
            return torch.full_like(images[:1], 0.5)
        return self.background.to(images)

    def baseline_image(self, images: Tensor) -> Tensor:
        """An uninformative image: the mean colour of the background, [C, H, W]."""
        background = self.background_images(images)
        return background.mean(dim=(0, 2, 3))[:, None, None].expand(background.shape[1:])


DEFAULTS = MethodInputs()  # every default


def enlarge_maps(maps: Tensor, size: tuple[int, int], seen: Region | None = None) -> Tensor:
    """A layer's maps [N, h, w] at the image's size, [N, H, W]: laid over what the layer sees of it, zero elsewhere."""
    seen = seen or Region(0, 0, *size)
    top, left = round(seen.top), round(seen.left)
    bottom, right = round(seen.top + seen.height), round(seen.left + seen.width)
    laid_out = nn.functional.interpolate(
        maps[:, None], (bottom - top, right - left), mode="bilinear", align_corners=False
    )
    margins = (left, size[1] - right, top, size[0] - bottom)  # negative where the layer sees beyond the edge
    return nn.functional.pad(laid_out, margins).squeeze(1) if any(margins) else laid_out.squeeze(1)


@dataclass(frozen=True)
class Attribution:
    """Maps of N images; scores are logits of the target class."""

    maps: Tensor  # [N, H, W]
    scores: Tensor  # [N]
    baseline_scores: Tensor | None = None  # [N]; None for methods without a baseline

    @classmethod
    def concatenate(cls, parts: Sequence["Attribution"]) -> "Attribution":
        """The maps of several batches, in order."""
        maps = torch.cat([part.maps for part in parts])
        scores = torch.cat([part.scores for part in parts])
        baselines = [part.baseline_scores for part in parts if part.baseline_scores is not None]
        return cls(maps, scores, torch.cat(baselines) if baselines else None)

    def replace_rows(self, rows: Tensor, others: "Attribution") -> "Attribution":
        """These maps with `others` in their place where `rows` [N] is true."""
        maps = self.maps.masked_scatter(rows[:, None, None], others.maps)
        scores = self.scores.masked_scatter(rows, others.scores)
        if self.baseline_scores is None or others.baseline_scores is None:
            return Attribution(maps, scores)
        return Attribution(maps, scores, self.baseline_scores.masked_scatter(rows, others.baseline_scores))

    def cpu(self) -> "Attribution":
        baselines = self.baseline_scores
        return Attribution(self.maps.cpu(), self.scores.cpu(), None if baselines is None else baselines.cpu())

    @property
    def completeness_gaps(self) -> Tensor | None:
        """Completeness gap [N]: sum of the map minus (score - baseline score), to which it should sum."""
        if self.baseline_scores is None:
            return None
        return self.maps.sum(dim=(1, 2)) - (self.scores - self.baseline_scores)


DEVELOPERS = "model developers"
DEVELOPERS_AND_USERS = "model developers and users; to be read with care by others"
LEAVES_PARTS_OUT = "Of parts that decide together, a map may leave one out."


@dataclass(frozen=True)
class Card:
    """What a technique is for: the six questions of Hohman et al. 2019, Visual Analytics in Deep Learning, TVCG."""

    name: str
    source: str  # full citation
    why: str
    who: str
    what: str
    how: str
    when: str
    where: str
    limits: str  # known failure modes
    use: str = ""  # what a map serves for, in a few words
    beware: str = ""  # the first thing to know of its limits, in a few words
    in_print: str = ""  # the name as papers write it, where that is another

    @property
    def printed(self) -> str:
        """The name in a figure."""
        return self.in_print or self.name


@dataclass(frozen=True)
class Method:
    """A method that makes a map per image; an entry of the registry."""

    name: str  # as --method names it
    attribute: Callable[[nn.Module, Tensor, Tensor, MethodInputs], Attribution]
    signed: bool  # whether maps show evidence for (positive) and against (negative) the target
    summary: str  # what a map shows, in one line
    cited: str  # short citation
    card: Card
    targets: tuple[str, ...] = ("predicted",)  # explained by default
    looks_at_a_layer: bool = False  # whether it uses MethodInputs.layer
    takes_samples: bool = False  # whether it uses MethodInputs.samples


@dataclass(frozen=True)
class ConceptMethod:
    """A method that explains the model as a whole, by directions in a layer instead of a map per image."""

    name: str
    summary: str
    cited: str
    card: Card


@dataclass(frozen=True)
class Reference:
    """Maps that do not depend on the model, which any explanation must beat."""

    name: str
    attribute: Callable[[nn.Module, Tensor, Tensor, MethodInputs], Attribution]
    signed: bool = False
