"""Data sets: what is read is right, what is converted is said, what is wrong becomes one line that helps."""

import hashlib
import io
import itertools
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageOps
from pyarrow import parquet

from pipelines.common.settings import RunSettings
from pipelines.data import cifar10_batches, faulty_digits, jpeg, planted
from pipelines.data.cifar10 import CLASSES
from pipelines.data.datasets import DATASETS, DatasetLoader, load_dataset
from pipelines.data.decoding import decode_images
from pipelines.data.digits import load_digits
from pipelines.data.pixels import read_picture
from pipelines.data.raw import LoadOptions, Reading
from support.pictures import content, noise, table
from support.places import DATA, ROOT
from tracking.errors import InputError
from tracking.home import Home

REAL = DATA / "cifar10"
BUILT_IN = [name for name, loader in DATASETS.items() if not loader.takes_data]


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path_factory, monkeypatch):
    """The home, whose path is relative, lies there."""
    monkeypatch.chdir(tmp_path_factory.mktemp("around"))


def data(name, path=None, *, home="nowhere", val_fraction=0.25, seed=0, size=None, **options):
    return load_dataset(
        name, path and str(path), Home(Path(home)), val_fraction=val_fraction, seed=seed, size=size, **options
    )


def complaint(*arguments, **settings):
    """The message of the InputError that loading raises; always one line."""
    with pytest.raises(InputError) as caught:
        data(*arguments, **settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def decode(files, size=None, **options):
    """Images and notes of files, from (name, content)."""
    decoded = decode_images(files, [name for name, _ in files], LoadOptions(size, **options))
    return decoded.images[:], decoded.notes


def one(image, form="PNG", size=None, **options):
    """Pixels [C, H, W] and notes of a single image that went through a file."""
    images, notes = decode([("it", content(image, form, **options))], size)
    return images[0].numpy(), notes


@pytest.fixture
def folder(tmp_path):
    """Two classes, eight training and three test images each, colour, 12x10."""
    root = tmp_path / "images"
    for part, count in (("train", 8), ("test", 3)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for row in range(count):
                Image.fromarray(noise(10, 12, 3)).save(root / part / name / f"{row}.png")
    return root


def rename(root, old, new):
    for part in ("train", "test"):
        (root / part / old).rename(root / part / new)


# --- one interface


def test_unknown_name_lists_what_there_is():
    assert "digits, cifar10, folder, planted" in complaint("imagenet")


@pytest.mark.parametrize("name", BUILT_IN)
def test_data_for_a_built_in_set_is_refused_not_ignored(name, folder):
    assert f"--dataset folder --data {folder}" in complaint(name, folder)


def test_digits():
    got = data("digits")
    assert sum(len(split.labels) for split in got.splits.values()) == 1797
    assert got.image_shape == (1, 32, 32)
    assert got.classes == tuple("0123456789")
    assert not got.flips
    assert data("digits", size=8).image_shape == (1, 8, 8)


def test_channel_statistics(folder):
    got = data("folder", folder)
    values = got.splits["train"].images[:].double() / 255
    np.testing.assert_allclose(got.mean, values.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(got.std, values.std((0, 2, 3), correction=0), atol=1e-5)


# --- validation split


@pytest.mark.parametrize("share", [0.01, 0.1, 0.33, 0.5])
def test_validation_is_stratified_disjoint_and_in_order(share):
    splits = data("digits", val_fraction=share).splits
    train, val = splits["train"], splits["val"]
    counts = torch.stack([torch.bincount(split.labels, minlength=10) for split in (train, val)])
    assert (counts[1] - counts.sum(0) * share).abs().max() < 1
    assert not set(train.sources) & set(val.sources)
    assert list(train.sources) == sorted(train.sources)
    assert list(val.sources) == sorted(val.sources)
    assert len(set(train.sources) | set(val.sources) | set(splits["test"].sources)) == 1797


def test_validation_depends_on_the_seed_only():
    first, same, other = (data("digits", seed=seed).splits["val"] for seed in (3, 3, 4))
    assert first.sources == same.sources
    assert first.sources != other.sources


def given(monkeypatch, **changes):
    """The digits as a data set that comes with its own validation images, as `changes` say."""
    raw = replace(load_digits(None, Path(), LoadOptions(size=8)), **changes)
    monkeypatch.setitem(DATASETS, "given", DatasetLoader(lambda path, home_data, options: raw, is_read=False))
    return raw


def test_validation_images_of_its_own_are_kept_and_none_are_split_off(monkeypatch):
    digits = load_digits(None, Path(), LoadOptions(size=8))
    raw = given(monkeypatch, train=digits.train.part(100, 1352), val=digits.train.part(0, 100))
    first, other = (data("given", seed=seed, val_fraction=share) for seed, share in ((0, 0.1), (5, 0.5)))
    assert first.digest == other.digest
    assert list(first.splits) == ["train", "val", "test"]
    assert all(first.splits[name] is split for name, split in raw.parts.items())
    assert first.digest != data("digits", size=8).digest


def test_a_data_set_may_have_no_validation_images_at_all(monkeypatch):
    digits = load_digits(None, Path(), LoadOptions(size=8))
    given(monkeypatch, val=digits.train.part(0, 0))
    got = data("given")
    assert {name: len(split.labels) for name, split in got.splits.items()} == {"train": 1352, "test": 445}
    assert got.notes == ()


def test_what_is_odd_about_validation_images_is_said(monkeypatch):
    digits = load_digits(None, Path(), LoadOptions(size=8))
    train, val = digits.train, digits.train.rows(np.flatnonzero(digits.train.labels != 7))
    given(monkeypatch, train=train, val=replace(val, images=val.images[:].clone()), test=digits.test)
    no_sevens, leak = data("given").notes
    assert no_sevens == "no validation image of class 7"
    assert leak.startswith("1,217 of 1,217 validation images are also training images, pixel by pixel, so validation ")
    given(monkeypatch, train=digits.test, val=val, test=val.part(0, 3))
    *_, leak = data("given").notes
    assert leak.startswith("3 of 3 test images are also validation images, pixel by pixel, so an epoch chosen by ")
    given(monkeypatch, train=val, val=digits.test)
    assert "no training image: class 7" in complaint("given")


# --- digest


def test_digest_is_the_same_in_another_process_place_and_time(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "moved", copy_function=shutil.copyfile)
    for file in (tmp_path / "moved").rglob("*.png"):
        os.utime(file, (0, 0))
    code = (
        "from pathlib import Path; from pipelines.data.datasets import load_dataset; from tracking.home import Home; "
        f"moved = load_dataset('folder', {str(tmp_path / 'moved')!r}, Home(Path({str(tmp_path / 'home')!r})), "
        "val_fraction=0.25, seed=0, size=None); print(moved.digest)"
    )
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == data("folder", folder).digest


def _one_pixel(root):
    pixels = np.asarray(Image.open(root / "test/dog/1.png")).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(root / "test/dog/1.png")


def _one_label(root):
    (root / "train/cat/7.png").rename(root / "train/dog/00.png")


def _order(root):
    (root / "train/cat/1.png").rename(root / "train/cat/9.png")


@pytest.mark.parametrize("change", [_one_pixel, _one_label, _order, lambda root: rename(root, "dog", "hound")])
def test_digest_tells_a_change(folder, change):
    before = data("folder", folder).digest
    change(folder)
    assert data("folder", folder).digest != before


def test_digest_tells_another_validation_split(folder):
    assert len({data("folder", folder, seed=seed).digest for seed in range(3)}) == 3


# --- one image


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 3)])
def test_lossless_files_keep_every_pixel(form, shape):
    pixels = noise(*shape)
    got, notes = one(pixels, form)
    expected = pixels[None] if len(shape) == 2 else pixels.transpose(2, 0, 1)
    np.testing.assert_array_equal(got, expected)
    assert notes == ()


def test_palette_becomes_its_colours():
    image = Image.fromarray(noise(9, 9, 3)).quantize(7)
    got, _ = one(image)
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def test_transparent_pixels_become_white_and_it_is_said():
    pixels = noise(9, 9, 4)
    pixels[..., 3] = 255
    pixels[:4, ..., 3] = 0
    got, notes = one(pixels)
    assert (got[:, :4] == 255).all()
    np.testing.assert_array_equal(got[:, 4:], pixels[4:, :, :3].transpose(2, 0, 1))
    assert notes == ("1 of 1 image transparent, now on white",)


def test_an_opaque_alpha_channel_is_not_worth_a_note():
    grey = np.stack([noise(9, 9), np.full((9, 9), 255, np.uint8)], axis=2)
    got, notes = one(grey)
    np.testing.assert_array_equal(got, grey[None, ..., 0])
    assert notes == ()


def test_transparent_palette():
    image = Image.fromarray(noise(9, 9, 3)).quantize(5)
    image.putpixel((0, 0), 2)
    got, _ = one(image, transparency=2)
    assert (got[:, 0, 0] == 255).all()


def test_16_bit_and_float_levels_become_8_bit():
    levels = np.linspace(0, 65535, 100).astype(np.uint16).reshape(10, 10)
    got, notes = one(levels)
    np.testing.assert_array_equal(got[0], np.round(levels / 257))
    assert notes == ("1 of 1 image of 16 bits or more, now 8",)
    got, _ = one((levels / 65535).astype(np.float32), "TIFF")
    np.testing.assert_allclose(got[0], levels / 257, atol=0.51)


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (1.5, "outside 0..1")])
def test_bad_numbers_name_the_image(bad, word):
    pixels = np.zeros((9, 9), np.float32)
    pixels[3, 3] = bad
    with pytest.raises(InputError, match=f"image it: .*{word}"):
        one(pixels, "TIFF")


def png16(pixels):
    """A PNG of 16 bits a level, which Pillow writes of grey alone; pixels [H, W, C], uint16."""
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def levels(top, *shape, kind=np.uint16):
    """Numbers from 0 to `top`, both among them."""
    return np.linspace(0, top, np.prod(shape, dtype=int)).round(0 if top > 1 else 9).astype(kind).reshape(shape)


@pytest.mark.parametrize(("top", "whole"), [(200, 255), (255, 255), (256, 1023), (4000, 4095), (4096, 16383)])
@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i4"])
def test_whole_numbers_take_the_smallest_range_that_holds_them(top, whole, kind):
    pixels = levels(top, 20, 30)
    got, notes = one(Image.fromarray(pixels.astype(kind)), "TIFF")
    np.testing.assert_array_equal(got[0], np.round(pixels / whole * 255))
    assert notes == (f"1 of 1 image of 16 bits or more, now 8: 0..{whole} became 0..255",)


@pytest.mark.parametrize(("top", "whole"), [(0.25, 0.25), (0.3, 1), (0.01, 4**-3)])
def test_floats_take_the_smallest_range_that_holds_them(top, whole):
    pixels = levels(top, 20, 30, kind=np.float32)
    got, _ = one(pixels, "TIFF")
    np.testing.assert_array_equal(got[0], np.round(pixels.astype(float) / whole * 255))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("top", "bits"), [(255, 8), (1000, 10), (4095, 12), (65535, 16)])
def test_colours_of_16_bits_keep_the_upper_8_bits_of_their_range(channels, top, bits):
    pixels = levels(top, 12, 10, channels)
    pixels[..., 3:] = 65535
    images, _ = decode([("it", png16(pixels))])
    np.testing.assert_array_equal(images[0], (pixels[..., :3] >> (bits - 8)).transpose(2, 0, 1))


def test_one_range_holds_for_training_and_test_images_and_it_is_said(folder):
    for part, name in (("train", "cat"), ("test", "dog")):
        Image.fromarray(levels(1000, 10, 12)).save(folder / part / name / "0.png")
    Image.fromarray(levels(4000, 10, 12)).save(folder / "test/dog/1.png")
    got = data("folder", folder)
    assert (got.reading.integers, got.reading.floats) == (4095, 1)
    assert "1 of 22 images of 16 bits or more, now 8: 0..4095 became 0..255" in got.notes
    assert "2 of 22 images of 16 bits or more, now 8: they use 0..1023 of 0..4095" in got.notes
    place = got.splits["train"].sources.index("train/cat/0.png")
    np.testing.assert_array_equal(got.splits["train"].images[place][0], np.round(levels(1000, 10, 12) / 4095 * 255))


def test_a_known_range_holds_and_levels_beyond_it_are_refused(folder):
    known = Reading(integers=65535)  # as of a run that recorded nothing
    Image.fromarray(levels(4000, 10, 12)).save(folder / "train/cat/0.png")
    got = data("folder", folder, recorded_reading=known)
    assert "1 of 22 images of 16 bits or more, now 8: they use 0..4095 of 0..65535" in got.notes
    assert got.digest != data("folder", folder).digest
    wrong = complaint("folder", folder, recorded_reading=Reading(integers=1023))
    assert "train/cat/0.png: it has pixels of 0 to 4000, outside 0..1023; restore it" in wrong


@pytest.mark.parametrize("pixels", [levels(70_000, 9, 9, kind=np.int32), levels(300, 9, 9, kind=np.int32) - 10])
def test_numbers_that_no_range_holds_are_refused_and_choose_none(pixels):
    bad, good = content(pixels, "TIFF"), content(levels(255, 9, 9))
    with pytest.raises(InputError, match=r"image bad: it has pixels of -?\d+ to \d+, outside 0..65535"):
        decode([("good", good), ("bad", bad)])
    images, _ = decode([("good", good), ("bad", bad)], skip_unreadable=True)
    np.testing.assert_array_equal(images[0, 0], levels(255, 9, 9))


def test_cmyk_jpeg_is_converted_and_said():
    cmyk = Image.new("RGB", (16, 16), (200, 30, 60)).convert("CMYK")
    got, notes = one(cmyk, "JPEG", quality=100)
    np.testing.assert_allclose(got.mean((1, 2)), (200, 30, 60), atol=4)
    assert notes == ("1 of 1 image CMYK, now RGB",)


def test_of_an_animation_the_first_frame_counts_and_it_is_said():
    frames = [Image.new("RGB", (9, 9), colour).quantize() for colour in ("red", "blue")]
    got, notes = one(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(got[:, 4, 4], (255, 0, 0))
    assert "only the first one" in notes[0]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_a_turned_photograph_is_set_upright(form):
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8, 0] = 255  # red, top left as stored; shown after a quarter turn clockwise, top right
    exif = Image.Exif()
    exif[0x112] = 6
    got, notes = one(pixels, form, exif=exif)
    assert got.shape == (3, 24, 16)
    assert got[0, :6, 10:].min() > 200
    assert got[0, :6, :6].max() < 60
    assert "upright" in notes[0]


def exif(value, kind=3):
    """EXIF data whose orientation is `value`: as it is in the file, of any type."""
    count, size = (1, 2) if kind == 3 else (1, 8) if kind == 5 else (len(value), len(value))
    packed = struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", 26)
    rest = b"" if kind == 3 else struct.pack("<II", *value) if kind == 5 else value
    assert size
    return b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 0x112, kind, count) + packed + struct.pack("<I", 0) + rest


@pytest.mark.parametrize("block", [exif(0), exif(9), exif(6000), exif((6, 0), 5), exif(b"upside down\0", 2),
                                   b"Exif\0\0II*\0", b"Exif\0\0no TIFF at all", exif(6)[:-10]])  # fmt: skip
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_that_means_nothing_leaves_the_image_as_it_is(form, block):
    pixels = noise(16, 24, 3)
    got, notes = one(pixels, form, exif=block)
    plain, _ = one(pixels, form)
    np.testing.assert_array_equal(got, plain)
    assert notes == ()


TURNED = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


@pytest.mark.parametrize(("orientation", "turned"), [(6, True), (9, False)])
@pytest.mark.parametrize("side", [16, 24])
def test_xmp_says_how_to_turn_too(orientation, turned, side):
    pixels = noise(16, side, 3)
    got, _ = one(pixels, "JPEG", xmp=TURNED % orientation)
    plain, _ = one(pixels, "JPEG")
    np.testing.assert_array_equal(got, np.rot90(plain, -1, (1, 2)) if turned else plain)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_that_of_pillow_wherever_it_stands(orientation):
    pixels = Image.fromarray(noise(16, 24, 3))
    before = content(pixels, exif=exif(orientation))
    whole = content(pixels)
    end = whole.index(b"IEND") - 4
    behind = whole[:end] + chunk(b"eXIf", exif(orientation)[6:]) + whole[end:]
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(before)))).transpose(2, 0, 1)
    for file in (before, behind):
        images, notes = decode([("it", file)])
        np.testing.assert_array_equal(images[0], expected)
        assert len(notes) == (orientation != 1)


def test_only_the_formats_of_the_endings_are_opened():
    drawing = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
    with pytest.raises(InputError, match=r"image x\.png: its content is not an image of a known kind"):
        decode([("x.png", drawing)])
    with pytest.raises(InputError, match="not an image of a known kind"):
        read_picture("x.png", drawing)
    got, _ = one(noise(9, 9, 3), "BMP")  # whatever its ending is
    assert got.shape == (3, 9, 9)


def test_mixed_sizes_and_grey_are_converted_and_said():
    files = [noise(10, 12, 3), noise(10, 12, 3), noise(10, 12), noise(1, 1, 3)]
    images, notes = decode([(str(row), content(file)) for row, file in enumerate(files)])
    assert images.shape == (4, 3, 10, 12)
    assert (images[2, 0] == images[2, 2]).all()
    assert (images[3] == torch.from_numpy(files[3]).view(3, 1, 1)).all()
    assert notes == (
        "1 of 4 images grey, now colour",
        "1 of 4 images resized to 12x10",
        "1 of 4 images stretched out of proportion, by up to 1.20 times",
    )


def test_size_makes_squares_and_grey_stays_grey_if_all_are():
    images, notes = decode([("a", content(noise(10, 12))), ("b", content(noise(16, 16)))], 16)
    assert images.shape == (2, 1, 16, 16)
    assert notes == (
        "1 of 2 images resized to 16x16",
        "1 of 2 images stretched out of proportion, by up to 1.20 times",
    )


@pytest.mark.parametrize(("side", "word"), [(1, "few"), (1500, "many")])
def test_sides_that_no_network_takes_ask_for_size(side, word):
    file = content(Image.new("L", (side, side)))
    with pytest.raises(InputError, match=f"{side}x{side} pixels, too {word} .* --size, 8 to 1024"):
        decode([("it", file)])
    assert decode([("it", file)], 8)[0].shape == (1, 1, 8, 8)


def test_a_decompression_bomb_is_not_opened():
    with pytest.raises(InputError, match="image it: it has over 89,478,485 pixels"):
        decode([("it", content(Image.new("1", (10_000, 10_000))))])


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_truncated_content_is_refused(form):
    whole = content(noise(32, 32, 3), form)
    with pytest.raises(InputError, match=r"cannot read image it: .*fix or remove it"):
        decode([("it", whole[: len(whole) // 2])])


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"quality": 20}])
def test_quick_jpeg_decoding_gives_pillows_pixels(options):
    file = content(Image.fromarray(noise(8, 8, 3)).resize((32, 32), Image.Resampling.BICUBIC), "JPEG", **options)
    quick = jpeg.read_small_jpeg(file)
    assert quick is not None
    np.testing.assert_array_equal(quick, np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1))


def test_quick_jpeg_decoding_is_given_up_where_it_differs(monkeypatch):
    monkeypatch.setattr(jpeg, "_decode", lambda content: np.zeros((3, 48, 48), np.uint8))
    jpeg._decoders_agree.cache_clear()
    file = content(noise(48, 48, 3), "JPEG")
    assert jpeg.read_small_jpeg(file) is None
    jpeg._decoders_agree.cache_clear()


# --- folder


def test_folder_reads_what_lies_there(folder):
    got = data("folder", folder)
    assert got.classes == ("cat", "dog")
    assert got.notes == ()
    assert {name: len(split.labels) for name, split in got.splits.items()} == {"train": 12, "val": 4, "test": 6}
    for split in got.splits.values():
        for image, label, source in zip(split.images, split.labels, split.sources, strict=True):
            expected = np.asarray(Image.open(folder / source)).transpose(2, 0, 1)
            np.testing.assert_array_equal(image, expected)
            assert source.split("/")[1] == got.classes[label]


NAMES = ["two words", "a'b\"c", "<b>&amp;", "日本語 🐈", "line\nend", "50%", "--flag", "a\\b", "é" * 80]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such folder names")
@pytest.mark.parametrize("name", NAMES)
def test_class_names_stay_as_they_are_and_messages_one_line(folder, name):
    rename(folder, "dog", name)
    assert name in data("folder", folder).classes
    (folder / "train" / name / "3.png").write_bytes(b"")
    assert "3.png: it is empty" in complaint("folder", folder)
    shutil.rmtree(folder / "train" / name)
    assert "has classes that train/ lacks" in complaint("folder", folder)


def test_a_name_that_is_no_unicode_is_refused(folder):
    try:
        os.rename(os.fsencode(folder / "train/cat/1.png"), os.fsencode(folder / "train/cat") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert r"train/cat/\udcff.png is not valid UTF-8" in complaint("folder", folder)


def test_hidden_and_system_files_are_passed_over_others_said(folder):
    before = data("folder", folder).digest
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".ipynb_checkpoints/0.png"):
        (folder / "train/cat" / name).parent.mkdir(exist_ok=True)
        (folder / "train/cat" / name).write_bytes(b"no image")
    (folder / "train/.ipynb_checkpoints").mkdir()
    (folder / "test/.DS_Store").touch()
    assert data("folder", folder).notes == ()
    (folder / "train/cat/notes.txt").touch()
    (folder / "test/loose.png").touch()
    (folder / "spare").mkdir()
    got = data("folder", folder)
    assert got.digest == before
    assert "2 files ignored" in got.notes[0]
    assert "train/cat/notes.txt, test/loose.png" in got.notes[0]
    assert got.notes[1].endswith("not used: spare")


def test_upper_case_endings_nested_folders_and_links(folder, tmp_path):
    deep = folder / "train/cat/a b/c"
    deep.mkdir(parents=True)
    (folder / "train/cat/0.png").rename(deep / "0.PNG")
    (tmp_path / "elsewhere").mkdir()
    (folder / "train/cat/1.png").rename(tmp_path / "elsewhere/1.png")
    (folder / "train/cat/linked").symlink_to(tmp_path / "elsewhere")
    (folder / "train/cat/a b/loop").symlink_to(folder / "train/cat")
    (folder / "train/cat/self").symlink_to(folder / "train/cat/self")
    got = data("folder", folder)
    every = {source for name in ("train", "val") for source in got.splits[name].sources}
    assert len(every) == 16
    assert {"train/cat/a b/c/0.PNG", "train/cat/linked/1.png"} <= every


def test_a_class_that_links_to_its_parent_is_refused(folder):
    (folder / "train/up").symlink_to(folder / "train")
    assert "no images of class up" in complaint("folder", folder)


def test_text_called_png_is_named(folder):
    (folder / "test/dog/2.png").write_text("hello")
    assert f"image {folder}/test/dog/2.png: its content is not an image" in complaint("folder", folder)


def test_unreadable_image_and_broken_link_are_named(folder):
    (folder / "test/dog/x.png").symlink_to(folder / "gone.png")
    assert "test/dog/x.png: [Errno 2] No such file" in complaint("folder", folder)


def spoil(folder):
    """Five images of 22 that cannot be read, each for another reason."""
    (folder / "train/cat/0.png").write_bytes(b"")
    (folder / "train/cat/1.png").write_text("hello")
    whole = (folder / "train/dog/2.png").read_bytes()
    (folder / "train/dog/2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "test/cat/0.png").unlink()
    os.mkfifo(folder / "test/cat/0.png")
    (folder / "test/dog/0.png").unlink()
    (folder / "test/dog/0.png").symlink_to(folder / "gone.png")
    return {"train/cat/0.png", "train/cat/1.png", "train/dog/2.png", "test/cat/0.png", "test/dog/0.png"}


def test_all_unreadable_images_are_named_in_one_line(folder):
    bad, message = spoil(folder), complaint("folder", folder)
    assert message.startswith("cannot read 5 of 22 images: ")
    assert all(f"{folder}/{source}: " in message for source in bad)
    assert "it is empty" in message
    assert "it is not a file" in message
    assert message.endswith("fix or remove them, or leave them out with --skip-unreadable")


def test_unreadable_images_are_left_out_and_the_same_ones_later(folder):
    bad, got = spoil(folder), data("folder", folder, skip_unreadable=True)
    assert set(got.reading.unreadable) == bad
    assert not bad & {source for split in got.splits.values() for source in split.sources}
    assert [len(split.labels) for split in got.splits.values()] == [9, 4, 4]
    assert any(note.startswith("5 of 22 images cannot be read and are left out: ") for note in got.notes)
    for split in got.splits.values():
        for image, source in zip(split.images, split.sources, strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(folder / source)).transpose(2, 0, 1))
    (folder / "train/cat/0.png").write_bytes(content(noise(10, 12, 3)))  # readable again: not part of the run
    again = data("folder", folder, recorded_reading=got.reading)
    assert (again.digest, again.reading) == (got.digest, got.reading)
    assert again.notes[0].startswith("5 images left out, which could not be read when the run was made: ")
    (folder / "train/cat/5.png").write_bytes(b"")
    assert "train/cat/5.png: it is empty; restore it, for the run was made with it" in complaint(
        "folder", folder, recorded_reading=got.reading
    )


def test_a_class_without_a_readable_image_is_refused(folder):
    for file in (folder / "train/dog").iterdir():
        file.write_bytes(b"")
    assert "no training image: class dog" in complaint("folder", folder, skip_unreadable=True)
    for file in folder.rglob("*.png"):
        file.write_bytes(b"")
    assert "cannot read 22 of 22 images" in complaint("folder", folder, skip_unreadable=True)


def test_accents_are_one_name_in_whichever_way_they_are_written(folder):
    one_way, other = "caf\u00e9", "cafe\u0301"
    (folder / "train/cat").rename(folder / "train" / other)
    (folder / "test/cat").rename(folder / "test" / one_way)
    got = data("folder", folder)
    assert got.classes == (one_way, "dog")
    assert torch.bincount(got.splits["test"].labels).tolist() == [3, 3]
    (folder / "train" / one_way).mkdir()
    assert r"twice, as 'cafe\u0301' and 'caf\xe9'" in complaint("folder", folder)


@pytest.mark.parametrize("name", ["CAT", "cat ", "c\u200bat"])
def test_classes_whose_names_look_alike_are_said(folder, name):
    rename(folder, "dog", name)
    [note] = data("folder", folder).notes
    assert note.startswith("classes whose names look alike: ")


def test_a_class_folder_below_another_is_said(folder):
    (folder / "train/dog/cat/more").mkdir(parents=True)
    (folder / "train/dog/good").mkdir()
    (folder / "train/dog/1.png").rename(folder / "train/dog/cat/more/1.png")
    (folder / "train/dog/2.png").rename(folder / "train/dog/good/2.png")
    assert data("folder", folder).notes == (
        "1 image in folders named after another class, counted as the class of the outer folder: train/dog/cat",
    )


def test_what_is_the_same_picture_is_found_by_content(folder):
    for source, copy in (("train/cat/0", "test/cat/0"), ("train/cat/1", "test/dog/1"), ("train/dog/2", "train/dog/3")):
        Image.open(folder / f"{source}.png").save(folder / f"{copy}.png", compress_level=1)
    assert data("folder", folder).notes == (
        "2 of 6 test images are also training images, pixel by pixel, so test accuracy is too high: test/cat/0.png "
        "is train/cat/0.png, for example",
        "1 of 16 training images repeat another: train/dog/3.png is train/dog/2.png",
        "pictures in more than one class: 1, for example test/dog/1.png as dog, train/cat/1.png as cat",
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sets_repeat_no_picture(name):
    assert [note for note in data(name).notes if "planted on purpose" not in note] == []


def test_classes_of_very_different_sizes_and_tiny_ones_are_said(folder):
    for row in range(4, 8):
        (folder / f"train/dog/{row}.png").unlink()
    assert data("folder", folder).notes == ("classes of fewer than 5 training images: dog (4)",)
    for row in range(8, 40):
        Image.fromarray(noise(10, 12, 3)).save(folder / f"train/cat/{row}.png")
    note, _ = data("folder", folder).notes
    assert note.startswith("classes differ in size, from 4 training images of dog to 40 of cat, so accuracy says ")


def _empty(path):
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: shutil.rmtree(root), "does not exist"),
        (lambda root: (shutil.rmtree(root), root.touch()), "is a file, not a folder"),
        (lambda root: (root / "test").rename(root / "held-out"), "no folder test/ (it has: held-out, train)"),
        (lambda root: _empty(root / "train"), "train has no folders"),
        (lambda root: _empty(root / "test"), "test has no images in class folders"),
        (lambda root: _empty(root / "train/dog"), "train has no images of class dog"),
        (lambda root: shutil.rmtree(root / "train/dog"), "has classes that train/ lacks: dog; train/ has: cat"),
        (lambda root: [shutil.rmtree(root / part / "dog") for part in ("train", "test")], "two classes or more"),
        (lambda root: [(root / f"train/dog/{row}.png").unlink() for row in range(1, 8)], "only one training image"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(folder, change, words):
    change(folder)
    assert words in complaint("folder", folder)


def test_folder_without_data_says_what_it_needs():
    assert "needs --data FOLDER" in complaint("folder")


def test_a_class_may_lack_test_images_and_it_is_said(folder):
    shutil.rmtree(folder / "test/dog")
    got = data("folder", folder)
    assert got.notes == ("no test image of class dog",)
    assert got.splits["test"].labels.tolist() == [0, 0, 0]


def test_two_images_a_class_are_enough(folder):
    for name in ("cat", "dog"):
        for row in range(2, 8):
            (folder / f"train/{name}/{row}.png").unlink()
    splits = data("folder", folder, val_fraction=0.01).splits
    assert splits["train"].labels.tolist() == splits["val"].labels.tolist() == [0, 1]


# --- folder, in its other layouts


def counts(got):
    """Images of each class by split."""
    return {name: torch.bincount(split.labels).tolist() for name, split in got.splits.items()}


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_folder_of_validation_images_is_kept(folder, name):
    shutil.copytree(folder / "test", folder / name)
    for file in (folder / name).rglob("*.png"):
        Image.fromarray(noise(10, 12, 3)).save(file)
    got = data("folder", folder)
    assert counts(got) == {"train": [8, 8], "val": [3, 3], "test": [3, 3]}
    assert got.notes == ()
    for part, split in zip(("train", name, "test"), got.splits.values(), strict=True):
        for image, source in zip(split.images, split.sources, strict=True):
            assert source.startswith(f"{part}/")
            np.testing.assert_array_equal(image, np.asarray(Image.open(folder / source)).transpose(2, 0, 1))
    assert data("folder", folder, seed=3, val_fraction=0.5).digest == got.digest
    (folder / name / "dog/0.png").write_bytes(b"")
    skipped = data("folder", folder, skip_unreadable=True)
    assert counts(skipped) == {"train": [8, 8], "val": [3, 2], "test": [3, 3]}


def test_without_test_images_half_of_the_validation_images_are_held_out_and_it_is_said(folder):
    (folder / "test").rename(folder / "val")
    got, other_seed = data("folder", folder), data("folder", folder, seed=9)
    assert counts(got) == {"train": [8, 8], "val": [1, 1], "test": [2, 2]}
    assert got.notes == (
        "no test images of its own: 4 of 6 validation images are held out for testing, 0.5 of each class "
        "(--test-fraction), the same ones for every --seed",
    )
    assert other_seed.digest == got.digest
    assert counts(data("folder", folder, test_fraction=0.3))["test"] == [1, 1]


def test_class_folders_alone_hold_out_test_images_and_it_is_said(folder):
    got, other_seed = data("folder", folder / "train"), data("folder", folder / "train", seed=9)
    assert counts(got) == {"train": [4, 4], "val": [2, 2], "test": [2, 2]}
    assert got.notes == (
        "no test images of its own: 4 of 16 training images are held out for testing, 0.2 of each class "
        "(--test-fraction), the same ones for every --seed",
    )
    assert other_seed.splits["test"].sources == got.splits["test"].sources
    assert other_seed.splits["val"].sources != got.splits["val"].sources
    every = [source for split in got.splits.values() for source in split.sources]
    assert sorted(every) == sorted(f"{name}/{row}.png" for name in ("cat", "dog") for row in range(8))
    assert counts(data("folder", folder / "train", test_fraction=0.5))["test"] == [4, 4]


def test_a_class_may_be_called_like_a_part(folder):
    (folder / "train/dog").rename(folder / "train/train")
    got = data("folder", folder / "train")
    assert got.classes == ("cat", "train")


def test_200_classes_of_sizes_from_1_to_200(tmp_path):
    for label in range(200):
        (tmp_path / f"{label:03d}").mkdir()
        for row in range(200 if label == 0 else 3):
            Image.fromarray(noise(8, 8)).save(tmp_path / f"{label:03d}/{row}.png")
    got = data("folder", tmp_path)
    assert counts(got)["test"] == [40] + [1] * 199
    assert counts(got)["val"] == [40] + [1] * 199
    assert [note.split(",")[0] for note in got.notes] == [
        "no test images of its own: 239 of 797 training images are held out for testing",
        "classes differ in size",
        "classes of fewer than 5 training images: 001 (2)",
    ]
    for row in (0, 1):
        (tmp_path / f"007/{row}.png").unlink()
    assert "only one training image, which leaves none for validation: class 007" in complaint("folder", tmp_path)


def _validation(change):
    def apply(root):
        shutil.copytree(root / "test", root / "val")
        change(root)

    return apply


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_validation(lambda root: _empty(root / "val")), "val has no images in class folders; add some or remove"),
        (_validation(lambda root: _empty(root / "val/dog")), "no validation image of class dog"),
        (_validation(lambda root: (root / "val/dog").rename(root / "val/bird")), "lacks: bird; train/ has: cat, dog"),
        (_validation(lambda root: (root / "valid").mkdir()), "has val, valid, which all are its val/; keep one"),
        (_validation(lambda root: (root / "val/cat/0.png").write_text("x")), "0.png: its content is not an image"),
        (_validation(lambda root: shutil.rmtree(root / "train")), "no folder train/ (it has: test, val)"),
        (lambda root: shutil.rmtree(root / "test"), "or CLASS/* alone (as of --data {root}/train)"),
        (lambda root: [(root / part).rename(root / f"set-{part}") for part in ("train", "test")],
         "has set-test, set-train, with images only in folders further below, so these are not classes"),
        (lambda root: [shutil.rmtree(root / part) for part in ("train", "test")], "has no folder in it (it has: noth"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_other_layouts_is_said_in_one_line(folder, change, words):
    change(folder)
    if words.startswith("no validation image"):
        assert words in data("folder", folder).notes
    else:
        assert words.format(root=folder) in complaint("folder", folder)


def test_a_fraction_for_testing_is_refused_where_it_does_nothing(folder):
    assert "does nothing for data with its own test images" in complaint("folder", folder, test_fraction=0.3)
    assert complaint("digits", test_fraction=0.3) == "--test-fraction does nothing for --dataset digits; leave it out"


# --- CIFAR-10, made


@pytest.fixture
def shards(tmp_path):
    root = tmp_path / "cifar"
    root.mkdir()
    parquet.write_table(table(17), root / "train-00000-of-00002.parquet", row_group_size=5)
    parquet.write_table(table(23, "JPEG"), root / "train-00001-of-00002.parquet")
    parquet.write_table(table(10), root / "test-00000-of-00001.parquet")
    return root


def cifar_rows(root, part):
    return pa.concat_tables(parquet.ParquetFile(file).read() for file in sorted(root.glob(f"{part}*")))


def assert_sources_are_right(root, got, rows=None):
    stored = {part: cifar_rows(root, part) for part in ("train", "test")}
    for split in got.splits.values():
        for at in range(len(split.labels)) if rows is None else rows:
            part, row = split.sources[at].split("/")
            [expected] = stored[part].slice(int(row), 1).to_pylist()
            assert expected["label"] == split.labels[at]
            image = Image.open(io.BytesIO(expected["img"]["bytes"]))
            np.testing.assert_array_equal(split.images[at], np.asarray(image).transpose(2, 0, 1))


def test_a_shard_that_is_missing_is_not_passed_over(shards):
    (shards / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"cifar has 1 file train-\.\.\.-of-00002, not 2; fetch the data set again"):
        data("cifar10", shards)


@pytest.mark.parametrize("inside", ["", "plain_text"])
def test_parquet_shards(shards, tmp_path, inside):
    got = data("cifar10", shards)
    assert got.classes == CLASSES
    assert [len(split.labels) for split in got.splits.values()] == [30, 10, 10]
    assert [note.split(":")[0] for note in got.notes] == ["classes of fewer than 5 training images"]
    assert_sources_are_right(shards, got)
    place = tmp_path / "home/data/cifar10" / inside
    shutil.copytree(shards, place)
    assert data("cifar10", home=tmp_path / "home").digest == got.digest


def test_digest_does_not_depend_on_the_decoder(shards, monkeypatch):
    quick = data("cifar10", shards).digest
    monkeypatch.setattr("pipelines.data.pixels.read_small_jpeg", lambda content: None)
    assert data("cifar10", shards).digest == quick


def test_digest_tells_a_label_though_no_pixel_changes(shards):
    before, file = data("cifar10", shards).digest, shards / "test-00000-of-00001.parquet"
    made = parquet.ParquetFile(file).read()
    parquet.write_table(made.set_column(1, "label", pa.array([1, *range(1, 10)])), file)
    assert data("cifar10", shards).digest != before


def spoil_rows(root):
    """Make images of three rows unreadable: empty, cut off, and no image; their sources."""
    spoilt = {
        "train-00000-of-00002": {3: b"", 16: b"no image"},
        "test-00000-of-00001": {9: content(noise(32, 32, 3))[:99]},
    }
    for name, rows in spoilt.items():
        file = root / f"{name}.parquet"
        made = parquet.ParquetFile(file).read().to_pylist()
        for row, image in rows.items():
            made[row]["img"]["bytes"] = image
        parquet.write_table(table(0).schema.empty_table().from_pylist(made, table(0).schema), file)
    return {"train/00003", "train/00016", "test/00009"}


def test_unreadable_rows_are_named_or_left_out_and_the_same_ones_later(shards):
    whole = {part: cifar_rows(shards, part) for part in ("train", "test")}
    bad, message = spoil_rows(shards), complaint("cifar10", shards)
    assert message.startswith("cannot read ")
    assert message.endswith("or leave them out with --skip-unreadable")
    assert all(f"row {row} of" in message for row in (3, 16))
    got = data("cifar10", shards, skip_unreadable=True)
    assert set(got.reading.unreadable) == bad
    assert sum(len(split.labels) for split in got.splits.values()) == 50 - 3
    assert not bad & {source for split in got.splits.values() for source in split.sources}
    assert_sources_are_right(shards, got)
    parquet.write_table(whole["test"], shards / "test-00000-of-00001.parquet")  # readable again: not part of the run
    again = data("cifar10", shards, recorded_reading=got.reading)
    assert (again.digest, again.reading) == (got.digest, got.reading)


def test_parquet_of_other_sizes_and_grey_is_converted_and_said(shards):
    odd = [content(noise(40, 50)), content(noise(32, 32))] + [content(noise(32, 32, 3)) for _ in range(8)]
    img = pa.array([{"bytes": image, "path": ""} for image in odd])
    parquet.write_table(table(10, img=img), shards / "test-00000-of-00001.parquet")
    assert data("cifar10", shards).notes[:3] == (
        "test: 2 of 10 images grey, now colour",
        "test: 1 of 10 images resized to 32x32",
        "test: 1 of 10 images stretched out of proportion, by up to 1.25 times",
    )
    assert data("cifar10", shards, size=16).image_shape == (3, 16, 16)


def _img(*contents):
    return pa.array(
        [{"bytes": image, "path": "x"} for image in contents], pa.struct({"bytes": "binary", "path": "str"})
    )


def _png():
    return content(noise(32, 32, 3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: table(3, label=None, other=pa.array([1, 2, 3])), "no column label of integers; it has img (struct"),
        (lambda: table(3, img=None), "no column img with bytes in it; it has label (int64)"),
        (lambda: table(3, img=pa.array(["a", "b", "c"])), "no column img with bytes in it"),
        (lambda: table(3, label=pa.array(["cat"] * 3)), "no column label of integers"),
        (lambda: table(3, label=pa.array([1, None, 2])), "row 1 of {file} has label None"),
        (lambda: table(3, label=pa.array([1, 2, 10])), "row 2 of {file} has label 10, not one of 0..9"),
        (lambda: table(3, label=pa.array([-1, 2, 1])), "row 0 of {file} has label -1"),
        (lambda: table(2, img=_img(_png(), b"junk")), "image in row 1 of {file}: its content is not an image"),
        (lambda: table(2, img=_img(_png(), None)), "image in row 1 of {file}: it is empty"),
        (lambda: table(2, img=_img(_png(), content(noise(32, 32, 3), "JPEG")[:500])), "image in row 1 of {file}"),
        (lambda: table(0), "no test images"),
    ],
)
def test_what_is_wrong_with_a_parquet_file_is_said_in_one_line(shards, make, words):
    file = shards / "test-00000-of-00001.parquet"
    parquet.write_table(make(), file)
    assert words.format(file=file) in complaint("cifar10", shards)


def test_no_training_rows(shards):
    for number in range(2):
        parquet.write_table(table(0), shards / f"train-{number:05d}-of-00002.parquet")
    assert "no training image: class airplane" in complaint("cifar10", shards)


def test_a_file_of_another_type_is_named(shards):
    (shards / "train-00001-of-00002.parquet").write_text("img,label\n")
    assert f"cannot read {shards}/train-00001-of-00002.parquet" in complaint("cifar10", shards)


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """Ten images in each of the six pickles, their md5 declared known."""
    root = tmp_path / "pickled/cifar-10-batches-py"
    root.mkdir(parents=True)
    for name in cifar10_batches.PUBLISHED_MD5:
        dumped = pickle.dumps({b"data": noise(10, 3072), b"labels": list(range(10))})
        (root / name).write_bytes(dumped)
        monkeypatch.setitem(cifar10_batches.PUBLISHED_MD5, name, hashlib.md5(dumped).hexdigest())
    return root


def test_batches(batches, tmp_path):
    got = data("cifar10", batches)
    assert [len(split.labels) for split in got.splits.values()] == [40, 10, 10]
    stored = [pickle.loads((batches / name).read_bytes()) for name in cifar10_batches.PUBLISHED_MD5]
    for split in got.splits.values():
        for image, label, source in zip(split.images, split.labels, split.sources, strict=True):
            part, row = source.split("/")
            batch, row = (stored[int(row) // 10], int(row) % 10) if part == "train" else (stored[5], int(row))
            np.testing.assert_array_equal(image.flatten(), batch[b"data"][row])
            assert label == batch[b"labels"][row]
    assert data("cifar10", batches.parent).digest == got.digest
    (tmp_path / "home").mkdir()
    (tmp_path / "home/data").symlink_to(batches.parent)
    assert data("cifar10", home=tmp_path / "home").digest == got.digest


@pytest.mark.parametrize("size", [None, 16])
def test_both_layouts_of_the_same_pixels_have_one_digest(batches, tmp_path, size):
    root = tmp_path / "parquet"
    root.mkdir()
    for part in ("data", "test"):
        stored = [pickle.loads((batches / name).read_bytes()) for name in cifar10_batches.PUBLISHED_MD5 if part in name]
        pixels = np.concatenate([batch[b"data"] for batch in stored]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        made = table(len(pixels), img=_img(*(content(np.ascontiguousarray(image)) for image in pixels)))
        parquet.write_table(made, root / f"{'train' if part == 'data' else 'test'}.parquet")
    assert data("cifar10", root, size=size).digest == data("cifar10", batches, size=size).digest


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_an_unknown_pickle_is_never_loaded(batches, tmp_path):
    (batches / "data_batch_3").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert f"{batches}/data_batch_3 is not CIFAR-10's own file" in complaint("cifar10", batches)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_batch_is_named(batches):
    (batches / "data_batch_2").unlink()
    assert "data_batch_2 is missing" in complaint("cifar10", batches)


def test_cifar10_nowhere_says_what_was_looked_for(shards, tmp_path):
    assert "(which does not exist): looked for train*.parquet" in complaint("cifar10", tmp_path / "gone")
    file = shards / "test-00000-of-00001.parquet"
    assert "(a file, not a folder)" in complaint("cifar10", file)
    file.unlink()
    assert f"no CIFAR-10 in {shards}: looked for" in complaint("cifar10", shards)


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no network\nat all")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
    message = complaint("cifar10", home=tmp_path / "home")
    assert f"no CIFAR-10 in {tmp_path}/home/data/cifar10" in message
    assert message.endswith("downloading it failed too: OSError: no network at all")
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_used_and_keeps_standard_output_clean(batches, tmp_path, monkeypatch, capsys):
    def fetch(root, download):
        print("extracting")
        shutil.copytree(batches, Path(root) / batches.name)

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fetch)
    assert data("cifar10", home=tmp_path / "home").digest == data("cifar10", batches).digest
    assert capsys.readouterr().out == ""


# --- CIFAR-10, real


@pytest.mark.skipif(not list(REAL.glob("*.parquet")), reason=f"no CIFAR-10 in {REAL}; STUDY_TEST_DATA names its parent")
def test_the_real_cifar10():
    got = data("cifar10", REAL, val_fraction=0.1)
    assert {name: torch.bincount(split.labels).tolist() for name, split in got.splits.items()} == {
        "train": [4500] * 10,
        "val": [500] * 10,
        "test": [1000] * 10,
    }
    assert got.image_shape == (3, 32, 32)
    assert got.notes == ()
    assert got.splits["test"].labels[:4].tolist() == [3, 8, 8, 0]  # cat, ship, ship, airplane
    assert got.splits["test"].sources[:2] == ("test/00000", "test/00001")
    assert_sources_are_right(REAL, got, rows=(0, 1, 77, 499))


# --- planted

SINGLE_GLYPHS = {glyph: (glyph,) for glyph in planted.GLYPHS}


@pytest.fixture(scope="module", params=[32, 45])
def small_planted(request):
    """Images with and without glyph and decoy, from the same random numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "COUNTS", {"train": 200, "test": 100})
        images = data("planted", size=request.param)
        again = data("planted", size=request.param)
        patch.setattr(planted, "add_pattern", lambda *arguments: None)
        return images, again, data("planted", size=request.param)


def differences(made, bare, name):
    """Change of each pixel by glyph and decoy, [N, C, H, W], in levels."""
    return made.splits[name].images.int() - bare.splits[name].images.int()


def cut(image, box):
    top, left, height, width = box.tolist()
    return image[..., top : top + height, left : left + width]


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_glyph_and_decoy_lie_in_their_boxes_and_nothing_elsewhere(small_planted, name):
    made, _, bare = small_planted
    glyphs = [np.array([[c == "#" for c in row] for row in rows]) for rows in planted.GLYPHS.values()]
    for change, label, (glyph, decoy) in zip(
        differences(made, bare, name), made.splits[name].labels, made.splits[name].truth, strict=True
    ):
        marks = np.asarray(cut(change, glyph).abs().amax(0) > 0)
        assert not (marks & ~glyphs[label]).any()
        assert marks.sum() >= 0.9 * glyphs[label].sum()  # a bright cloud may hide a bright pixel
        assert cut(change, decoy).any()
        for box in (glyph, decoy):
            cut(change, box).zero_()
        assert not change.any()


def test_boxes_lie_apart_inside_the_image(small_planted):
    made = small_planted[0]
    for split in made.splits.values():
        corners = split.truth[:, :, :2]
        assert (corners >= 0).all()
        assert (corners + 7 <= made.image_shape[1]).all()
        gaps = (corners[:, 0] - corners[:, 1]).abs().amax(1) - 7
        assert gaps.min() >= 2


def test_planted_is_the_same_every_time_and_balanced(small_planted):
    made, again, _ = small_planted
    assert made.digest == again.digest
    for name, count in (("train", 38), ("val", 12), ("test", 25)):
        assert torch.equal(made.splits[name].truth, again.splits[name].truth)
        assert torch.bincount(made.splits[name].labels).tolist() == [count] * 4
    assert not torch.equal(made.splits["train"].images[:50], made.splits["test"].images[:50])


def test_the_decoy_tells_nothing_about_the_class():
    made = planted.make_split("train", 2000, 32, SINGLE_GLYPHS)
    bright = torch.stack([cut(image, box[1]).float().std() for image, box in zip(made.images, made.truth, strict=True)])
    middle = torch.stack([cut(image, box[1])[:, 3, 3].float().mean() for image, box in zip(made.images, made.truth,
                                                                                         strict=True)])  # fmt: skip
    facts = torch.stack([made.truth[:, 1, 0].float(), made.truth[:, 1, 1].float(), bright, middle], dim=1)  # [N, F]
    facts = (facts - facts.mean(0)) / facts.std(0)
    means = torch.stack([facts[made.labels == label].mean(0) for label in range(4)])
    assert means.abs().max() < 4 / len(facts[made.labels == 0]) ** 0.5  # four standard errors


def test_planted_needs_room():
    assert "--size 16 or more" in complaint("planted", size=15)
    assert planted.make_split("train", 8, 16, SINGLE_GLYPHS).images.shape == (8, 3, 16, 16)


def test_planted_is_what_it_was():
    """Of earlier versions too: figures in documents and users' runs rest on it."""
    made = planted.make_split("train", 40, 32, SINGLE_GLYPHS)
    digest = hashlib.sha256(made.images.numpy().tobytes() + made.truth.numpy().tobytes()).hexdigest()
    assert digest == "0c7225adfcb509e790c06a9ef0ddb8da4f5e1a24a2fc6358efbe9eaaf0c0db57"


def test_a_pair_decides_together(monkeypatch):
    """Neither glyph alone tells the class, and each lies in its box."""
    monkeypatch.setattr(planted, "COUNTS", {"train": 80, "test": 40})
    made = data("planted:pair")
    assert made.classes == ("cross and saltire", "cross and corner", "ring and saltire", "ring and corner")
    split = made.splits["test"]
    assert split.truth.shape == (40, 3, 4)
    corners = split.truth[:, :, :2]
    for one, other in itertools.combinations(range(3), 2):
        assert (corners[:, one] - corners[:, other]).abs().amax(1).min() >= 9
    with monkeypatch.context() as patch:
        patch.setattr(planted, "add_pattern", lambda *arguments: None)
        bare = data("planted:pair")
    for change, label, boxes in zip(differences(made, bare, "test"), split.labels, split.truth, strict=True):
        for glyph, box in zip(made.classes[label].split(" and "), boxes, strict=False):
            mask = np.array([[c == "#" for c in row] for row in planted.GLYPHS[glyph]])
            marks = np.asarray(cut(change, box).abs().amax(0) > 0)
            assert not (marks & ~mask).any()
            assert marks.sum() >= 0.9 * mask.sum()
    assert "--size 25 or more" in complaint("planted:pair", size=24)


def test_a_shortcut_is_planted_in_training_and_tells_nothing_in_testing(monkeypatch):
    monkeypatch.setattr(planted, "COUNTS", {"train": 800, "test": 400})
    plain, made = data("planted"), data("planted:shortcut")
    tagged = {}
    for name, split in made.splits.items():
        change = (split.images.int() - plain.splits[name].images.int()).abs().amax(1) > 0
        assert not change[:, 5:].any()
        assert not change[:, :, :27].any()  # a tag of 3 x 3 pixels, 2 from the edges
        tagged[name] = split.images[:, :, 2:5, 27:30].eq(torch.tensor([255, 0, 255])[:, None, None]).flatten(1).all(1)
        assert torch.equal(change.flatten(1).any(1) & ~tagged[name], torch.zeros_like(tagged[name]))
    for name in ("train", "val"):
        fractions = [tagged[name][made.splits[name].labels == label].float().mean().item() for label in range(4)]
        assert fractions == [0, pytest.approx(0.95, abs=0.06), 0, 0]
    test = [tagged["test"][made.splits["test"].labels == label].float().mean().item() for label in range(4)]
    assert test == pytest.approx([0.5] * 4, abs=0.15)
    assert plain.digest != made.digest


# --- digits with planted faults


def test_digits_with_faults_are_the_digits_and_the_truth_is_told():
    real = {source: int(label) for split in data("digits").splits.values()
            for source, label in zip(split.sources, split.labels, strict=True)}  # fmt: skip
    truth = {image.source: image for image in faulty_digits.list_truth()}
    assert {source: image.digit for source, image in truth.items()} == real
    for size in (8, 16):
        got = data("digits:faults", size=size)
        assert got.image_shape == (1, size, size)
        for name, split in got.splits.items():
            part = "test" if name == "test" else "train"
            for image, label, source in zip(split.images, split.labels.tolist(), split.sources, strict=True):
                assert (truth[source].part, truth[source].label) == (part, label)
                if truth[source].marked:
                    assert (image[0, 1:2, 1:2] == 255).all()
    assert data("digits:faults").digest == data("digits:faults", size=16).digest
    assert sum("planted on purpose" in note for note in got.notes) == 2


def test_the_faults_are_listed_by_split_and_instance_id():
    """By which a study's answers are checked: the label that the data set says, at the place where it is."""
    made = data("digits:faults", val_fraction=RunSettings().val_fraction)
    listed = faulty_digits.list_faults()
    changed = Counter(name for name, _, image in listed if image.label != image.digit)
    assert changed == {"train": 45, "val": 5}
    assert Counter(name for name, _, image in listed if image.marked)["test"] == 242
    for name, instance_id, image in listed:
        assert made.splits[name].sources[instance_id] == image.source
        assert made.splits[name].labels[instance_id] == image.label


def test_the_mark_goes_with_a_class_in_training_alone_and_no_label_of_it_is_flipped():
    truth = faulty_digits.list_truth()
    zeros = [image for image in truth if image.digit == faulty_digits.MARKED_CLASS]
    train, test = ([image for image in truth if image.part == part] for part in ("train", "test"))
    assert {image.digit for image in train if image.marked} == {faulty_digits.MARKED_CLASS}
    assert 0.85 < np.mean([image.marked for image in zeros if image.part == "train"]) < 1
    for digit in range(10):
        assert 0.15 < np.mean([image.marked for image in test if image.digit == digit]) < 0.45
    flipped = [image for image in truth if image.label != image.digit]
    assert len(flipped) == round(0.05 * len(train))
    assert {image.part for image in flipped} == {"train"}
    assert all(image.label in faulty_digits.LOOKALIKES[image.digit] for image in flipped)
