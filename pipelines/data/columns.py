"""Which columns of a table hold images, labels and splits: named by flags, or found by the names that are usual."""

from collections.abc import Sequence

from pipelines.data.names import format_name, format_names
from tracking.errors import InputError

USUAL_NAMES = {  # in any case, the likeliest first
    "image": ("image", "img", "path", "file", "filepath", "file_path", "filename", "file_name", "image_path",
              "image_file", "image_name", "image_id", "pixel_values"),
    "label": ("label", "labels", "class", "target", "category", "label_name", "class_name", "diagnosis", "y"),
    "split": ("split", "set", "subset", "partition", "part", "usage", "fold"),
}  # fmt: skip


def find_column(kind: str, columns: Sequence[str], named: str | None, where: str) -> str | None:
    """The column for images, labels or splits; None if there is none of splits. `where` says what has the columns.

    Raises InputError if there is no such column.
    """
    flag = f"--{kind}-column"
    if named is not None:
        if named not in columns:
            raise InputError(f"{where} has no column {format_name(named)} ({flag}); it has: {format_names(columns)}")
        return named
    by_name = {column.strip().casefold(): column for column in reversed(columns)}
    found = next((by_name[name] for name in USUAL_NAMES[kind] if name in by_name), None)
    if found is None and kind != "split":
        raise InputError(
            f"{where} has no column of {kind}s with a usual name such as {USUAL_NAMES[kind][0]} or "
            f"{USUAL_NAMES[kind][2]}; it has: {format_names(columns)}; name it with {flag}"
        )
    return found
