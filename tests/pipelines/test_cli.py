"""The command line as a user meets it: results on standard output, one helpful line for wrong input."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import queries
from pipelines.asking import formats as answers
from pipelines.asking.tables import MAX_CELL_WIDTH, as_table
from pipelines.cli import make_parser
from pipelines.commands import COMMANDS, GROUPS
from pipelines.common.checked_settings import CheckedSettings, flag_name
from pipelines.common.flags import from_flags, utf8
from pipelines.common.settings import FORMATS, TrainSettings
from pipelines.common.streams import prepare_streams
from pipelines.common.terminal import say, status_line
from pipelines.lifecycle.selection import sample_instances
from pipelines.study import _list_shown
from support.commands import as_process, needs_terminal, on_terminal, study_command
from support.homes import rows
from support.places import ROOT
from tracking.catalogue import resolve
from tracking.home import Home
from xai import METHODS


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_names_every_command_and_setting(command: list[str], capsys) -> None:
    code, out, err = study_command(capsys, *command, "--help")
    assert (code, err) == (0, "")
    assert all(name in out for name in (COMMANDS if not command else [f"study {command[0]}"]))


def test_every_flag_comes_from_the_settings(capsys) -> None:
    _, out, _ = study_command(capsys, "train", "--help")
    names = [flag_name(name) for name in TrainSettings.__dataclass_fields__]
    assert len(names) > 15
    assert [name for name in names if name not in out] == []


def test_the_overview_has_every_command_in_a_group_with_an_example(capsys) -> None:
    _, out, _ = study_command(capsys, "--help")
    lines = [line.strip() for line in out.splitlines()]
    assert [f"{title}:" for title in GROUPS if f"{title}:" not in lines] == []
    assert [name for name, (*_, example) in COMMANDS.items() if example not in lines] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_commands(capsys, name: str) -> None:
    _, out, _ = study_command(capsys, name, "--help")
    example = COMMANDS[name][2]
    assert f"example:\n  {example}\n" in out
    flags, rest = make_parser().parse_known_args(shlex.split(example)[1:])
    assert flags.command == name
    settings = COMMANDS[name][0]
    if settings:
        assert rest == []
        assert from_flags(settings, flags)


@pytest.mark.parametrize(
    "settings", [settings for settings, *_ in COMMANDS.values() if settings and settings.flag_groups()]
)
def test_long_help_has_every_flag_in_one_group(settings: type[CheckedSettings]) -> None:
    grouped = [name for names in settings.flag_groups().values() for name in names]
    positional = [name for name, field in settings.__dataclass_fields__.items() if field.metadata["positional"]]
    assert sorted(grouped + positional) == sorted(settings.__dataclass_fields__)


@needs_terminal
def test_help_fits_the_terminal() -> None:
    for command in ([], ["train"], ["ask"], ["ask", "hard_classes"]):
        code, shown = on_terminal(*command, "--help", width=70)
        assert code == 0
        assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in shown.splitlines()) <= 70
        assert "\x1b[1m" in shown


def test_catalogue_lists_every_question(study: Home, capsys) -> None:
    code, out, _ = study_command(capsys, "ask", "--home", study.path)
    assert code == 0
    assert [name for name in queries.NAMES if name not in out] == []


@pytest.mark.parametrize("name", queries.NAMES)
def test_every_question_is_answered(study: Home, capsys, name: str) -> None:
    needed = [key for key, param in queries.header(name).params.items() if param.required and key != "run_id"]
    values = {"other_run_id": "latest", "instance_id": "0"}
    flags = [part for key in needed for part in (f"--{key.replace('_', '-')}", values[key])]
    code, out, err = study_command(capsys, "ask", name, *flags, "--home", study.path, "--format", "json")
    assert (code, err) == (0, "")
    assert isinstance(json.loads(out), list)


def test_question_help_is_about_the_question(study: Home, capsys) -> None:
    code, out, _ = study_command(capsys, "ask", "hard_classes", "--help")
    assert code == 0
    assert "--epoch" in out
    assert queries.header("hard_classes").question in out


def test_csv_and_json_hold_the_same(study: Home, capsys) -> None:
    sql = "select run_id, key, value, null as nothing from metrics order by all"
    _, text, _ = study_command(capsys, "sql", sql, "--format", "csv", "--home", study.path)
    _, other, _ = study_command(capsys, "sql", sql, "--format", "json", "--home", study.path)
    found = list(csv.DictReader(io.StringIO(text)))
    known = json.loads(other)
    assert len(found) == len(known) > 20
    assert [float(row["value"]) for row in found] == [row["value"] for row in known]
    assert {row["nothing"] for row in found} == {""}
    assert {row["nothing"] for row in known} == {None}


def test_table_shows_every_kind_of_value() -> None:
    rows = [(1, 0.123456, None, "a\tb\n", [1, 2]), (20, float("nan"), "x", "é" * 200, [])]
    lines = as_table(["n", "value", "missing", "text", "list"], rows).splitlines()
    assert len(lines) == 4
    assert lines[2].split("  ")[0] == " 1"  # numbers stand at the right
    assert "0.1235" in lines[2]
    assert "a b" in lines[2]
    assert lines[3].count("é") == MAX_CELL_WIDTH - 1
    assert as_table(["n"], []).endswith("(no rows)")
    assert json.loads(answers.as_text("json", ["v"], [(float("inf"),)])) == [{"v": None}]


SAME = [
    (["a", "a"], ["a", "a_2"]),
    (["a", "a_2", "a"], ["a", "a_2", "a_3"]),
    (["a", "a", "a_2"], ["a", "a_3", "a_2"]),
    (["name", "Name", "NAME"], ["name", "Name_2", "NAME_3"]),
    (["", "", "x"], ["", "_2", "x"]),
    (["a", "A_2", "a", "a_2"], ["a", "A_2", "a_3", "a_2_2"]),
    (["count(*)", "b"], ["count(*)", "b"]),
]


@pytest.mark.parametrize(("columns", "names"), SAME, ids=str)
def test_no_column_of_the_same_name_is_lost(columns: list[str], names: list[str]) -> None:
    rows = [tuple(range(len(columns)))]
    known = [dict(zip(names, rows[0], strict=True))]
    assert queries.unique_names(columns) == names
    assert json.loads(answers.as_text("json", columns, rows)) == queries.Answer(columns, rows).dicts == known
    assert next(csv.reader(io.StringIO(answers.as_text("csv", columns, rows)))) == columns
    assert as_table(columns, rows).splitlines()[0].split() == [name for name in columns if name]


UNSEEN = "\x1b\x9b\x7f\r\u200b\u200f\u202e\u2028\u2066\ufeff\U000e0041"


def test_what_a_reader_cannot_see_is_escaped_in_cells_and_heads() -> None:
    """Combining marks are text. JSON says the same by its own escapes; CSV keeps line ends and tabs in its cells."""
    text = f"e\u0301\n\t{UNSEEN}x"
    columns, rows = [text, "list", "struct"], [(text, [text], {text: text})]
    for form in answers.FORMATS:
        found = answers.as_text(form, columns, rows)
        assert not set(found) & set(UNSEEN)
        assert "e\u0301" in found
        assert found.count("\\u202e") >= 4  # a table shows so many characters of a cell
    [head, row] = csv.reader(io.StringIO(answers.as_text("csv", columns, rows)))
    assert head[0] == row[0] == f"e\u0301\n\t{ascii(UNSEEN)[1:-1]}x"
    assert json.loads(answers.as_text("json", columns, rows)) == [{text: text, "list": [text], "struct": {text: text}}]
    assert len(as_table(columns, rows).splitlines()) == 3


def test_spreadsheets_compute_no_text_where_that_is_asked_for() -> None:
    columns, rows = ["=cmd()"], [("=1+1",), ("+1",), ("-a",), ("@x",), ("\tx",), ("\rx",), (-1,), (-0.5,), ("a=1",)]
    plain, safe = (list(csv.reader(io.StringIO(answers.as_text(name, columns, rows)))) for name in ("csv", "excel-csv"))
    assert [row[0] for row in plain] == ["=cmd()", "=1+1", "+1", "-a", "@x", "\tx", "\\rx", "-1", "-0.5", "a=1"]
    assert [row[0] for row in safe] == [*(f"'{row[0]}" for row in plain[:7]), "-1", "-0.5", "a=1"]
    assert tuple(answers.FORMATS) == FORMATS


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("environment", ENCODINGS, ids=str)
def test_every_encoding_of_standard_output_takes_the_answer(study: Home, environment: dict[str, str]) -> None:
    text = "caf\u00e9 \U0001f600 \u2192 \u2026 \u2500"
    sql = f"select '{text}' as \"h\u00e9\""
    home = ("--home", str(study.path))
    table, document = (as_process("sql", sql, "--format", form, *home, **environment) for form in ("table", "json"))
    assert (table.returncode, table.stderr, document.returncode, document.stderr) == (0, b"", 0, b"")
    encoding = {"latin-1": "latin-1", "cp1252:strict": "cp1252"}.get(environment.get("PYTHONIOENCODING", ""), "ascii")
    assert table.stdout.decode(encoding).splitlines()[1].strip("-") == ""
    assert "\\ud83d\\ude00 \\u2192 " in table.stdout.decode(encoding)
    assert json.loads(document.stdout.decode(encoding)) == [{"h\u00e9": text}]
    wrong = as_process("ask", "caf\u00e9\u2192", *home, **environment)
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count(b"\n")) == (2, b"", 1)


def test_bars_and_notes_are_written_in_every_encoding(capsys, monkeypatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    prepare_streams()
    say("caf\u00e9 \u2192")
    status_line.draw("━━╌ caf\u00e9")
    status_line.erase()
    assert stream.buffer.getvalue() == b"caf\\u00e9 \\u2192\n\r##. caf\\u00e9\x1b[K\r\x1b[K"


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_is_no_error(study: Home, stream: int) -> None:
    """Nor does what belongs there get into a file or into the other stream."""
    shell = f'exec "$@" {stream}>&-'
    command = [sys.executable, "-m", "pipelines.cli", "ask", "runs", "--home", str(study.path)]
    found = subprocess.run(["sh", "-c", shell, "sh", *command], cwd=ROOT, capture_output=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, b"")
    assert bool(found.stdout) == (stream == 2)


@pytest.mark.parametrize("command", [
    "pipelines.cli ask instance_metrics", "pipelines.cli ask instance_metrics --format json",
    "pipelines.cli sql {q}", "pipelines.cli sql {endless} --format csv", "pipelines.data.faulty_digits",
])  # fmt: skip
def test_a_reader_that_has_seen_enough_is_no_error(study: Home, command: str) -> None:
    ranges = {"q": "from range(100000)", "endless": "from range(1000000000000)"}
    words = [word.format_map(ranges) for word in command.split()]
    home = ("--home", str(study.path)) if "cli" in command else ()
    with subprocess.Popen(
        [sys.executable, "-m", *words, *home], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_behind_standard_output_is_said(study: Home) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "ask", "runs", "--home", str(study.path)]
    with open("/dev/full", "wb") as full:
        found = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (1, "study: No space left on device\n")


BYTES = "caf\udce9"  # as Python has a byte that is not UTF-8
BROKEN = [
    ("sql", f"select '{BYTES}'"), ("ask", BYTES), ("ask", "hard_classes", "--split", BYTES), ("train", "--name", BYTES),
    ("train", "--dataset", BYTES), ("train", "--model", f"{BYTES}:x"), ("resume", BYTES), (BYTES,),
    ("explain", "latest", "--where", f"label = '{BYTES}'"), ("explain", "latest", "--method", BYTES),
    ("label-concept", "latest", "0", BYTES), ("import-flow", BYTES), ("predict", "latest", BYTES),
    ("train", "--dataset", "folder", "--data", BYTES), ("ask", "runs", "--format", BYTES),
]  # fmt: skip


@pytest.mark.parametrize("command", BROKEN, ids=ascii)
def test_arguments_that_are_no_text_get_one_line(study: Home, capsys, command: tuple[str, ...]) -> None:
    code, out, err = study_command(capsys, *command, *(["--home", study.path] if len(command) > 1 else []))
    [line] = [line for line in err.splitlines() if not line.startswith("loading ")]
    assert (code, out) == (2, "")
    assert line.startswith("study: ")
    assert "udce9" in line


def test_a_path_may_have_any_bytes(study: Home, tmp_path: Path, trained) -> None:
    """It is printed with the same bytes, so that scripts can use it."""
    place = os.fsencode(tmp_path / f"{BYTES}.json")
    found = as_process("flow", trained.run_id, "--export", place, "--home", str(study.path))
    assert (found.returncode, found.stdout) == (0, place + b"\n")
    assert os.path.exists(place)


def test_a_home_has_a_name_in_utf8(tmp_path: Path, capsys) -> None:
    code, out, err = study_command(capsys, "ask", "runs", "--home", str(tmp_path / BYTES))
    assert (code, out, err.count("\n"), ascii(BYTES)[1:-1] in err) == (2, "", 1, True)


def test_text_arguments_are_utf8_whatever_the_locale(monkeypatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("ascii", "surrogateescape"))
    assert utf8("--name", "caf\udcc3\udca9") == utf8("--name", "caf\u00e9") == "caf\u00e9"


def test_commas_and_quotes_survive_csv() -> None:
    text = answers.as_text("csv", ["a"], [('x, "y"\n',)])
    assert list(csv.reader(io.StringIO(text))) == [["a"], ['x, "y"\n']]


@pytest.mark.parametrize("command", ["ask runs", "sql {q}", "rebuild", "explain latest", "compare", "report", "resume"])
def test_no_study_yet(tmp_path: Path, capsys, command: str) -> None:
    words = [word.format(q="from runs") for word in command.split()]
    code, out, err = study_command(capsys, *words, "--home", str(tmp_path / "none"))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "`study train` makes one" in err
    assert not (tmp_path / "none").exists()


def test_home_that_cannot_be_made(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = study_command(capsys, "train", "--home", str(tmp_path / "file" / "study"))
    assert code == 2
    assert "cannot write to the study home" in err.splitlines()[-1]


def test_the_whole_study_leaves_out_and_names_what_does_not_fit(home: Home, capsys, monkeypatch) -> None:
    for name, count in {"MAP_COUNT": 4, "RANDOMIZATION_COUNT": 2, "CHECKED": 1, "FLOW_ROWS": 2}.items():
        monkeypatch.setattr(f"pipelines.study.{name}", count)
    model = ("--model", "support.networks:without_places", "--size", "8", "--epochs", "1", "--threads", "1")
    code, out, err = study_command(capsys, "run", *model, "--home", home.path)
    assert code == 0, err
    assert f"{len(METHODS) - 1} explainer runs, 1 comparison" in out
    assert "grad_cam is left out: the model has no layer" in err
    assert "ice is left out" in err
    assert err.count("fault planted on purpose: a bright mark") == 1
    assert err.count("loading digits:faults") == 1
    lines = ("accuracy     test ", "shortcut     ", "classes      the model is not", "read         ", "look         ")
    assert all(f"\n{line}" in f"\n{out}" for line in lines)
    assert "report.html" in out
    assert len(out.splitlines()) < 25

    # what the pages show has maps of every method, and the comparison counts the sample alone
    run_id = resolve(home, "latest", ("train",)).run_id
    shown = set(_list_shown(run_id, home))
    sample = set(sample_instances(4, 798).tolist())
    assert shown - sample
    sql = """select method, list(instance_id) from attributions
             semi join explainer_runs(?) using (run_id) where epoch = 1 group by all"""
    explained = dict(rows(home, sql, run_id))
    assert set(explained) == set(METHODS) - {"grad_cam"}
    assert all(set(instances) == shown | sample for instances in explained.values())
    assert {instance for (instance,) in rows(home, "select instance_id from attribution_scores")} == sample


def test_a_query_without_end_is_stopped(study: Home, capsys) -> None:
    endless = "select count(*) from range(1000000000) a, range(1000000000) b where a.range + b.range = 1"
    began = time.monotonic()
    code, out, err = study_command(capsys, "sql", endless, "--seconds", "1", "--home", study.path)
    assert (code, out) == (2, "")
    assert "stopped after 1 s; narrow it, or allow more: --seconds" in err
    assert time.monotonic() - began < 20


FORMER = {"average": "ema_decay", "grow": "progressive_resizing", "shift": "random_shift", "flip": "random_flip",
          "val_share": "val_fraction"}  # fmt: skip


def test_flags_of_earlier_versions_work_and_name_the_new_ones(capsys) -> None:
    values = {"average": "0", "grow": "no", "shift": "1", "flip": "no", "val_share": "0.2"}
    former = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value)]
    current = [word.replace("_", "-") for name, value in values.items() for word in (f"--{FORMER[name]}", value)]
    settings = [from_flags(TrainSettings, make_parser().parse_args(["train", *flags])) for flags in (former, current)]
    assert (
        settings[0]
        == settings[1]
        == TrainSettings(ema_decay=0, progressive_resizing="no", random_shift=1, random_flip="no", val_fraction=0.2)
    )
    said = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in said] == [
        f"--{name.replace('_', '-')} is now --{FORMER[name].replace('_', '-')}" for name in values
    ]


def test_records_keep_the_names_of_earlier_versions() -> None:
    params = TrainSettings(ema_decay=0.5).params()
    assert params["average"] == 0.5
    assert set(FORMER) <= set(params)
    assert set(FORMER.values()).isdisjoint(params)


def test_help_names_no_flag_of_an_earlier_version(capsys) -> None:
    _, out, _ = study_command(capsys, "train", "--help")
    assert "--ema-decay" in out
    assert "--average" not in out
