"""A training log in InstanceFlow's JSON format, checked from end to end before anything is made of it.

{"name", "labels": [class names], "instances": [{"id", "actual", "image"}], "epochs": [{"id", "classifications"}]};
`actual` and `classifications`, one for each instance, are positions in `labels`. `name` and `image` may be missing.
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

LARGEST = 2**30  # bytes; Python takes several times as much to read it
LONGEST = 200  # characters of the log's name, which becomes the run's
FORM = (
    'needed is {"labels": ["cat", "dog"], "instances": [{"id": "0", "actual": 1}], '
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
        """Whether epochs carry their place in the file, as their ids are no ascending whole numbers."""
        return _numbers(self.epoch_ids) is None


def read_log(path: Path) -> Log:
    """The log in a file. Raises InputError, which names the place, if anything in it is not as it should be."""
    try:
        _text(str(path), "its path")
        content = _content(path)
        return _log(_parsed(content), path.stem, hashlib.sha256(content).hexdigest())
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from None


def _content(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError("not a file; give a log in InstanceFlow's JSON format")
        if found.st_size > LARGEST:
            raise InputError(f"{found.st_size:,} bytes, at most {LARGEST:,} can be read; leave out instances or epochs")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); give a log in InstanceFlow's JSON format") from None


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"not JSON ({error.msg} at {place}); {FORM}") from None
    except RecursionError:
        raise InputError(f"nested too deeply to be a log; {FORM}") from None
    except ValueError:
        raise InputError(f"has a number of thousands of digits; {FORM}") from None


def _log(content: Any, stem: str, digest: str) -> Log:
    labels, instances, epochs = (_list(content, key, "the log") for key in ("labels", "instances", "epochs"))
    if len(labels) < 2:
        raise InputError('"labels" has 1 class; a classifier has at least 2')
    names = _texts(labels, "labels", [f"labels[{at}]" for at in range(len(labels))])
    ids = _ids(instances, "instances")
    epoch_ids = _ids(epochs, "epochs")
    actual = [_got(instance, "actual", f"instances[{at}]") for at, instance in enumerate(instances)]
    return Log(
        name=_name(content) or stem,
        digest=digest,
        labels=names,
        ids=ids,
        actual=_classes(actual, names, lambda at: f'"actual" of instance {_said(ids[at])}'),
        images=tuple(_image(instance, at) for at, instance in enumerate(instances)),
        epochs=_epochs(epochs, epoch_ids, ids, names),
        epoch_ids=epoch_ids,
    )


def _epochs(
    epochs: list, epoch_ids: tuple[str, ...], ids: tuple[str, ...], labels: tuple[str, ...]
) -> tuple[FlowEpoch, ...]:
    """The epochs under their numbers: their ids, where these can be, else their places in the file."""
    numbers = _numbers(epoch_ids) or range(len(epochs))
    return tuple(
        FlowEpoch(number, _predicted(epoch, f"epoch {_said(own_id)}", ids, labels))
        for number, own_id, epoch in zip(numbers, epoch_ids, epochs, strict=True)
    )


def _numbers(epoch_ids: tuple[str, ...]) -> list[int] | None:
    if not all(re.fullmatch("[0-9]{1,9}", own_id) for own_id in epoch_ids):
        return None
    numbers = [int(own_id) for own_id in epoch_ids]
    return numbers if all(before < after for before, after in pairwise(numbers)) else None


def _predicted(epoch: dict, where: str, ids: tuple[str, ...], labels: tuple[str, ...]) -> np.ndarray:
    values = _list(epoch, "classifications", where)
    if len(values) != len(ids):
        raise InputError(
            f"{where} has {len(values)} classifications for {len(ids)} instances; give one for each, in their order"
        )
    return _classes(values, labels, lambda at: f"classification of instance {_said(ids[at])} in {where}")


def _classes(values: list, labels: tuple[str, ...], where: Callable[[int], str]) -> np.ndarray:
    count = len(labels)
    if set(map(type, values)) == {int} and min(values) >= 0 and max(values) < count:
        return np.array(values, np.int32)
    at = next(at for at, value in enumerate(values) if type(value) is not int or not 0 <= value < count)
    raise InputError(
        f"{where(at)} is {_said(values[at])}; with {count} labels it takes a whole number from 0 to {count - 1}"
    )


def _list(holder: Any, key: str, where: str) -> list:
    found = _got(holder, key, where)
    if not isinstance(found, list):
        raise InputError(f'"{key}" of {where} is {_said(found)}, not a list; {FORM}')
    if not found:
        raise InputError(f'"{key}" of {where} is empty; {FORM}')
    return found


def _got(holder: Any, key: str, where: str) -> Any:
    if not isinstance(holder, dict):
        raise InputError(f"{where} is {_said(holder)}, not an object; {FORM}")
    if key not in holder:
        raise InputError(f'{where} has no "{key}" (it has: {_cut(json.dumps(list(holder)))}); {FORM}')
    return holder[key]


def _ids(holders: list, kind: str) -> tuple[str, ...]:
    ids = [_got(holder, "id", f"{kind}[{at}]") for at, holder in enumerate(holders)]
    return _texts(ids, kind, [f'"id" of {kind}[{at}]' for at in range(len(ids))])


def _texts(values: list, kind: str, places: list[str]) -> tuple[str, ...]:
    """Names that differ; whole numbers count as names."""
    texts = tuple(_text(str(v) if type(v) is int else v, place) for v, place in zip(values, places, strict=True))
    first: dict[str, int] = {}
    for at, text in enumerate(texts):
        if first.setdefault(text, at) != at:
            raise InputError(
                f"{kind}[{first[text]}] and {kind}[{at}] are both called {_said(text)}; give each a name of its own"
            )
    return texts


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{where} is {_said(value)}; it takes a text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} is {_said(value)}, which is not valid Unicode; rename it") from None
    return value


def _image(instance: dict, at: int) -> str | None:
    value = instance.get("image")
    return None if value in (None, "") else _text(value, f'"image" of instances[{at}]')


def _name(content: dict) -> str | None:
    value = content.get("name")
    if value in (None, ""):
        return None
    if len(_text(value, '"name"')) > LONGEST:
        raise InputError(f'"name" has {len(value)} characters; at most {LONGEST} make a name')
    return value


def _said(value: Any) -> str:
    """A value as JSON has it, cut short; on one line whatever it holds."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."
