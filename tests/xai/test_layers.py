"""Layers that methods may look at: their axes are tried out, their cuts checked, and what cannot be right refused."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from xai import METHODS, MethodInputs, NotApplicable, grad_cam
from xai.cut import choose_layer, cut_model, last_layer, spatial_layers
from xai.gradient import check_deterministic
from xai.method import Layer
from xai.spatial_axes import observe_layers


def pictures(count: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def built(factory, **ways) -> nn.Module:
    torch.manual_seed(0)
    return factory(num_classes=3, **ways).eval()


DENSE = partial(models.DenseNet, growth_rate=4, block_config=(2, 2), num_init_features=8)
SWIN = partial(models.SwinTransformer, patch_size=[4, 4], embed_dim=8, depths=[1, 1], num_heads=[1, 2],
               window_size=[4, 4])  # fmt: skip


class Last(nn.Module):
    """Channels last, as in Swin: [N, h, w, c] from the first layer on, with as many channels as rows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.mix, self.act = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 8), nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        found = self.act(self.mix(self.patches(images).permute(0, 2, 3, 1)))
        return self.head(found.mean((1, 2)))


class Net(nn.Module):
    """A small network, to be varied: two blocks of which neither is odd, the second without a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Hardswish())
        self.spare, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 3)
        self.blocks = nn.ModuleList([self.early, self.late])
        self.register_buffer("count", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.late(self.early(images)).mean((2, 3)))


@pytest.mark.parametrize(("factory", "side", "cam", "ice"), [
    (models.resnet18, 64, "layer4", "layer4"),
    (DENSE, 32, "features", "features.transition1.relu"),
    (models.mobilenet_v3_small, 64, "features", "features.2.block.1"),
    (models.squeezenet1_1, 64, "classifier.2", "classifier.2"),
    (SWIN, 32, "permute", None),
])  # fmt: skip
def test_the_default_is_the_last_layer_with_spatial_output(factory, side: int, cam: str, ice: str | None) -> None:
    model, images = built(factory), pictures(side=side)
    assert last_layer(model, images) == cam
    if ice:
        assert last_layer(model, images, non_negative=True) == ice
    else:
        with pytest.raises(NotApplicable, match="every layer with spatial output has negative activations"):
            last_layer(model, images, non_negative=True)


def test_channels_may_come_last() -> None:
    model, images = Last(), pictures()
    assert choose_layer(model, images) == Layer("act", channels_last=True)
    assert choose_layer(model, images, "patches") == Layer("patches")
    model.double()
    maps = grad_cam.attribute(model, images.double(), torch.tensor([0, 1])).maps
    found = model.act(model.mix(model.patches(images.double()).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
    cam = torch.einsum("nchw,nc->nhw", found, model.head.weight[:2]).relu() / 64  # mean over 64 positions
    assert torch.allclose(maps, nn.functional.interpolate(cam[:, None], (32, 32), mode="bilinear").squeeze(1))
    parts = cut_model(model, Layer("act", channels_last=True))
    assert torch.allclose(parts.body(images.double()), found)
    assert torch.allclose(parts.head(found), model(images.double()))


class OwnSequence(nn.Sequential):
    """A sequence of its own making, whose steps are not known to be all that it does."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)


def test_axes_are_known_where_a_model_takes_one_size_alone() -> None:
    torch.manual_seed(0)
    fixed = nn.Upsample(size=(24, 24), mode="bilinear")  # larger images have no more positions
    for body, expected in ((Last(), True), (Net(), False)):
        seen = observe_layers(OwnSequence(fixed, body), pictures())
        assert seen["1.act" if expected else "1.late"].channels_last is expected
    assert not seen["1.late"].grows
    flat_images = torch.rand(2, 3, 9, 32, generator=torch.Generator().manual_seed(1))  # nine rows make three bands
    assert observe_layers(OwnSequence(fixed, Net()), flat_images)["1.late"].channels_last is False
    folded = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3 * 49), nn.Unflatten(1, (3, 7, 7)))
    assert observe_layers(folded, pictures())["2"].channels_last is None  # axes that are not spatial
    with pytest.raises(NotApplicable, match=r"layer '2' returns \[2, 3, 7, 7\], of which no two axes are the image's"):
        choose_layer(nn.Sequential(*folded, nn.Flatten(), nn.Linear(147, 3)), pictures(), "2")


def test_steps_that_learn_nothing_hide_neither_sizes_nor_edges() -> None:
    class Middle(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, :, 12:20, 12:20]  # the outer bands of the image are cut off

    for body, name, expected in ((Last(), "1.act", True), (Net(), "1.late", False)):
        seen = observe_layers(nn.Sequential(Middle(), body), pictures())[name]
        assert seen.channels_last is expected
        assert seen.grows


def test_tokens_are_refused() -> None:
    model = built(models.VisionTransformer, image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8,
                  mlp_dim=8)  # fmt: skip
    with pytest.raises(
        NotApplicable, match=r"after its last feature maps, layer 'conv_proj', the model continues with \[2, 17, 8\]"
    ):
        last_layer(model, pictures())


class Odd(nn.Sequential):
    """One layer of each kind that is no good."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.normalise, self.body, self.lstm = nn.BatchNorm2d(3, affine=False), Net(), nn.LSTM(8, 3)
        self.twice, self.pool, self.flat = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()

    def forward(self, images: Tensor) -> Tensor:
        found = self.twice(self.twice(self.body.late(self.body.early(self.normalise(images)))))
        return self.lstm(self.flat(self.pool(found)))[0]


@pytest.mark.parametrize(("layer", "reason"), [
    ("", "the model has no layer ''; there are: normalise, body"),
    ("nonsense", "the model has no layer 'nonsense'"),
    ("normalise", "layer 'normalise' comes before the first layer with parameters"),
    ("body", "the model never calls layer 'body'"),
    ("body.spare", "the model never calls layer 'body.spare'"),
    ("body.blocks", "the model never calls layer 'body.blocks'"),
    ("lstm", "layer 'lstm' returns more than one tensor"),
    ("flat", r"layer 'flat' returns \[2, 8\]; it must return \[N, channels, height, width\]"),
    ("twice", "uses layer 'twice' 2 times"),
    ("pool", "layer 'pool' has a single position, so its map would be constant; layers with spatial output: body"),
])  # fmt: skip
def test_layers_that_are_no_good_are_refused_by_name(layer: str, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason) as refused:
        grad_cam.attribute(Odd(), pictures(), torch.tensor([0, 1]), MethodInputs(layer=layer))
    assert "\n" not in str(refused.value)


class Pooled(nn.Module):
    """Channels last down to one position: [N, 1, 1, 8] is not a row of eight positions."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.pool, self.head = Last(), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 3)
        self.norm = nn.LayerNorm(8)

    def forward(self, images: Tensor) -> Tensor:
        found = self.norm(self.pool(self.body.patches(images)).permute(0, 2, 3, 1))
        return self.head(found.flatten(1))


def test_a_vector_on_the_last_axis_is_not_a_row_of_positions() -> None:
    with pytest.raises(NotApplicable, match="layer 'norm' has a single position"):
        choose_layer(Pooled(), pictures(), "norm")
    assert last_layer(Pooled(), pictures()) == "body.patches"


class Optional(Net):
    """Explained as something else where its option counts as given."""

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        found = self.late(self.early(images))
        return self.fc((found if mask is None else found * mask * 5).mean((2, 3)))


class Scaled(Net):
    """Data in the forward that a cut cannot see: a figure taken from the images by way of numpy."""

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.late(self.early(images)).mean((2, 3))) * self.scale(images)

    def scale(self, images: Tensor) -> float:
        return 1.0 if isinstance(images, torch.fx.Proxy) else 3.0


class InPlace(Net):
    def forward(self, images: Tensor) -> Tensor:
        found = self.early(images)
        part = found[:, :4]
        part.mul_(3)
        return self.fc(self.late(found).mean((2, 3)))


def test_a_cut_model_computes_the_same_or_is_refused() -> None:
    images = pictures()
    for model in (Optional(), InPlace()):
        before = copy.deepcopy(model.state_dict())
        for layer in ("early", "late"):
            parts = cut_model(model, layer)
            assert torch.equal(parts.head(parts.body(images)), model(images))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(NotApplicable, match="cut at layer 'late', the model computes other logits"):
        choose_layer(Scaled(), images, "late")
    with pytest.raises(
        NotApplicable, match=r"cannot be cut at any of its layers with spatial output \(early.0, .*; cut at layer"
    ):
        grad_cam.attribute(Scaled(), images, torch.tensor([0, 1]))


class Around(Net):
    """The last layer is gone around, the one before it is not."""

    def forward(self, images: Tensor) -> Tensor:
        found = self.early(images)
        return self.fc((self.late(found) + found).mean((2, 3)))


def test_the_default_falls_back_to_the_last_layer_that_can_be_cut() -> None:
    assert last_layer(Around(), pictures()) == "early"


class Random(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(images, 0.5, training=True))


class Counting(Net):
    def forward(self, images: Tensor) -> Tensor:
        self.count += 1
        return super().forward(images) + self.count


class Together(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0))


@pytest.mark.parametrize(("model", "reason"), [
    (Random(), "evaluated twice on the same images"),
    (Counting(), "the model changes count when it predicts"),
    (Together(), "evaluated on one image alone"),
])  # fmt: skip
def test_models_whose_logits_depend_on_more_than_the_image_are_refused(model: nn.Module, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        check_deterministic(model, pictures())
    assert model.count == 0
    check_deterministic(Net(), pictures())


class Frozen(Net):
    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            found = self.late(self.early(images))
        return self.fc(found.mean((2, 3)))


class Detached(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.detach())


class Whole(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images * 255).to(torch.uint8).float() / 255)


class Picked(Net):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot(super().forward(images).argmax(1), 3).float()


class Numpy(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(torch.from_numpy(images.numpy() * 2))


@pytest.mark.parametrize("method", ["saliency", "smooth_grad", "integrated_gradients", "expected_gradients"])
@pytest.mark.parametrize("model", [Frozen(), Detached(), Whole(), Picked(), Numpy()])
def test_methods_that_need_a_gradient_say_where_there_is_none(method: str, model: nn.Module) -> None:
    reason = r"(no gradient reaches the image|cannot be differentiated \(Can't call numpy)"
    with pytest.raises(NotApplicable, match=f"{reason}.*methods that need none: occlusion, shap"):
        METHODS[method].attribute(model, pictures(), torch.tensor([0, 1]), MethodInputs(samples=2))


def test_methods_without_a_gradient_need_none() -> None:
    for method in ("occlusion", "shap"):
        assert (
            METHODS[method].attribute(Detached(), pictures(1, 8), torch.tensor([0]), MethodInputs(samples=8)).maps.any()
        )
    with pytest.raises(NotApplicable, match="no gradient reaches layer 'late'"):
        grad_cam.attribute(Picked(), pictures(), torch.tensor([0, 1]), MethodInputs(layer=Layer("late")))


def test_looking_leaves_no_trace() -> None:
    model = Net().train()
    before = copy.deepcopy(model.state_dict())
    spatial_layers(observe_layers(model, pictures()))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(not module._forward_hooks for module in model.modules())


class Mixing(nn.Module):
    """As MaxViT: images of one size alone, windows as rows of the batch, then all positions mixed, then pooling."""

    def __init__(self, pooled: bool = True) -> None:
        super().__init__()
        self.stem, self.windows, self.mix = nn.Conv2d(3, 8, 2, stride=2), nn.Conv2d(8, 8, 1), Mixed()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1) if pooled else nn.Identity(), nn.LazyLinear(3)

    def forward(self, images: Tensor) -> Tensor:
        found = self.stem(images)
        windows = self.windows(torch.cat(found.split(found.shape[2] // 2, 2)))
        return self.head(self.pool(self.mix(torch.cat(windows.chunk(2), 2))).flatten(1))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Linear(64, 64)

    def forward(self, found: Tensor) -> Tensor:
        return self.positions(found.flatten(2)).view_as(found).tanh()


def test_the_input_of_pooling_is_spatial_though_each_sees_all_of_the_image() -> None:
    torch.manual_seed(0)
    images, model, flat = pictures(2, 16), Mixing(), Mixing(pooled=False)
    assert model(images).shape == flat(images).shape == (2, 3)
    assert last_layer(model, images) == "mix"
    assert observe_layers(model, images)["windows"].spatial_shape == ()
    assert observe_layers(flat, images)["mix"].spatial_shape == ()
