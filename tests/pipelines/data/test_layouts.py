"""Data in other people's layouts: CSV, Hugging Face, torchvision, a factory; and one line for what is wrong with it."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from torch.utils.data import Subset, TensorDataset

from pipelines.data.datasets import FORMS, load_dataset
from pipelines.data.file_stamps import are_unchanged, stamp_folder
from support.pictures import content, noise
from tracking.errors import InputError
from tracking.home import Home


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


def counts(got):
    """Images of each class by split."""
    return {name: torch.bincount(split.labels).tolist() for name, split in got.splits.items()}


# --- a name and where it is


def test_what_stands_behind_the_colon_is_the_place(pictures):
    beside, with_flag = data(f"csv:{pictures}/table.csv"), data("csv", pictures / "table.csv")
    assert (beside.name, beside.location) == (with_flag.name, with_flag.location) == ("csv", f"{pictures}/table.csv")
    assert beside.digest == with_flag.digest
    assert "say where the data is" in complaint("csv:a.csv", "b.csv")


@pytest.mark.parametrize("name", ["csv:", "torchvision", "torchvision:", "planted:cat", "digits:x", "nets:", ":make"])
def test_a_name_without_its_other_half_lists_what_there_is(name):
    if name in ("csv:", "nets:", "torchvision", "torchvision:", "planted:cat", "digits:x"):
        assert complaint(name) == f"no data set {name}; there are: {', '.join(FORMS)}"
    else:
        assert "cannot find data set :make" in complaint(name)


@pytest.mark.parametrize(
    ("name", "option"),
    [("digits", "test_fraction"), ("folder", "image_column"), ("hf:x", "split_column"), ("nets:make", "label_column")],
)
def test_an_option_that_does_nothing_is_refused(name, option):
    assert f"--{option.replace('_', '-')} does nothing for --dataset " in complaint(name, **{option: "0.2"})


# --- CSV


@pytest.fixture
def pictures(tmp_path):
    """Twelve images of three classes, grey and colour, and table.csv with splits of six, three and three."""
    root = tmp_path / "pictures"
    (root / "all").mkdir(parents=True)
    rows = []
    for row in range(12):
        Image.fromarray(noise(10, 12, 3)).save(root / f"all/{row:02d}.png")
        rows.append((f"all/{row:02d}.png", ("cat", "dog", "fox")[row % 3], ("train", "train", "val", "test")[row // 3]))
    write(root / "table.csv", ["path", "label", "split"], *rows)
    return root


def write(file, *rows, delimiter=",", encoding="utf-8"):
    with file.open("w", newline="", encoding=encoding) as opened:
        csv.writer(opened, delimiter=delimiter).writerows(rows)


def rows_of(root):
    with (root / "table.csv").open(newline="") as opened:
        return list(csv.reader(opened))


def test_a_table_of_paths_labels_and_splits(pictures):
    got = data(f"csv:{pictures}/table.csv")
    assert got.classes == ("cat", "dog", "fox")
    assert counts(got) == {"train": [2, 2, 2], "val": [1, 1, 1], "test": [1, 1, 1]}
    assert got.notes[0] == "columns: images from path, labels from label, splits from split"
    for split in got.splits.values():
        for image, source in zip(split.images, split.sources, strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(pictures / source)).transpose(2, 0, 1))


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_other_names_other_delimiters_and_an_order_of_columns(pictures, delimiter, encoding):
    before = data(f"csv:{pictures}/table.csv").digest
    _, *rows = rows_of(pictures)
    turned = [(f" {label} ", part.upper() + "ing" * (part != "val"), "x, y", path) for path, label, part in rows]
    write(
        pictures / "other.csv", ("Class", "Subset", "note", "File_Name"), *turned,
        delimiter=delimiter, encoding=encoding,
    )  # fmt: skip
    got = data(f"csv:{pictures}/other.csv")
    assert got.digest == before
    assert got.notes[0] == "columns: images from File_Name, labels from Class, splits from Subset"


def test_columns_are_named_by_flags(pictures):
    _, *rows = rows_of(pictures)
    write(pictures / "odd.csv", ("a", "b", "label"), *[(path, label, "7") for path, label, _ in rows])
    assert "has no column of images with a usual name" in complaint(f"csv:{pictures}/odd.csv")
    got = data(f"csv:{pictures}/odd.csv", image_column="a", label_column="b", test_fraction=0.25)
    assert counts(got) == {"train": [2, 2, 2], "val": [1, 1, 1], "test": [1, 1, 1]}
    assert "no column nope (--label-column); it has: a, b, label" in complaint(
        f"csv:{pictures}/odd.csv", image_column="a", label_column="nope"
    )
    assert "cannot be two things at once" in complaint(f"csv:{pictures}/odd.csv", image_column="a", label_column="a")


def test_numbers_are_classes_in_the_order_of_their_values(pictures):
    _, *rows = rows_of(pictures)
    numbers = {"cat": "10", "dog": "9", "fox": "2"}
    write(pictures / "table.csv", ("image", "label"), *[(path, numbers[label]) for path, label, _ in rows])
    got = data(f"csv:{pictures}/table.csv")
    assert got.classes == ("2", "9", "10")
    assert got.notes[1].startswith("no test images of its own: 3 of 12 training images are held out for testing")


def test_unreadable_files_are_named_with_their_line_or_left_out(pictures):
    (pictures / "all/04.png").unlink()
    (pictures / "all/05.png").write_text("no image")
    message = complaint(f"csv:{pictures}/table.csv")
    assert message.startswith("cannot read 2 of 12 images: ")
    assert f"{pictures}/all/04.png (line 6 of {pictures}/table.csv): [Errno 2] No such file" in message
    assert "(line 7 of" in message
    got = data(f"csv:{pictures}/table.csv", skip_unreadable=True)
    assert got.reading.unreadable == ("all/04.png", "all/05.png")
    assert counts(got)["train"] == [2, 1, 1]
    assert data("csv", pictures / "table.csv", recorded_reading=got.reading).digest == got.digest


def _change(row, column, value):
    def change(rows):
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[3].append("x"), "line 4 of {file} has 4 values, the first line has 3 columns; fix it"),
        (lambda rows: rows[3].pop(), "line 4 of {file} has 2 values"),
        (_change(5, 1, " "), "line 6 of {file} has no label; fill it in"),
        (_change(5, 0, ""), "line 6 of {file} has no path"),
        (_change(5, 2, "hold-out"), "line 6 of {file} has split hold-out, which is not one of train, val, test"),
        (_change(0, 1, "path"), "has column path twice"),
        (_change(0, 0, "x"), "no column of images with a usual name such as image or path; it has: x, label, split"),
        (_change(9, 1, "owl"), "val has classes that train lacks: owl; train has: cat, dog, fox"),
        (lambda rows: [row.__setitem__(2, "test") for row in rows[1:]], "has no training images; it has 12 rows"),
        (lambda rows: [row.__setitem__(1, "cat") for row in rows[1:]], "two classes or more"),
        (lambda rows: rows.__delitem__(slice(1, None)), "has no rows"),
        (lambda rows: rows.clear(), "has no rows"),
        (_change(1, 0, "../" * 9 + "\0.png"), "cannot read image"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(pictures, change, words):
    rows = rows_of(pictures)
    change(rows)
    file = pictures / "table.csv"
    write(file, *rows)
    assert words.format(file=file) in complaint(f"csv:{file}")


def test_what_is_no_table_is_said_in_one_line(pictures):
    assert "needs its file: --dataset csv:FILE" in complaint("csv")
    assert "does not exist" in complaint("csv:gone.csv")
    assert "is a folder" in complaint(f"csv:{pictures}")
    assert "is not text in UTF-8" in complaint(f"csv:{pictures}/all/00.png")
    assert "is not a file" in complaint(f"csv:{os.devnull}")


def test_a_row_of_several_lines_is_named_by_its_first(pictures):
    table = pictures / "table.csv"
    table.write_text('path,label\n\na.png,cat\n"b.png,dog\nc.png,cat\n')
    assert f"line 4 of {table} is not valid CSV: unexpected end of data" in complaint(f"csv:{table}")
    table.write_text('path,label\n"a.png","a\ncat"\n"b\nb.png",\n')
    assert f"line 4 of {table} has no label" in complaint(f"csv:{table}")


# --- Hugging Face


NAMES = ["airplane", "ship", "Größe"]


def features(image="image", label="label", names=NAMES):
    return {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}


def hub_table(rows, labels=None, *, image="image", label="label", metadata=True, **columns):
    """Rows as Hugging Face has them, with the features in the schema's metadata."""
    images = [{"bytes": content(noise(9, 9, 3)), "path": f"{row}.png"} for row in range(rows)]
    made = {
        image: pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        label: pa.array([row % 3 for row in range(rows)] if labels is None else labels),
    }
    described = json.dumps({"info": {"features": features(image, label)}})
    return pa.table(made | columns).replace_schema_metadata({"huggingface": described} if metadata else None)


def save_to_disk(folder, table, files=2):
    """What datasets.Dataset.save_to_disk writes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{number:05d}-of-{files:05d}.arrow" for number in range(files)]
    size = -(-len(table) // files)
    for number, name in enumerate(names):
        part = table.slice(number * size, size)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part, max_chunksize=3)
    state = {"_data_files": [{"filename": name} for name in names], "_indices_files": None, "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features()}))


@pytest.fixture
def hub(tmp_path):
    """A folder of the hub: twelve training images in two shards, six test images, in Parquet."""
    root = tmp_path / "hub"
    (root / "data").mkdir(parents=True)
    (root / "README.md").touch()
    for number in range(2):
        parquet.write_table(hub_table(6), root / f"data/train-{number:05d}-of-00002.parquet")
    parquet.write_table(hub_table(6), root / "data/test-00000-of-00001.parquet")
    return root


def assert_images_are(got, tables):
    for part, table in tables.items():
        split = got.splits[part]
        stored = table.to_pylist()
        for image, label, source in zip(split.images, split.labels.tolist(), split.sources, strict=True):
            row = stored[int(source.split("/")[1])]
            assert row["label"] == label
            with Image.open(pa.BufferReader(row["image"]["bytes"])) as expected:
                np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))


def test_parquet_of_the_hub_has_its_own_class_names(hub):
    got = data(f"hf:{hub}")
    assert got.classes == tuple(NAMES)
    assert counts(got) == {"train": [3, 3, 3], "val": [1, 1, 1], "test": [2, 2, 2]}
    assert got.notes[0] == "columns: images from image, labels from label"
    assert (got.name, got.location) == ("hf", str(hub))
    train = pa.concat_tables(parquet.ParquetFile(file).read() for file in sorted(hub.glob("data/train*")))
    assert_images_are(
        got, {"train": train, "test": parquet.ParquetFile(hub / "data/test-00000-of-00001.parquet").read()}
    )


def test_folders_that_save_to_disk_wrote(tmp_path):
    tables = {"train": hub_table(9), "validation": hub_table(6), "test": hub_table(3)}
    for part, made in tables.items():
        save_to_disk(tmp_path / "dict" / part, made)
    (tmp_path / "dict/dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    got = data(f"hf:{tmp_path}/dict")
    assert counts(got) == {"train": [3, 3, 3], "val": [2, 2, 2], "test": [1, 1, 1]}
    assert_images_are(got, {"train": tables["train"], "val": tables["validation"], "test": tables["test"]})
    assert got.classes == tuple(NAMES)
    single = hub_table(12, metadata=False)  # its classes stand in dataset_info.json alone
    save_to_disk(tmp_path / "single", single, files=1)
    got = data(f"hf:{tmp_path}/single")
    assert got.classes == tuple(NAMES)
    assert counts(got) == {"train": [2, 2, 2], "val": [1, 1, 1], "test": [1, 1, 1]}
    assert_images_are(got, dict.fromkeys(got.splits, single))


def test_a_changed_image_that_a_table_only_names_is_read_again(tmp_path):
    (tmp_path / "photos").mkdir()
    for row in range(12):
        (tmp_path / f"photos/{row}.png").write_bytes(content(noise(9, 9, 3)))
    images = [{"bytes": None, "path": f"../photos/{row}.png"} for row in range(12)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = hub_table(12).set_column(0, "image", pa.array(images, kind))
    save_to_disk(tmp_path / "saved", table, files=1)
    before, again = data(f"hf:{tmp_path}/saved").digest, data(f"hf:{tmp_path}/saved").digest
    (tmp_path / "photos/5.png").write_bytes(content(noise(9, 9, 3)))
    assert again == before != data(f"hf:{tmp_path}/saved").digest


def test_without_metadata_columns_are_found_by_type_and_name_and_classes_by_value(tmp_path):
    names = pa.array([("dog", "cat")[row % 2] for row in range(12)])
    made = hub_table(12, metadata=False, image="photo", label="number", kind=names)
    file = tmp_path / "mine.parquet"
    parquet.write_table(made, file)
    assert "has no column of labels with a usual name" in complaint(f"hf:{file}")
    assert data(f"hf:{file}", label_column="kind").classes == ("cat", "dog")
    assert data(f"hf:{file}", label_column="number").classes == ("0", "1", "2")
    plain = pa.table({"img": pa.array([content(noise(9, 9)) for _ in range(12)]), "label": names})
    parquet.write_table(plain, file)
    assert counts(data(f"hf:{file}")) == {"train": [4, 4], "val": [1, 1], "test": [1, 1]}


def test_two_kinds_of_labels_ask_which(tmp_path):
    described = {**features(), "coarse": {"names": ["a", "b"], "_type": "ClassLabel"}}
    made = hub_table(12, coarse=pa.array([0, 1] * 6))
    made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": described}})})
    parquet.write_table(made, tmp_path / "train.parquet")
    assert "several columns of labels: label, coarse; name one with --label-column" in complaint(f"hf:{tmp_path}")
    assert data(f"hf:{tmp_path}", label_column="coarse").classes == ("a", "b")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: hub_table(6, labels=[0, 1, 2, 3, 0, 1]), "row 3 of {file} has label 3, not one of 0..2; fix the row"),
        (lambda: hub_table(6, labels=[0, 1, -1, 2, 0, 1]), "row 2 of {file} has label -1"),
        (lambda: hub_table(6, labels=[0, 1, None, 2, 0, 1]), "row 2 of {file} has label None"),
        (lambda: hub_table(6, label="kind"), "has other columns or classes than"),
        (lambda: hub_table(6).drop_columns("image"), "has no images (struct with bytes, or binary)"),
        (lambda: hub_table(6).drop_columns("label"), "has no labels (whole numbers or text)"),
        (lambda: hub_table(6).set_column(0, "image", pa.array([{"bytes": b"x", "path": None}] * 6)),
         "cannot read 6 of 18 images: in row 0 of {file}: its content is not an image"),
        (lambda: hub_table(0, labels=pa.array([], pa.int64())), "the data has no images in test; add some"),
        (lambda: hub_table(6, labels=["ship"] * 6), "has other columns or classes than"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_of_the_hub_is_said_in_one_line(hub, make, words):
    file = hub / "data/test-00000-of-00001.parquet"
    parquet.write_table(make(), file)
    assert words.format(file=file) in complaint(f"hf:{hub}")


@pytest.mark.parametrize("remaining", ["00000-of-00002", "00001-of-00002", "00000-of-00002-0f3c"])
def test_a_shard_that_is_missing_is_not_passed_over(hub, remaining):
    for shard in hub.glob("data/train-*"):
        shard.unlink()
    parquet.write_table(hub_table(6), hub / f"data/train-{remaining}.parquet")
    assert f"{hub} has 1 file train-...-of-00002, not 2; fetch the data set again" in complaint(f"hf:{hub}")


def test_a_text_without_a_letter_is_no_label(tmp_path):
    parquet.write_table(hub_table(6, labels=["a", "b", "a", " ", "a", "b"], metadata=False), tmp_path / "train.parquet")
    assert f"row 3 of {tmp_path}/train.parquet has no label; fix the row" in complaint(f"hf:{tmp_path}")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "train.parquet")
    assert f"{tmp_path} has no Parquet files" in complaint(f"hf:{tmp_path}")
    assert "train.parquet is not a file" in complaint(f"hf:{tmp_path}/train.parquet")


def test_no_rows_at_all_are_said(tmp_path):
    parquet.write_table(hub_table(0, labels=pa.array([], pa.int64())), tmp_path / "train.parquet")
    assert "the data has no images in train; add some, or remove it" in complaint(f"hf:{tmp_path}")


def test_what_is_wrong_with_a_folder_of_the_hub_is_said_in_one_line(hub, tmp_path):
    assert "`hf download --repo-type dataset NAME --local-dir FOLDER`" in complaint("hf:ylecun/mnist")
    (hub / "data/test-00000-of-00001.parquet").write_text("no Parquet")
    assert f"cannot read {hub}/data/test-00000-of-00001.parquet: " in complaint(f"hf:{hub}")
    (hub / "data/test-00000-of-00001.parquet").rename(hub / "data/extra-00000.parquet")
    assert "has split extra-00000, which is not one of train, val, test" in complaint(f"hf:{hub}")
    (hub / "data/extra-00000.parquet").rename(hub / "train.parquet")
    assert "has train in several folders" in complaint(f"hf:{hub}")
    (tmp_path / "empty").mkdir()
    assert "has no Parquet files, dataset_dict.json or state.json" in complaint(f"hf:{tmp_path}/empty")
    save_to_disk(tmp_path / "saved", hub_table(9))
    (tmp_path / "saved/data-00001-of-00002.arrow").unlink()
    assert "cannot read" in complaint(f"hf:{tmp_path}/saved")
    (tmp_path / "saved/state.json").write_text(json.dumps({"_indices_files": [{"filename": "x"}]}))
    assert "save it again after flatten_indices()" in complaint(f"hf:{tmp_path}/saved")
    (tmp_path / "saved/state.json").write_text("{")
    assert "cannot read" in complaint(f"hf:{tmp_path}/saved")


# --- torchvision and factories


class FashionLike:
    """As torchvision's data sets are: of their files below a root, or downloaded there."""

    has_network = True

    def __init__(self, root, train=True, transform=None, download=False):
        self.file = Path(root) / "FashionLike/raw/images.npy"
        if download and not self.file.exists():
            self.file.parent.mkdir(parents=True)
            if not self.has_network:
                raise OSError("no network\nat all")
            np.save(self.file, noise(24, 9, 9))
        if not self.file.exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.images = np.load(self.file)[:16] if train else np.load(self.file)[16:]
        self.classes = ["shirt", "shoe"]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return Image.fromarray(self.images[row]), row % 2


class SplitLike(FashionLike):
    """One with an argument `split`, of which it knows two, and without class names."""

    def __init__(self, root, split="train", download=False):
        if split not in ("train", "test"):
            raise ValueError(f"Unknown value '{split}' for argument split")
        super().__init__(root, split == "train", download=download)
        del self.classes


@pytest.fixture
def torchvisions(monkeypatch):
    from torchvision import datasets

    for kind in (FashionLike, SplitLike):
        monkeypatch.setattr(datasets, kind.__name__, kind, raising=False)
    monkeypatch.setattr(datasets, "__all__", (*datasets.__all__, "FashionLike", "SplitLike"))


def test_a_data_set_of_torchvision_is_downloaded_once(torchvisions, tmp_path, monkeypatch):
    home = tmp_path / "home/data"
    got = data("torchvision:FashionLike", home=home.parent)
    assert got.classes == ("shirt", "shoe")
    assert counts(got) == {"train": [6, 6], "val": [2, 2], "test": [4, 4]}
    assert got.splits["test"].images.shape == (8, 1, 9, 9)
    monkeypatch.setattr(FashionLike, "has_network", False)
    for found in (
        data("torchvision:FashionLike", home=home.parent),
        data("torchvision:FashionLike", home / "torchvision"),
    ):
        assert found.digest == got.digest
    (home / "torchvision/FashionLike").rename(home / "FashionLike")
    assert data("torchvision:FashionLike", home=home.parent).digest == got.digest
    assert data("torchvision:SplitLike", home).classes == ("0", "1")
    assert counts(data("torchvision:SplitLike", home)) == counts(got)


@pytest.mark.parametrize("place", ["", "home/data/torchvision", "home/data"])
def test_a_data_set_of_torchvision_is_read_again_only_if_its_files_changed(torchvisions, tmp_path, monkeypatch, place):
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    FashionLike(tmp_path / place, download=True)
    given = tmp_path if not place else None
    first = data("torchvision:FashionLike", given, home=home)
    data("torchvision:FashionLike", given, home=home)  # the home's own folder has changed since
    with monkeypatch.context() as patch:
        patch.setattr(FashionLike, "__init__", lambda *_, **__: pytest.fail("it is read"))
        assert data("torchvision:FashionLike", given, home=home).digest == first.digest
    file = tmp_path / place / "FashionLike/raw/images.npy"
    before = file.stat()
    images = np.load(file)
    images[0, 0, 0] ^= 1
    np.save(file, images)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert data("torchvision:FashionLike", given, home=home).digest != first.digest


def test_a_folder_is_stamped_with_all_that_is_in_it_behind_links_too(tmp_path):
    for file in ("data/deep/er/a", "elsewhere/b", "data/home/c"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "data/link").symlink_to("../elsewhere")
    (tmp_path / "data/loop").symlink_to(".")
    stamps = stamp_folder(tmp_path / "data", leaving_out=[tmp_path / "data/home"])
    names = {Path(path).relative_to(tmp_path / "data").as_posix() for path in stamps}
    assert names == {".", "deep", "deep/er", "deep/er/a", "link", "link/b"}
    assert are_unchanged(stamps)
    (tmp_path / "elsewhere/b").write_text("changed")
    assert not are_unchanged(stamps)


def test_a_download_that_fails_is_one_line_and_leaves_nothing(torchvisions, tmp_path, monkeypatch):
    monkeypatch.setattr(FashionLike, "has_network", False)
    message = complaint("torchvision:FashionLike", home=tmp_path / "home")
    assert "downloading it failed too: OSError: no network at all" in message
    assert list(tmp_path.iterdir()) == []
    message = complaint("torchvision:FashionLike", tmp_path)
    assert message.startswith(f"no files of torchvision's FashionLike in {tmp_path} (RuntimeError: Dataset not found.")
    assert "is not a folder" in complaint("torchvision:FashionLike", tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("Nope", "torchvision has no data set Nope"), ("utils", "torchvision has no data set utils"),
     ("EMNIST", "torchvision's EMNIST needs split"), ("FakeData", "torchvision's FakeData needs")],
)  # fmt: skip
def test_what_is_no_data_set_of_torchvision_by_name_alone_is_refused(name, words):
    assert words in complaint(f"torchvision:{name}")


IMAGES, LABELS = torch.from_numpy(noise(24, 3, 9, 9)), torch.arange(24) % 3
WHOLE = TensorDataset(IMAGES, LABELS)
TRAIN, TEST = Subset(WHOLE, range(18)), Subset(WHOLE, range(18, 24))


class Named(TensorDataset):
    classes = (("cat", "puss"), "dog", "fox")


@pytest.fixture
def factory(tmp_path, monkeypatch):
    """`factory(returned)` makes a module whose function returns that; its name."""

    def make(function):
        module = type(sys)("sets_of_mine")
        module.make = function
        monkeypatch.setitem(sys.modules, "sets_of_mine", module)
        return "sets_of_mine:make"

    return make


@pytest.mark.parametrize(
    ("made", "classes", "expected"),
    [
        ((TRAIN, TEST), ("0", "1", "2"), {"train": 12, "val": 6, "test": 6}),
        ((TRAIN, TEST, TEST), ("0", "1", "2"), {"train": 18, "val": 6, "test": 6}),
        ({"validation": TEST, "train": TRAIN, "Test": TEST}, ("0", "1", "2"), {"train": 18, "val": 6, "test": 6}),
        ({"train": TRAIN, "classes": ["a", "b", "c"]}, ("a", "b", "c"), {"train": 12, "val": 3, "test": 3}),
        (WHOLE, ("0", "1", "2"), {"train": 12, "val": 6, "test": 6}),
        ((IMAGES, LABELS), ("0", "1", "2"), {"train": 12, "val": 6, "test": 6}),
        ((Subset(Named(IMAGES, LABELS), range(18)), TEST), ("cat", "dog", "fox"), {"train": 12, "val": 6, "test": 6}),
    ],
)
def test_a_factory_returns_its_data_sets_in_whichever_way(factory, made, classes, expected):
    got = data(factory(lambda: made))
    assert got.classes == classes
    assert {name: len(split.labels) for name, split in got.splits.items()} == expected
    assert got.name == "sets_of_mine:make"
    for split in got.splits.values():
        for image, source in zip(split.images, split.sources, strict=True):
            part, row = source.split("/")
            assert torch.equal(image, IMAGES[int(row) + (0 if part == "train" else 18)])


def test_a_factory_may_take_the_place_of_its_data(factory, tmp_path):
    name = factory(lambda data: (TRAIN, TEST) if data == str(tmp_path) else None)
    assert data(name, tmp_path).location == str(tmp_path)
    assert "train is of NoneType" in complaint(name)
    assert "takes no --data: its function has no argument `data`" in complaint(factory(lambda: WHOLE), tmp_path)


def fail():
    raise ValueError("no\nsuch disk")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (fail, "data set sets_of_mine:make cannot be made: ValueError: no such disk"),
        (lambda: {"train": TRAIN, "other": TEST}, "it returns a dict of train, other; a factory returns"),
        (lambda: {"test": TEST}, "it returns no training images"),
        (lambda: [TRAIN], "it returns 1 values"),
        (lambda: (TRAIN, Subset(WHOLE, [])), "the data set has no images in test"),
        (lambda: (TRAIN, TensorDataset(IMAGES[:, :1], LABELS)), "images of test have shape (1, 9, 9), those of train"),
        (lambda: {"train": TRAIN, "classes": ["a", "b"]}, "item 2 of train has label 2, not one of 0..1"),
        (lambda: {"train": TRAIN, "classes": ["a", "b", "a"]}, "two classes have one name: a"),
        (lambda: {"train": TRAIN, "classes": 3}, "class names are of int"),
        (lambda: (TRAIN, TensorDataset(IMAGES, LABELS + 1)), "no training image: class 3"),
        (
            lambda: (TRAIN, TensorDataset(IMAGES, LABELS * 10**15)),
            "a label is 2000000000000000, and 18 training images cannot show that many classes",
        ),
        (lambda: TensorDataset(IMAGES, LABELS * 0), "two classes or more"),
        (lambda: TensorDataset(IMAGES[..., :4, :4], LABELS), "the images have 4x4 pixels; give --size, 8 to 1024"),
        (lambda: TensorDataset(torch.randn(9, 3, 9, 9), LABELS[:9]), "image 0 of train has levels of"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said_in_one_line(factory, function, words):
    assert words in complaint(factory(function))


def test_a_factory_that_is_not_there_is_said_in_one_line():
    assert "cannot find data set gone_sets:make: ModuleNotFoundError" in complaint("gone_sets:make")
    assert "cannot find data set math:make: AttributeError" in complaint("math:make")
