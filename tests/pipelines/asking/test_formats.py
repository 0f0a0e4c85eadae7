"""Answers as text: what every value becomes, to the byte, however the rows come; and rows that go out as they come."""

import tracemalloc
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.asking.formats import FORMATS, format_answer
from pipelines.common.terminal import Screen
from queries import Batch, fetch_batches
from queries.catalogue import BATCH_ROWS
from support.commands import study_command
from tracking.home import Home

NUMBERS = """
    select * from (values
        (1, true, 0.1::float, 'nan'::double, 12.50::decimal(6, 2), timestamp '2026-01-02 03:04:05.5', null),
        (-20, null, 1e-5::float, '-inf'::double, null, null, null),
        (null, false, 16777216::float, 1e16, 0.05, '1969-12-31', null)
    ) as t(i, b, f, d, exact, ts, nothing)"""
TEXTS = """
    select * from (values
        ('a,b "c"', [1, null], ['x', 'é'], {'k': 1.5::double, 'n': [date '2026-01-02']}),
        (e'two\\nlines\\t=', [], null, null),
        ('', [3], [null, e'\\x1b'], {'k': 'nan'::double, 'n': []})
    ) as t("te%xt", ints, texts, pairs)"""
EXPECTED = [
    (NUMBERS, "table", '''\
  i      b           f                  d  exact  ts                          nothing
───  ─────  ──────────  ─────────────────  ─────  ──────────────────────────  ───────
  1   True         0.1                nan  12.5   2026-01-02 03:04:05.500000
-20            1e-05                 -inf
     False  16777216    10000000000000000   0.05  1969-12-31 00:00:00
'''),
    (NUMBERS, "csv", '''\
i,b,f,d,exact,ts,nothing
1,True,0.10000000149011612,,12.5,2026-01-02 03:04:05.500000,
-20,,9.999999747378752e-06,,,,
,False,16777216.0,1e+16,0.05,1969-12-31 00:00:00,
'''),
    (NUMBERS, "json", '''\
[
 {
  "i": 1,
  "b": true,
  "f": 0.10000000149011612,
  "d": null,
  "exact": 12.5,
  "ts": "2026-01-02 03:04:05.500000",
  "nothing": null
 },
 {
  "i": -20,
  "b": null,
  "f": 9.999999747378752e-06,
  "d": null,
  "exact": null,
  "ts": null,
  "nothing": null
 },
 {
  "i": null,
  "b": false,
  "f": 16777216.0,
  "d": 1e+16,
  "exact": 0.05,
  "ts": "1969-12-31 00:00:00",
  "nothing": null
 }
]
'''),
    (TEXTS, "table", '''\
te%xt        ints  texts   pairs
───────────  ────  ──────  ────────────────────────────────────────────
a,b "c"      1,    x, é    {'k': 1.5, 'n': [datetime.date(2026, 1, 2)]}
two lines =
             3     , \\x1b  {'k': nan, 'n': []}
'''),
    (TEXTS, "csv", '''\
te%xt,ints,texts,pairs
"a,b ""c""","[1, null]","[""x"", ""é""]","{""k"": 1.5, ""n"": [""2026-01-02""]}"
"two
lines	=",[],,
,[3],"[null, ""\\u001b""]","{""k"": null, ""n"": []}"
'''),
    (TEXTS, "json", '''\
[
 {
  "te%xt": "a,b \\"c\\"",
  "ints": [
   1,
   null
  ],
  "texts": [
   "x",
   "é"
  ],
  "pairs": {
   "k": 1.5,
   "n": [
    "2026-01-02"
   ]
  }
 },
 {
  "te%xt": "two\\nlines\\t=",
  "ints": [],
  "texts": null,
  "pairs": null
 },
 {
  "te%xt": "",
  "ints": [
   3
  ],
  "texts": [
   null,
   "\\u001b"
  ],
  "pairs": {
   "k": null,
   "n": []
  }
 }
]
'''),
]  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize(("sql", "form", "text"), EXPECTED)
def test_every_kind_of_value_has_its_text(sql: str, form: str, text: str, batch_size: int) -> None:
    with duckdb.connect() as connection:
        result = connection.execute(sql)
        columns = [column for column, *_ in result.description]
        batches = iter(lambda: result.fetchmany(batch_size), [])
        assert "".join(format_answer(form, columns, batches, None)) == text


cells = st.none() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)


@given(st.lists(st.tuples(cells, cells), max_size=6), st.integers(1, 3))
def test_batches_make_no_difference(rows: list[tuple], size: int) -> None:
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    for form in FORMATS:
        for screen in (None, Screen(40)):
            pieces = format_answer(form, ["a", "b"], batches, screen)
            assert "".join(pieces) == "".join(format_answer(form, ["a", "b"], [rows], screen))


def make_batches(count: int, made: list[int]) -> Iterator[Batch]:
    for number in range(count):
        made.append(number)
        yield [(number * 1000 + row, row / 7, f"row {row}", [row]) for row in range(1000)]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_go_out_as_they_come(form: str) -> None:
    made: list[int] = []
    pieces = format_answer(form, ["number", "x", "text", "list"], make_batches(100, made), None)
    assert "row 999" in next(pieces) + next(pieces)
    assert len(made) <= 2


@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_of_any_length_takes_the_memory_of_a_batch(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.asking.tables.WAITING_BYTES", 1)
    peaks = []
    for count in (3, 30):
        tracemalloc.start()
        for _ in format_answer(form, ["number", "x", "text", "list"], make_batches(count, []), None):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_the_index_is_free_before_the_last_rows_are_read() -> None:
    with duckdb.connect() as connection:
        batches = fetch_batches(connection.execute(f"from range({BATCH_ROWS + 1})"))
        assert len(next(batches)) == BATCH_ROWS
        assert next(batches) == [(BATCH_ROWS,)]
        with pytest.raises(duckdb.ConnectionException, match="closed"):
            connection.execute("select 1")


def test_what_ends_an_answer_halfway_is_said(study: Home, capsys) -> None:
    for last, begins in ((1_000_000, "n\n0\n1\n"), (0, "")):
        sql = f"select if(range < {last}, range, error('no more')) as n from range(1100000)"
        code, out, err = study_command(capsys, "sql", sql, "--format", "csv", "--home", study.path)
        assert (code, err) == (2, "study: Invalid Input Error: no more\n")
        assert out[:6] in ("", begins)  # one of DuckDB's threads may meet the error before the first rows are out
