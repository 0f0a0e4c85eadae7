"""Reviewers' verdicts: a file is taken as a whole or not at all, and comes back as it went in."""

import io
import sys
from pathlib import Path

import pytest

import pipelines
from pipelines.asking.formats import as_text
from support.answers import records
from support.homes import start
from tracking import committing, runs
from tracking.errors import InputError
from tracking.home import Home
from tracking.index import ingest, rebuild
from tracking.reading import connect

CLASSES = ["cat", "dog", "1"]  # the last one is called like an ID
IMAGES = [("train", 0, 0), ("train", 1, 1), ("test", 0, 0), ("test", 1, 2), ("extra:new", 0, None)]


def add_run(home: Home, name: str) -> str:
    """A run with these classes and images, without any prediction."""
    run = start(home, name)
    split, instance_id, label = (list(values) for values in zip(*IMAGES, strict=True))
    instances = {"run_id": [run.run_id] * len(IMAGES), "split": split, "instance_id": instance_id, "label": label}
    instances |= {"source": [f"{one}/{number}" for one, number, _ in IMAGES]}
    instances |= {"content": [f"{place:016x}" for place in range(len(IMAGES))]}
    classes = {"run_id": [run.run_id] * 3, "class_id": [0, 1, 2], "name": CLASSES}
    committing.commit_tables(run, "start", {"instances": instances, "classes": classes}, None)
    runs.finish_run(run)
    ingest(home)
    return run.run_id


@pytest.fixture
def judged(home: Home) -> tuple[Home, str]:
    return home, add_run(home, "one")


def take(home: Home, run_id: str, content: str | bytes, **settings: str) -> None:
    file = home.path / "verdicts.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    pipelines.verdict(run_id, str(file), home=home.path, **settings)


def ask(home: Home, name: str, run_id: str) -> list[dict]:
    with connect(home) as connection:
        return records(connection, name, run_id=run_id)


def said(home: Home, run_id: str) -> list[tuple]:
    columns = ("split", "instance_id", "verdict", "new_label", "who", "note")
    return [tuple(row[column] for column in columns) for row in ask(home, "verdicts", run_id)]


GOOD = """\
note,who,verdict,instance_id,split,new_label,mood
"blurred; \t dark",Anna  Bell,not_usable,0,test,,good
,Anna Bell,label_wrong,1,test,dog,
,ben,label_wrong,0,train_seen,1,
,,LABEL_OK,1,train,,
,ben,,1,train,,
"""
TAKEN = [
    ("test", 0, "not_usable", None, "Anna Bell", "blurred; dark"),
    ("test", 1, "label_wrong", "dog", "Anna Bell", None),
    ("train", 0, "label_wrong", "1", "ben", None),  # a name takes precedence over an ID
    ("train", 1, "label_ok", None, "cy", None),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_file_is_taken(judged: tuple[Home, str], delimiter: str, capsys: pytest.CaptureFixture) -> None:
    home, run_id = judged
    as_excel_writes_it = GOOD.replace(",", delimiter).replace("\n", "\r\n")
    take(home, run_id, b"\xef\xbb\xbf" + as_excel_writes_it.encode(), who="cy")
    assert said(home, run_id) == TAKEN
    spoken = capsys.readouterr().err
    assert "1 row without a verdict left out" in spoken
    assert "columns ignored: mood" in spoken
    assert "4 new verdicts" in spoken
    rebuild(home)
    assert said(home, run_id) == TAKEN


def test_verdicts_come_back_as_they_went_in(judged: tuple[Home, str], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The answer of question verdicts is a file of verdicts: here it changes nothing, elsewhere it says the same."""
    home, run_id = judged
    take(home, run_id, GOOD, who="cy")
    rows = ask(home, "verdicts", run_id)
    content = as_text("csv", list(rows[0]), [tuple(row.values()) for row in rows])
    commits = sorted(home.run_folder(run_id).glob("commits/verdict_*"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    pipelines.verdict(run_id, "-", home=home.path)
    assert "0 new verdicts" in capsys.readouterr().err
    assert sorted(home.run_folder(run_id).glob("commits/verdict_*")) == commits

    other = add_run(home, "other")
    assert said(home, other) == TAKEN  # they are about the same images
    for split, instance_id, _, _, who, _ in TAKEN:
        take(home, other, f"split,instance_id,verdict,who\n{split},{instance_id},withdrawn,{who}\n")
    assert said(home, other) == said(home, run_id) == []
    take(home, other, content)
    assert said(home, other) == said(home, run_id) == TAKEN


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("test,7,label_ok,,a", "line 2: no image '7' in test, which ends with 1"),
        ("test,1.0,label_ok,,a", "line 2: no image '1.0' in test"),
        ("test,-1,label_ok,,a", "line 2: no image '-1' in test"),
        ("tset,0,label_ok,,a", "line 2: no split 'tset'; there are: extra:new, test, train"),
        ("test,0,fine,,a", "line 2: verdict 'fine' is not one of label_ok, label_wrong"),
        ("test,0,,dog,a", "line 2: verdict '' is not one of"),
        ("test,0,label_wrong,cow,a", "line 2: no class 'cow'; there are: cat, dog, 1"),
        ("test,0,label_wrong,cat,a", "line 2: new_label 'cat' is the label that the image has"),
        ("test,0,label_ok,dog,a", "line 2: new_label 'dog' is for label_wrong, not for label_ok"),
        ("extra:new,0,label_ok,,a", "line 2: label_ok is about a label, and image 0 of extra:new has none"),
        ("test,0,label_ok,,a\ntest,0,unclear,,a", "1 of 2 verdicts in .* line 3: a has judged the image in line 2"),
        ("test,0,label_ok,,a\ntest,0,unclear,,'a\u202e'", "line 3: who is"),
        (f"test,0,label_ok,,{'a' * 81}", "line 2: who is"),
        ("x,0,label_ok,,a\n" * 5, "5 of 5 verdicts .* line 4: [^;]*; there are: [^;]*; and 2 more; fix them"),
        ("test,0,label_ok,a", "line 2 of .* has 4 values, the first line has 5 columns"),
        ("test,0,,,a", "no row of .* has a verdict"),
        ("", "has no rows"),
    ],
)
def test_a_wrong_row_refuses_the_whole_file(judged: tuple[Home, str], rows: str, message: str) -> None:
    home, run_id = judged
    with pytest.raises(InputError, match=message) as raised:
        take(home, run_id, f"split,instance_id,verdict,new_label,who\n{rows}\n")
    assert "\n" not in str(raised.value)
    assert said(home, run_id) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"split,instance_id\ntest,0\n", "has no column verdict; it has: split, instance_id; it takes"),
        (b"split,instance_id,verdict,new label\ntest,0,label_ok,\n", "has column new label; rename it new_label"),
        ("split,instance_id,verdict\ntest,0,label_ok\n".encode("utf-16"), "is not text in UTF-8"),
        (b"split,instance_id,verdict,verdict\ntest,0,label_ok,\n", "has column verdict twice"),
        (b'split,instance_id,verdict\ntest,0,"label_ok\n', "line 2 of .* is not valid CSV"),
    ],
)
def test_what_is_no_table_of_verdicts_is_refused(judged: tuple[Home, str], content: bytes, message: str) -> None:
    home, run_id = judged
    with pytest.raises(InputError, match=message):
        take(home, run_id, content)


def test_a_missing_file_and_a_wrong_run_are_refused(judged: tuple[Home, str], tmp_path: Path) -> None:
    home, run_id = judged
    with pytest.raises(InputError, match=r"no\.csv does not exist; study verdict takes CSV"):
        pipelines.verdict(run_id, str(tmp_path / "no.csv"), home=home.path)
    with pytest.raises(InputError, match="no run 'none'"):
        pipelines.verdict("none", "-", home=home.path)
