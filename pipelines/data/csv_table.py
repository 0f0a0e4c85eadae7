"""csv: a table with a path, a label and perhaps a split for each image, as CSV with a line of column names."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipelines.common.wording import plural
from pipelines.data.columns import find_column
from pipelines.data.csv_text import read_csv_file
from pipelines.data.names import find_look_alikes, format_name, format_names
from pipelines.data.parts import NAMES_BY_PART, PartRows, decode_parts, find_part, name_classes
from pipelines.data.raw import LoadOptions, RawDataset
from tracking.errors import InputError


@dataclass(frozen=True)
class Row:
    """An image of the table."""

    line: int  # where it begins in the file, counted from 1
    source: str  # its path as the table has it
    label: str
    part: str


def load_csv(path: str | None, home_data: Path, options: LoadOptions) -> RawDataset:
    """Images [N, C, H, W] of any size, colour or grey, brought to one shape; paths are relative to the table's folder.

    Without a column of splits, and without test images in it, they are split off.
    """
    if not path:
        raise InputError("--dataset csv needs its file: --dataset csv:FILE, or --data FILE")
    file = Path(path)
    lines, columns = read_csv_file(file, "--dataset csv:FILE takes a table of paths and labels")
    where = format_name(file)
    image_column = find_column("image", columns, options.image_column, where)
    label_column = find_column("label", columns, options.label_column, where)
    split_column = find_column("split", columns, options.split_column, where)
    used = [column for column in (image_column, label_column, split_column) if column is not None]
    if len(set(used)) < len(used):
        raise InputError(f"{where}: column {format_names(used)} cannot be two things at once; name others")
    places = [columns.index(column) for column in used]

    rows = []
    for line, values in lines:
        source, label, *split = (values[place].strip() for place in places)
        for column, value in zip(used, (source, label, *split), strict=True):
            if not value:
                raise InputError(f"line {line} of {where} has no {format_name(column)}; fill it in or remove the line")
        part = find_part(split[0]) if split else "train"
        if part is None:
            raise InputError(
                f"line {line} of {where} has {format_name(used[2])} {format_name(split[0])}, which is not one of "
                f"{', '.join(NAMES_BY_PART)}; rename it, or name another column with --split-column"
            )
        rows.append(Row(line, source, label, part))
    if not any(row.part == "train" for row in rows):
        raise InputError(f"{where} has no training images; it has {len(rows)} rows; add some")

    by_part = {part: [row for row in rows if row.part == part] for part in NAMES_BY_PART}
    by_part = {part: of_part for part, of_part in by_part.items() if of_part}
    classes, class_ids = name_classes({part: [row.label for row in of_part] for part, of_part in by_part.items()})
    files = [
        (f"{file.parent / row.source} (line {row.line} of {where})", file.parent / row.source)
        for of_part in by_part.values()
        for row in of_part
    ]
    parts = {part: PartRows([row.source for row in of_part], class_ids[part]) for part, of_part in by_part.items()}
    kinds = ("images", "labels", "splits")
    described = ", ".join(f"{kind} from {format_name(column)}" for kind, column in zip(kinds, used, strict=False))
    notes = [f"columns: {described}", *_describe_repeats(rows), *find_look_alikes(classes)]
    return decode_parts(classes, files, parts, options, notes, [file, *(image for _, image in files)])


def _describe_repeats(rows: list[Row]) -> list[str]:
    repeated = [source for source, count in Counter(row.source for row in rows).items() if count > 1]
    return [f"{plural(len(repeated), 'image')} listed more than once: {format_names(repeated)}"] if repeated else []
