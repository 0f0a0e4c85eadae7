"""Training that begins from the weights of a run or a file: what is taken, what is known of epoch 0, and how fast."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipelines.cli import main
from pipelines.common.settings import ReportSettings, RerunSettings
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.lifecycle import origin as origins
from pipelines.lifecycle.origin import UNKNOWN, UNTRAINED, begins_untrained, read_origin
from pipelines.models.fresh import build_random_model
from pipelines.models.networks import build_model, build_tracked_model
from pipelines.models.preprocessing import Preprocessing, Resize
from pipelines.recording.record import record
from pipelines.reporting.report import report
from pipelines.rerunning import rerun
from pipelines.training import epoch as epochs
from pipelines.training import train as training
from pipelines.training.beginning import freeze_parameters
from pipelines.training.heads import find_head
from pipelines.training.optimizers import make_optimizers
from support.homes import TINY, copied, place_of, predictions, rows
from support.interruption import stopped_at_step
from support.recorded import CLASSES, make_net, make_sets
from tracking import commits
from tracking.catalogue import RunRecord, read_records, resolve
from tracking.errors import InputError
from tracking.files import sha256
from tracking.home import Home

SMALL = replace(TINY, dataset="own_code:three", size=None, batch=8, epochs=1)
PREDICTED = (
    "select split, instance_id, probabilities from full_predictions where run_id = ? and epoch = ? and split <> ?"
)


def seeded(num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """A factory whose network has the same weights for every seed."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(image_shape[0], 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, num_classes))


class Backwards(nn.Module):
    """Registers its head first, a layer of as many rows as classes last, and shares a weight with nobody."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.out = nn.utils.parametrizations.weight_norm(nn.Linear(5, classes))
        self.tokens = nn.Parameter(torch.rand(classes, 3))
        self.narrow = nn.Linear(classes, 5)
        self.first = nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(self.narrow(self.first(images.flatten(1))) + self.tokens.sum())


@pytest.fixture(autouse=True)
def own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own_code")
    module.seeded = seeded
    module.three = lambda: make_sets() | {"classes": CLASSES}
    module.backwards = lambda num_classes: Backwards(num_classes)
    monkeypatch.setitem(sys.modules, "own_code", module)


@pytest.fixture(scope="module")
def tuned(study: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The shared study, and a run of one epoch that begins from epoch 2 of its training."""
    home = copied(study.path.parent, tmp_path_factory.mktemp("tuned"))
    training.train(replace(TINY, from_="latest:2", epochs=1, lr=0.02, body_lr=0.002, name="tuned"), home)
    return home


@pytest.fixture(scope="module")
def source(tuned: Home) -> RunRecord:
    return next(record for record in read_records(tuned) if record.kind == "train")


def weights(home: Home, run_id: str, epoch: int) -> dict[str, torch.Tensor]:
    return load_file(home.run_folder(run_id) / f"checkpoints/epoch_{epoch:04d}.safetensors")


def digits(home: Home) -> Dataset:
    return load_dataset("digits", None, home, val_fraction=0.1, seed=0, size=8)


def run_names(home: Home) -> list[str]:
    return [record.name for record in read_records(home)]


def test_epoch_zero_is_the_epoch_that_it_begins_from(tuned: Home, source: RunRecord) -> None:
    run = resolve(tuned, "tuned")
    began, ended = rows(tuned, PREDICTED, run.run_id, 0, ""), rows(tuned, PREDICTED, source.run_id, 2, "train_seen")
    assert sorted(began) == sorted(ended)
    origin = read_origin(tuned, run)
    stored = place_of(tuned, source, "checkpoints/epoch_0002.safetensors")
    assert origin == origins.Origin("weights", None, source.run_id, 2, sha256(stored))
    assert run.params["from"] == f"{source.run_id}:2"
    assert run.params["model"] == "cnn"
    assert not begins_untrained(tuned, run)
    assert begins_untrained(tuned, source)
    assert rows(tuned, "select source_run_id from runs where name = 'tuned'") == [(None,)]  # it is not a child


def test_where_it_begins_is_told_wherever_epoch_zero_is(tuned: Home, source: RunRecord, capsys) -> None:
    words = f"epoch 2 of run {source.name}"
    home = ("--home", str(tuned.path))
    assert main(["ask", "runs", "--format", "json", *home]) == 0
    listed = {row["name"]: row["begins_from"] for row in json.loads(capsys.readouterr().out)}
    assert (listed["tuned"], listed[source.name]) == (words, None)
    assert main(["flow", "tuned", *home]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text()
    assert f"epoch 0 is the network before this training, which begins from {words}" in page
    assert '"is_trained": true' in page
    assert main(["flow", source.run_id, *home]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text()
    assert "epoch 0 is the network before training" in page
    assert '"is_trained": false' in page


def test_the_report_compares_with_the_network_before_this_training(tuned: Home, source: RunRecord, capsys) -> None:
    home = ("--home", str(tuned.path))
    assert main(["explain", "tuned", "--epochs", "all", "--count", "6", *home]) == 0
    assert main(["compare", "tuned", "--randomization-count", "2", "--shortcut-count", "0", *home]) == 0
    metrics = {metric for (metric,) in rows(tuned, "select distinct metric from attribution_scores")}
    assert "randomized/everything" in metrics
    assert not {"epoch_0", "epoch_0_signed"} & metrics  # its maps are not those of an untrained network
    text = " ".join(re.sub(r"<[^>]*>", "", Path(report(ReportSettings(run="tuned"), tuned)).read_text()).split())
    assert f"It begins from epoch 2 of run {source.name} ({source.run_id[:8]})." in text
    assert "--body-lr 0.002" in text
    assert "maps of the network before this training have a mean rank correlation" in text
    assert "the less of their coarse shape this training changed" in text
    assert "less from what was learned" not in text


def test_a_repeated_run_begins_from_the_same_weights_or_says_why_not(tuned: Home, tmp_path: Path, capsys) -> None:
    home = copied(tuned.path.parent, tmp_path)
    run = resolve(home, "tuned")
    repeated = rerun(RerunSettings("tuned", check=True), home)
    assert read_origin(home, resolve(home, repeated)) == read_origin(home, run)
    origin = read_origin(home, run)
    place_of(home, resolve(home, origin.source_run_id), "checkpoints/epoch_0002.safetensors").unlink()
    before = run_names(home)
    assert main(["rerun", "tuned", "--home", str(home.path)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"study: --from {origin.source_run_id}:2: ")
    assert "epoch_0002.safetensors is missing though it was committed" in line
    assert run_names(home) == before


def test_a_head_of_other_classes_is_new_and_the_body_is_taken(
    tuned: Home, source: RunRecord, tmp_path: Path, capsys
) -> None:
    home = copied(tuned.path.parent, tmp_path)
    run_id = training.train(replace(SMALL, from_="tuned"), home)
    said = capsys.readouterr().err
    assert (
        "44 of 46 weights are taken; head.logits.weight, head.logits.bias of other classes are drawn at random" in said
    )
    own, taken = weights(home, run_id, 0), weights(home, resolve(home, "tuned").run_id, 1)
    new = [name for name, value in own.items() if not torch.equal(value, taken[name])]
    assert new == ["network.head.logits.bias", "network.head.logits.weight"]  # normalised as the source is, too
    head = "network.head.logits.weight"  # of the same seed, its first rows would be those that the source began with
    assert not torch.equal(own[head], weights(home, source.run_id, 0)[head][: len(CLASSES)])
    origin = read_origin(home, resolve(home, run_id))
    assert sorted(origin.new_weights) == ["head.logits.bias", "head.logits.weight"]
    assert not origin.is_trained
    assert not begins_untrained(home, resolve(home, run_id))


def test_images_stay_as_small_as_the_source_saw_them_last(home: Home) -> None:
    first = training.train(replace(SMALL, progressive_resizing="yes"), home)
    run_id = training.train(replace(SMALL, from_=first), home)
    scales = [weights(home, run, epoch)["normalise.scale"].item() for run in (first, run_id) for epoch in (0, 1)]
    assert scales == [1, 0.75, 0.75, 0.75]
    began, ended = rows(home, PREDICTED, run_id, 0, ""), rows(home, PREDICTED, first, 1, "train_seen")
    assert sorted(began) == sorted(ended)


def test_held_out_images_that_the_source_was_trained_on_are_counted(tuned: Home, tmp_path: Path, capsys) -> None:
    home = copied(tuned.path.parent, tmp_path)
    training.train(replace(TINY, from_="tuned", seed=1, epochs=1), home)
    train = "select content from instances where run_id = ? and split = 'train'"
    held_out = "select content from instances where run_id = ? and split = 'val'"
    seen = {content for (content,) in rows(home, train, resolve(home, "tuned").run_id)}
    validated = rows(home, held_out, resolve(home, "latest").run_id)
    count = sum(content in seen for (content,) in validated)
    assert count > len(validated) / 2
    assert f"{count} of {len(validated)} val images are among those that run tuned was trained on" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--from", "nothing"), "--from nothing: no run 'nothing' in "),
        (("--from", "tuned:7"), "--from tuned:7: the run has no checkpoint of epoch 7; there are those of 0 to 1"),
        (("--from", "tuned:all"), "--from tuned:all: 'all' is not an epoch; give RUN or RUN:EPOCH"),
        (("--from", "tuned", "--weights", "net.pt"), "--from and --weights both say what training begins with"),
        (
            ("--from", "tuned", "--model", "own_code:seeded"),
            "does not fit the model: it lacks 0.bias",
        ),
        (("--from", "tuned", "--dataset", "planted"), "the network takes 1 channels and the images have 3"),
        (("--from", "tuned", "--model-args", '{"depth": 2}'), "unexpected keyword argument 'depth'"),
        (("--body-lr", "0.01", "--freeze", "features", "head.dense"), "--body-lr does nothing, as no parameter but"),
        (("--body-lr", "0.01", "--freeze", "body"), "--body-lr does nothing, as no parameter but"),
    ],
)
def test_what_does_not_fit_is_one_line_before_a_run_exists(tuned: Home, capsys, flags: tuple, message: str) -> None:
    before = run_names(tuned)
    size = () if "planted" in flags else ("--size", "8")
    assert main(["train", *size, "--epochs", "1", "--threads", "1", *flags, "--home", str(tuned.path)]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert run_names(tuned) == before


def test_a_run_that_begins_from_epoch_zero_of_an_untrained_one_is_untrained(
    tuned: Home, source: RunRecord, tmp_path: Path
) -> None:
    home = copied(tuned.path.parent, tmp_path)
    run_id = training.train(replace(SMALL, from_=f"{source.name}:0"), home)
    assert begins_untrained(home, resolve(home, run_id))


@pytest.mark.parametrize("optimizer", ["muon", "adam", "sgd"])
def test_a_stopped_fine_tuning_resumes_to_the_same_bits(tuned: Home, tmp_path: Path, optimizer: str) -> None:
    home = copied(tuned.path.parent, tmp_path)
    settings = replace(
        SMALL, from_="tuned", epochs=2, lr=0.01, body_lr=0.001, optimizer=optimizer, freeze=("features.0",)
    )
    whole = predictions(home, training.train(settings, home))
    with stopped_at_step(8):
        training.train(settings, home)
    stopped = resolve(home, "latest")
    assert len(commits.read_epochs(home, stopped.run_id)) == 2
    place_of(home, resolve(home, "tuned"), "checkpoints/epoch_0001.safetensors").unlink()  # needed no more
    training.resume(stopped, home)
    assert predictions(home, stopped.run_id) == whole


def test_a_changed_file_of_weights_is_noticed(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    data = load_dataset("own_code:three", None, home, val_fraction=0.1, seed=0, size=None)
    torch.save(build_model("cnn", data, 5).network.state_dict(), file)
    run_id = training.train(replace(SMALL, weights=str(file)), home)
    origin = read_origin(home, resolve(home, run_id))
    assert origin == origins.Origin("weights", str(file), weights_sha256=sha256(file))
    assert resolve(home, run_id).params["weights_sha256"] == sha256(file)
    rerun(RerunSettings(run_id, check=True), home)
    torch.save(build_model("cnn", data, 6).network.state_dict(), file)
    message = f"checkpoint net.pt has changed since the run began with it: its sha256 was {origin.weights_sha256[:12]}"
    with pytest.raises(InputError, match=message):
        rerun(RerunSettings(run_id), home)


def test_pretrained_weights_are_loaded_as_timm_loads_them(home: Home, tmp_path: Path, capsys) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(7)
    published = timm.create_model("test_resnet", num_classes=1000)
    torch.save(published.state_dict(), tmp_path / "published.pth")
    model_args = json.dumps({"pretrained_cfg_overlay": {"file": str(tmp_path / "published.pth")}})
    settings = replace(SMALL, model="timm:test_resnet", model_args=model_args, weights="pretrained",
                       body_lr=1e-4, freeze=("conv1",), transform="none", channels=3)  # fmt: skip
    run_id = training.train(settings, home)
    assert "weights are taken; fc.weight, fc.bias of other classes are drawn at random" in capsys.readouterr().err
    began, ended = weights(home, run_id, 0), weights(home, run_id, 1)
    for name, value in published.state_dict().items():
        assert torch.equal(began[f"network.{name}"], value) == (not name.startswith("fc.")), name
        if name in dict(published.conv1.named_parameters(prefix="conv1")):
            assert torch.equal(ended[f"network.{name}"], value)
    origin = read_origin(home, resolve(home, run_id))
    assert (origin.begins, origin.weights, origin.new_weights) == ("weights", "pretrained", ("fc.weight", "fc.bias"))
    assert len(origin.weights_sha256) == 64


def test_pretrained_weights_without_a_head_get_a_new_one(home: Home, tmp_path: Path, capsys) -> None:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_vit", num_classes=0, img_size=32).state_dict(), tmp_path / "body.pth")
    overlay = {"file": str(tmp_path / "body.pth"), "num_classes": 0}
    model_args = json.dumps({"img_size": 32, "pretrained_cfg_overlay": overlay})
    settings = replace(SMALL, model="timm:test_vit", model_args=model_args, weights="pretrained", batch=48)
    run_id = training.train(settings, home)
    assert "taken; head.weight, head.bias are not among them, and are drawn at random" in capsys.readouterr().err
    assert read_origin(home, resolve(home, run_id)).new_weights == ("head.weight", "head.bias")


def test_a_factory_with_weights_of_its_own_is_not_called_untrained(home: Home, capsys) -> None:
    run_id = training.train(replace(SMALL, model="own_code:seeded"), home)
    assert "has the same weights for every seed" in capsys.readouterr().err
    record = resolve(home, run_id)
    assert read_origin(home, record) == UNKNOWN
    assert not begins_untrained(home, record)
    settings = replace(TINY, model="own_code:seeded")
    built, random = build_tracked_model(settings, digits(home)), build_random_model(settings, digits(home), 1)
    for name in ("0.weight", "3.weight"):
        own, other = built.network.state_dict()[name], random.network.state_dict()[name]
        assert not torch.equal(own, other)
        assert torch.equal(own.flatten().sort().values, other.flatten().sort().values)


@pytest.mark.parametrize(("said", "begins"), [(None, "unknown"), (True, "untrained"), (False, "weights")])
def test_of_a_loop_of_ones_own_only_what_is_said_is_known(home: Home, said: bool | None, begins: str) -> None:
    run = record(make_net(), make_sets(), CLASSES, home=str(home.path), untrained=said)
    run.finish()
    recorded = resolve(home, "latest")
    assert recorded.params["begins"] == read_origin(home, recorded).begins == begins
    assert begins_untrained(home, recorded) == (said is True)


def test_a_random_model_of_a_factory_that_draws_is_what_it_draws(home: Home) -> None:
    data = digits(home)
    settings = replace(TINY, model="own_code:backwards")
    drawn = build_tracked_model(settings, data, seed=4).state_dict()
    assert all(
        torch.equal(value, drawn[name]) for name, value in build_random_model(settings, data, 4).state_dict().items()
    )


def test_what_runs_of_earlier_versions_say(tuned: Home, source: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, recorded, expected in (
        ("train", None, UNTRAINED),
        ("train", "pretrained", origins.Origin("weights", "pretrained")),
        ("record", None, UNTRAINED),
        ("import-checkpoints", None, UNKNOWN),
    ):
        config = {"command": command, "settings": {"weights": recorded}}
        monkeypatch.setattr(origins, "read_recorded_config", lambda *_, config=config: config)
        assert read_origin(tuned, source) == expected


HEAD_SIDE = 32  # pixels
HEADS = {
    "cnn": ["head.logits"],
    "own_code:backwards": ["out"],
    "torchvision:resnet18": ["fc"],
    "torchvision:squeezenet1_1": ["classifier.1"],
    "torchvision:mobilenet_v3_small": ["classifier.3"],
    "timm:test_resnet": ["fc"],
    "timm:test_vit": ["head"],
    "timm:test_convnext": ["head.fc"],
    "timm:test_efficientnet": ["classifier"],
}


@pytest.mark.parametrize("name", HEADS)
def test_the_head_is_the_layer_that_makes_the_logits(home: Home, name: str) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    data = digits(home)
    is_of_library = name.startswith(("timm:", "torchvision:"))
    larger = Preprocessing((Resize((HEAD_SIDE, HEAD_SIDE)),), channels=3)
    args = json.dumps({"img_size": HEAD_SIDE}) if "vit" in name else None
    model = build_model(name, data, 0, model_args=args, preprocessing=larger if is_of_library else Preprocessing())
    found = find_head(model, data.splits["train"].images[:2], 10, "--body-lr")
    expected = [
        weight
        for weight, _ in model.named_parameters()
        if any(weight.startswith(f"network.{layer}.") for layer in HEADS[name])
    ]
    assert sorted(found) == sorted(expected)
    assert expected


@pytest.mark.parametrize("name", ["cnn", "own_code:backwards"])
def test_a_frozen_body_is_all_but_the_layer_that_makes_the_logits(home: Home, name: str) -> None:
    data = digits(home)
    model = build_model(name, data, 0)
    freeze_parameters(replace(TINY, model=name, freeze=("body",)), model, data)
    trained = {weight for weight, value in model.named_parameters() if value.requires_grad}
    assert trained == find_head(model, data.splits["train"].images[:2], 10, "--body-lr")
    assert trained


@pytest.mark.parametrize("optimizer", ["muon", "adam", "sgd"])
def test_head_and_body_keep_their_learning_rates_over_the_schedule(
    home: Home, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    data = digits(home)
    model = build_model("cnn", data, 0)
    head = find_head(model, data.splits["train"].images[:2], 10, "--body-lr")
    made = make_optimizers(model, optimizer, 0.1, 0, 0.001, head)
    rate = {id(weight): group["lr"] for one in made for group in one.param_groups for weight in group["params"]}
    plain = make_optimizers(model, optimizer, 0.1, 0)
    usual = {id(weight): group["lr"] for one in plain for group in one.param_groups for weight in group["params"]}
    for name, weight in model.named_parameters():
        assert rate[id(weight)] == pytest.approx(usual[id(weight)] * (1 if name in head else 0.01)), name

    rates = []

    def note(model, recipe, learning_rate, *rest):
        logits = step(model, recipe, learning_rate, *rest)
        groups = [group["lr"] for one in recipe.optimizers for group in one.param_groups]
        rates.append([lr / learning_rate for lr in groups if learning_rate])
        return logits

    step = epochs._take_step
    monkeypatch.setattr(epochs, "_take_step", note)
    training.train(replace(TINY, optimizer=optimizer, lr=0.1, body_lr=0.001, epochs=1), home)
    fractions = {"muon": [0.01, 0.001, 0.1], "adam": [0.01, 1], "sgd": [0.01, 1]}[optimizer]
    assert all(one == pytest.approx(fractions) for one in rates if one)
    assert len(rates) > 3


def test_a_scale_is_part_of_the_preprocessing(home: Home) -> None:
    text = Preprocessing(scale=0.75).to_json()
    assert Preprocessing.from_json(text).scale == 0.75
    assert "scale" not in Preprocessing().to_json()
    model = build_model("cnn", digits(home), 0, preprocessing=Preprocessing(scale=0.75))
    assert model.normalise.scale == 0.75
    model.normalise.shrink(0.5)
    assert model.normalise.scale == 0.375
