"""Wrong input to every command: exit code 2, one line that helps, nothing printed as a result, nothing left behind."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from pipelines.common.settings import ExplainSettings, TrainSettings
from pipelines.common.terminal import say
from support.commands import study_command
from tracking import mlflow_client, runs
from tracking.catalogue import read_records, resolve
from tracking.home import Home

LONG = "x" * 10_000
EMOJI, HEBREW, COMBINED, CONTROL = "😀", "\u202e\u05e9\u05dc", "e\u0301\u0301", "a\nb\tc\x1b[31m\x07"
STRANGE = ("", "  ", EMOJI, HEBREW, COMBINED, CONTROL, LONG, "*", "..", "-1", "LATEST", "0" * 32)
TRAIN = ("train", "--size", "8", "--threads", "1")
EXPLAIN = ("explain", "latest")
TWO = (*EXPLAIN, "--count", "2")

REFERENCES = [
    *[((*command, name, *rest), "no run ") for command, rest in (
        (("resume",), ()), (("explain",), ()), (("compare",), ()), (("report",), ()), (("flow",), ()),
        (("predict",), ("{png}",)), (("label-concept",), ("0", "wheels")), (("ask", "hard_classes", "--run-id"), ()),
    ) for name in STRANGE if name != "-1" or command[0] != "ask"],
    *[((command, "{explained}"), "is of kind explain") for command in ("explain", "compare", "report", "flow")],
    (("predict", "{explained}", "{png}"), "is of kind explain"),
    (("label-concept", "{trained}", "0", "x"), "is of kind train, needed is explain"),
    (("label-concept", "{explained}", "0", "x"), "has no concepts"),
    (("resume", "{explained}"), "nothing to resume"),
]  # fmt: skip
VALUES = [
    *[((*TRAIN, "--epochs", value), "--epochs is") for value in ("-1", "10001", "9" * 30)],
    *[((*TRAIN, "--epochs", value), "invalid int value") for value in ("", " ", "nan", "inf", "1e3", "1..3", EMOJI)],
    *[
        ((*TRAIN, "--epochs", value), "invalid int value")
        for value in ("1_0", " 10 ", "\uff11\uff10", "1,0", "0x10", "9" * 5000)
    ],
    *[((*TRAIN, "--lr", value), "invalid float value") for value in ("1_0", " 1", "\uff11.0", "0x1p-3")],
    *[((*TRAIN, "--lr", value), "--lr is") for value in ("nan", "inf", "-1", "0")],
    *[((*TRAIN, "--name", value), "--name is") for value in ("", " ", "latest", LONG, CONTROL)],
    *[
        ((*TRAIN, "--device", value), "no device")
        for value in ("tpu", "meta", "cuda:99", "privateuseone", "mkldnn", "xla", "hpu", "cpu:1", EMOJI, LONG)
    ],
    *[((*TRAIN, "--model", value), "cannot find model") for value in (":b", ".:x", "..a:x", "os:nope", "a b:c")],
    *[((*TRAIN, "--model", value), "does not take images") for value in ("math:pi", "torch:zeros", "builtins:dict")],
    *[((*TRAIN, "--model", value), "no model") for value in ("os", EMOJI, LONG)],
    *[((*TRAIN, "--data", value), "--data is empty") for value in ("", " ")],
    *[(("train", "--dataset", "folder", "--data", value), "takes the folder") for value in ("{tmp}/no", "{png}", LONG)],
    *[(("train", "--dataset", "cifar10", "--data", value), "no CIFAR-10") for value in ("{tmp}/no", "{png}", LONG)],
    (("train", "--dataset", "cifar10", "--data", "{tmp}"), "parquet"),
    *[
        (("train", "--dataset", f"{kind}:{value}"), words)
        for kind, words in (("csv", "takes a table"), ("hf", "takes a folder"), ("torchvision", "has no data set"))
        for value in ("{tmp}/no", CONTROL, LONG)
    ],
    (("train", "--dataset", "csv:{png}"), "is not text"),
    (("train", "--dataset", "hf:{png}"), "cannot read"),
    (("train", "--dataset", "os:getcwd"), "train is of str"),
    (("train", "--dataset", "a b:c"), "cannot find data set"),
    (("train", "--test-fraction", "0.2"), "does nothing for --dataset digits"),
    (("train", "--dataset", "torchvision:FashionMNIST", "--data", "{tmp}"), "no files of torchvision's FashionMNIST"),
    (("train", "--dataset", CONTROL), "no data set"),
    (("run", "--epochs", "0"), "--epochs is 0"),
    (("run", "--dataset", "mnist"), "no data set mnist"),
    *[((*TWO, "--epochs", value), "--epochs is") for value in ("", "-1", "1-3", "0,", "first", "1.0", "²", "٣", LONG)],
    *[((*TWO, "--epochs", value), "no checkpoint of epoch 99") for value in ("1,99",)],
    *[((*EXPLAIN, "--instances", value), "--instances is") for value in ("", "-1", "0,", "x", "nan", "²", EMOJI, LONG)],
    ((*EXPLAIN, "--instances", "0,99999"), "no instance 99999"),
    *[((*EXPLAIN, "--count", value), "invalid int value") for value in ("1_000", " 2 ", "\uff12")],
    *[((*EXPLAIN, "--count", value), "--count") for value in ("0", "-1", "999999", "nan", "inf", "", "1.5")],
    *[((*TWO, "--split", value), "split") for value in ("", "nope", "extra:", "Test", EMOJI, LONG, "test,val")],
    *[((*TWO, "--target", value), "target") for value in ("", "99", "-1", EMOJI, "predicted,label")],
    *[((*TWO, "--method", value), "method") for value in ("", "Saliency", "saliency,shap", CONTROL, LONG)],
    *[
        ((*TWO, flag, *values), "more than once")
        for flag, values in (
            ("--method", ("saliency", "saliency")),
            ("--target", ("label", "3", "label")),
        )
    ],
    ((*TWO, "--target", "3", "03"), "a class that is already named"),
    *[
        ((*TWO, flag, value), f"{flag} does nothing for saliency; leave it out")
        for flag, value in (
            ("--layer", "x"),
            ("--samples", "9"),
            ("--concepts", "3"),
        )
    ],
    ((*TWO, "--method", "grad_cam", "occlusion", "--samples", "9"), "smooth_grad, integrated_gradients, expected_"),
    ((*TWO, "--method", "ice", "--target", "label"), "--target does nothing for ice"),
    ((*TWO, "--where", "true"), "give one"),
    (("compare", "latest", "--epoch", "-1"), "--epoch is -1"),
    (("compare", "latest", "--method", "nope"), "nope"),
    (("compare", "latest", "--method", "saliency", "saliency"), "more than once"),
    (("compare", "latest", "--split", "nope"), "nope"),
    *[
        ((command, "latest", "--data", value), "needs no --data")
        for command in ("report", "flow")
        for value in ("{tmp}/no", "{tmp}", CONTROL)
    ],
    *[(("report", "latest", "--split", value), "split") for value in ("", "nope", "../../x", EMOJI)],
    *[(("flow", "latest", "--split", value), "split") for value in ("", "nope", "../../x", EMOJI)],
    *[(("ui", "--port", value), "--port") for value in ("0", "-1", "65536", "x", "", "nan")],
    (("rebuild", "now"), "unrecognized arguments"),
]
WHERE = ("", " ", ";", "label =", "nope = 1", "label = 3; select 1", "1=1) --", "(", "'", "label = 3 union select 1",
         "label = 3 order by 1", "label in (select label from read_csv('/etc/passwd'))", "true group by 1",
         "label = 99", "label in (select x from nowhere)", "sum(label) > 1", "$1", EMOJI)  # fmt: skip
FILES = [
    *[((*EXPLAIN, "--where", value), "--where") for value in WHERE],
    *[(("flow", "latest", "--export", value), "") for value in ("", " ", "{tmp}", "{png}", "{png}/x", LONG)],
    (("flow", "latest", "--export", "{tmp}/no/such/x.json"), "no folder"),
    (("flow", "latest", "--export", "{tmp}/x.json", "--data", "{tmp}"), "takes no --data"),
    *[(("import-flow", value), "") for value in ("{tmp}/no", "{tmp}", "/dev/null", LONG)],
    *[
        (("import-flow", f"{{tmp}}/{name}"), "the format is")
        for name in ("half.json", "list.json", "empty.json", "zero.json")
    ],
    (("import-flow", "{tmp}/latin.json"), "not UTF-8"),
    (("import-flow", "{png}"), "not UTF-8"),
    *[(("predict", "latest", value), "") for value in ("", " ", "{tmp}/no.png", "{tmp}/empty", LONG)],
    *[(("predict", "latest", f"{{tmp}}/{name}.png"), "cannot read image") for name in ("half", "text", "none", "bomb")],
    *[(("predict", "latest", f"{{tmp}}/{name}"), "cannot read image") for name in ("pipe", "loop")],
    (("predict", "latest", "{png}", "{tmp}/no.png"), "no file or folder"),
    *[(("predict", "latest", "{png}", "--name", value), "--name") for value in ("", "a/b", "../x", "a:b", EMOJI, LONG)],
]
SQL = [
    ("", ""), (";", "one SQL statement"), ("select 1; select 2", "not 2"), ("select", ""),
    ("select 'abc", "unterminated"), ("prepare p as select 1", "read-only"),
    ("from nope", "show tables"), ("select nope from runs", "nope"), (EMOJI, ""), (LONG, ""), ("call nope()", "nope"),
    ("from read_csv('/etc/passwd')", "disabled"), ("from glob('/etc/*')", ""), ("from '/etc/passwd'", "does not exist"),
    ("delete from runs", "read-only"), ("create temp table x as select 1", "read-only"), ("begin", "read-only"),
    ("attach '{home}/x.db'", "read-only"), ("install httpfs", "read-only"), ("set threads=1", "read-only"),
    ("copy (select 1) to '{artifacts}/x.csv'", "read-only"), ("export database '{artifacts}/x'", "read-only"),
    ("explain analyze copy (select 1) to '{artifacts}/x.csv'", "read-only"), ("select cast('x' as int)", "Conversion"),
    ("explain (analyze) copy (select 1) to '{artifacts}/x.csv'", "read-only"), ("select $1", ""),
]  # fmt: skip
ASK = [
    *[(("ask", value), "no query named") for value in ("", " ", EMOJI, LONG, "HARD_CLASSES", "../x", CONTROL)],
    *[(("ask", "hard_classes", "--epoch", value), "whole number") for value in ("", "-1", "nan", "1.5", "٣", "9" * 40)],
    (("ask", "hard_classes", "extra"), "unrecognized arguments"),
    (("ask", "hard_classes", "--epoch"), "expected one argument"),
    (("ask", "confused_pairs", "--limit", "1e3"), "whole number"),
    (("ask", "instance_history", "--instance-id", "x"), "whole number"),
    (("ask", "run_difference", "--other-run-id", "nope"), "no run 'nope'"),
    *[(("sql", query), message) for query, message in SQL],
    (("sql", "select 1", "--format", "xml"), "invalid choice"),
]
# one line of each command, as users mistype it
MISTYPED = [
    (("trian",), "did you mean train?"),
    (("train", "--epoc", "3"), "did you mean --epochs?"),
    (("train", "--epochs", "x"), "invalid int value"),
    (("train", "--epochs", "1.5"), "invalid int value"),
    (("train", "--val-fraction", "0.9"), "--val-fraction is 0.9; it takes 0.01 to 0.5"),
    (("train", "--seed", "-1"), "--seed is -1"),
    (("train", "--size", "4"), "--size is 4"),
    (("train", "--optimizer", "muo"), "did you mean muon?"),
    (("train", "--dataset", "mnist"), "no data set mnist; there are: digits, cifar10, folder, planted"),
    (("train", "--dataset", "folder"), "needs --data FOLDER"),
    (("train", "--dataset", "folder", "--data", "{tmp}/nothing"), "nothing"),
    (("train", "--model", "resnet"), "no model 'resnet'; there are: cnn, timm:NAME and torchvision:NAME, or give"),
    (("train", "--model", "nowhere:factory"), "cannot find model nowhere:factory"),
    (("train", "--model", "torchvision.models:nothing"), "cannot find model"),
    (("train", "--model", "os:getcwd"), "does not take images"),
    (("train", "--random-shift", "64"), "--random-shift 64 moves images of"),
    (("train", "--name", "{name}"), "a run called"),
    (("train", "--size", "8", "--progressive-resizing", "yes"), "does not take images of 4 pixels"),
    (("train", "extra"), "unrecognized arguments: extra"),
    (("resume", "nothing"), "no run 'nothing'"),
    (("resume", "latest"), "nothing to resume"),
    (("explain", "latest", "--method", "salience"), "there are: saliency"),
    (("explain", "latest", "--instances", "0,x"), "whole numbers"),
    (("explain", "latest", "--split", "tset"), "no split 'tset' in the run; there are: test, train, val"),
    (("explain", "latest", "--batch", "0"), "--batch is 0"),
    (("ask", "hard_clases"), "nearest: hard_classes"),
    (("ask", "hard_classes", "--run-id", "nothing"), "no run 'nothing'"),
    (("ask", "hard_classes", "--epoc", "1"), "did you mean --epoch?"),
    (("ask", "hard_classes", "--epoch", "x"), "whole number"),
    (("ask", "instance_history"), "needs instance_id"),
    (("ask", "--format", "xml"), "invalid choice: 'xml'"),
    (("sql",), "query"),
    (("sql", "nonsense"), "nonsense"),
    (("sql", "select 1; select 2"), "one SQL statement, not 2"),
    (("sql", "delete from runs"), "read-only"),
    (("sql", "from read_text('/etc/hostname')"), "disabled by configuration"),
    (("ui", "--port", "80"), "--port is 80; it takes 1024 to 65535"),
    (("train", "--epochs", "0"), "--epochs is 0; it takes 1 to 10000"),
    (("train", "--dataset", "cifar10", "--data", "{tmp}/empty"), "looked for train*.parquet"),
    (("explain", "latest", "--epochs", "99"), "there are those of 0 to 3"),
]
CASES = [*MISTYPED, *REFERENCES, *VALUES, *FILES, *ASK]


def declared(side: int) -> bytes:
    """A PNG that says it has so many pixels a side, and holds none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of which only ok.png is what its name says."""
    folder = tmp_path_factory.mktemp("files")
    Image.new("L", (8, 8)).save(folder / "ok.png")
    (folder / "empty").mkdir()
    contents = {
        "half.png": (folder / "ok.png").read_bytes()[:40], "text.png": b"hello", "none.png": b"",
        "half.json": b'{"labels": ["a"', "list.json": b"[]", "empty.json": b"", "zero.json": b"\0",
        "latin.json": b'{"name": "\xff"}', "train-0.parquet": b"PAR1\0\0", "test-0.parquet": b"PAR1\0\0",
    }  # fmt: skip
    contents["bomb.png"] = declared(50_000)
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / "x.png")
    (folder / "loop").mkdir()
    (folder / "loop" / "x.png").symlink_to("x.png")
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def words(study: Home, files: Path) -> dict[str, str]:
    ids = {record.kind: record.run_id for record in read_records(study)}
    known = {"trained": ids["train"], "explained": ids["explain"], "home": str(study.path)}
    known["name"] = resolve(study, "latest", ("train",)).name
    return known | {"tmp": str(files), "png": str(files / "ok.png"), "artifacts": str(study.artifacts)}


def filled(word: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def left(home: Home, folder: Path) -> tuple[list[Path], list[str]]:
    """Files and runs there are."""
    client = mlflow_client.connect(home)
    found = client.search_runs([runs.experiment_id(home)])
    return sorted([*home.artifacts.rglob("*"), *folder.rglob("*")]), sorted(run.info.run_id for run in found)


@pytest.mark.parametrize(("command", "message"), CASES, ids=[ascii(" ".join(c))[1:60] for c, _ in CASES])
def test_one_line_and_nothing_left(study, files, words, capsys, monkeypatch, command, message) -> None:
    monkeypatch.chdir(files / "empty")
    before = left(study, files)
    code, out, err = study_command(capsys, *(filled(word, words) for word in command), "--home", study.path)
    lines = [line for line in err.splitlines() if not line.startswith("loading ")]
    assert (code, out, len(lines)) == (2, "", 1), err[-2000:]
    assert lines[0].startswith("study: ")
    assert message in lines[0]
    assert "Traceback" not in err
    assert 12 < len(lines[0]) < 2_100
    assert lines[0].isprintable()
    assert left(study, files) == before


def test_a_command_is_needed(capsys) -> None:
    code, out, err = study_command(capsys)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "COMMAND" in err


NO_HOME = [("ask", "runs"), ("sql", "from runs"), ("rebuild",), ("explain",), ("flow",), ("compare",), ("report",),
           ("resume",), ("predict", "latest", "x.png"), ("label-concept", "a", "0", "x"), ("train", "--dataset", "no"),
           ("import-flow", "no.json")]  # fmt: skip


@pytest.mark.parametrize("command", NO_HOME, ids=[command[0] for command in NO_HOME])
@pytest.mark.parametrize("name", ["none", "taken/study", LONG], ids=["none", "taken", "long"])
def test_no_home_is_made(tmp_path: Path, capsys, monkeypatch, command: tuple[str, ...], name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    code, out, err = study_command(capsys, *command, "--home", str(tmp_path / name))
    lines = [line for line in err.splitlines() if not line.startswith("loading ")]
    assert (code, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("study: ")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_what_earlier_versions_recorded_is_taken() -> None:
    assert TrainSettings(data="", name=" ").data == ""
    assert ExplainSettings(method=("saliency", "saliency"), layer="", samples=9).layer == ""


def test_a_note_is_one_line_of_what_can_be_shown(capsys) -> None:
    say(f"loading {CONTROL} {HEBREW[0]}{EMOJI}")
    assert capsys.readouterr().err == f"loading a\\nb\\tc\\x1b[31m\\x07 \\u202e{EMOJI}\n"
