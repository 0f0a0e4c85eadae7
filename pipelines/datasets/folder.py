"""folder: your own images as train/CLASS/* and test/CLASS/*; the sub-folders' names are the classes."""

from pathlib import Path

import torch

from pipelines.datasets.raw import Raw, Split, decode
from tracking.errors import InputError

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def load_folder(path: str | None, home_data: Path, size: int | None) -> Raw:
    """Images [N, C, H, W] of any size, colour or grey, brought to one shape."""
    if not path:
        raise InputError("--dataset folder needs --data FOLDER with train/CLASS/ and test/CLASS/ in it")
    root = Path(path)
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise InputError(f"{root} has no folder {part}/; needed are train/CLASS/*.png and test/CLASS/*.png")
    classes = _classes(root)
    files = {part: _files(root / part, classes) for part in ("train", "test")}
    every = [(str(file), file) for part in files.values() for file, _ in part]
    images, notes = decode(every, size)  # together, so that both splits get one shape
    border = len(files["train"])
    train = _split(root, images[:border], files["train"])
    return Raw(classes, train, _split(root, images[border:], files["test"]), flips=True, notes=notes)


def _classes(root: Path) -> tuple[str, ...]:
    known = {part: {d.name for d in (root / part).iterdir() if d.is_dir()} for part in ("train", "test")}
    if extra := sorted(known["test"] - known["train"]):
        raise InputError(f"{root}/test has classes that train lacks: {', '.join(extra)}")
    return tuple(sorted(known["train"]))


def _files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    found = []
    for label, name in enumerate(classes):
        inside = sorted((folder / name).rglob("*")) if (folder / name).is_dir() else []
        images = [file for file in inside if file.suffix.lower() in ENDINGS]
        if not images and folder.name == "train":
            raise InputError(f"{folder / name} has no images ({', '.join(sorted(ENDINGS))}); add some or remove it")
        found += [(file, label) for file in images]
    return found


def _split(root: Path, images: torch.Tensor, files: list[tuple[Path, int]]) -> Split:
    sources = tuple(file.relative_to(root).as_posix() for file, _ in files)
    return Split(images, torch.tensor([label for _, label in files], dtype=torch.long), sources)
