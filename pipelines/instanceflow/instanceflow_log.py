"""A training log in InstanceFlow's JSON format, checked completely before anything is made of it.

{"name", "labels": [class names], "instances": [{"id", "actual", "image"}], "epochs": [{"id", "classifications"}]};
`actual` and `classifications`, one per instance, are positions in `labels`. `name` and `image` are optional.
"""

import hashlib
import json
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tracking.errors import InputError

MAX_BYTES = 2**30  # Python takes several times as much memory to read it
MAX_NAME_LENGTH = 200  # characters of the log's name, which becomes the run's
MAX_QUOTED_LENGTH = 60  # characters of a value in a message
FORMAT = (
    'the format is {"labels": ["cat", "dog"], "instances": [{"id": "0", "actual": 1}], '
    '"epochs": [{"id": "0", "classifications": [1]}]}'
)


@dataclass(frozen=True)
class FlowEpoch:
    number: int
    predicted: np.ndarray  # [N], class_id of every instance


@dataclass(frozen=True)
class Log:
    """A whole log, N instances."""

    name: str  # the file's name where the log has none
    digest: str  # sha256 of the file
    labels: tuple[str, ...]
    ids: tuple[str, ...]  # [N]
    actual: np.ndarray  # [N], class_id
    images: tuple[str | None, ...]  # [N]
    epochs: tuple[FlowEpoch, ...]
    epoch_ids: tuple[str, ...]

    @property
    def renumbered(self) -> bool:
        """Whether epochs are numbered by their position in the file, as their IDs are not ascending whole numbers."""
        return _epoch_numbers(self.epoch_ids) is None


def read_log(path: Path) -> Log:
    """The log in a file. Raises InputError, which names the place, on the first fault in it."""
    try:
        _check_text(str(path), "its path")
        content = _read(path)
        return _make_log(_parse(content), path.stem, hashlib.sha256(content).hexdigest())
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("not a file; give a log in InstanceFlow's JSON format")
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{status.st_size:,} bytes, at most {MAX_BYTES:,} can be read; leave out instances or epochs"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); give a log in InstanceFlow's JSON format") from None


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"not JSON ({error.msg} at {position}); {FORMAT}") from None
    except RecursionError:
        raise InputError(f"nested too deeply to be a log; {FORMAT}") from None
    except ValueError:
        raise InputError(f"has a number with thousands of digits; {FORMAT}") from None


def _make_log(content: Any, stem: str, digest: str) -> Log:
    label_values = _get_list(content, "labels", "the log")
    instances = _get_list(content, "instances", "the log")
    epochs = _get_list(content, "epochs", "the log")
    if len(label_values) < 2:
        raise InputError('"labels" has 1 class; a classifier has at least 2')

    labels = _unique_texts(label_values, "labels", [f"labels[{index}]" for index in range(len(label_values))])
    ids = _unique_ids(instances, "instances")
    epoch_ids = _unique_ids(epochs, "epochs")
    actual = [_get(instance, "actual", f"instances[{index}]") for index, instance in enumerate(instances)]
    images: list[str | None] = []
    for index, instance in enumerate(instances):
        image = instance.get("image")
        if image in (None, ""):
            images.append(None)
        else:
            images.append(_check_text(image, f'"image" of instances[{index}]'))

    # epochs keep their IDs as numbers if these ascend, else they are numbered by their position
    numbers = _epoch_numbers(epoch_ids) or range(len(epochs))
    flow_epochs = []
    for number, epoch_id, epoch in zip(numbers, epoch_ids, epochs, strict=True):
        flow_epochs.append(FlowEpoch(number, _predicted(epoch, f"epoch {_quote(epoch_id)}", ids, labels)))
    return Log(
        name=_name(content) or stem,
        digest=digest,
        labels=labels,
        ids=ids,
        actual=_class_ids(actual, labels, lambda index: f'"actual" of instance {_quote(ids[index])}'),
        images=tuple(images),
        epochs=tuple(flow_epochs),
        epoch_ids=epoch_ids,
    )


def _epoch_numbers(epoch_ids: tuple[str, ...]) -> list[int] | None:
    """The IDs as numbers, if they are ascending whole numbers."""
    if not all(re.fullmatch("[0-9]{1,9}", epoch_id) for epoch_id in epoch_ids):
        return None
    numbers = [int(epoch_id) for epoch_id in epoch_ids]
    is_ascending = all(before < after for before, after in pairwise(numbers))
    return numbers if is_ascending else None


def _predicted(epoch: dict, where: str, ids: tuple[str, ...], labels: tuple[str, ...]) -> np.ndarray:
    values = _get_list(epoch, "classifications", where)
    if len(values) != len(ids):
        raise InputError(
            f"{where} has {len(values)} classifications for {len(ids)} instances; give one per instance, in their order"
        )
    return _class_ids(values, labels, lambda index: f"classification of instance {_quote(ids[index])} in {where}")


def _class_ids(values: list, labels: tuple[str, ...], where: Callable[[int], str]) -> np.ndarray:
    """Positions in `labels`, checked; `where` names the value at an index."""
    count = len(labels)
    # a quick check of all values; only if it fails are they checked one by one, to name the first wrong one
    if set(map(type, values)) != {int} or min(values) < 0 or max(values) >= count:
        for index, value in enumerate(values):
            if type(value) is not int or not 0 <= value < count:
                expected = f"with {count} labels it must be a whole number from 0 to {count - 1}"
                raise InputError(f"{where(index)} is {_quote(value)}; {expected}")
    return np.array(values, np.int32)


def _get_list(holder: Any, key: str, where: str) -> list:
    """A non-empty list."""
    value = _get(holder, key, where)
    if not isinstance(value, list):
        raise InputError(f'"{key}" of {where} is {_quote(value)}, not a list; {FORMAT}')
    if not value:
        raise InputError(f'"{key}" of {where} is empty; {FORMAT}')
    return value


def _get(holder: Any, key: str, where: str) -> Any:
    if not isinstance(holder, dict):
        raise InputError(f"{where} is {_quote(holder)}, not an object; {FORMAT}")
    if key not in holder:
        raise InputError(f'{where} has no "{key}" (it has: {_shorten(json.dumps(list(holder)))}); {FORMAT}')
    return holder[key]


def _unique_ids(holders: list, kind: str) -> tuple[str, ...]:
    ids = []
    places = []
    for index, holder in enumerate(holders):
        place = f"{kind}[{index}]"
        ids.append(_get(holder, "id", place))
        places.append(f'"id" of {place}')
    return _unique_texts(ids, kind, places)


def _unique_texts(values: list, kind: str, places: list[str]) -> tuple[str, ...]:
    """The values as names; whole numbers count as names. Raises InputError on a duplicate."""
    texts = []
    index_by_text: dict[str, int] = {}
    for value, place in zip(values, places, strict=True):
        texts.append(_check_text(str(value) if type(value) is int else value, place))
    for index, text in enumerate(texts):
        first = index_by_text.setdefault(text, index)
        if first != index:
            raise InputError(
                f"{kind}[{first}] and {kind}[{index}] are both called {_quote(text)}; give each a unique name"
            )
    return tuple(texts)


def _check_text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{where} is {_quote(value)}; it must be a non-empty string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} is {_quote(value)}, which is not valid Unicode; rename it") from None
    return value


def _name(content: dict) -> str | None:
    value = content.get("name")
    if value in (None, ""):
        return None
    name = _check_text(value, '"name"')
    if len(name) > MAX_NAME_LENGTH:
        raise InputError(f'"name" has {len(name)} characters; at most {MAX_NAME_LENGTH} are allowed')
    return name


def _quote(value: Any) -> str:
    """A value as JSON, shortened, on one line."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return _shorten(json.dumps(value))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_QUOTED_LENGTH else f"{text[:MAX_QUOTED_LENGTH]}..."
