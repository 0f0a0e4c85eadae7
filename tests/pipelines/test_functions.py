"""Commands as functions: the same settings, values as Python has them, errors in one line."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import pipelines
from pipelines.cli import make_parser
from pipelines.commands import COMMANDS, FUNCTIONS
from pipelines.common.arguments import from_arguments
from pipelines.common.flags import from_flags
from pipelines.common.settings import ExplainSettings, PredictSettings, TrainSettings
from pipelines.functions import signature_of
from pipelines.models.user_errors import WATCHED, watch_model, watching_own_model
from pipelines.stub import STUB, write_stub
from support.commands import study_command
from support.homes import TINY, rows
from support.places import ROOT
from tracking.errors import InputError, RunError
from tracking.home import Home


def test_the_stub_has_every_function_as_it_is() -> None:
    assert STUB.read_text() == write_stub(), "run: python -m pipelines.stub"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_settings_of_its_command(name: str) -> None:
    function = getattr(pipelines, name)
    assert getattr(pipelines, name) is function
    settings_class = COMMANDS[FUNCTIONS[name]][0]
    settings = [field.name for field in fields(settings_class)]
    assert set(signature_of(settings_class).parameters) == {*settings, "home"}
    assert all(f"\n    {setting}: " in function.__doc__ for setting in settings)
    assert "--" not in function.__doc__
    assert name in dir(pipelines)


@pytest.mark.parametrize(("settings", "command", "values"), [
    (TrainSettings, "train", {}),
    (TrainSettings, "train --data photos --epochs 3 --lr 1 --skip-unreadable --name mine",
     {"data": Path("photos"), "epochs": np.int64(3), "lr": 1, "skip_unreadable": True, "name": "mine"}),
    (TrainSettings, "train --lr 0.5", {"lr": np.float32(0.5), "size": None}),
    (ExplainSettings, "explain --method shap", {"method": "shap"}),
    (ExplainSettings, "explain mine --method shap saliency --epochs 0,5 --instances 7 --target 3 label",
     {"run": "mine", "method": ["shap", "saliency"], "epochs": [0, 5], "instances": 7, "target": (3, "label")}),
    (ExplainSettings, "explain --instances 0,7,42", {"instances": np.array([0, 7, 42])}),
    (ExplainSettings, "explain --instances 0,7,42", {"instances": "0,7,42"}),
    (PredictSettings, "predict latest new", {"run": "latest", "images": Path("new")}),
])  # fmt: skip
def test_values_of_python_are_the_settings_of_flags(settings: type, command: str, values: dict) -> None:
    assert from_arguments(settings, values) == from_flags(settings, make_parser().parse_args(command.split()))


@pytest.mark.parametrize(("call", "values", "message"), [
    ("train", {"epoch": 3}, "did you mean epochs?"),
    ("train", {"epochs": "3"}, "`epochs` is '3'; it takes a whole number"),
    ("train", {"epochs": True}, "`epochs` is True; it takes a whole number"),
    ("train", {"epochs": 1.5}, "`epochs` is 1.5; it takes a whole number"),
    ("train", {"epochs": None}, "`epochs` is None; it takes a whole number"),
    ("train", {"epochs": 0}, "`epochs` is 0; it takes 1 to 10000"),
    ("train", {"dataset": ["digits"]}, "`dataset` is ['digits']; it takes a text"),
    ("train", {"optimizer": "best"}, "`optimizer` is 'best'; it takes auto, muon, adam or sgd"),
    ("train", {"skip_unreadable": "no"}, "`skip_unreadable` is 'no'; it takes True or False"),
    ("train", {"name": " "}, "`name` is empty"),
    ("explain", {"method": ("shap", "shap")}, "`method` has 'shap' more than once"),
    ("explain", {"instances": []}, "`instances` is empty"),
    ("explain", {"instances": [0], "count": 3}, "`instances` and `count` both choose instances; give one"),
    ("explain", {"run": "nobody"}, "no run 'nobody'"),
    ("predict", {}, "missing a required argument"),
    ("report", {"split": "nope"}, "images of split 'nope'; a report can be on: test, val"),
])  # fmt: skip
def test_wrong_input_is_one_line_that_names_arguments(study: Home, call: str, values: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        getattr(pipelines, call)(**values, home=study.path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value._render_traceback_() == [f"InputError: {caught.value}"]  # what a notebook shows


@pytest.mark.parametrize("earlier_model", ["cnn", "own:make"])
def test_a_broken_disk_is_one_line_too(study: Home, monkeypatch: pytest.MonkeyPatch, earlier_model: str) -> None:
    """No model is blamed that an earlier command of the process worked on; the program around still watches it."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tracking.index.rebuild", fail)
    with watching_own_model():
        watch_model(earlier_model, ())
        watched = WATCHED.get()
        with pytest.raises(RunError, match=r"^No space left on device$"):
            pipelines.rebuild(home=study.path)
        assert WATCHED.get() is watched


def test_functions_do_what_commands_do(home: Home, capsys: pytest.CaptureFixture) -> None:
    run_id = pipelines.train(
        **{name: getattr(TINY, name) for name in ("size", "batch", "threads")}, epochs=1, home=home.path
    )
    explained = pipelines.explain(run_id, method=["saliency", "grad_cam"], instances=[0, 7], home=str(home.path))
    page = pipelines.report(home=home.path)
    assert rows(home, "select kind, name from runs order by started_at") == [
        ("train", "digits-cnn-0"), ("explain", "saliency"), ("explain", "grad_cam"), ("report", "report"),
    ]  # fmt: skip
    assert rows(home, "select run_id from runs where kind = 'explain' order by name desc") == [(x,) for x in explained]
    assert Path(page).name == "report.html"
    out, err = capsys.readouterr()
    assert out == ""
    assert f"run {run_id}" in err
    assert study_command(capsys, "rerun", run_id, "--check", "--home", str(home.path))[0] == 0


def test_pipelines_knows_no_other_names() -> None:
    for name in ("ask", "sql", "ui", "nothing"):
        with pytest.raises(AttributeError, match=f"'pipelines' has no attribute '{name}'"):
            getattr(pipelines, name)


def test_importing_is_quick() -> None:
    code = (
        "import sys, pipelines; pipelines.train.__doc__; dir(pipelines)\n"
        "print(sorted({'torch', 'mlflow', 'matplotlib', 'duckdb', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
