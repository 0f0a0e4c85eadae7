"""Images that an imported log names. A log comes from elsewhere, and what it names ends in pages that are passed on."""

from pathlib import Path


def linked_image(folder: Path, source: str) -> Path | None:
    """The file that a log calls `source`, if it lies below its folder of images when every link is followed."""
    try:
        file = (folder / source).resolve(strict=True)
        inside = file.is_relative_to(folder.resolve(strict=True))
        return file if inside and file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # missing, too long, no name at all, links in a circle
        return None
