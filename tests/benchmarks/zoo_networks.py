"""Networks as users write them: each a factory of `--model zoo_networks:NAME`, on images of three channels."""

from collections import namedtuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Auxiliary = namedtuple("Auxiliary", "logits aux_logits")


def body(width: int = 16, norm=nn.BatchNorm2d) -> nn.Sequential:
    """Images [N, 3, H, W] to maps [N, width, H / 4, W / 4]."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2, 1), norm(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), norm(width), nn.ReLU()
    )


class Pooled(nn.Module):
    """Maps, their mean over all places, and a dense layer; `change` may do anything to the logits."""

    def __init__(self, classes: int, change=lambda net, logits: logits, maps: nn.Module | None = None) -> None:
        super().__init__()
        self.maps, self.head, self.change = maps or body(), nn.Linear(16, classes), change

    def forward(self, images: Tensor) -> Tensor:
        return self.change(self, self.head(self.maps(images).mean((2, 3))))


class Functional(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.LazyLinear(classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.two(F.relu(self.one(images)))), 4)
        return self.head(maps.view(-1, self.places(maps)))

    def places(self, maps: Tensor) -> int:
        return maps.shape[1:].numel()


class ReusedInPlace(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.ReLU(inplace=True)
        self.head = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.relu(self.two(self.relu(self.one(images)))).mean((2, 3)))


class Recurrent(nn.Module):
    """Reads an image row by row."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        self.rows, self.head = nn.LSTM(3 * side, 32, batch_first=True), nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.rows(images.permute(0, 2, 1, 3).flatten(2))[0][:, -1])


class Tokens(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.mixer = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)
        self.head = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.mixer(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


class Mixer(nn.Module):
    """Channels last, as in an MLP-Mixer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.patches, self.norm, self.mix = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32), nn.Linear(32, 32)
        self.head = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).permute(0, 2, 3, 1)
        return self.head(F.gelu(self.mix(self.norm(tokens))).mean((1, 2)))


class Branching(Pooled):
    def forward(self, images: Tensor) -> Tensor:
        maps = self.maps(images)
        for _ in range(2 if maps.shape[2] > 4 else 1):
            maps = maps + 0.1 * maps.tanh() if maps.ndim == 4 else maps
        return self.head(maps.mean((2, 3)))


class Withheld(Pooled):
    """A body that learns nothing, as a feature extractor under no_grad."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            maps = self.maps(images)
        return self.head(maps.mean((2, 3)))


class Stateful(Pooled):
    def get_extra_state(self) -> dict:
        return {"seen": 0}

    def set_extra_state(self, state: dict) -> None:
        pass


class Spare(Pooled):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.unused = nn.Conv2d(16, 16, 3)


class Tied(Pooled):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.again = self.maps[3]


def flattened(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return nn.Sequential(body(), nn.Flatten(), nn.Linear(image_shape[1] * image_shape[2], num_classes))


def frozen(num_classes: int) -> nn.Module:
    network = Pooled(num_classes)
    network.maps.requires_grad_(False)
    return network


def depthwise(num_classes: int) -> nn.Module:
    layers = [nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, groups=16), nn.ReLU6(), nn.Conv2d(16, 16, 1), nn.Hardswish()]
    return Pooled(num_classes, maps=nn.Sequential(*layers))


def recurrent(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    return Recurrent(num_classes, image_shape[2])


def script(num_classes: int) -> nn.Module:
    return torch.jit.script(nn.Sequential(body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes)))


OWN = {
    "functional": Functional,
    "reused_in_place": ReusedInPlace,
    "flattened": flattened,
    "group_norm": lambda k: Pooled(k, maps=body(norm=lambda width: nn.GroupNorm(4, width))),
    "instance_norm": lambda k: Pooled(k, maps=body(norm=nn.InstanceNorm2d)),
    "recurrent": recurrent,
    "tokens": Tokens,
    "mixer": Mixer,
    "depthwise": depthwise,
    "branching": Branching,
    "softmax": lambda k: Pooled(k, lambda net, logits: logits.softmax(1)),
    "log_softmax": lambda k: Pooled(k, lambda net, logits: logits.log_softmax(1)),
    "spare": Spare,
    "tied": Tied,
    "frozen": frozen,
    "withheld": Withheld,
    "dictionary": lambda k: Pooled(k, lambda net, logits: {"logits": logits}),
    "auxiliary": lambda k: Pooled(k, lambda net, logits: Auxiliary(logits, logits) if net.training else logits),
    "extra_state": Stateful,
    "script": script,
    "dropout_left_on": lambda k: Pooled(k, lambda net, logits: F.dropout(logits, 0.5, training=True)),
    "dropout": lambda k: Pooled(k, lambda net, logits: F.dropout(logits, 0.1, training=net.training)),
}


def __getattr__(name: str):
    """A factory for each name in OWN."""
    if name not in OWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if OWN[name] in (flattened, recurrent):
        return OWN[name]
    return lambda num_classes: OWN[name](num_classes)
