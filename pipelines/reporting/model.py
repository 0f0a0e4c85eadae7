"""Section 1: the model, its data, and how it was trained."""

import re

import torch
from torch import nn

from pipelines.common.settings import TrainSettings
from pipelines.data.datasets import Dataset
from pipelines.lifecycle.run_inputs import checkpoint_file
from pipelines.models.networks import build_model
from pipelines.reporting.evidence import Answer, Said, said, spoken
from pipelines.reporting.html import NOTHING, Html, html, joined, listing, table
from pipelines.reporting.subject import Subject
from pipelines.reporting.words import capital, number, plural, series
from tracking import commits
from tracking.errors import InputError
from tracking.files import read_json

ROWS = 24  # layers listed at the most
CLASSES = 12  # classes listed at the most
NAMES = {"val": "validation", "train": "training"}
ORDER = {"train": 0, "val": 1, "test": 2}


def model(subject: Subject) -> Html:
    """The layers and the number of weights."""
    if subject.settings is None:
        return spoken([Said("This is a training log made elsewhere and imported: it tells nothing of the model.")])
    name, loaded = subject.settings.model, subject.pictures.data
    made = None if loaded is None else _built(subject.settings, loaded)
    if loaded is None or made is None:
        return spoken([Said(f"Model {name}, whose layers cannot be listed here, as its code or the data is missing.")])
    layers = _layers(made, loaded.splits["train"].images[:1].float() / 255)
    weights = sum(weight.numel() for weight in made.parameters())
    shape = " x ".join(map(str, loaded.image_shape))
    sentence = Said(f"Model {name}: {plural(weights, 'weight')} in {plural(len(layers), 'layer')}, for images of "
                    f"{shape} (channels, height, width).")  # fmt: skip
    shown = f", the first {ROWS} of {len(layers)}" if len(layers) > ROWS else ""
    heads = ("layer", "what it is", "gives", "weights")
    return joined([spoken([sentence]), table(f"Layers with weights{shown}", heads, layers[:ROWS], names=2)])


def _built(settings: TrainSettings, loaded: Dataset) -> nn.Module | None:
    """The untrained model; None if it cannot be built."""
    try:
        return build_model(settings.model, loaded, settings.seed).eval()
    except InputError:
        return None


def _layers(made: nn.Module, image: torch.Tensor) -> list[tuple[Html, str, str, str]]:
    """Name, kind, output shape and number of weights of every layer that has some."""
    shapes: dict[str, tuple[int, ...]] = {}
    owners = {name: part for name, part in made.named_modules() if list(part.parameters(recurse=False))}
    hooks = [
        part.register_forward_hook(lambda _, __, given, name=name: shapes.update({name: _shape(given)}))
        for name, part in owners.items()
        if not isinstance(part, torch.jit.ScriptModule)  # which takes no hooks
    ]
    with torch.no_grad():
        made(image)
    for hook in hooks:
        hook.remove()
    return [
        (html("<code>{}</code>", name), _described(part), " x ".join(map(str, shapes.get(name, ()))),
         number(sum(weight.numel() for weight in part.parameters(recurse=False))))
        for name, part in owners.items()
    ]  # fmt: skip


def _shape(given: object) -> tuple[int, ...]:
    return tuple(given.shape[1:]) if isinstance(given, torch.Tensor) else ()


def _described(part: nn.Module) -> str:
    """A layer's kind and its first settings."""
    settings = re.split(r", (?![^(]*\))", part.extra_repr())
    return f"{type(part).__name__}({', '.join(settings[:3])})"


def data(subject: Subject) -> Html:
    """Classes and the number of images by split."""
    found = subject.ask("dataset_overview")
    counts: dict[str, dict[str, int]] = {}
    for row in found.rows:
        counts.setdefault(row["split"], {})[row["class_name"] or "no label"] = row["n"]
    splits = sorted(counts, key=lambda split: ORDER.get(split, len(ORDER)))
    names = list(dict.fromkeys(row["class_name"] or "no label" for row in found.rows))
    rows = [(name, *(number(counts[split].get(name, 0)) for split in splits)) for name in names[:CLASSES]]
    shown = f", the first {CLASSES} of {len(names)} classes" if len(names) > CLASSES else ""
    caption = html("Images by class and split{}{}", shown, found.mark)
    sentences = said(data_sentence(subject.run.dataset or "without a name", len(subject.classes), counts), found)
    return joined([spoken(sentences), table(caption, ("class", *splits), rows)])


def data_sentence(dataset: str, classes: int, counts: dict[str, dict[str, int]]) -> str:
    parts = [f"{number(sum(own.values()))} {NAMES.get(split, split)}" for split, own in counts.items()]
    return f"Data {dataset}: {plural(classes, 'class', 'classes')}; images: {series(parts)}."


def training(subject: Subject) -> Html:
    """The settings, and what it ran on."""
    if subject.settings is None:
        return NOTHING
    times = subject.ask("metrics_by_epoch", key="seconds")
    sentences = said(training_sentence(subject.epoch, subject.settings.epochs, times), times)
    kept = ("optimizer", "lr", "batch", "weight_decay", "label_smoothing", "shift", "flip", "grow", "average", "seed",
            "precision", "device", "threads", "val_share", "size")  # fmt: skip
    known = subject.settings.params()
    facts = [html("{} <b>{}</b>", name.replace("_", " "), known[name]) for name in kept if known[name] is not None]
    return joined([spoken(sentences), html('<p class="facts">{}</p>', joined(facts, "; ")), listing(_made_by(subject))])


def training_sentence(epoch: int, planned: int, times: Answer) -> str:
    seconds = sum(row["value"] for row in times.rows)
    done = f"{plural(epoch, 'epoch')}" + (f" of {planned} planned" if epoch < planned else "")
    return f"Trained for {done}; training and evaluation took {duration(seconds)}."


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _made_by(subject: Subject) -> list[str]:
    """What the training ran on, and the weights' digest."""
    done = commits.read_commits(subject.home, subject.run.run_id)
    path = commits.committed_file(subject.home, done[0], "environment.json")
    known = read_json(path)
    versions = series([f"{name} {known['packages'][name]}" for name in ("torch", "mlflow", "duckdb")])
    last = commits.epoch_commits(subject.home, subject.run.run_id)[f"epoch_{subject.epoch:04d}"]
    digest = {file.path: file.sha256 for file in last.files}[f"checkpoints/epoch_{subject.epoch:04d}.safetensors"]
    return [
        f"{capital(str(known['processor']))}, {known['cores']} cores; {versions}.",
        f"Program: commit {known['git_commit'] or 'unknown'}.",
        f"Weights of epoch {subject.epoch}: {checkpoint_file(subject.home, last).name}, sha256 {digest[:16]}….",
    ]
