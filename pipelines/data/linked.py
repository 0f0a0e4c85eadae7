"""Images that an imported log names. A log comes from elsewhere, and its images end up in pages that are passed on."""

from pathlib import Path


def linked_image(folder: Path, source: str) -> Path | None:
    """The file that a log calls `source`, if it lies below the log's image folder after every link is followed."""
    try:
        file = (folder / source).resolve(strict=True)
        is_inside = file.is_relative_to(folder.resolve(strict=True))
        return file if is_inside and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # missing, too long, not a file name at all, a loop of links
        return None
