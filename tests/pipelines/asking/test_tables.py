"""Tables: complete in a pipe; on a terminal they fit its width, and what they leave out or shorten is said."""

import datetime
import json
import re
from decimal import Decimal

import pytest

from pipelines.asking.formats import as_text
from pipelines.asking.tables import GAP, as_table
from pipelines.common.terminal import LEAST_WIDTH, Screen, display_width
from support.commands import as_process, needs_terminal, on_terminal, study_command
from tracking.catalogue import RunRecord
from tracking.home import Home

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
IDS = ["3f2a91bc" + "0" * 24, "3f2a91bc" + "1" * 24, "77aa91bc" + "2" * 24]


def make_rows(row_count: int, column_count: int) -> tuple[list[str], list[tuple]]:
    """A table in which every name and every cell is a word of its own."""
    names = [f"quite_long_name_{column}_x" for column in range(column_count)]
    rows = [tuple(f"r{row}c{column}v" for column in range(column_count)) for row in range(row_count)]
    return names, rows


@pytest.mark.parametrize("width", [LEAST_WIDTH, 33, 80, 160, 1000])
@pytest.mark.parametrize(("row_count", "column_count"), [(1, 9), (2, 40), (29, 9), (31, 9), (40, 30), (3, 1)])
def test_a_table_fits_and_says_everything(width: int, row_count: int, column_count: int) -> None:
    names, rows = make_rows(row_count, column_count)
    text = as_table(names, rows, Screen(width), is_whole=True)
    assert max(map(display_width, text.splitlines())) <= width
    assert [cell for row in rows for cell in row if cell not in text] == []
    whole = re.sub(r"\s+", "", text)
    assert [name for name in names if name.split("_")[-2] not in whole] == []
    assert "…" not in text


@pytest.mark.parametrize(("row_count", "column_count", "shown"), [
    (100, 2, 100), (101, 2, 100), (1500, 2, 100), (20, 30, 20), (31, 30, 20), (1500, 30, 20),
])  # fmt: skip
def test_a_terminal_gets_the_first_rows_of_very_many(row_count: int, column_count: int, shown: int) -> None:
    names, rows = make_rows(row_count, column_count)
    text = as_table(names, rows, Screen(80))
    assert [row for row in range(row_count) if f"r{row}c0v" in text] == [*range(shown)]
    more = row_count - shown
    rows_left_out = "row" if more == 1 else "rows"
    assert (f"{more:,} more {rows_left_out} (in full: --format csv or json)" in text) is (more > 0)
    assert "more row" not in as_table(names, rows)
    assert f"r{row_count - 1}c0v" in as_table(names, rows)


def test_what_all_rows_say_is_said_once_above() -> None:
    columns = ["split", "epoch", "n", "note", "other"]
    text = as_table(columns, [("test", 5, 1, None, None), ("test", 5, 2, None, None)], Screen(80))
    assert text.splitlines() == ["split test, epoch 5", "without a value: note, other", "", "n", "─", "1", "2"]
    assert as_table(columns, [("test", 5, 1, None, None)], Screen(80)).splitlines()[0] == "split  epoch  n  note  other"


def test_rows_that_are_alike_are_still_counted() -> None:
    lines = as_table(["a", "b"], [("x", 1)] * 3, Screen(80)).splitlines()
    assert lines == ["b 1", "", "a", "─", "x", "x", "x"]


def test_a_pipe_gets_every_column_and_whole_ids_on_one_line_per_row() -> None:
    columns = ["run_id", "split", "text"]
    rows = [(run_id, "test", "long text " * 9) for run_id in IDS]
    lines = as_table(columns, rows).splitlines()
    assert len(lines) == 5
    assert [line.split()[:2] for line in lines[2:]] == [[run_id, "test"] for run_id in IDS]


def test_short_ids_tell_runs_apart_and_only_tables_have_them() -> None:
    columns, rows = ["run_id", "git_commit"], [(run_id, f"{'ab' * 20}-dirty") for run_id in IDS]
    text = as_table(columns, rows, Screen(80))
    assert text.splitlines()[0] == "git_commit ababababa-dirty"
    assert re.findall(r"^\w{9}$", text, re.MULTILINE) == [run_id[:9] for run_id in IDS]
    assert text.splitlines()[-1].startswith("Shortened: run_id, git_commit (")
    for whole in (as_text("csv", columns, rows), as_text("json", columns, rows)):
        assert all(run_id in whole for run_id in IDS)
    assert "Shortened" not in as_table(["n"], [(1,)], Screen(80))


def test_a_cut_text_is_named() -> None:
    text = as_table(["n", "params"], [(1, "word " * 100), (2, "x")], Screen(80))
    assert text.count("word") == 60  # in 300 characters
    assert text.splitlines()[-1].startswith("Shortened: params (")


def test_points_stand_beneath_each_other() -> None:
    rows = [(0.659, Decimal("1.5")), (12.25, None), (3.0, Decimal(10)), (-33333.3, Decimal("0.125"))]
    for screen in (None, Screen(80)):
        cells = [line[:10].ljust(10) for line in as_table(["a_value", "x"], rows, screen).splitlines()[2:]]
        assert cells == ["     0.659", "    12.25 ", "     3    ", "-33333    "]


def test_wide_characters_and_marks_take_the_space_they_have() -> None:
    rows = [("猫猫", 1), ("e\u0301", 2), ("dog", 3)]
    for screen in (None, Screen(80)):
        lines = as_table(["name", "n"], rows, screen).splitlines()
        assert {display_width(line) for line in lines} == {len("name" + GAP + "n")}


def test_times_are_said_to_the_second() -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678)
    assert as_table(["at"], [(moment,)], Screen(80)).splitlines()[-1] == "2026-01-02 03:04:05"


def test_without_rows_the_columns_are_named() -> None:
    names, _ = make_rows(0, 9)
    text = as_table(names, [], Screen(40))
    assert text.endswith("(no rows)")
    assert all(name in text for name in names)
    assert as_table([], [], Screen(40)).endswith("(no rows)")
    assert as_table([], []).endswith("(no rows)")


def test_words_are_coloured_where_the_screen_has_colours() -> None:
    rows = [("a", "FAILED"), ("FAILED", "FINISHED")]
    coloured = as_table(["name", "status"], rows, Screen(80, has_colours=True))
    assert ESCAPE.sub("", coloured) == as_table(["name", "status"], rows, Screen(80))
    assert coloured.count("\x1b[31m") == coloured.count("\x1b[32m") == 1
    assert "\x1b" not in as_table(["name", "status"], rows)


@needs_terminal
def test_an_answer_fits_the_terminal(study: Home, trained: RunRecord, capsys) -> None:
    home = ("--home", str(study.path))
    for command in (("ask", "runs"), ("sql", "select * exclude params from runs")):
        code, shown = on_terminal(*command, *home, width=60)
        assert code == 0
        assert max(map(len, ESCAPE.sub("", shown).splitlines())) <= 60
        assert trained.run_id not in shown
        assert "\x1b[1mrun_id" in shown
    assert trained.run_id[:8] in shown
    _, out, _ = study_command(
        capsys, "ask", "accuracy_by_epoch", "--run-id", trained.run_id[:8], *home, "--format", "json"
    )
    assert json.loads(out)


@needs_terminal
@pytest.mark.parametrize("refusal", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours_can_be_refused(study: Home, refusal: dict[str, str]) -> None:
    code, shown = on_terminal("ask", "runs", "--home", str(study.path), **refusal)
    assert (code, "FINISHED" in shown, "\x1b" in shown) == (0, True, False)


def test_a_pipe_has_no_width(study: Home, trained: RunRecord) -> None:
    """Programs that use readline set COLUMNS for those that they start."""
    command = ("ask", "runs", "--home", str(study.path))
    narrow, whole = as_process(*command, COLUMNS="50").stdout.decode(), as_process(*command, COLUMNS="").stdout.decode()
    assert narrow == whole
    assert trained.run_id in whole
    assert "\x1b" not in whole


@needs_terminal
def test_columns_gives_the_width_of_a_terminal(study: Home) -> None:
    code, shown = on_terminal("ask", "runs", "--home", str(study.path), width=200, COLUMNS="50", NO_COLOR="1")
    assert (code, max(map(len, shown.splitlines())) <= 50) == (0, True)
