"""Pictures are decoded once and read from the home; what changed is decoded again; nothing is ever half there."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pipelines
from pipelines.cli import main
from pipelines.data import decoding, picture_store
from pipelines.data.datasets import Dataset, load_dataset
from pipelines.data.raw import READ_AT_ONCE
from pipelines.data.stored_images import ImageFile, ImageWriter, StoredImages
from support.pictures import noise
from tracking.errors import InputError
from tracking.home import Home, make_home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in range(6):
        for name in ("cat", "dog"):
            file = tmp_path / f"images/{'test' if row > 3 else 'train'}/{name}/{row}.bmp"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(9, 9, 3)).save(file)
    return tmp_path / "images"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all images that are decoded."""
    names = []
    read_pixels = decoding.read_pixels

    def read(name, *arguments):
        names.append(name)
        return read_pixels(name, *arguments)

    monkeypatch.setattr(decoding, "read_pixels", read)
    return names


def load(folder: Path, home: Home, **changes) -> Dataset:
    options = {"val_fraction": 0.25, "seed": 0, "size": None} | changes
    return load_dataset("folder", str(folder), home, **options)


def pixels(found: Dataset) -> dict[str, list]:
    return {name: split.images[:].tolist() for name, split in found.splits.items()}


def test_pictures_are_decoded_once(folder: Path, home: Home, decoded: list[str]) -> None:
    first = load(folder, home)
    assert len(decoded) == 12
    again = load(folder, home)
    assert len(decoded) == 12
    assert pixels(again) == pixels(first)
    for field in ("classes", "digest", "notes", "reading", "flips", "shrinks", "mean", "std", "location"):
        assert getattr(again, field) == getattr(first, field)
    for name, split in first.splits.items():
        assert split.pixel_digests() == again.splits[name].pixel_digests()
        assert split.sources == again.splits[name].sources
    assert load(folder, home, seed=1).splits["val"].sources != first.splits["val"].sources
    assert len(decoded) == 12
    assert load(folder, home, size=8).image_shape == (3, 8, 8)
    assert len(decoded) == 24


def _rewrite(folder: Path) -> None:
    """Other content of the same size, and the time that the file had before."""
    file = folder / "train/cat/0.bmp"
    before = file.stat()
    Image.fromarray(noise(9, 9, 3)).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


def _add(folder: Path) -> None:
    Image.fromarray(noise(9, 9, 3)).save(folder / "test/dog/7.bmp")


def _add_deep(folder: Path) -> None:
    Image.fromarray(noise(9, 9, 3)).save(folder / "train/dog/empty/0.bmp")


def _remove(folder: Path) -> None:
    (folder / "train/dog/0.bmp").unlink()


def _swap(folder: Path) -> None:
    (folder / "train/dog/0.bmp").rename(folder / "train/0.bmp")
    (folder / "train/cat/0.bmp").rename(folder / "train/dog/0.bmp")
    (folder / "train/0.bmp").rename(folder / "train/cat/0.bmp")


@pytest.mark.parametrize("change", [_rewrite, _add, _add_deep, _remove, _swap])
def test_what_changed_is_decoded_again(folder: Path, home: Home, decoded: list[str], change) -> None:
    (folder / "train/dog/empty").mkdir()
    before = load(folder, home)
    count = len(decoded)
    change(folder)
    after = load(folder, home)
    assert len(decoded) > count
    assert after.digest != before.digest
    assert after.digest == load(folder, Home(home.path / "other")).digest
    assert pixels(before)["test"] == load(folder, home, recorded_digest=before.digest).splits["test"].images[:].tolist()


def test_pictures_that_were_deleted_or_are_not_whole_are_decoded_again(folder: Path, home: Home) -> None:
    first = pixels(load(folder, home))
    [store] = [place for place in home.pictures.iterdir() if place.name != picture_store.SOURCES]
    (store / picture_store.DESCRIPTION).unlink()
    (store / "images_0.npy").write_bytes(b"half")
    assert pixels(load(folder, home)) == first
    shutil.rmtree(home.data)
    assert pixels(load(folder, home)) == first
    for name in ("images_0.npy", picture_store.DESCRIPTION):
        content = (store / name).read_bytes()
        for part in (content[:-30], b"half"):
            (store / name).write_bytes(part)
            with pytest.raises(InputError, match=f"the pictures kept in {store} cannot be read .*; delete it"):
                load(folder, home)
        (store / name).write_bytes(content)


def test_kept_pictures_that_were_changed_in_place_are_refused(
    folder: Path, home: Home, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    loaded = load(folder, home)
    first = pixels(loaded)
    [store] = [place for place in home.pictures.iterdir() if place.name != picture_store.SOURCES]
    copied = Home(tmp_path / "copied")
    shutil.copytree(home.path, copied.path)
    capsys.readouterr()
    for checks in (True, False):  # files of other times, which hold what they did: once
        assert pixels(load(folder, copied)) == first
        assert ("checking the pictures kept in" in capsys.readouterr().err) == checks

    before = (store / "images_0.npy").stat()
    with (store / "images_0.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read()
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(store / "images_0.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    for options in ({}, {"recorded_digest": loaded.digest}):
        with pytest.raises(InputError, match=f"the pictures kept in {store} were changed: image 3 of test is not what"):
            load(folder, home, **options)
    shutil.rmtree(store)
    assert pixels(load(folder, home)) == first


def test_a_stopped_or_failed_decoding_leaves_nothing(folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "read_pixels", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            load(folder, home)
    assert not home.path.exists()
    (folder / "train/cat/0.bmp").write_bytes(b"no picture")
    with pytest.raises(InputError, match="its content is not an image"):
        load(folder, home)
    assert not home.path.exists()


@pytest.mark.parametrize("is_function", [False, True])
def test_an_error_before_a_run_leaves_no_home(folder: Path, tmp_path: Path, is_function: bool) -> None:
    home = tmp_path / "new/home"
    if is_function:
        with pytest.raises(ValueError, match="no model 'none'"):
            pipelines.train(dataset="folder", data=str(folder), model="none", home=home)
    else:
        assert (
            main(["train", "--dataset", "folder", "--data", str(folder), "--model", "none", "--home", str(home)]) == 2
        )
    assert not home.parent.exists()


def test_an_error_in_a_home_that_was_made_keeps_its_pictures(folder: Path, home: Home) -> None:
    make_home(home)
    assert (
        main(["train", "--dataset", "folder", "--data", str(folder), "--model", "none", "--home", str(home.path)]) == 2
    )
    assert len(list(home.pictures.glob(f"*/{picture_store.DESCRIPTION}"))) == 1


@pytest.mark.skipif(os.name != "posix", reason="file sizes cannot be limited")
@pytest.mark.parametrize("limit", [100, 3000])  # bytes: in the images, in what describes them
def test_a_full_disk_is_one_error_and_leaves_nothing(folder: Path, home: Home, limit: int) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match=f"the pictures cannot be kept in {home.path}/.*; make room"):
            load(folder, home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not home.path.exists()


def test_a_store_that_another_process_made_first_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "pictures/place"
    for number in range(3):
        made = tmp_path / f"made_{number}"
        made.mkdir()
        (made / picture_store.DESCRIPTION).write_text(str(number))
        picture_store.move_store(made, place)
        if number == 1:
            assert (place / picture_store.DESCRIPTION).read_text() == "0"
            (place / picture_store.DESCRIPTION).rename(place / "part of it")
    assert [(file.name, file.read_text()) for file in place.iterdir()] == [(picture_store.DESCRIPTION, "2")]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_home_is_no_obstacle(folder: Path, home: Home) -> None:
    home.artifacts.mkdir(parents=True)
    home.path.chmod(0o500)
    try:
        assert pixels(load(folder, home)) == pixels(load(folder, Home(folder.parent / "other")))
    finally:
        home.path.chmod(0o700)


def write(place: Path | None, images: list[np.ndarray]) -> StoredImages:
    with ImageWriter(place) as writer:
        for image in images:
            writer.append(image)
        return writer.finish()


@pytest.mark.parametrize("has_name", [True, False])
def test_images_of_a_file_are_read_as_those_of_a_tensor(tmp_path: Path, has_name: bool) -> None:
    expected = torch.randint(0, 256, (300, 3, 5, 4), dtype=torch.uint8)
    place = tmp_path / "images.npy" if has_name else None
    images = write(place, list(expected.numpy()))
    if place:
        np.testing.assert_array_equal(np.load(place), expected)  # numpy's own format
        assert torch.equal(ImageFile.open(place).all_images()[:], expected)
    assert (len(images), images.shape) == (300, (300, 3, 5, 4))
    chosen = np.array([7, 299, 7])
    for rows in (3, -1, slice(2, 9), slice(5, 5), chosen, chosen.tolist(), torch.from_numpy(chosen)):
        assert torch.equal(images[rows], expected[rows])
    assert torch.equal(torch.cat(list(images.split(READ_AT_ONCE))), expected)
    assert torch.equal(torch.stack(list(images)), expected)
    selected = images.select(chosen).select([2, 1])
    assert torch.equal(selected[:], expected[[7, 299]])
    images[3].zero_()  # a copy
    assert torch.equal(images[3], expected[3])


def test_grey_images_before_and_after_one_in_colour_get_its_channels(tmp_path: Path) -> None:
    grey, colour = noise(1, 4, 5), noise(3, 4, 5)
    images = write(tmp_path / "images.npy", [grey, grey + 1, colour, grey])
    threefold = [np.repeat(image, 3, axis=0) for image in (grey, grey + 1, grey)]
    np.testing.assert_array_equal(images[:], np.stack([*threefold[:2], colour, threefold[2]]))


def test_no_images_and_another_array_in_a_file(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "none.npy", (1, 8, 8)) as writer:
        assert writer.finish()[:].shape == (0, 1, 8, 8)
    np.save(tmp_path / "floats.npy", np.zeros((2, 1, 8, 8), np.float32))
    with pytest.raises(ValueError, match="float32"):
        ImageFile.open(tmp_path / "floats.npy")
