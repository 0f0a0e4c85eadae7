"""What a training begins with: random weights, or those of a file or a run; and which of them stay as they are."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipelines.common.settings import AUTO, TrackedSettings, TrainSettings
from pipelines.common.terminal import say
from pipelines.common.user_code import errors_reported
from pipelines.data.datasets import Dataset
from pipelines.data.names import format_names
from pipelines.data.raw import CONTENT_DIGITS, Split
from pipelines.lifecycle.origin import UNKNOWN, UNTRAINED, Origin, describe_origin, read_origin
from pipelines.lifecycle.run_inputs import checkpoint_file, read_recorded_config, read_recorded_settings
from pipelines.lifecycle.selection import choose_epochs
from pipelines.lifecycle.verification import verify_checkpoints
from pipelines.models.fresh import weights_follow_seed
from pipelines.models.libraries import fetch_pretrained, read_model_args
from pipelines.models.networks import Classifier, build_tracked_model
from pipelines.models.preprocessing import Preprocessing, read_preprocessing
from pipelines.models.randomness import head_seed
from pipelines.models.weight_files import describe_file, digest_weights, fit_weights, list_keys, read_weights
from pipelines.training.heads import find_head
from tracking import catalogue, commits
from tracking.catalogue import RunRecord
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.files import sha256
from tracking.home import Home
from tracking.reading import connect

BODY = "body"  # all layers of a network but its head
NETWORK = "network."  # before the names of a network's weights in a checkpoint
SOURCE_CLASSES = "select name from classes where run_id = ? order by class_id"
SEEN_BEFORE = "select distinct content from instances where run_id = ? and split = 'train' and content is not null"


@dataclass(frozen=True)
class Source:
    """An epoch of another run, whose network training begins with."""

    record: RunRecord
    commit: EpochCommit
    settings: TrackedSettings  # of that run
    begins: str  # as in `Origin`: what is known of the network at that epoch
    weights: Mapping[str, Tensor]  # of the whole classifier

    @property
    def origin(self) -> Origin:
        [digest] = [file.sha256 for file in self.commit.files if file.path.startswith("checkpoints/")]
        return Origin(self.begins, None, self.record.run_id, self.commit.epoch, digest)

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network got of a picture, even if it is trained on other data now."""
        return read_preprocessing(self.settings.transform, self.weights)


def find_source(settings: TrainSettings, home: Home) -> Source | None:
    """The epoch that --from names. Raises InputError if there is none, or its checkpoint is missing."""
    if settings.from_ is None:
        return None
    if settings.weights is not None:
        raise InputError("--from and --weights both say what training begins with; give one")
    try:
        return open_source(home, settings.from_, "last")
    except InputError as error:
        raise InputError(f"--from {settings.from_}: {error}") from None


def open_source(home: Home, reference: str, default_epoch: str) -> Source:
    """The epoch that RUN or RUN:EPOCH means. Raises InputError if there is none, or its checkpoint is missing."""
    run, wanted = catalogue.split_epoch(home, reference)
    epoch = default_epoch if wanted is None else wanted
    if not re.fullmatch(r"last|best|\d+", epoch):
        raise InputError(f"{epoch!r} is not an epoch; give RUN or RUN:EPOCH, with a number, last or best")
    record = catalogue.resolve(home, run, catalogue.WITH_CHECKPOINTS)
    stored = commits.stored_epochs(home, record.run_id)
    [chosen] = choose_epochs(epoch, stored)
    commit = next(one for one in stored if one.epoch == chosen)
    weights = load_file(checkpoint_file(home, commit))
    begins = "weights" if chosen else read_origin(home, record).begins
    return Source(record, commit, read_recorded_settings(home, record, TrackedSettings), begins, weights)


def resolve_source(settings: TrainSettings, source: Source | None) -> TrainSettings:
    """The settings with the model, its arguments and its preprocessing as they are in the source, unless given."""
    if source is None:
        return settings
    resolved = replace(settings, from_=f"{source.record.run_id}:{source.commit.epoch}")
    if settings.model == AUTO:
        model_args = settings.model_args or _drop_class_count(source.settings.model_args)
        resolved = replace(resolved, model=source.settings.model, model_args=model_args)
    if settings.transform is None:
        resolved = replace(resolved, transform=source.preprocessing.to_json())
    return resolved


def _drop_class_count(model_args: str | None) -> str | None:
    """Arguments without the number of classes, which is that of the data."""
    arguments = read_model_args(model_args)
    if arguments.pop("num_classes", None) is None:
        return model_args
    return json.dumps(arguments) if arguments else None


def resolve_weights(weights: str | None) -> str | None:
    """What --weights names, a file by its whole path. Raises InputError if there is no such file."""
    if weights is None or weights == "pretrained":
        return weights
    if not Path(weights).is_file():
        raise InputError(f"--weights: no file {weights}; give a file, or pretrained")
    return str(Path(weights).absolute())


def load_initial_weights(
    settings: TrainSettings,
    home: Home,
    model: Classifier,
    data: Dataset,
    source: Source | None,
    recorded: Origin | None = None,
) -> Origin:
    """Load what --from or --weights names; returns where the weights come from. A head of other classes stays new.

    Raises InputError on a misfit, on weights other than those `recorded` by the run that is repeated or resumed, and on
    a source whose predictions the model does not reproduce, where they are of the same data.
    """
    if source is None and settings.weights is None:
        if weights_follow_seed(settings, data, model):
            return UNTRAINED
        # a factory may give its network weights of its own
        say(f"  {settings.model} has the same weights for every seed, so whether they are untrained is not known")
        return UNKNOWN

    what, weights, origin = _read_initial_weights(settings, home, source)
    then, now = recorded and recorded.weights_sha256, str(origin.weights_sha256)
    if then and then != now:
        raise InputError(
            f"{what} has changed since the run began with it: its sha256 was {then[:12]} and is {now[:12]}; restore it"
        )

    new = fit_weights(what, weights, model.network, data, keeps_head=True)
    own = model.network.state_dict()
    if new:
        drawn = build_tracked_model(settings, data, seed=head_seed(settings.seed)).network.state_dict()
        for name in new:
            own[name].copy_(drawn[name])
    say(f"  begins from {what}: {len(own) - len(new)} of {len(own)} weights are taken; {_describe_new(new, weights)}")
    if source is not None:
        _note_differences(home, source, data, has_head=not new)
        is_same = (settings.model, settings.transform) == (source.settings.model, source.preprocessing.to_json())
        if is_same and not new and data.digest == source.record.data_digest:
            verify_checkpoints(home, source.record, model, data, torch.device("cpu"), [source.commit], "test")
    return replace(origin, new_weights=tuple(new))


def _read_initial_weights(
    settings: TrainSettings, home: Home, source: Source | None
) -> tuple[str, Mapping[str, Tensor], Origin]:
    """What --from or --weights names, in words; its weights, by the network's names; and where they come from."""
    if source is not None:
        network_weights = {
            name.removeprefix(NETWORK): value for name, value in source.weights.items() if name.startswith(NETWORK)
        }
        return str(describe_origin(home, source.origin)), network_weights, source.origin
    if settings.weights == "pretrained":
        weights = fetch_pretrained(settings.model, settings.model_args)
        origin = Origin("weights", "pretrained", weights_sha256=digest_weights(weights))
        return f"pretrained {settings.model}", weights, origin
    assert settings.weights is not None
    path = Path(settings.weights)
    origin = Origin("weights", settings.weights, weights_sha256=sha256(path))
    return describe_file(path), read_weights(path, None), origin


def _describe_new(new: list[str], weights: Mapping[str, Tensor]) -> str:
    if not new:
        return "none is drawn at random"
    has_head = any(name.endswith(new[0]) for name in weights)  # with any prefix
    return f"{list_keys(new)} {'of other classes' if has_head else 'are not among them, and'} are drawn at random"


def _note_differences(home: Home, source: Source, data: Dataset, *, has_head: bool) -> None:
    """Say if a head of other classes was taken, and how many held-out images the source was trained on."""
    run = source.record
    with connect(home, run_ids=[run.run_id]) as connection:
        classes = [name for (name,) in connection.execute(SOURCE_CLASSES, [run.run_id]).fetchall()]
    if has_head and classes != list(data.classes):
        say(f"  its head was trained for {format_names(classes)}, and is trained for {format_names(data.classes)} now")
    if read_recorded_config(home, run)["command"] == "import-checkpoints":  # trained on what is not known
        return
    for name, split in data.splits.items():
        if name == "train":
            continue
        if count := count_seen(home, run, split):
            say(
                f"  {count:,} of {len(split.labels):,} {name} images are among those that run {run.name} was trained "
                "on, so accuracy on them does not estimate that on new images"
            )


def count_seen(home: Home, run: RunRecord, split: Split) -> int:
    """How many images of a split are among those that a run was trained on, as far as it recorded these."""
    with connect(home, run_ids=[run.run_id]) as connection:
        seen = {content for (content,) in connection.execute(SEEN_BEFORE, [run.run_id]).fetchall()}
    return sum(digest[:CONTENT_DIGITS] in seen for digest in split.pixel_digests())


def freeze_parameters(settings: TrainSettings, model: Classifier, data: Dataset) -> None:
    """Exclude the parameters that --freeze names from training. Raises InputError if it names none, or all.

    `body` means all layers but the one that makes the logits, unless a part of the network is called so.
    """
    parameters = dict(model.network.named_parameters())
    for pattern in settings.freeze:
        chosen = [name for name in parameters if fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")]
        if not chosen and pattern == BODY:
            with errors_reported(f"model {settings.model} cannot be evaluated"):
                head = find_head(model, data.splits["train"].images[:2], len(data.classes), f"--freeze {BODY}")
            chosen = [name for name in parameters if NETWORK + name not in head]
        if not chosen:
            parts = [name for name, _ in model.network.named_children()]
            raise InputError(f"--freeze {pattern} names no parameter; the network's parts are {format_names(parts)}")
        for name in chosen:
            parameters[name].requires_grad_(False)
    if settings.freeze:
        trained = sum(weight.requires_grad for weight in parameters.values())
        if not trained:
            raise InputError("--freeze names every parameter, so there is nothing to train; leave some out")
        say(f"  {trained} of {len(parameters)} parameters are trained, {len(parameters) - trained} are frozen")
