"""Properties that hold for every input: of parsers, of text for terminals and files, and of statistics."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, spearmanr

from pipelines.asking.formats import as_text
from pipelines.asking.tables import as_table
from pipelines.common.terminal import printable, printable_json
from pipelines.lifecycle.selection import parse_numbers, sample_instances
from queries import unique_names
from tracking.errors import InputError, redacted
from xai.faithfulness.similarity import spearman
from xai.tcav import correct_by_holm

settings.register_profile("study", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("study")

texts = st.text(max_size=20)
numerals = st.text("0123456789,, ٣_-+.", max_size=9)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=20))
def test_numbers_come_back_once_each_and_ascending(numbers: list[int]) -> None:
    assert parse_numbers(" , ".join(map(str, numbers)), "--epochs") == sorted(set(numbers))


@given(numerals)
def test_a_text_is_a_list_of_numbers_or_refused(text: str) -> None:
    """Digits of other scripts, underscores and signs are no numbers here, whatever int() takes."""
    plain = all(part.strip() and set(part.strip()) <= set("0123456789") for part in text.split(","))
    if plain:
        assert parse_numbers(text, "--epochs") == sorted({int(part) for part in text.split(",")})
    else:
        with pytest.raises(InputError, match="--epochs is"):
            parse_numbers(text, "--epochs")


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 200))
def test_smaller_samples_are_subsets_of_larger_ones(count: int, one: int, other: int) -> None:
    small, large = sorted(min(wanted, count) for wanted in (one, other))
    sampled = sample_instances(large, count).tolist()
    assert set(sample_instances(small, count).tolist()) <= set(sampled) <= set(range(count))
    assert len(set(sampled)) == large


@given(st.lists(st.sampled_from(["a", "A", "a_2", "b", "B_2", "b_3", ""]), max_size=12))
def test_unique_names_repeat_nothing_and_keep_what_was_unique(columns: list[str]) -> None:
    names = unique_names(columns)
    assert len({name.casefold() for name in names}) == len(columns)
    first = {}
    for place, column in enumerate(columns):
        first.setdefault(column.casefold(), place)
    assert all(names[place] == columns[place] for place in first.values())


@given(texts)
def test_what_a_terminal_shows_moves_nothing(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert shown == text or not text.isprintable()


@given(st.recursive(st.none() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_printable_json_holds_the_same_values(value) -> None:
    document = printable_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(document) == value
    assert all(line.isprintable() for line in document.split("\n"))


cells = st.none() | st.integers() | st.booleans() | texts
rows = st.lists(st.tuples(cells, cells), max_size=6)


@given(rows)
def test_csv_has_a_cell_for_every_value(rows: list[tuple]) -> None:
    for written in (as_text("csv", ["one", "two"], rows), as_text("excel-csv", ["one", "two"], rows)):
        read = list(csv.reader(io.StringIO(written, newline="")))
        assert [len(row) for row in read] == [2] * (len(rows) + 1)


@given(rows)
def test_spreadsheets_compute_no_text(rows: list[tuple]) -> None:
    read = list(csv.reader(io.StringIO(as_text("excel-csv", ["one", "two"], rows), newline="")))
    for row, cells in zip(rows, read[1:], strict=True):
        for value, cell in zip(row, cells, strict=True):
            assert not (isinstance(value, str) and cell.startswith(("=", "+", "-", "@")))


@given(rows)
def test_json_and_tables_take_every_row(rows: list[tuple]) -> None:
    assert [list(row.values()) for row in json.loads(as_text("json", ["one", "two"], rows))] == [
        list(row) for row in rows
    ]
    lines = as_table(["one", "two"], rows).split("\n")
    assert all(line.isprintable() for line in lines)


accounts = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6, max_size=12)


@given(accounts, accounts, texts)
def test_no_password_of_an_address_is_left(user: str, password: str, around: str) -> None:
    line = redacted(f"cannot reach https://{user}:{password}@tracker.test/path; {around}")
    assert f"{user}:{password}" not in line
    assert "tracker.test" in line
    assert redacted(line) == line


@given(probabilities)
def test_holm_is_the_definition(p_values: list[float]) -> None:
    """Holm 1979: the k-th smallest of m times m - k + 1, at most 1, and never less than one before."""
    corrected = correct_by_holm(torch.tensor(p_values, dtype=torch.double))
    order = np.argsort(p_values, kind="stable")
    expected, largest = np.empty(len(p_values)), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - place)))
        expected[index] = largest
    assert corrected.tolist() == pytest.approx(expected.tolist())
    assert (corrected.numpy() >= false_discovery_control(p_values) - 1e-12).all()


@given(st.integers(2, 12).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n)] * 2)))
def test_rank_correlation_is_scipys(pair: tuple[list[int], list[int]]) -> None:
    first, second = (torch.tensor([row], dtype=torch.float) for row in pair)
    found = spearman(first, second).item()
    if any(len(set(row)) == 1 for row in pair):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(*pair).statistic, abs=1e-5)
