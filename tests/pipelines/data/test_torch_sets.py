"""Torch data sets: every picture is read once and as it is; what is not a picture, or varies, is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from pipelines.data.raw import LoadOptions, Split
from pipelines.data.torch_sets import convert_torch_set
from support.pictures import noise
from tracking.errors import InputError

CLASSES = ("cat", "dog")


class Items(Dataset):
    """A map-style data set of what it is given."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


class Stream(IterableDataset):
    def __iter__(self):
        yield noise(8, 8), 0


def labelled(*images):
    return Items([(image, row % 2) for row, image in enumerate(images)])


def complaint(data_set, classes=CLASSES):
    """The message of the InputError that reading raises; always one line."""
    with pytest.raises(InputError) as caught:
        convert_torch_set("train", data_set, classes, LoadOptions())
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


GREY, COLOUR = noise(10, 12), noise(10, 12, 3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (GREY, GREY[None]),
        (COLOUR, COLOUR.transpose(2, 0, 1)),
        (GREY[..., None], GREY[None]),
        (torch.from_numpy(COLOUR).permute(2, 0, 1), COLOUR.transpose(2, 0, 1)),
        (torch.from_numpy(COLOUR).permute(2, 0, 1).float() / 255, COLOUR.transpose(2, 0, 1)),
        (torch.from_numpy(COLOUR), COLOUR.transpose(2, 0, 1)),
        (COLOUR.astype(np.float64) / 255, COLOUR.transpose(2, 0, 1)),
        (Image.fromarray(GREY), GREY[None]),
        (Image.fromarray(COLOUR), COLOUR.transpose(2, 0, 1)),
    ],
)
def test_each_kind_of_picture_keeps_every_pixel(image, expected):
    got = convert_torch_set("train", labelled(image, image, image), CLASSES, LoadOptions())
    assert got.notes == ()
    assert got.split.images[:].dtype == torch.uint8
    np.testing.assert_array_equal(got.split.images[:], np.stack([expected] * 3))
    assert got.split.labels.tolist() == [0, 1, 0]
    assert got.split.sources == ("train/00000", "train/00001", "train/00002")


def test_a_square_of_three_pixels_is_read_by_the_habit_of_its_kind():
    pixels = noise(3, 3, 3)
    as_tensor, as_array = (
        convert_torch_set("train", labelled(image), CLASSES, LoadOptions()).split.images[0]
        for image in (torch.from_numpy(pixels), pixels)
    )
    np.testing.assert_array_equal(as_tensor, pixels)
    np.testing.assert_array_equal(as_array, pixels.transpose(2, 0, 1))


def test_each_kind_of_data_set_is_read():
    images, labels = torch.from_numpy(noise(5, 3, 8, 8)), torch.tensor([0, 1, 1, 0, 1])
    kinds = (
        TensorDataset(images, labels),
        (images, labels),
        (images.numpy().transpose(0, 2, 3, 1), labels.tolist()),
        Split(images, labels, ("",) * 5),
        Items([{"img": image, "label": np.int64(label)} for image, label in zip(images, labels, strict=True)]),
        Subset(labelled(*reversed(images.unbind())), [4, 3, 2, 1, 0]),
    )
    for data_set in kinds[:-1]:
        got = convert_torch_set("test", data_set, CLASSES, LoadOptions()).split
        assert torch.equal(got.images[:], images)
        assert torch.equal(got.labels, labels)
    assert torch.equal(convert_torch_set("test", kinds[-1], None, LoadOptions()).split.images[:], images)


def test_grey_and_colour_images_in_one_set_all_become_colour():
    grey, colour = Image.fromarray(GREY), Image.fromarray(COLOUR)
    got = convert_torch_set("train", labelled(grey, colour, grey), CLASSES, LoadOptions()).split.images[:]
    np.testing.assert_array_equal(got[0], np.stack([GREY] * 3))
    np.testing.assert_array_equal(got[1], COLOUR.transpose(2, 0, 1))
    np.testing.assert_array_equal(got[2], got[0])


def test_a_size_brings_all_images_to_it_and_what_is_changed_is_said():
    fine = np.linspace(0, 1, 200, dtype=np.float32).reshape(10, 20)
    got = convert_torch_set("val", labelled(fine, Image.fromarray(noise(9, 9))), CLASSES, LoadOptions(8))
    assert got.split.images.shape == (2, 1, 8, 8)
    assert got.notes == (
        "val: 1 of 2 images of over 256 levels, now 8 bits",
        "val: 1 of 2 images stretched out of proportion, by up to 2.00 times",
    )


def test_transparent_pixels_become_white():
    pixels = noise(9, 9, 4)
    pixels[..., 3] = 0
    assert (
        convert_torch_set("train", labelled(Image.fromarray(pixels)), CLASSES, LoadOptions()).split.images[:] == 255
    ).all()


def test_a_data_set_of_no_items_is_an_empty_split():
    assert len(convert_torch_set("val", Items([]), CLASSES, LoadOptions()).split.labels) == 0


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.randn(3, 8, 8), "outside 0..1: it seems to be normalised"),
        (noise(8, 8, 3).astype(np.float32), "outside 0..1"),
        (torch.full((1, 8, 8), torch.nan), "has pixels that are NaN"),
        (torch.zeros(1, 8, 8, dtype=torch.int64), "has levels of int64"),
        (torch.zeros(64), "has shape (64,), which is not a picture"),
        (torch.zeros(4, 8, 8), "has shape (4, 8, 8)"),
        (torch.zeros(1, 0, 8), "has no pixels"),
        (Image.new("I;16", (8, 8)), "has levels of over 8 bits (mode I;16)"),
        ("cat.png", "which is not a picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_position_and_the_reason(image, words):
    message = complaint(Items([(GREY[:8, :8], 0), (image, 1)]))
    assert message.startswith("image 1 of train ")
    assert words in message


@pytest.mark.parametrize(
    ("label", "words"),
    [(2, "label 2, not one of 0..1"), (-1, "label -1"), (0.0, "label 0.0"), ("cat", "label cat"), (None, "label None"),
     (torch.tensor([0, 1]), "label an array of (2,)")],
)  # fmt: skip
def test_a_label_that_is_no_class_is_refused(label, words):
    message = complaint(Items([(GREY, 0), (GREY, label)]))
    assert message.startswith("item 1 of train has ")
    assert words in message


def test_classes_that_are_unknown_yet_take_any_label():
    assert convert_torch_set("train", Items([(GREY, 7)]), None, LoadOptions()).split.labels.tolist() == [7]
    assert "not a whole number from 0" in complaint(Items([(GREY, -1)]), None)


def test_a_transform_that_draws_random_numbers_is_refused():
    class Augmented(Items):
        def __getitem__(self, row):
            return torch.rand(1, 8, 8), 0

    assert "differs between two reads, as random augmentation" in complaint(Augmented([0] * 3))


def test_images_of_several_sizes_are_refused():
    assert "image 1 of train has 9x9 pixels, image 0 has 12x10" in complaint(labelled(GREY, noise(9, 9)))


def test_an_error_in_the_data_set_is_one_line():
    class Broken(Items):
        def __getitem__(self, row):
            raise OSError("no such\nfile")

    assert complaint(Broken([0])) == "item 0 of train cannot be read: OSError: no such file"


@pytest.mark.parametrize(
    ("data_set", "words"),
    [
        (Stream(), "is of Stream, whose images have no positions"),
        (DataLoader(labelled(GREY)), "is a DataLoader, which has no positions; give the data set in it"),
        ({"image": [GREY]}, "is of dict"),
        (3, "is of int"),
        (Items([GREY]), "item 0 of train is of ndarray; an item is (image, label)"),
        (Items([(GREY,)]), "item 0 of train is of tuple"),
        (Items([{"image": GREY, "class": 0}]), "item 0 of train has only image, class"),
        ((noise(3, 8, 8), [0, 1]), "train has 3 images and 2 labels"),
    ],
)
def test_what_is_no_labelled_data_set_is_refused(data_set, words):
    assert words in complaint(data_set)
