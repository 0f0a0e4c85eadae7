"""The registry of commands: of `study` (cli.py), and as functions of this package (functions.py)."""

import gc
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from importlib import import_module
from typing import Any

from pipelines.common import ranks, settings
from pipelines.common.checked_settings import CheckedSettings
from pipelines.common.flags import is_broken
from tracking.errors import InputError
from tracking.home import Home, check_alone, find_home

# command: (settings, module:function, example); modules are imported when used, so that asking starts quickly
GROUPS: dict[str, dict[str, tuple[type[CheckedSettings] | None, str, str]]] = {
    "the whole study": {
        "run": (settings.RunSettings, "pipelines.study:run", "study run --dataset cifar10 --data FOLDER --epochs 10"),
    },
    "single steps": {
        "train": (
            settings.TrainSettings,
            "pipelines.seeds:train",
            "study train --dataset folder --data photos --size 64",
        ),
        "explain": (
            settings.ExplainSettings,
            "pipelines.explaining.explain:explain",
            'study explain --method shap --where "predicted <> label"',
        ),
        "compare": (settings.CompareSettings, "pipelines.comparing.compare:compare", "study compare latest"),
        "report": (settings.ReportSettings, "pipelines.reporting.report:report", "study report latest"),
        "flow": (settings.FlowSettings, "pipelines.instanceflow.flow:flow", "study flow latest --split val"),
        "diff": (settings.DiffSettings, "pipelines.diffing.diff:diff", "study diff first second --split val"),
        "figure": (
            settings.FigureSettings,
            "pipelines.reporting.figure:figure",
            "study figure confusion --format svg --width double",
        ),
        "improve": (
            settings.ImproveSettings,
            "pipelines.improving.improve:improve",
            "study improve latest --epochs 5 --augment mix cutout",
        ),
        "predict": (
            settings.PredictSettings,
            "pipelines.predicting.predict:predict",
            "study predict latest new.png photos/ --name holiday",
        ),
        "folds": (settings.FoldsSettings, "pipelines.training.folds:folds", "study folds latest --k 4"),
        "label-concept": (
            settings.LabelSettings,
            "pipelines.explaining.concepts.labels:label_concept",
            'study label-concept latest 3 "wheels"',
        ),
        "verdict": (
            settings.VerdictSettings,
            "pipelines.judging.verdict:verdict",
            "study verdict latest reviewed.csv --who anna",
        ),
        "import-checkpoints": (
            settings.ImportCheckpointsSettings,
            "pipelines.importing.import_checkpoints:import_checkpoints",
            "study import-checkpoints 'ckpt/*.pt' --model mynet:build",
        ),
        "import-flow": (
            settings.ImportFlowSettings,
            "pipelines.instanceflow.import_log:import_flow",
            "study import-flow log.json --name imported",
        ),
        "resume": (settings.ResumeSettings, "pipelines.resuming:resume", "study resume latest"),
        "rerun": (settings.RerunSettings, "pipelines.rerunning:rerun", "study rerun latest --check"),
    },
    "asking": {
        "ask": (None, "pipelines.asking.ask:ask", "study ask hard_classes --split val"),
        "sql": (
            settings.SqlSettings,
            "pipelines.asking.sql:sql",
            'study sql "select kind, name from runs" --format csv',
        ),
    },
    "housekeeping": {
        "ui": (settings.UiSettings, "pipelines.home.ui:serve", "study ui --port 5001"),
        "prune": (settings.PruneSettings, "pipelines.home.prune:prune", "study prune latest --every 5 --dry"),
        "rebuild": (settings.RebuildSettings, "pipelines.home.rebuild:rebuild", "study rebuild --home study"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
READERS = ("ask", "sql", "figure", "ui")  # commands that start no run
SHARED = ("train", "improve", "resume", "rerun")  # commands whose trainings several processes of torchrun share
COMMAND_LINE_ONLY = ("ask", "sql", "ui")  # `tracking.open` asks in Python, and the UI runs until it is stopped
ASK_HELP = "Answer one question of the catalogue; without a question, list the catalogue."

# name in this package: command
FUNCTIONS = {name.replace("-", "_"): name for name in COMMANDS if name not in COMMAND_LINE_ONLY}


def load_step(name: str) -> Callable[..., Any]:
    """The function that does a command's work, with its module imported."""
    module, function = COMMANDS[name][1].split(":")
    collects_garbage = gc.isenabled()
    gc.disable()  # imports make many objects and next to no garbage: looking for it takes an eighth of their time
    try:
        step: Callable[..., Any] = getattr(import_module(module), function)
    finally:
        if collects_garbage:
            gc.enable()
    return step


def open_home(name: str, path: str | None) -> Home:
    """The home that a command works on. Raises InputError if it cannot."""
    if name not in READERS and ranks.world() == 1:
        check_alone()
    home = find_home(path)
    if is_broken(str(home.path)):
        raise InputError(f"the study home {home.path} is not a UTF-8 path in this locale; choose another with --home")
    return home


def keep_output(name: str) -> AbstractContextManager[object]:
    """Inside, what a user's model prints goes to standard error, as it is not the result of the command."""
    return nullcontext() if name in READERS else redirect_stdout(sys.stderr)
