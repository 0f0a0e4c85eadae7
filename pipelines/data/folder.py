"""folder: your own images in one folder per class, below train/, val/ and test/ or alone; its name is the class's."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipelines.common.wording import plural
from pipelines.data.names import find_look_alikes, format_name, format_names, normalise_name
from pipelines.data.parts import NAMES_BY_PART, PartRows, decode_parts, find_part
from pipelines.data.pixels import SUFFIXES_BY_FORMAT
from pipelines.data.raw import LoadOptions, RawDataset
from tracking.errors import InputError

SUFFIXES = tuple(sorted(suffix for suffixes in SUFFIXES_BY_FORMAT.values() for suffix in suffixes))
SYSTEM_FILES = {"Thumbs.db", "desktop.ini", "__MACOSX"}  # left by Windows and macOS
NEEDED = "train/CLASS/* and test/CLASS/*, also val/CLASS/*; or CLASS/* alone"

LabelledFile = tuple[Path, int]
Parts = dict[str, Path]  # the folder of each part that there is, in the order of NAMES_BY_PART


def load_folder(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Images [N, C, H, W] of any size, colour or grey, brought to one shape."""
    if not path:
        raise InputError(f"--dataset folder needs --data FOLDER with {NEEDED}")
    root = Path(path)
    try:
        parts = _find_parts(root)
        classes, class_folders = _find_class_folders(parts)
        files: dict[str, list[LabelledFile]] = {part: [] for part in parts}
        folders = {os.path.realpath(folder) for folder in (root, *parts.values())}
        for part, folder in parts.items():
            for label, name in enumerate(classes):
                if name in class_folders[part]:
                    # a link to the part itself would make every class's images this class's too
                    visited = {os.path.realpath(folder)}
                    files[part] += [(file, label) for file in _walk(class_folders[part][name], visited)]
                    folders |= visited
        notes = _describe_unused_files(root, parts, files)
    except OSError as error:
        raise _make_listing_error(error) from None

    images = {part: [(file, label) for file, label in files[part] if _is_image(file)] for part in parts}
    if root in parts.values():
        _check_that_folders_are_classes(root, classes, images["train"])
    labels_with_images = {label for _, label in images["train"]}
    empty_classes = [name for label, name in enumerate(classes) if label not in labels_with_images]
    if empty_classes:
        raise InputError(
            f"{format_name(parts['train'])} has no images of class {format_names(empty_classes)} "
            f"({', '.join(SUFFIXES)}); add some or remove the folder"
        )
    for part, folder in parts.items():
        if not images[part]:
            raise InputError(f"{format_name(folder)} has no images in class folders; add some or remove the folder")
    notes += _describe_nested_classes(parts, classes, images)
    notes += find_look_alikes(classes)
    rows = {
        part: PartRows([file.relative_to(root).as_posix() for file, _ in found], [label for _, label in found])
        for part, found in images.items()
    }
    all_files = [(str(file), file) for found in images.values() for file, _ in found]
    return decode_parts(classes, all_files, rows, options, notes, [*folders, *(file for _, file in all_files)])


def list_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files of all nested folders, in an order that only names decide, and the other files."""
    try:
        files = list(_walk(folder, set()))
    except OSError as error:
        raise _make_listing_error(error) from None
    images = [file for file in files if _is_image(file)]
    other_files = [file for file in files if not _is_image(file)]
    return images, other_files


def _find_parts(root: Path) -> Parts:
    """The folder of each part; of class folders alone, the root is that of the training images."""
    if not os.path.isdir(root):  # unlike Path.is_dir, for names of any length
        problem = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise InputError(
            f"{format_name(root)} {problem}; --data takes the folder with train/CLASS/ and test/CLASS/ in it"
        )
    folders = [name for name in _list_visible(root) if (root / name).is_dir()]
    parts: Parts = {}
    for part in NAMES_BY_PART:
        found = [name for name in folders if find_part(name) == part]
        if len(found) > 1:
            raise InputError(f"{format_name(root)} has {format_names(found)}, which all are its {part}/; keep one")
        if found:
            parts[part] = root / found[0]

    if not parts or (len(parts) == 1 and not any(map(_has_folders, parts.values()))):  # a class may be called train
        if not folders:
            entries = format_names(_list_visible(root)) or "nothing"
            raise InputError(f"{format_name(root)} has no folder in it (it has: {entries}); needed are {NEEDED}")
        return {"train": root}
    missing = [part for part in ("train", "test") if part not in parts]
    if missing == ["test"] and "val" in parts:
        return parts
    if missing:
        entries = format_names(_list_visible(root))
        alone = f" (as of --data {format_name(parts['train'])})" if "train" in parts else ""
        raise InputError(
            f"{format_name(root)} has no folder {missing[0]}/ (it has: {entries}); needed are {NEEDED}{alone}"
        )
    return parts


def _has_folders(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _list_visible(folder))


def _find_class_folders(parts: Parts) -> tuple[tuple[str, ...], dict[str, dict[str, Path]]]:
    """The classes' names, sorted, and by part the folder of each; every class of the others is one of train/."""
    folders: dict[str, dict[str, Path]] = {}
    for part, part_folder in parts.items():
        folders[part] = {}
        for entry in _list_visible(part_folder):
            folder = part_folder / entry
            if not folder.is_dir():
                continue
            name = normalise_name(entry)
            if name in folders[part]:
                raise InputError(
                    f"{format_name(part_folder)} has class {format_name(name)} twice, as "
                    f"{folders[part][name].name!a} and {entry!a}: one name whose accents are written in two ways; put "
                    "their images into one folder"
                )
            folders[part][name] = folder

    classes = sorted(folders["train"])
    if not classes:
        raise InputError(f"{format_name(parts['train'])} has no folders; sort its images into one folder per class")
    for part, part_folder in parts.items():
        unknown = sorted(folders[part].keys() - folders["train"].keys())
        if unknown:
            raise InputError(
                f"{format_name(part_folder)} has classes that train/ lacks: {format_names(unknown)}; "
                f"train/ has: {format_names(classes)}; add training images or remove them"
            )
    return tuple(classes), folders


def _check_that_folders_are_classes(root: Path, classes: tuple[str, ...], images: list[LabelledFile]) -> None:
    """Raise InputError on folders of folders, such as of parts with other names, which would become classes."""
    if images and all(len(file.relative_to(root).parts) > 2 for file, _ in images):
        raise InputError(
            f"{format_name(root)} has {format_names(classes)}, with images only in folders further below, so these "
            f"are not classes; needed are {NEEDED}"
        )


def _walk(folder: Path, visited: set[str]) -> Iterator[Path]:
    """Files of all nested folders, in an order that only names decide; links are followed, but not to `visited`."""
    real_path = os.path.realpath(folder)
    if real_path in visited:
        return
    visited.add(real_path)
    for name in _list_visible(folder):
        path = folder / name
        if path.is_dir():
            yield from _walk(path, visited)
        else:
            yield path


def _list_visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name not in SYSTEM_FILES)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _make_listing_error(error: OSError) -> InputError:
    return InputError(f"cannot list {format_name(error.filename)}: {error.strerror}; grant access to it")


def _describe_unused_files(root: Path, parts: Parts, files: dict[str, list[LabelledFile]]) -> list[str]:
    """Notes on what lies in the folder but is not used, so that nobody thinks it is."""
    ignored = [file for part in parts for file, _ in files[part] if not _is_image(file)]
    for folder in parts.values():
        entries = [folder / name for name in _list_visible(folder)]
        ignored += [entry for entry in entries if not entry.is_dir()]

    notes = []
    if ignored:
        names = [file.relative_to(root).as_posix() for file in ignored]
        notes.append(f"{plural(len(names), 'file')} ignored, no images in class folders: {format_names(names)}")
    if root not in parts.values():
        used_names = [folder.name for folder in parts.values()]
        unused_folders = [name for name in _list_visible(root) if name not in used_names and (root / name).is_dir()]
        if unused_folders:
            beside = " and ".join(f"{name}/" for name in used_names)
            notes.append(f"folders beside {beside} not used: {format_names(unused_folders)}")
    return notes


def _describe_nested_classes(
    parts: Parts, classes: tuple[str, ...], images: dict[str, list[LabelledFile]]
) -> list[str]:
    """A note on images in a folder that is named after another class than the one they count as."""
    counts: Counter[str] = Counter()
    for part, part_folder in parts.items():
        for file, label in images[part]:
            class_folder, *nested_folders = file.relative_to(part_folder).parts[:-1]
            for depth, folder in enumerate(nested_folders, 1):
                name = normalise_name(folder)
                if name in classes and name != classes[label]:
                    counts["/".join((part_folder.name, class_folder, *nested_folders[:depth]))] += 1
    if not counts:
        return []
    return [
        f"{plural(counts.total(), 'image')} in folders named after another class, counted as the class of the outer "
        f"folder: {format_names(counts)}"
    ]
