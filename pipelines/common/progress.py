"""How far a command is: one line at the bottom of a terminal, or a plain line now and then in a pipe.

Work is nested: a study has stages, a training has epochs, an epoch has steps. What is shown is the fraction of the
outermost work, the time left for it, and what is being done within.
"""

import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from pipelines.common.terminal import (
    display_width,
    has_colours,
    printable,
    say,
    status_line,
    styled,
    terminal_width,
    wrap,
)

DRAW_INTERVAL = 0.1  # seconds between two states of the line
SAY_INTERVAL = 60.0  # seconds between two lines in a pipe
SETTLING_TIME = 3.0  # seconds, and the fraction of the work, before the time left is shown
SETTLING_FRACTION = 0.05
MIXED_SETTLING_FRACTION = 0.25  # of work whose parts are of different kinds, so that the first say little of the rest
BAR_WIDTH = 20
WIDTH_WITH_BAR = 70  # of a terminal; narrower ones show the text alone
MAX_LINE_WIDTH = 120
Item = TypeVar("Item")


@dataclass(eq=False)
class Work:
    """Something with an amount to do, in any unit; without a total, what is done is only counted."""

    name: str
    total: float | None
    unit: str
    done: float = 0
    open_part: float | None = 0  # how much of the total the work within stands for; None: that work says it
    is_mixed: bool = False  # whether its parts are of different kinds

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        _shown.update()

    @contextmanager
    def part(self, size: float | None) -> Iterator[None]:
        """What is done inside stands for `size` of the total; None leaves that to the `cost` of the work inside."""
        self.open_part = size
        _shown.update()
        yield
        self.done += self.open_part or 0
        self.open_part = 0
        _shown.update()

    def fraction(self, within: float) -> float:
        """The fraction that is done, where `within` is that of the open part."""
        done = self.done + (self.open_part or 0) * within
        return min(done / self.total, 1.0) if self.total else 0.0

    def count(self) -> str:
        """What is done and what there is to do; empty where the unit means nothing to a reader."""
        if not self.unit:
            return ""
        total = "" if self.total is None else f" of {self.total:.0f}"
        return f"{self.done:.0f}{total} {self.unit}"


@contextmanager
def work(
    name: str, total: float | None, unit: str = "", *, done: float = 0, cost: float = 0, is_mixed: bool = False
) -> Iterator[Work]:
    """Work that is done inside the block. `cost` is its size in units of the work around, where that leaves it open."""
    around = _shown.works[-1] if _shown.works else None
    if around and around.open_part is None:
        around.total = (around.total or 0) + cost
        around.open_part = cost
    current = Work(name, total, unit, done, is_mixed=is_mixed)
    _shown.begin(current)
    try:
        yield current
    finally:
        _shown.end(current)


def track(items: Collection[Item], name: str, unit: str) -> Iterator[Item]:
    """The items, each counted once it is worked on. For work within other work, which also ends it after an error."""
    with work(name, len(items), unit) as current:
        for item in items:
            with current.part(1):
                yield item


class _ShownWork:
    """All work under way, outermost first, and what of it was shown when."""

    def __init__(self) -> None:
        self.works: list[Work] = []
        self._fraction = 0.0  # it never falls

    def begin(self, added: Work) -> None:
        self.works.append(added)
        if len(self.works) == 1:
            self._began_at = self._shown_at = time.monotonic()
            self._began_with = self._fraction = added.fraction(0)
        self.update()

    def end(self, finished: Work) -> None:
        if finished not in self.works:  # a generator of `track`, which an error leaves open, ends after the work around
            return
        del self.works[self.works.index(finished) :]
        if not self.works:
            status_line.erase()

    def update(self) -> None:
        """Show the state, unless it was shown a moment ago."""
        now = time.monotonic()
        is_drawn = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        if not self.works or now - self._shown_at < (DRAW_INTERVAL if is_drawn else SAY_INTERVAL):
            return
        self._shown_at = now
        within = 0.0
        for current in reversed(self.works):
            within = current.fraction(within)
        self._fraction = max(self._fraction, within)
        left = self._describe_time_left(now - self._began_at)
        words = [current.name for current in self.works] + [self.works[-1].count()]
        names = ", ".join(word for word in words if word)
        if is_drawn:
            status_line.draw(_compose_line(self._fraction, left, names))
        else:
            state = ", ".join(part for part in (f"{100 * self._fraction:.0f} %", left) if part)
            say(f"  {state}: {names}" if names else f"  {state}")

    def _describe_time_left(self, elapsed: float) -> str:
        gained = self._fraction - self._began_with
        least = MIXED_SETTLING_FRACTION if self.works[0].is_mixed else SETTLING_FRACTION
        if elapsed < SETTLING_TIME or gained < least or round(100 * self._fraction) == 100:
            return ""
        seconds = elapsed / gained * (1 - self._fraction)
        if seconds < 60:
            return f"about {max(round(seconds / 5) * 5, 5)} s left"
        if seconds < 3600:
            return f"about {seconds / 60:.0f} min left"
        return f"about {seconds / 3600:.1f} h left"


def _compose_line(fraction: float, left: str, names: str) -> str:
    """Percentage, bar, time left and names, as far as they fit the terminal as wide as it is now."""
    space = min(terminal_width(sys.stderr) - 1, MAX_LINE_WIDTH)  # in the last column, terminals begin a new line
    percentage = f"{100 * fraction:3.0f} %  "
    filled = round(fraction * BAR_WIDTH)
    bar, rest = "━" * filled, "╌" * (BAR_WIDTH - filled)
    if has_colours(sys.stderr):
        bar, rest = styled(bar, "green"), styled(rest, "dim")
    has_bar = space >= WIDTH_WITH_BAR
    text = printable("  ".join(part for part in (left, names) if part))
    room = space - len(percentage) - (BAR_WIDTH + 2 if has_bar else 0)
    if display_width(text) > room:
        text = wrap(text, max(room - 1, 1))[0] + "…"
    return percentage + (f"{bar}{rest}  " if has_bar else "") + text


_shown = _ShownWork()
