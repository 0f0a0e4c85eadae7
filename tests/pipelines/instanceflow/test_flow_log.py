"""Logs in InstanceFlow's format: taken over and given back unchanged, refused in one line where they are wrong."""

import copy
import json
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import queries
from pipelines.cli import main
from pipelines.common.settings import ImportFlowSettings
from pipelines.instanceflow import import_log as flow_import
from pipelines.instanceflow import instanceflow_log
from pipelines.instanceflow.export import export, export_flow
from pipelines.instanceflow.import_log import import_flow
from pipelines.instanceflow.pictures import _read_linked_images
from pipelines.instanceflow.record import read_record
from support.commands import said
from support.homes import fresh
from support.places import DATA
from tracking import commits, mlflow_client
from tracking.catalogue import RunRecord, read_records, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from tracking.tables import add_macros

REAL = DATA / "instanceflow" / "cifar10.json"
TINY = {
    "name": 'l\'"été" <b>&amp;</b> 日本',
    "labels": ["it's", '<script>alert("x")</script>', "ünï, $code;--"],
    "instances": [
        {"id": "<i>'\"", "actual": 2, "image": "a b/'\"<>.png"},
        {"id": "日本", "actual": 0, "image": "https://example.org/?a=1&b=2"},
        {"id": "0", "actual": 1, "image": "\\\t.png"},
        {"id": " ", "actual": 1, "image": "../../x.png"},
    ],
    "epochs": [
        {"id": "0", "classifications": [0, 0, 0, 0]},
        {"id": "3", "classifications": [2, 1, 1, 0]},
        {"id": "12", "classifications": [2, 0, 2, 1]},
    ],
}


def save(folder: Path, log: object, name: str = "log.json") -> Path:
    path = folder / name
    path.write_text(log if isinstance(log, str) else json.dumps(log))
    return path


def take_over(home: Home, path: Path, **settings) -> RunRecord:
    return resolve(home, import_flow(ImportFlowSettings(str(path), **settings), home))


def give_back(home: Home, record: RunRecord, split: str = "test") -> dict:
    with connect(home) as connection:
        return export_flow(connection, record.run_id, split)


def ask(home: Home, name: str, **values: str | None) -> list[dict]:
    with connect(home) as connection:
        answer = queries.run(connection, name, values)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def in_memory(home: Home) -> duckdb.DuckDBPyConnection:
    """A copy of the home's index that can be changed."""
    with connect(home):  # brings the index up to date
        pass
    copied = duckdb.connect()
    copied.execute(f"attach '{home.database}' as study (read_only)")
    for (name,) in copied.execute("select table_name from duckdb_tables() where database_name = 'study'").fetchall():
        copied.execute(f"create table {name} as from study.{name}")
    add_macros(copied)
    return copied


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> tuple[Home, RunRecord]:
    folder = tmp_path_factory.mktemp("tiny")
    home = fresh(folder, empty_tracker)
    return home, take_over(home, save(folder, TINY))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, empty_tracker: Path) -> tuple[Home, RunRecord, dict]:
    if not REAL.exists():
        pytest.skip(f"no real log at {REAL}; STUDY_TEST_DATA names the folder that has instanceflow/")
    home = fresh(tmp_path_factory.mktemp("real"), empty_tracker)
    return home, take_over(home, REAL), json.loads(REAL.read_text())


def test_a_log_comes_back_unchanged(tiny) -> None:
    home, record = tiny
    assert (record.kind, record.status, record.name) == ("import", "FINISHED", f"import-{TINY['name']}")
    assert give_back(home, record) == TINY


def test_an_imported_run_is_committed_whole(tiny) -> None:
    home, record = tiny
    units = {commit.unit: commit for commit in commits.read_commits(home, record.run_id)}
    assert list(units) == ["start", "epoch_0000", "epoch_0003", "epoch_0012"]
    assert [unit.metrics.get("test_accuracy") for unit in units.values()] == [None, 0.25, 0.5, 0.75]
    for unit in units.values():
        for file in unit.files:
            commits.committed_file(home, unit, file.path)
    logged = mlflow_client.connect(home).get_metric_history(record.run_id, "test_accuracy")
    assert [(point.step, point.value) for point in logged] == [(0, 0.25), (3, 0.5), (12, 0.75)]


def test_probabilities_are_null_in_the_types_of_the_table(tiny) -> None:
    home, record = tiny
    file = home.run_folder(record.run_id) / "predictions" / "epoch_0003.parquet"
    table = parquet.ParquetFile(file).read()
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    unknown = dict.fromkeys(("p_true", "p_predicted", "margin", "p_sq"), "float")
    assert kinds.items() >= (unknown | {"epoch": "int32", "predicted": "int32"}).items()
    assert kinds["probabilities"].startswith("list<")
    assert all(table[name].null_count == 4 for name in (*unknown, "probabilities"))


NEEDS_MORE = {  # on explanations, probabilities, what is missing or another model: a log has none
    "attribution_agreement", "attribution_clusters", "attribution_places", "attribution_regions", "calibration",
    "calibration_change",
    "class_concepts", "concept_change", "concept_examples", "concepts_by_class", "concepts_by_epoch", "explained",
    "explanation_change", "explanation_drift", "explanation_settling", "faithfulness_by_method",
    "faithfulness_differences", "improvement_targets", "missing_predictions", "seed_changes", "seed_stability",
    "shortcut_images",
    "shortcuts", "split_gap", "verdict_summary", "verdicts",
}  # fmt: skip
REFUSED = {"leaks"}  # on pictures, which a log has none of


@pytest.mark.parametrize("name", queries.NAMES)
def test_every_question_is_answered(tiny, capsys, name: str) -> None:
    home, record = tiny
    values = {"other_run_id": record.run_id, "instance_id": "1"}
    needed = [key for key, param in queries.header(name).params.items() if param.required and key in values]
    flags = [part for key in needed for part in (f"--{key.replace('_', '-')}", values[key])]
    code = main(["ask", name, *flags, "--home", str(home.path), "--format", "json"])
    if name in REFUSED:
        assert code == 2
        return
    assert code == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows or name in NEEDS_MORE


@pytest.mark.parametrize("command", ["explain", "resume", "label-concept"])
def test_what_needs_checkpoints_says_that_there_are_none(tiny, capsys, command: str) -> None:
    home, record = tiny
    more = ["0", "wheels"] if command == "label-concept" else []
    assert main([command, record.run_id, *more, "--home", str(home.path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "of kind import (imported, so without checkpoints), needed is" in err
    assert main(["explain", "latest", "--home", str(home.path)]) == 2
    assert "no run of kind train or improve in" in capsys.readouterr().err


def test_import_prints_the_run_and_takes_a_name(home: Home, tmp_path: Path, capsys) -> None:
    path = save(tmp_path, {key: value for key, value in TINY.items() if key != "name"}, "pets 2.json")
    for wanted, name in ([], "import-pets 2"), ([], "import-pets 2-2"), (["--name", "mine"], "mine"):
        assert main(["import-flow", str(path), *wanted, "--home", str(home.path)]) == 0
        out, err = capsys.readouterr()
        record = resolve(home, out.strip())
        assert (record.name, record.dataset) == (name, "pets 2")
        assert f"import-flow: run {record.run_id} ({name}), 3 epochs of 4 instances" in err
    config = json.loads((home.run_folder(record.run_id) / "config.json").read_text())
    assert config == {"command": "import-flow", "settings": {"file": str(path), "name": "mine"}}


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (["0", "3", "12"], [0, 3, 12]),
        ([5, 6, 999999999], [5, 6, 999999999]),
        (["3", "2", "4"], [0, 1, 2]),
        (["1", "01", "2"], [0, 1, 2]),
        (["warm up", "1", "2"], [0, 1, 2]),
        (["-1", "0", "1"], [0, 1, 2]),
        (["0.5", "1", "2"], [0, 1, 2]),
        (["1", "2", "9" * 5000], [0, 1, 2]),
        (["0", "1", "\u0662"], [0, 1, 2]),
    ],
)
def test_epochs_are_numbered_by_their_ids_or_else_by_their_order(tmp_path: Path, ids: list, numbers: list) -> None:
    epochs = [{"id": own, "classifications": [at, 0, 0, 0]} for at, own in enumerate(ids)]
    log = instanceflow_log.read_log(save(tmp_path, TINY | {"epochs": epochs}))
    assert [(epoch.number, epoch.predicted[0]) for epoch in log.epochs] == list(zip(numbers, range(3), strict=True))
    assert log.renumbered == (numbers == [0, 1, 2])


def test_numbering_by_order_is_said(home: Home, tmp_path: Path, capsys) -> None:
    epochs = [{"id": "b", "classifications": [0] * 4}, {"id": "a", "classifications": [1] * 4}]
    record = take_over(home, save(tmp_path, TINY | {"epochs": epochs}))
    assert "its epoch IDs are not ascending whole numbers; epochs are numbered 0 to 1" in capsys.readouterr().err
    assert [epoch["id"] for epoch in give_back(home, record)["epochs"]] == ["0", "1"]


def test_what_may_be_missing(home: Home, tmp_path: Path) -> None:
    instances = [{"id": 7, "actual": 0}, {"id": "8", "actual": 1, "image": None}, {"id": "9", "actual": 1, "image": ""}]
    log = {"labels": [0, 1], "instances": instances, "epochs": [{"id": 0, "classifications": [0, 1, 1]}], "more": {}}
    path = save(tmp_path, log)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    found = give_back(home, take_over(home, path))
    assert found["labels"] == ["0", "1"]
    assert found["instances"] == [{"id": n, "actual": int(n > "7"), "image": n} for n in "789"]


def changed(**places: object) -> dict:
    """TINY with other values at places such as instances_0_id; the value None removes the key."""
    log = copy.deepcopy(TINY)
    for place, value in places.items():
        *path, last = [int(step) if step.isdigit() else step for step in place.split("_")]
        holder = log
        for step in path:
            holder = holder[step]
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    return log


WRONG = {
    "no labels": (changed(labels=None), 'the log has no "labels" (it has: ["name", "instances", "epochs"])'),
    "no instances": (changed(instances=None), 'no "instances"'),
    "no epochs": (changed(epochs=None), 'no "epochs"'),
    "empty labels": (changed(labels=[]), '"labels" of the log is empty'),
    "empty instances": (changed(instances=[]), '"instances" of the log is empty'),
    "empty epochs": (changed(epochs=[]), '"epochs" of the log is empty'),
    "labels are a text": (changed(labels="cat"), '"labels" of the log is "cat", not a list'),
    "epochs are an object": (changed(epochs={}), '"epochs" of the log is an object, not a list'),
    "one label": (changed(labels=["cat"]), "at least 2"),
    "equal labels": (changed(labels=["a", "b", "a"]), 'labels[0] and labels[2] are both called "a"'),
    "empty label": (changed(labels_1=""), 'labels[1] is ""; it must be a non-empty string'),
    "label true": (changed(labels_1=True), "labels[1] is true"),
    "half a character": (changed(labels_1="\ud800"), "not valid Unicode"),
    "name is a number": (changed(name=5), '"name" is 5'),
    "long name": (changed(name="n" * 201), '"name" has 201 characters; at most 200'),
    "instance is a number": (changed(instances_1=5), "instances[1] is 5, not an object"),
    "instance without id": (changed(instances_1_id=None), 'instances[1] has no "id" (it has: ["actual", "image"])'),
    "instance without actual": (changed(instances_1_actual=None), 'instances[1] has no "actual"'),
    "id is a fraction": (changed(instances_1_id=1.5), '"id" of instances[1] is 1.5'),
    "id true": (changed(instances_1_id=True), '"id" of instances[1] is true'),
    "equal ids": (changed(instances_3_id=0), 'instances[2] and instances[3] are both called "0"'),
    "image is a list": (changed(instances_0_image=[]), '"image" of instances[0] is a list'),
    "actual too large": (
        changed(instances_1_actual=3),
        '"actual" of instance "\\u65e5\\u672c" is 3; with 3 labels it must be a whole number from 0 to 2',
    ),
    "actual negative": (changed(instances_2_actual=-1), '"actual" of instance "0" is -1'),
    "actual true": (changed(instances_2_actual=True), '"actual" of instance "0" is true'),
    "actual is a text": (changed(instances_2_actual="1"), '"actual" of instance "0" is "1"'),
    "actual is NaN": (changed(instances_2_actual=float("nan")), '"actual" of instance "0" is NaN'),
    "epoch is a list": (changed(epochs_1=[]), "epochs[1] is a list, not an object"),
    "epoch without id": (changed(epochs_1_id=None), 'epochs[1] has no "id"'),
    "equal epochs": (changed(epochs_1_id="0"), 'epochs[0] and epochs[1] are both called "0"'),
    "epoch without classifications": (changed(epochs_1_classifications=None), 'epoch "3" has no "classifications"'),
    "ragged": (changed(epochs_1_classifications=[0, 1]), 'epoch "3" has 2 classifications for 4 instances'),
    "class too large": (
        changed(epochs_2_classifications_2=10**30),
        'classification of instance "0" in epoch "12" is 1000000000000000000000000000000; with 3 labels',
    ),
    "class negative": (changed(epochs_2_classifications_2=-1), 'instance "0" in epoch "12" is -1'),
    "class true": (changed(epochs_2_classifications_2=True), 'instance "0" in epoch "12" is true'),
    "class is a fraction": (changed(epochs_2_classifications_2=1.0), 'instance "0" in epoch "12" is 1.0'),
    "class is NaN": (changed(epochs_2_classifications_2=float("nan")), 'instance "0" in epoch "12" is NaN'),
    "a list": ("[]", "the log is a list, not an object"),
    "nothing": ("", "not JSON (Expecting value at line 1, column 1)"),
    "half a file": (json.dumps(TINY)[:-5], "not JSON"),
    "nested": ("[" * 100_000, "nested too deeply"),
    "a number without end": ("1" * 10_000, "thousands of digits"),
}


def refused(path: Path, home: Home, capsys) -> str:
    """The one line that says why a file is not imported, with nothing left behind."""
    before = {place: place.stat().st_mtime_ns for place in home.path.rglob("*")}
    assert main(["import-flow", str(path), "--home", str(home.path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("study: ")
    assert {place: place.stat().st_mtime_ns for place in home.path.rglob("*")} == before
    return err


@pytest.mark.parametrize(("log", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_log_gets_one_line(home: Home, tmp_path: Path, capsys, log: object, message: str) -> None:
    path = save(tmp_path, log)
    line = refused(path, home, capsys)
    assert str(path) in line
    assert message in line


def test_a_file_that_is_none_gets_one_line(home: Home, tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "latin.json").write_bytes('{"name": "été"}'.encode("latin-1"))
    path = save(tmp_path, TINY)
    assert "No such file" in refused(tmp_path / "none.json", home, capsys)
    assert "not a file" in refused(tmp_path, home, capsys)
    assert "not a file" in refused(Path("/dev/null"), home, capsys)
    assert "File name too long" in refused(tmp_path / ("n" * 300), home, capsys)
    assert "not UTF-8 at byte 10" in refused(tmp_path / "latin.json", home, capsys)
    assert "not valid Unicode; rename it" in refused(tmp_path / "\udce9.json", home, capsys)
    monkeypatch.setattr(instanceflow_log, "MAX_BYTES", 100)
    assert f"{path.stat().st_size} bytes, at most 100 can be read" in refused(path, home, capsys)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (OSError, "FAILED")])
def test_an_import_that_stops_says_so(home: Home, tmp_path: Path, capsys, monkeypatch, error, status: str) -> None:
    whole = flow_import._commit_epoch

    def stopped(run, log, epoch) -> None:
        if epoch.number == 12:
            raise error
        whole(run, log, epoch)

    monkeypatch.setattr(flow_import, "_commit_epoch", stopped)
    with pytest.raises(error):
        take_over(home, save(tmp_path, TINY))
    [record] = read_records(home)
    assert record.status == mlflow_client.connect(home).get_run(record.run_id).info.status == status
    assert "is not complete; import the log again" in capsys.readouterr().err
    assert give_back(home, record) == TINY | {"epochs": TINY["epochs"][:2]}


def test_a_training_run_goes_out_and_in(study: Home, trained: RunRecord, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.json"
    path.parent.mkdir()
    assert export(trained, "test", path, study) == str(path)
    assert [file.name for file in path.parent.iterdir()] == ["out.json"]
    imported = take_over(home, path)
    columns = "select epoch, instance_id, label, predicted, previous_epoch, previous from predictions"
    found = []
    for place, record in ((study, trained), (home, imported)):
        with connect(place) as connection:
            rows = f"{columns} where run_id = ? and split = 'test' order by all"
            found.append(connection.execute(rows, [record.run_id]).fetchall())
    assert found[0] == found[1]
    assert len(found[0]) > 1000
    assert give_back(home, imported) == json.loads(path.read_text())
    assert imported.dataset == trained.name


def test_every_split_can_go_out(study: Home, trained: RunRecord) -> None:
    found = {split: give_back(study, trained, split) for split in ("val", "test", "train_seen")}
    assert [len(log["epochs"]) for log in found.values()] == [4, 4, 3]
    assert found["train_seen"]["instances"][7]["id"] == "00007"
    with pytest.raises(InputError, match="no predictions in split 'tset'; it has some in: test, train_seen, val"):
        give_back(study, trained, "tset")


def test_what_the_format_cannot_hold_is_left_out_and_counted(home: Home, tmp_path: Path, capsys) -> None:
    record = take_over(home, save(tmp_path, TINY))
    loose = in_memory(home)
    loose.execute("update instances set label = null where instance_id = 1")
    loose.execute("delete from predictions where instance_id = 2 and epoch = 3")
    found = export_flow(loose, record.run_id, "test")
    assert "left out of 4 instances: 1 without a known label, 1 not predicted at every epoch" in capsys.readouterr().err
    assert found["instances"] == [TINY["instances"][0], TINY["instances"][3]]
    assert [epoch["classifications"] for epoch in found["epochs"]] == [[0, 0], [2, 0], [2, 1]]
    loose.execute("update instances set label = null")
    with pytest.raises(InputError, match="no instance in test that InstanceFlow's format can hold: 4 without"):
        export_flow(loose, record.run_id, "test")


def test_no_file_is_replaced(tiny, tmp_path: Path) -> None:
    home, record = tiny
    path = save(tmp_path, "kept")
    with pytest.raises(InputError, match="exists already and is not replaced"):
        export(record, "test", path, home)
    with pytest.raises(InputError, match=r"cannot write .*log.json/out.json"):
        export(record, "test", path / "out.json", home)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["kept"]


def test_the_real_log_comes_back_unchanged(real) -> None:
    home, record, log = real
    assert give_back(home, record) == log


@pytest.mark.parametrize(("first", "last"), [(0, 61), (1, 61), (20, 25), (7, 7), (60, 61)])
def test_the_real_logs_figures(real, first: int, last: int) -> None:
    home, record, log = real
    values = {"run_id": record.run_id, "from_epoch": str(first), "to_epoch": str(last)}
    found = {row["instance_id"]: row for row in ask(home, "instance_metrics", **values)}
    assert len(found) == len(log["instances"]) == 1000
    for at, instance in enumerate(log["instances"]):
        history = [epoch["classifications"][at] for epoch in log["epochs"][first : last + 1]]
        row = found[at]
        assert row["n"] == len(history)
        assert row["score_raw"] == sum(predicted != instance["actual"] for predicted in history)
        assert row["frequency_raw"] == sum(before != after for before, after in pairwise(history))
        assert row["visited"] == sorted(set(history))
        assert row["n_classes_visited"] == len(set(history))


LONG = "n" * 5000 + ".png"


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """A log that names three pictures below its folder, and as many elsewhere as there are ways to get there."""
    secret, inside = tmp_path / "secret.png", tmp_path / "log"
    (inside / "deep").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(secret)
    for file in ("a.png", "deep/b.png", "c.png"):
        Image.new("RGB", (8, 8), "lime").save(inside / file)
    (inside / "link.png").symlink_to(secret)
    (inside / "out").symlink_to(tmp_path)
    (inside / "text.png").write_text("no image")
    names = ["a.png", "deep/b.png", str(inside / "c.png"), str(secret), "../secret.png", "link.png", "out/secret.png",
             secret.as_uri(), (inside / "a.png").as_uri(), "http://127.0.0.1/a.png", "data:image/png;base64,AAAA", LONG,
             "a\0.png", "deep", "text.png", "/dev/zero", "a.png/b.png"]  # fmt: skip
    instances = [{"id": str(at), "actual": 0, "image": name} for at, name in enumerate(names)]
    epoch = {"id": "0", "classifications": [0] * len(names)}
    (inside / "log.json").write_text(
        json.dumps({"labels": ["cat", "dog"], "instances": instances, "epochs": [epoch, epoch | {"id": "1"}]})
    )
    return inside / "log.json"


def test_only_pictures_below_the_logs_folder_are_shown(home: Home, pictured: Path) -> None:
    record = take_over(home, pictured)
    with connect(home) as connection:
        predictions = read_record(connection, record, "test")
    images, [note] = _read_linked_images(predictions, None, np.arange(17))
    assert [image.getpixel((0, 0)) for image in images] == [(0, 255, 0)] * 3 + [(255, 255, 255)] * 14
    assert note.startswith(f"14 of 17 images have no thumbnail, because {pictured.parent} does not contain them: ")
    assert len(note.splitlines()) == 1


@pytest.mark.parametrize("source", ["/etc/passwd", LONG, "a\0.png", "../secret.png"])
def test_a_folder_without_any_of_its_pictures_is_one_line(home: Home, pictured: Path, capsys, source: str) -> None:
    log = json.loads(pictured.read_text())
    for instance in log["instances"]:
        instance["image"] = source
    pictured.write_text(json.dumps(log))
    record = take_over(home, pictured)
    (pictured.parent / "else").mkdir()
    for command in ("flow", "report"):
        code, line = said(capsys, home, command, record.run_id, "--data", str(pictured.parent / "else"))
        assert (code, "name the log's folder of images with --data" in line) == (2, True)
    code, _ = said(capsys, home, "flow", record.run_id)
    assert code == 0
