"""Your own training loop as a run of the study: every epoch's checkpoint and every image's prediction, remembered.

    run = record(model, {"train": train_set, "val": val_set, "test": test_set}, classes=names)
    for epoch in run.epochs(30):
        ...                                  # anything that trains `model`
        run.epoch(metrics={"lr": lr})
    run.finish()

The loop stays the user's: nothing is known of it but what it tells, and nothing else is claimed.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pipelines.common.settings import UNKNOWN_MODEL, RecordSettings
from pipelines.common.terminal import say
from pipelines.common.user_code import errors_reported
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset, prepare_dataset
from pipelines.data.raw import LoadOptions, RawDataset
from pipelines.data.recorded import store_recorded
from pipelines.data.torch_loading import check_class_names, find_class_names
from pipelines.data.torch_sets import convert_torch_set
from pipelines.lifecycle.epoch_commit import complete_epochs, resume_file
from pipelines.lifecycle.origin import UNKNOWN, UNTRAINED, Origin
from pipelines.lifecycle.run_inputs import checkpoint_file, describe_data, read_recorded_config, say_notes
from pipelines.lifecycle.start import commit_start, count_images, count_weights, instance_columns, start_training_run
from pipelines.lifecycle.verification import allowed_difference, verify_checkpoints
from pipelines.models.checkpoints import load_model
from pipelines.models.networks import (
    Classifier,
    MainLogits,
    build_tracked_model,
    check_logits,
    check_scale,
    keep_main_logits,
)
from pipelines.models.predictions import prepare_images
from pipelines.models.preprocessing import Preprocess, Preprocessing
from pipelines.models.transforms import describe_transform
from pipelines.models.user_code import digest_code
from pipelines.recording import processes
from pipelines.recording.loop_state import check_loop_state, load_generators, load_loop_state
from pipelines.recording.processes import Beginning, Channel
from pipelines.recording.recording import (
    CHECKED_IMAGES,
    Recorder,
    Recording,
    find_device,
    list_different_weights,
    open_recordings,
    undisturbed,
)
from tracking import catalogue, commits, runs
from tracking.commits import EpochCommit
from tracking.errors import InputError
from tracking.home import Home, find_home, make_home
from tracking.staging import staging_folder, unmade_home_removed

ORIGINS = {True: UNTRAINED, False: Origin("weights"), None: UNKNOWN}  # by what the user says of the model
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)  # each has the network as `module`
NEEDED = ("train", "test")
SPLITS = ("train", "val", "test")


def record(
    model: nn.Module,
    sets: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    *,
    name: str | None = None,
    group: str | None = None,
    seed: int | None = None,
    home: str | None = None,
    factory: str | None = None,
    factory_args: Mapping[str, Any] | None = None,
    transform: Any = None,
    state: Mapping[str, Any] | None = None,
    initial: bool = True,
    untrained: bool | None = None,
    resume: str | None = None,
    trained_epochs: float | None = None,
    probabilities: str = "top:20",
) -> Recorder:
    """Start a run for a training loop, or continue one.

    model: takes pictures [N, C, H, W], float32 in 0..1, or what `transform` makes of them; returns logits [N, K], or an
        output whose `logits` they are.
    sets: map-style torch data sets of (picture, label), or pairs of arrays (images, labels), by split: train and test,
        and val if there is one. An image's ID is its position.
    classes: their names; by default those that the training set has.
    group: of runs that share data and recipe but for the `seed`, which is then needed: questions about the group give
        means over seeds.
    seed: what the loop's random numbers derive from, to be recorded; `record` sets none.
    home: the study home; by default STUDY_HOME, else ./study.
    factory: package.module:function, by which later commands build the model again; factory_args are its arguments.
    transform: of torchvision or timm, deterministic, if the model does not take pictures as they are.
    state: objects of the loop whose state_dict a resumed run needs, such as {"optimizer": optimizer}.
    initial: whether the model, as it is given, is committed as epoch 0.
    untrained: whether the model, as it is given, has random weights (True) or trained ones (False). Only maps of a
        network declared untrained serve as those of one that has learned nothing.
    resume: a run to continue (ID, prefix, name or latest): the model, `state` and the random numbers of Python, NumPy
        and torch are set to those of its last epoch.
    trained_epochs: with `resume`, of a loop that continues from its own checkpoint, the epochs trained until then: 2.5
        in the middle of the third. Model and `state` then stay as they are; the model must be the run's.
    probabilities: of which classes they are kept of an image that is evaluated: all, top:K (the K likeliest) or none; a
        resumed run keeps those that it did.

    In distributed training rank 0 writes: it alone calls this, or every process does. Raises InputError on data and
    models that cannot be recorded, before anything is made.
    """
    network = _unwrap(model)
    processes.check_whole(network)
    parts = state or {}
    channel = processes.open_channel()
    if channel and channel.rank:
        return _follow(channel, network, parts)
    with processes.telling_errors(channel):
        _check_arguments(sets, factory, factory_args, parts)
        if group is not None and seed is None:
            raise InputError("seed is missing: the runs of a group differ in it alone")
        if trained_epochs is not None and resume is None:
            raise InputError("trained_epochs says where a resumed run continues; give resume too")
        shares_state = resume is not None and trained_epochs is None
        if channel and shares_state:
            channel.wait_for_all()
        place = find_home(home)
        with unmade_home_removed(place), staging_folder(place) as staging:
            pictures = staging / "pictures"  # moved into the home if a new run begins
            pictures.mkdir()
            data = _read_data(sets, classes, pictures)
            preprocessing = Preprocessing() if transform is None else describe_transform(transform)
            classifier = _wrap(network, data, preprocessing)
            _check_model(classifier, data)
            if resume is not None:
                recording = _reopen(place, resume, classifier, data, parts, channel, initial, trained_epochs)
            else:
                settings = RecordSettings(
                    dataset="recorded",
                    model=factory or UNKNOWN_MODEL,
                    model_args=json.dumps(dict(factory_args)) if factory_args else None,
                    transform=preprocessing.to_json(),
                    device=str(find_device(network)),
                    threads=torch.get_num_threads(),
                    probabilities=probabilities,
                    group=group,
                    name=name,
                )
                recording = _start(
                    place, classifier, data, pictures, settings, seed, parts, channel, initial, ORIGINS[untrained]
                )
    if channel:
        labels = data.splits["train"].labels
        beginning = Beginning(recording.run_id, recording.next_epoch, len(data.classes), shares_state)
        channel.begin(beginning, labels)
        if shares_state:
            channel.share((network.state_dict(), {key: part.state_dict() for key, part in parts.items()}))
    return recording


def _check_arguments(sets: Any, factory: Any, factory_args: Any, state: Any) -> None:
    """Raise InputError on arguments of other kinds than `record` takes."""
    if not isinstance(sets, Mapping):
        raise InputError(f"sets are of {type(sets).__name__}; give them by split: {{'train': ..., 'test': ...}}")
    if factory is not None and not isinstance(factory, str):
        raise InputError(f"factory is of {type(factory).__name__}; give its name, such as 'mynet:build'")
    if factory_args is not None and not isinstance(factory_args, Mapping):
        raise InputError(f"factory_args are of {type(factory_args).__name__}; give them by name: {{'width': 64}}")
    try:
        json.dumps(dict(factory_args or {}))
    except (TypeError, ValueError) as error:
        raise InputError(f"factory_args are kept as JSON, which has numbers, texts and lists: {error}") from None
    if not isinstance(state, Mapping):
        raise InputError(f"state is of {type(state).__name__}; give objects by name: {{'optimizer': optimizer}}")
    for name, part in state.items():
        if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
            raise InputError(f"state {name!r} is of {type(part).__name__}, without state_dict and load_state_dict")


def _follow(channel: Channel, network: nn.Module, state: Mapping[str, Any]) -> Recorder:
    """Begin as rank 0 does. Raises InputError if that could not begin."""
    beginning, labels = channel.follow()
    if beginning.brings_state:
        weights, states = channel.share(None)
        network.load_state_dict(weights)
        for name, part_state in states.items():
            state[name].load_state_dict(part_state)
    return Recorder(beginning.run_id, labels, beginning.class_count, beginning.next_epoch, channel)


def _unwrap(model: nn.Module) -> nn.Module:
    """The network within wrappers, such as a compiled or averaged one, so that its weights have their own names."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, WRAPPERS):
            inner = model.module
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}; it takes a torch.nn.Module")
    return model


def _read_data(sets: Mapping[str, Any], classes: Sequence[str] | None, folder: Path) -> Dataset:
    """The pictures and labels of all splits, each read once; pictures are kept in the folder."""
    unknown = [split for split in sets if split not in SPLITS]
    missing = [split for split in NEEDED if split not in sets]
    if unknown or missing:
        what = f"no split is called {unknown[0]!r}" if unknown else f"{missing[0]} is missing"
        raise InputError(
            f"sets: {what}; give train and test, and val if there is one (the test set is what is evaluated: held-out "
            "images that train nothing)"
        )
    if classes is None:
        classes = find_class_names(sets["train"])
    if classes is None:
        raise InputError('classes is missing: the names of the classes, such as classes=("cat", "dog")')
    names = check_class_names(classes if isinstance(classes, str) else list(classes))
    say("reading the pictures")
    options = LoadOptions(folder=folder)
    converted = {split: convert_torch_set(split, sets[split], names, options) for split in SPLITS if split in sets}
    notes = tuple(chain(*(part.notes for part in converted.values())))
    splits = {split: part.split for split, part in converted.items()}
    none = splits["test"].part(0, 0)
    raw = RawDataset(
        names, splits["train"], splits["test"], flips=False, shrinks=False, notes=notes, val=splits.get("val", none)
    )
    return prepare_dataset("recorded", raw, None, val_fraction=0.0, seed=0)


def _wrap(network: nn.Module, data: Dataset, preprocessing: Preprocessing) -> Classifier:
    """The model as every other part of a study takes it, with what becomes of a picture before it sees it."""
    model = Classifier(OrderedDict(normalise=Preprocess(preprocessing, data.image_shape), network=network))
    model.normalise.to(find_device(network))
    model.normalise.default_layout = True
    return model


def _start(
    home: Home,
    model: Classifier,
    data: Dataset,
    pictures: Path,
    settings: RecordSettings,
    seed: int | None,
    state: Mapping[str, Any],
    channel: Channel | None,
    initial: bool,
    origin: Origin,
) -> Recording:
    check_loop_state(state)
    say_notes(data)
    kind = _name_model(model)
    if settings.model != UNKNOWN_MODEL:
        _check_factory(settings, model, data)
    runs.check_start(home, settings.name)
    make_home(home)
    stored = replace(settings, data=store_recorded(home, pictures, data.classes, data.splits, data.digest))
    note = _describe(model, data, kind, initial)
    run, named = start_training_run(home, "pipelines.record", stored, f"recorded-{kind}", data, note, origin, seed)
    recording = Recording(run, model, data, state, [], channel)
    with recording.stopping_on_errors():
        inputs = {"data": describe_data(data), "model_code": digest_code(named.model, model), "model_class": kind}
        instances = instance_columns(run.run_id, data)
        commit_start(run, "record", named, instances, data.classes, inputs, origin)
        say(f"record: run {run.run_id} ({named.name})")
        if initial:
            recording.commit(0, [], {}, {})
    return recording


def _reopen(
    home: Home,
    wanted: str,
    model: Classifier,
    data: Dataset,
    state: Mapping[str, Any],
    channel: Channel | None,
    initial: bool,
    trained_epochs: float | None,
) -> Recording:
    known = catalogue.resolve(home, wanted, ("train",))
    if read_recorded_config(home, known)["command"] != "record":
        raise InputError(
            f"run {known.run_id[:8]} is a training of `study train`; continue it with: study resume {wanted}"
        )
    if data.digest != known.data_digest:
        raise InputError(
            f"the pictures have digest {data.digest[:12]}, those of run {known.run_id[:8]} have "
            f"{(known.data_digest or 'none')[:12]}; give the sets and classes that it was recorded with"
        )
    say_notes(data, read_recorded_config(home, known))
    if left := open_recordings.get(known.run_id):  # by a loop of this process that an error ended, as in a notebook
        left.abandon("FAILED")
    held = ExitStack()
    with held:
        held.enter_context(runs.claimed(home, known))
        committed = commits.read_epochs(home, known.run_id)
        last = committed[-1] if committed else None
        if trained_epochs is not None:
            _check_own_checkpoint(home, known, model, committed, trained_epochs)
        elif last:
            verify_checkpoints(home, known, model, data, find_device(model), [last])  # loads the weights
            load_loop_state(state, commits.committed_file(home, last, resume_file(last.epoch)))
        if last and trained_epochs == last.epoch:
            load_generators(commits.committed_file(home, last, resume_file(last.epoch)))
        run = runs.reopen_run(home, known)
        complete_epochs(run, committed, data)
        say(f"record: run {run.run_id} ({known.name}) continues, {plural(len(committed), 'epoch')} committed")
        held.pop_all()  # the lock stays with the run, whose end releases it
    recording = Recording(run, model, data, state, committed, channel)
    with recording.stopping_on_errors():
        if not last and initial and not trained_epochs:
            recording.commit(0, [], {}, {})
        if trained_epochs is not None:
            recording.go_on_after(trained_epochs)
    return recording


def _check_own_checkpoint(
    home: Home, known: catalogue.RunRecord, model: Classifier, committed: list[EpochCommit], trained_epochs: float
) -> None:
    """Raise InputError unless a loop that has trained this many epochs continues where the run is, with its model.

    Weights that the loop did not find in its checkpoint are those of the run afterwards.
    """
    run_name = f"run {known.run_id[:8]}"
    last_epoch = committed[-1].epoch if committed else 0
    if trained_epochs == 0 < last_epoch:
        raise InputError(
            f"the loop has trained no epoch, and {run_name} has committed {last_epoch}; begin from a checkpoint of the "
            "loop's own (Lightning: trainer.fit(..., ckpt_path=...), Hugging Face: "
            "trainer.train(resume_from_checkpoint=...)), or leave resume out to record a new run"
        )
    if trained_epochs > last_epoch + 1:
        raise InputError(
            f"the loop's checkpoint comes after {trained_epochs:.4g} epochs, and {run_name} has committed "
            f"{last_epoch}, so epoch {last_epoch + 1} would be missing; begin from a checkpoint of epoch {last_epoch}, "
            "or leave resume out to record a new run"
        )
    same = [commit for commit in commits.stored_epochs(home, known.run_id) if commit.epoch == trained_epochs]
    if not same:
        return
    path = checkpoint_file(home, same[0])
    differing = list_different_weights(model, path)
    if len(differing) == len(list(model.parameters())):
        raise InputError(
            f"the loop's checkpoint is not of {run_name}: its weights differ from those of epoch {same[0].epoch}; "
            "begin from one of the same training, or leave resume out to record a new run"
        )
    if differing:  # transformers renames weights when it saves some models, and misses those when a Trainer resumes
        load_model(model, path)
        say(
            f"{len(differing)} weights, such as {differing[0]}, were not loaded from the loop's checkpoint; they are "
            f"now those of epoch {same[0].epoch} of {run_name}"
        )


def _check_model(model: Classifier, data: Dataset) -> None:
    """Raise InputError unless the model returns logits of the data's classes for two pictures.

    Of an output that has more than logits, the model keeps these alone from now on.
    """
    kind = _name_model(model)
    problem = f"model {kind} does not take pictures {data.image_shape} in 0..1"
    pictures = prepare_images(data.splits["train"].images[:2], find_device(model))
    with undisturbed(model), errors_reported(problem), torch.no_grad():
        logits = keep_main_logits(model.eval(), pictures)
    check_logits(kind, logits, (len(pictures), len(data.classes)), "the model's last layer and the argument classes")
    check_scale(kind, logits)


def _name_model(model: Classifier) -> str:
    """The class of the user's network."""
    network = model.network.network if isinstance(model.network, MainLogits) else model.network
    return type(network).__name__


def _check_factory(settings: RecordSettings, model: Classifier, data: Dataset) -> None:
    """Raise InputError unless the model that the factory builds gives the same logits with the model's weights."""
    device = find_device(model)
    pictures = prepare_images(data.splits["train"].images[:CHECKED_IMAGES], device)
    problem = f"{settings.model} builds a model that differs from the recorded one"
    with undisturbed(model), torch.no_grad():
        built = build_tracked_model(settings, data).to(device)
        with errors_reported(problem):
            built.load_state_dict(model.state_dict())
        logits, own = built.eval()(pictures).cpu(), model.eval()(pictures).cpu()
    difference = (logits - own).abs().max().item()
    if difference > allowed_difference(own, device.type):
        raise InputError(f"{problem}: with the same weights logits differ by up to {difference:.2g}")


def _describe(model: Classifier, data: Dataset, kind: str, initial: bool) -> str:
    """The note of the run in the MLflow UI, in Markdown."""
    beginning = " Epoch 0 is the model as it was when recording began." if initial else ""
    return (
        f"**{kind}** ({count_weights(model)}), recorded from a custom training loop ({count_images(data)}). "
        "Every epoch's weights: `checkpoints/`; every instance's prediction: `predictions/`."
        f"{beginning} {model.normalise.describe()}"
    )
