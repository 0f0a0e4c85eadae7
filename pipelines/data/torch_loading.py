"""Data sets that are torch data sets: those of torchvision by name, and those that a factory of the user's returns."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os.path import isdir  # unlike that of Path, it takes names of any length
from pathlib import Path
from typing import Any

from pipelines.common.user_code import describe_error, errors_reported, import_factory
from pipelines.common.wording import plural
from pipelines.data.decoding import SIDES
from pipelines.data.downloads import download_into
from pipelines.data.file_stamps import FileStamps, stamp_files, stamp_folder
from pipelines.data.names import find_look_alikes, format_name, format_names, normalise_name
from pipelines.data.parts import NAMES_BY_PART, find_part
from pipelines.data.raw import LoadOptions, RawDataset, Split
from pipelines.data.recorded import FOLDER
from pipelines.data.splitting import add_test_images
from pipelines.data.torch_sets import convert_torch_set, is_pair_of_arrays
from tracking.errors import InputError
from tracking.home import Home

WRITING = ("MNIST", "EMNIST", "KMNIST", "QMNIST", "USPS", "SVHN", "GTSRB")  # a mirrored sign is another one, or none
PART_ARGUMENTS = {
    "train": ("train", "trainval"),
    "val": ("val", "valid"),
    "test": ("test",),
}  # its `split`
NEEDED = "a factory returns {'train': set, 'val': set, 'test': set}, (train, test), (train, val, test) or one data set"


def load_torchvision(name: str, path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """The data set torchvision.datasets.NAME, from its files below `path` or the study home; else downloaded there."""
    from torchvision import datasets

    kind = getattr(datasets, name, None)
    if name not in datasets.__all__ or not inspect.isclass(kind):
        raise InputError(f"torchvision has no data set {format_name(name)}; such as FashionMNIST, CIFAR100 or SVHN")
    parameters = inspect.signature(kind).parameters
    needed = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty and parameter.name not in ("root", "train")
    ]
    needed = [parameter for parameter in needed if parameter not in ("args", "kwargs")]
    if needed or "root" not in parameters:
        raise InputError(
            f"torchvision's {name} needs {format_names(needed) or 'no files'}, which --dataset torchvision:NAME does "
            "not give; write a function that returns its data sets, and give --dataset package.module:function"
        )
    sets, files = _open_torchvision(name, kind, path, home_data)
    return replace(_read_sets(sets, None, options, flips=name not in WRITING), files=files)


def load_factory(name: str, path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """The data sets that the function `name` returns; it gets --data as `data` if it takes that."""
    factory = import_factory(name, "data set")
    problem = f"data set {format_name(name)} cannot be made"
    with errors_reported(problem):
        takes_data = "data" in inspect.signature(factory).parameters
    if path and not takes_data:
        raise InputError(
            f"data set {format_name(name)} takes no --data: its function has no argument `data`; leave it out"
        )
    with errors_reported(problem):
        made = factory(data=path) if takes_data else factory()
    classes = None
    if isinstance(made, Mapping):
        made = dict(made)
        classes = made.pop("classes", None)
        parts = {str(key): find_part(str(key)) for key in made}
        unknown = [key for key, part in parts.items() if part is None]
        if unknown or len(set(parts.values())) < len(parts):
            raise InputError(f"{problem}: it returns a dict of {format_names(parts)}; {NEEDED}")
        sets = {part: made[key] for key, part in parts.items() if part is not None}
    elif isinstance(made, tuple | list) and not is_pair_of_arrays(made):
        names = {2: ("train", "test"), 3: ("train", "val", "test")}.get(len(made))
        if names is None:
            raise InputError(f"{problem}: it returns {len(made)} values; {NEEDED}")
        sets = dict(zip(names, made, strict=True))
    else:
        sets = {"train": made}
    if "train" not in sets:
        raise InputError(f"{problem}: it returns no training images; {NEEDED}")
    return _read_sets({part: sets[part] for part in NAMES_BY_PART if part in sets}, classes, options, flips=True)


def _read_sets(
    sets: Mapping[str, Any], classes: Sequence[str] | None, options: LoadOptions, *, flips: bool
) -> RawDataset:
    """The splits of torch data sets; class names as given, as the data set has them, or the labels."""
    if classes is None:
        classes = find_class_names(sets["train"])
    if classes is not None:
        classes = check_class_names(classes)
    splits: dict[str, Split] = {}
    notes: list[str] = []
    for part, data_set in sets.items():
        converted = convert_torch_set(part, data_set, classes, options)
        if not len(converted.split.labels):
            raise InputError(f"the data set has no images in {part}; add some, or leave it out")
        splits[part] = converted.split
        notes += converted.notes
    _, height, width = splits["train"].images.shape[1:]
    if height not in SIDES or width not in SIDES:
        raise InputError(f"the images have {width}x{height} pixels; give --size, {SIDES[0]} to {SIDES[-1]}")
    if classes is None:
        count = 1 + max(int(split.labels.max()) for split in splits.values())
        image_count = len(splits["train"].labels)
        if count > image_count:  # perhaps by far: an ID of something else, or what marks an unknown label
            raise InputError(
                f"a label is {count - 1}, and {plural(image_count, 'training image')} cannot show that many classes; "
                "number the classes 0, 1, 2, ..., or name them"
            )
        classes = tuple(map(str, range(count)))
    splits, split_notes = add_test_images(splits, options.test_fraction)
    all_notes = (*split_notes, *notes, *find_look_alikes(classes))
    train, val, test = splits["train"], splits.get("val"), splits["test"]
    return RawDataset(tuple(classes), train, test, flips=flips, shrinks=False, notes=all_notes, val=val)


def find_class_names(data_set: Any) -> Sequence[str] | None:
    """The names that a data set, or the one that it is a part of, has in `classes` or `categories`."""
    while data_set is not None:
        for attribute in ("classes", "categories"):
            names = getattr(data_set, attribute, None)
            if isinstance(names, Sequence) and not isinstance(names, str) and len(names):
                return names
        data_set = getattr(data_set, "dataset", None)
    return None


def check_class_names(classes: Any) -> tuple[str, ...]:
    """Names of classes as they are stored. Raises InputError unless they are a list of different ones."""
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InputError(f"class names are of {type(classes).__name__}; give a list of them")
    # ImageNet's classes are tuples of synonyms
    names = tuple(normalise_name(str(name[0] if isinstance(name, tuple) and name else name)) for name in classes)
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"two classes have one name: {format_names(repeated)}; rename one")
    return names


def _open_torchvision(name: str, kind: type, path: str | None, home_data: Path) -> tuple[dict[str, Any], FileStamps]:
    """The data set of each part, and the state of all files from which it may come, as it does not say which."""
    home = Home(home_data.parent)
    roots = [Path(path)] if path else [home_data / "torchvision", home_data]
    files: FileStamps = {}
    reason = ""
    for root in roots:
        if not isdir(root):
            files |= stamp_files([root])
            reason = reason or f"{format_name(root)} is not a folder"
            continue
        files |= stamp_folder(root, leaving_out=[home.path, home.pictures, home_data / FOLDER])
        try:
            return _make_parts(kind, root, download=False), files
        except Exception as error:  # torchvision's data sets raise many kinds
            reason = describe_error(error)
    places = " or ".join(map(format_name, roots))
    missing = f"no files of torchvision's {name} in {places} ({reason})"
    if path:
        raise InputError(f"{missing}; put them there, or leave --data out to have them downloaded")
    if "download" not in inspect.signature(kind).parameters:
        raise InputError(f"{missing}, and torchvision does not download them; put them there, or name them with --data")

    missing += "; put them there, or name them with --data"
    download_into(roots[0], lambda folder: _make_parts(kind, folder, download=True), missing)
    files = stamp_folder(roots[0])
    return _make_parts(kind, roots[0], download=False), files


def _make_parts(kind: Callable[..., Any], root: Path, *, download: bool) -> dict[str, Any]:
    """The data set of each part that torchvision knows; of one without parts, all as training images."""
    parameters = inspect.signature(kind).parameters
    options: dict[str, Any] = {"download": True} if download and "download" in parameters else {}
    if "train" in parameters:
        return {part: kind(str(root), train=part == "train", **options) for part in ("train", "test")}
    if "split" not in parameters:
        return {"train": kind(str(root), **options)}
    made = {}
    for part, arguments in PART_ARGUMENTS.items():
        for argument in arguments:
            try:
                made[part] = kind(str(root), split=argument, **options)
                break
            except ValueError:  # a split that this data set does not have
                continue
    if "train" not in made:
        raise ValueError("it has no training images")
    return made
