"""hf: a data set of Hugging Face, as a folder that `save_to_disk` wrote or as Parquet files. Read by pyarrow alone."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import exists, isdir, isfile  # unlike those of Path, these take names of any length
from pathlib import Path
from typing import Any

from pipelines.data.columns import find_column
from pipelines.data.decoding import NamedFile
from pipelines.data.names import find_look_alikes, format_name, format_names
from pipelines.data.parts import NAMES_BY_PART, PartRows, decode_parts, find_part, name_classes
from pipelines.data.raw import LoadOptions, RawDataset
from pipelines.data.shards import check_shards
from tracking.errors import InputError

ROWS_PER_BATCH = 1000  # read at a time
HELP = "--dataset hf:PATH takes a folder that save_to_disk wrote, or Parquet files or a folder of them"


@dataclass(frozen=True)
class Columns:
    """Where a table has images and labels, of which kind these are, and the classes that its metadata names."""

    image: str
    label: str
    has_text_labels: bool
    class_names: tuple[str, ...] | None


def load_hugging_face(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Images [N, C, H, W] of any size, colour or grey, brought to one shape; class names are the data set's own."""
    if not path:
        raise InputError(f"--dataset hf needs a path; {HELP}")
    files = _find_files(path)
    if "train" not in files:
        raise InputError(f"{format_name(path)} has no split train; it has: {format_names(files)}; {HELP}")
    columns = _find_columns(files["train"][0], options)
    for file in (file for of_part in files.values() for file in of_part):
        if _find_columns(file, options) != columns:
            raise InputError(
                f"{format_name(file)} has other columns or classes than {format_name(files['train'][0])}; name the "
                "folder of one configuration"
            )
    values = {
        part: [label for file in of_part for label in _read_labels(file, columns)] for part, of_part in files.items()
    }
    if columns.class_names is not None:
        classes = columns.class_names
        class_ids = values
    else:
        classes, class_ids = name_classes({part: [str(value) for value in of_part] for part, of_part in values.items()})
    parts = {
        part: PartRows([f"{part}/{row:05d}" for row in range(len(of_part))], of_part)
        for part, of_part in class_ids.items()
    }
    notes = [f"columns: images from {columns.image}, labels from {columns.label}", *find_look_alikes(classes)]
    all_files = [file for of_part in files.values() for file in of_part]
    images = _EncodedImages(all_files, columns.image)
    origins = [Path(path), *(Path(path).rglob("*") if isdir(path) else ()), *all_files]
    origins += [content for _, content in images if isinstance(content, Path)]
    return decode_parts(classes, images, parts, options, notes, origins)


def _find_files(path: str) -> dict[str, list[Path]]:
    """The Arrow or Parquet files of each part, in order of NAMES_BY_PART."""
    if not exists(path):
        raise InputError(
            f"{format_name(path)} does not exist; {HELP}; a data set of the hub becomes a folder by `hf download "
            "--repo-type dataset NAME --local-dir FOLDER`"
        )
    root = Path(path)
    if isfile(root):
        return {"train": [root]}
    if not isdir(root):  # a pipe or device, which may never end
        raise InputError(f"{format_name(path)} is not a file; {HELP}")
    if (root / "dataset_dict.json").is_file():
        names = _read_json(root / "dataset_dict.json").get("splits", [])
        found = {name: _list_arrow_files(root / name) for name in names}
    elif (root / "state.json").is_file():
        found = {"train": _list_arrow_files(root)}
    else:
        found = _find_parquet_files(root)
    unknown = [name for name in found if find_part(name) is None]
    parts: dict[str, list[Path]] = {}
    for part in NAMES_BY_PART:
        names = [name for name in found if find_part(name) == part]
        if len(names) > 1:
            raise InputError(f"{format_name(root)} has {format_names(names)}, which all are its {part}; keep one")
        if names:
            parts[part] = found[names[0]]
    if not parts and len(unknown) == 1:  # a single split of any name
        return {"train": found[unknown[0]]}
    if unknown:
        raise InputError(
            f"{format_name(root)} has split {format_names(unknown)}, which is not one of {', '.join(NAMES_BY_PART)}; "
            "rename or move it"
        )
    return parts


def _list_arrow_files(folder: Path) -> list[Path]:
    """The files of a split that save_to_disk wrote, in order."""
    state = _read_json(folder / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise InputError(
            f"{format_name(folder)} was saved with a selection of rows; save it again after flatten_indices()"
        )
    names = [entry.get("filename", "") for entry in state.get("_data_files") or []]
    if not names:
        raise InputError(f"{format_name(folder / 'state.json')} names no data files; save the data set again")
    return [folder / name for name in names]


def _find_parquet_files(root: Path) -> dict[str, list[Path]]:
    """Parquet files below the folder, by the split that is named in the file's name, or else in its folder's."""
    files = [
        file
        for file in sorted(root.rglob("*.parquet"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(root).parts)
    ]
    if not files:
        raise InputError(f"{format_name(root)} has no Parquet files, dataset_dict.json or state.json; {HELP}")
    check_shards(files, root)
    found: dict[str, list[Path]] = {}
    for file in files:
        words = (*re.split("[-_.]", file.stem), file.parent.name if file.parent != root else "")
        found.setdefault(next((word for word in words if find_part(word)), file.stem), []).append(file)
    if not any(map(find_part, found)):  # shards of a split without a name
        found = {"train": files}
    for name, of_part in found.items():
        folders = sorted({str(file.parent) for file in of_part})
        if len(folders) > 1:
            raise InputError(
                f"{format_name(root)} has {format_name(name)} in several folders: {format_names(folders)}; name the "
                "folder of one configuration"
            )
    return found


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {format_name(file)}: {format_name(error)}; save the data set again") from None
    if not isinstance(content, dict):
        raise InputError(f"{format_name(file)} is not that of a data set; save the data set again")
    return content


@contextmanager
def _open_table(file: Path) -> Iterator[Any]:
    """An opened Parquet file, or the reader of an Arrow stream. Raises InputError if anything is wrong with it."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if file.suffix == ".arrow":
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
                yield reader
        else:
            with parquet.ParquetFile(file) as opened:
                yield opened
    except (pa.ArrowException, OSError) as error:
        reason = format_name(str(error).splitlines()[0])
        raise InputError(f"cannot read {format_name(file)}: {reason}; fetch the file again") from None


def _iterate_column(file: Path, column: str) -> Iterator[list]:
    """The values of a column, batch by batch."""
    with _open_table(file) as opened:
        if file.suffix == ".arrow":
            for batch in opened:
                for start in range(0, len(batch), ROWS_PER_BATCH):
                    yield batch.column(column).slice(start, ROWS_PER_BATCH).to_pylist()
        else:
            for batch in opened.iter_batches(ROWS_PER_BATCH, columns=[column]):
                yield batch.column(column).to_pylist()


def _find_columns(file: Path, options: LoadOptions) -> Columns:
    """The columns of images and labels: named by flags, as the metadata says, or by usual names."""
    from pyarrow import types

    with _open_table(file) as opened:
        schema = opened.schema if file.suffix == ".arrow" else opened.schema_arrow
    features = _read_features(file, schema)
    where = format_name(file)

    def is_image(name: str) -> bool:
        kind = schema.field(name).type
        has_bytes = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        return has_bytes or types.is_binary(kind) or types.is_large_binary(kind)

    def is_label(name: str) -> bool:
        kind = schema.field(name).type
        return types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)

    found = {}
    for kind, fits, named, feature in (
        ("image", is_image, options.image_column, "Image"),
        ("label", is_label, options.label_column, "ClassLabel"),
    ):
        fitting = [name for name in schema.names if fits(name)]
        declared = [name for name in fitting if features.get(name, {}).get("_type") == feature]
        candidates = declared or fitting
        if named is None and len(declared) > 1:
            raise InputError(
                f"{where} has several columns of {kind}s: {format_names(declared)}; name one with --{kind}-column"
            )
        if not fitting or (named is not None and named in schema.names and named not in fitting):
            described = format_names(f"{field.name} ({field.type})" for field in schema)
            needed = "struct with bytes, or binary" if kind == "image" else "whole numbers or text"
            raise InputError(
                f"{where} has no {kind}s ({needed}) in its columns or in the one named; it has: {described}"
            )
        if named is None and len(candidates) == 1:
            named = candidates[0]
        found[kind] = find_column(kind, candidates if named is None else schema.names, named, where) or candidates[0]
    names = features.get(found["label"], {}).get("names")
    class_names = tuple(map(str, names)) if isinstance(names, list) and names else None
    if class_names and len(set(class_names)) < len(class_names):
        raise InputError(f"{where} gives two classes the same name: {format_names(class_names)}; rename one")
    return Columns(found["image"], found["label"], not types.is_integer(schema.field(found["label"]).type), class_names)


def _read_features(file: Path, schema: Any) -> dict[str, dict]:
    """What the data set says of its columns: in the schema, or beside the file."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(metadata)["info"]["features"] if metadata else None
    except (ValueError, KeyError, TypeError):
        features = None
    if features is None and (file.parent / "dataset_info.json").is_file():
        features = _read_json(file.parent / "dataset_info.json").get("features")
    if not isinstance(features, dict):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _read_labels(file: Path, columns: Columns) -> list[Any]:
    """The labels of a file; class IDs if the classes have names. Raises InputError on one that is not a class."""
    labels: list[Any] = []
    for batch in _iterate_column(file, columns.label):
        for label in batch:
            row = len(labels)
            if columns.class_names is not None and isinstance(label, str) and label in columns.class_names:
                label = columns.class_names.index(label)
            count = None if columns.class_names is None else len(columns.class_names)
            is_named = label is not None and str(label).strip() != ""
            is_class = is_named if count is None else isinstance(label, int) and 0 <= label < count
            if not is_class:
                problem = "no label" if count is None else f"label {format_name(label)}, not one of 0..{count - 1}"
                raise InputError(f"row {row} of {format_name(file)} has {problem}; fix the row")
            labels.append(label)
    return labels


@dataclass(frozen=True)
class _EncodedImages:
    """The encoded images of all files, each named by its row for messages; read again in each iteration."""

    files: list[Path]
    column: str

    def __iter__(self) -> Iterator[NamedFile]:
        for file in self.files:
            row = 0
            for batch in _iterate_column(file, self.column):
                for value in batch:
                    content = value
                    if isinstance(value, dict):
                        has_path_alone = value.get("bytes") is None and value.get("path")
                        content = file.parent / value["path"] if has_path_alone else value.get("bytes")
                    yield f"in row {row} of {file}", content or b""
                    row += 1
