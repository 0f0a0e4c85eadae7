"""The commands: what `study` takes, and as which functions Python has them. Nothing of theirs is imported here."""

from pipelines.common import settings
from pipelines.common.settings import CheckedSettings

# command: (settings, module:function, example); modules are imported when used, so that asking starts quickly
GROUPS: dict[str, dict[str, tuple[type[CheckedSettings] | None, str, str]]] = {
    "the whole study": {
        "run": (settings.RunSettings, "pipelines.study:run", "study run --dataset cifar10 --data FOLDER --epochs 10"),
    },
    "single steps": {
        "train": (
            settings.TrainSettings,
            "pipelines.training.train:train",
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
        "figure": (
            settings.FigureSettings,
            "pipelines.reporting.figure:figure",
            "study figure confusion latest --format svg --width double",
        ),
        "predict": (
            settings.PredictSettings,
            "pipelines.predicting.predict:predict",
            "study predict latest new.png photos/ --name holiday",
        ),
        "label-concept": (
            settings.LabelSettings,
            "pipelines.explaining.concepts.labels:label_concept",
            'study label-concept latest 3 "wheels"',
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
            'study sql "select kind, name, status from runs" --format csv',
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
ASK_HELP = "Answer one question of the catalogue; without a question, list the catalogue."
