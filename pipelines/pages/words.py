"""Numbers as words of a page: sensible digits, the right plural, no claim of more than there is."""

from collections.abc import Sequence

from pipelines.common.figures import short

SMALL = 200  # images under which a share is given without decimals
SPACE = "\u00a0"  # does not break a line between number and unit
MINUS = "\u2212"
NONE = "\u2013"  # where there is no number
LISTED = 8
NAME = 28  # characters of a class or run name in a sentence
SPLITS = {
    "train": "training images",
    "train_seen": "training images as seen in training",
    "train_folds": "training images, by models that had not seen them",
    "val": "validation images",
    "test": "test images",
}


def percent(share: float | None, n: int | None = None) -> str:
    """A share of n as percent; only a share of exactly 0 or 1 is called 0 or 100 %."""
    if share is None:
        return "unknown"
    for digits in range(0 if n is not None and n < SMALL else 1, 7):
        text = f"{100 * share:.{digits}f}"
        if float(text) not in (0, 100) or share in (0, 1):
            break
    text = f"{float(text):.0f}" if float(text) in (0, 100) else text
    return f"{text.replace('-', MINUS)}{SPACE}%"


def between(low: float | None, high: float | None, n: int | None = None) -> str:
    """Two ends of an interval of shares."""
    first, last = percent(low, n), percent(high, n)
    return first if first == last else f"{first.removesuffix(f'{SPACE}%')} to {last}"


def of(count: int, n: int, what: str = "images") -> str:
    """A count out of n with its share: 3 of 12 images (25 %)."""
    return f"{number(count)} of {number(n)} {what} ({percent(count / n, n)})" if n else f"0 of 0 {what}"


def number(value: int) -> str:
    return f"{value:,}"


def value(amount: float | None, digits: int = 2) -> str:
    """A number with its sign's proper character; nothing for none."""
    if amount is None:
        return NONE
    text = f"{amount:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def value_between(low: float | None, high: float | None, digits: int = 2) -> str:
    return NONE if low is None or high is None else f"{value(low, digits)} to {value(high, digits)}"


def interval_of(low: float | None, high: float | None) -> str:
    """The 95 % interval of a number, to be put after it; nothing where there is none."""
    return "" if low is None or high is None else f" [95 % interval {value_between(low, high)}]"


def listed(names: Sequence[str], most: int = LISTED) -> str:
    """Names as a sentence has them: a, b and c; of many the first, and how many more there are."""
    shown = [short(name, NAME) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return series(shown)


def series(parts: Sequence[str]) -> str:
    """Parts of a sentence, each whole: a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def images_of(split: str) -> str:
    """What the images of a split are called."""
    return SPLITS.get(split, f"images of {split}")
