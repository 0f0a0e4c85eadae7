"""Progress: one line of a terminal that leaves nothing behind, and a plain line now and then in a pipe."""

import gc
import io
import re
import sys

import pytest

from pipelines.common import progress
from pipelines.common.console import redacting
from pipelines.common.progress import track, work
from pipelines.common.terminal import say
from support.commands import needs_terminal, on_terminal
from support.terminal import STYLE, render
from tracking.home import Home

SMALL = ("--size", "8", "--epochs", "1", "--threads", "1")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that progress sees, which passes as a test sets it."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error as a terminal, from now to the end of the test."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_work_within_counts_for_its_part(monkeypatch, clock: list[float]) -> None:
    terminal = use_terminal(monkeypatch)
    seen = []
    with work("", 30.0) as stages:
        with stages.part(None), work("training", 2, cost=10):  # the whole is now 40
            pass
        with stages.part(30), work("explaining", 2, "images") as images:
            for _ in range(2):
                clock[0] += 10
                images.advance()
                seen.append(render(terminal.getvalue(), 80)[-1])
    assert [line.split("%")[0].strip() for line in seen] == ["62", "100"]
    assert "about 5 s left  explaining, 1 of 2 images" in seen[0]
    assert render(terminal.getvalue(), 80) == [""]


def test_progress_never_falls_back_and_counts_what_was_done_before(monkeypatch, clock: list[float]) -> None:
    terminal = use_terminal(monkeypatch)
    shown = []
    with work("training", 4, "epochs", done=2) as epochs, epochs.part(1):
        for _ in range(2):  # as steps of training, then batches of evaluation
            for _ in track(range(3), "epoch 3", "steps"):
                clock[0] += 1
                epochs.advance(0)
                shown.append(int(render(terminal.getvalue(), 80)[-1].split("%")[0]))
    assert shown == sorted(shown)
    assert shown[0] == 50
    assert shown[-1] <= 75


def test_other_output_goes_above_the_line(monkeypatch, clock: list[float]) -> None:
    terminal = use_terminal(monkeypatch)
    with redacting(), work("a", 2, "steps") as steps:
        clock[0] += 1
        steps.advance()
        say("a notice")
        print("a library's warning", file=sys.stderr)
        clock[0] += 1
        steps.advance()
        lines = render(terminal.getvalue(), 80)
    assert lines[:2] == ["a notice", "a library's warning"]
    assert lines[2].endswith("a, 2 of 2 steps")
    assert render(terminal.getvalue(), 80) == ["a notice", "a library's warning", ""]


@pytest.mark.parametrize("width", [12, 30, 69, 200])
def test_the_line_fits_every_terminal(monkeypatch, clock: list[float], width: int) -> None:
    terminal = use_terminal(monkeypatch)
    monkeypatch.setattr(progress, "terminal_width", lambda stream: width)

    def be_interrupted() -> None:
        with work("a name\u202e that is long " * 9, 3, "steps") as steps:
            clock[0] += 5
            steps.advance()
            [line] = render(terminal.getvalue(), width)
            assert 0 < len(line) < width
            for _ in track(range(3), "within", "steps"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupt:
        be_interrupted()
    assert render(terminal.getvalue(), width) == [""]
    del interrupt  # which ends the generator of the work within
    gc.collect()
    with work("next", 2, "steps") as steps:
        clock[0] += 5
        steps.advance()
        assert render(terminal.getvalue(), width)[-1].startswith(" 50 %")


def test_a_pipe_gets_a_plain_line_now_and_then(monkeypatch, clock: list[float]) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with work("training", 10, "epochs") as epochs:
        for _ in range(10):
            clock[0] += 20
            epochs.advance()
    lines = sys.stderr.getvalue().splitlines()
    assert lines == [f"  {share} %, about {left} left: training, {done} of 10 epochs" for share, left, done in (
        ("30", "2 min", 3), ("60", "1 min", 6), ("90", "20 s", 9))]  # fmt: skip


@pytest.mark.parametrize(("is_mixed", "at_first"), [(False, "10 %, about 9 min left"), (True, "10 %")])
def test_no_time_is_given_before_it_is_worth_something_nor_at_the_end(
    monkeypatch, clock: list[float], is_mixed: bool, at_first: str
) -> None:
    """Where parts are of different kinds, the first ones say little about the rest."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with work("study", 10, is_mixed=is_mixed) as stages:
        for share in (1, 2, 7):
            clock[0] += 61
            stages.advance(share)
    assert sys.stderr.getvalue().splitlines() == [
        f"  {at_first}: study", "  30 %, about 5 min left: study", "  100 %: study"
    ]  # fmt: skip


def test_a_line_without_names_ends_with_what_it_knows(monkeypatch, clock: list[float]) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with work("", 1) as stages:
        clock[0] += 61
        stages.advance()
    assert sys.stderr.getvalue() == "  100 %\n"


@needs_terminal
def test_a_command_leaves_its_notices_alone_on_the_terminal(home: Home) -> None:
    code, shown = on_terminal("train", *SMALL, "--home", str(home.path), width=70)
    lines = render(shown, 70)
    assert code == 0
    assert "\r" in shown
    assert [line for line in lines if " %  " in line and not line.startswith("epoch")] == []
    assert re.fullmatch("[0-9a-f]{32}", lines[-2])  # the result


@needs_terminal
def test_errors_are_red_where_there_are_colours() -> None:
    _, coloured = on_terminal("ask", "nothing", width=200)
    _, plain = on_terminal("ask", "nothing", width=200, NO_COLOR="1")
    assert coloured.startswith("\x1b[1;31mstudy:\x1b[0m ")
    assert STYLE.sub("", coloured) == plain
    assert plain.count("\n") == 1
