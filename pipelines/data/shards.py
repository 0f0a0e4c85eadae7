"""The files of a data set that are parts of one, such as train-00000-of-00002.parquet: all of them, or none."""

import re
from collections.abc import Iterable
from pathlib import Path

from pipelines.common.wording import plural
from pipelines.data.names import format_name
from tracking.errors import InputError

SHARD = re.compile(r"-\d+-of-(\d+)(-[0-9a-f]+)?$")  # what ends the name of one; with a hash in some repositories


def check_shards(files: Iterable[Path], folder: Path) -> None:
    """Raise InputError unless there are as many files of each split as their names say."""
    shards: dict[tuple[str, str], int] = {}
    for file in files:
        if shard := SHARD.search(file.stem):
            key = file.stem[: shard.start()], shard[1]
            shards[key] = shards.get(key, 0) + 1
    for (split, total), count in shards.items():
        if count != int(total):
            raise InputError(
                f"{format_name(folder)} has {plural(count, 'file')} {format_name(split)}-...-of-{total}, not "
                f"{int(total)}; fetch the data set again"
            )
