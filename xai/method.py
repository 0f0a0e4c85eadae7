"""What every explanation method is given and what it gives back."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MAX_PASS_SIZE = 128  # images a pass at the most; larger batches are slower on a processor and take more memory
_FITTING: ContextVar[int] = ContextVar("images a pass that fit into memory", default=MAX_PASS_SIZE)


def pass_size() -> int:
    """Images that a pass through the model holds at the most: PASS, or less inside `fitting`."""
    return min(MAX_PASS_SIZE, _FITTING.get())


@contextmanager
def limit_pass_size(images: int) -> Iterator[None]:
    """Passes inside hold no more than so many images. Methods take theirs from `gradient.passes`, or batch by batch."""
    token = _FITTING.set(images)
    try:
        yield
    finally:
        _FITTING.reset(token)


class NotApplicable(ValueError):
    """The method cannot be right for this model or input; the message says why and what to do."""


@dataclass(frozen=True)
class Layer:
    """A layer with places."""

    name: str  # as in named_modules
    channels_last: bool = False  # whether its output is [N, h, w, c] rather than [N, c, h, w]


@dataclass(frozen=True)
class MethodInputs:
    """What a method may use beside model, images and targets. Everything has a default."""

    ids: Tensor | None = None  # [N] instance IDs, from which all randomness derives; default 0..N-1
    seed: int = 0
    background: Tensor | None = None  # [B, C, H, W] images to draw baselines from; default one grey image
    samples: int | None = None  # passes an image of the methods that sample; default by method
    layer: Layer | str | None = None  # for methods that look at one; a name is judged anew; default see choose_layer

    def generator(self, row: int) -> torch.Generator:
        """Randomness of one instance, the same in whatever batch it comes."""
        instance = row if self.ids is None else int(self.ids[row])
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {instance}".encode()))

    def background_images(self, images: Tensor) -> Tensor:
        """The background images [B, C, H, W], where `images` are."""
        if self.background is None:
            return torch.full_like(images[:1], 0.5)
        return self.background.to(images)

    def baseline_image(self, images: Tensor) -> Tensor:
        """One image that says nothing: the background's mean colour, [C, H, W]."""
        background = self.background_images(images)
        return background.mean(dim=(0, 2, 3))[:, None, None].expand(background.shape[1:])


DEFAULTS = MethodInputs()  # every default


@dataclass(frozen=True)
class Attribution:
    """Maps of N images; scores are logits of the target class."""

    maps: Tensor  # [N, H, W]
    scores: Tensor  # [N]
    baseline_scores: Tensor | None = None  # [N]; None for methods without a baseline

    @classmethod
    def concatenate(cls, parts: Sequence["Attribution"]) -> "Attribution":
        """The maps of several batches, one after the other."""
        maps, scores = torch.cat([part.maps for part in parts]), torch.cat([part.scores for part in parts])
        baselines = [part.baseline_scores for part in parts if part.baseline_scores is not None]
        return cls(maps, scores, torch.cat(baselines) if baselines else None)

    def replace_rows(self, rows: Tensor, others: "Attribution") -> "Attribution":
        """These maps with `others` at `rows`, [N], true where replaced."""
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
        """Completeness gap [N]: sum of the map minus what it should be, score - baseline score."""
        if self.baseline_scores is None:
            return None
        return self.maps.sum(dim=(1, 2)) - (self.scores - self.baseline_scores)


DEVELOPERS = "model developers"
DEVELOPERS_AND_USERS = "model developers and users; to be read with care by others"


@dataclass(frozen=True)
class Card:
    """What a technique is for, by the six questions of Hohman et al. 2019, Visual Analytics in Deep Learning, TVCG."""

    name: str
    source: str  # in full
    why: str
    who: str
    what: str
    how: str
    when: str
    where: str
    limits: str  # what is known to go wrong


@dataclass(frozen=True)
class Method:
    """A method that makes a map of every image; an entry of the registry."""

    name: str  # as --method names it
    attribute: Callable[[nn.Module, Tensor, Tensor, MethodInputs], Attribution]
    signed: bool  # whether maps speak for (positive) and against (negative) the target
    summary: str  # what a map says, in a line
    cited: str  # its source, in short
    card: Card
    targets: tuple[str, ...] = ("predicted",)  # explained by default
    looks_at_a_layer: bool = False  # whether it uses MethodInputs.layer
    takes_samples: bool = False  # whether it uses MethodInputs.samples


@dataclass(frozen=True)
class ConceptMethod:
    """A method that explains the model as a whole, by directions of a layer instead of a map per image."""

    name: str
    summary: str
    cited: str
    card: Card


@dataclass(frozen=True)
class Reference:
    """Maps that know nothing of the model, which any explanation must beat."""

    name: str
    attribute: Callable[[nn.Module, Tensor, Tensor, MethodInputs], Attribution]
    signed: bool = False
