"""How MLflow shows a study: saved views of its runs and pictures, and a note on the experiment that says what to open.

MLflow keeps a saved view as a tag of the experiment. It is in the page's menu of views, and it has an address.
"""

import json
import time
from base64 import b64encode
from dataclasses import dataclass
from zlib import compress

from tracking import display, runs
from tracking.catalogue import TRAINED, RunRecord, read_records
from tracking.home import Home
from tracking.mlflow_internals import VIEW_TAG
from tracking.reading import connect

# by the ID that its address has: the view's name in the menu, and in what it differs from that of all runs
VIEWS: dict[str, tuple[str, dict]] = {
    "study": ("Study", {}),
    "check": ("Images to check", {"searchFilter": "tags.`study.kind` = 'report'"}),  # as each run is a column there
}
OWN_NOTE = "study.note"  # the note as it was written here, to tell whether someone has changed it
# of the list of runs, in their order; the width in pixels, in which the page needs to know it. Those up to road_gap are
# in sight in a window of 1400 pixels, of which MLflow's assistant takes 360. The name and the date always come first.
PINNED = {"attributes.`Run Name`": 165, "runDateAndNestInfo": 145}
COLUMNS = {
    "metrics.`test_accuracy`": 108,
    "tags.`study.verdict`": 113,
    "metrics.`insertion`": 80,
    "metrics.`road_gap`": 82,
    "tags.`study.n`": 75,
    "tags.`study.method`": 155,
}
# metrics of methods, a bar per run, each in a section of its own whose name says how to read it, as MLflow's page heads
# a chart with the metric's key alone; and of trainings, a line per run
BARS = {"insertion": ("insertion", "higher is better"), "deletion": ("deletion", "lower is better"),
        "road_gap": ("ROAD gap", "higher is better"),
        "randomized": ("likeness to random weights", "lower is better")}  # fmt: skip
LINES = ("test_accuracy", "val_accuracy", "test_loss")
# what MLflow's page needs to know of a line chart
LINE = {
    "lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear", "range": {}, "xAxisKey": "step",
    "selectedXAxisMetricKey": "", "yAxisKey": "metric", "yAxisExpressions": [], "ignoreOutliers": False,
    "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True,
}  # fmt: skip
MODE = "workflowType=machine_learning"  # the page's menu; its other one is about language models
NEWEST = 5  # trainings whose pages are listed


@dataclass(frozen=True)
class Section:
    """A part of the chart view."""

    name: str
    columns: int
    height: int = 360  # of a card, in pixels
    is_open: bool = True

    def state(self) -> dict:
        """As MLflow's page keeps it."""
        own = {"uuid": self.name, "name": self.name, "columns": self.columns, "cardHeight": self.height}
        return own | {"display": self.is_open, "isReordered": True, "deleted": False, "isGenerated": False}


TRAINING = Section("training", 2, 300)
# by the folder of the keys of their images; a card of heatmaps holds those of eight methods at 1280 pixels
PICTURES = {
    "": Section("confusion", 1, 800),
    "heatmap_mosaic": Section("heatmap_mosaic", 1, 700),
    "concept": Section("concept", 2, 700),
    "heatmap": Section("heatmap", 1, 470),
}
OTHERS = (Section("Model metrics", 3, is_open=False), Section("System metrics", 3, is_open=False))  # MLflow's own


def save_views(home: Home) -> None:
    """Save the views and the note for the runs there are now, except what someone has changed in MLflow."""
    tags = display.read_experiment_tags(home)
    all_runs = _view_state(home)
    for view, (name, changes) in VIEWS.items():
        saved = json.loads(tags.get(VIEW_TAG + view, "null"))
        if saved is None or saved["createdAt"] == saved["updatedAt"]:
            # compressed as MLflow's page does it, since MLflow limits the length of a tag
            state = f"deflate;{b64encode(compress(json.dumps(all_runs | changes).encode())).decode()}"
            now = time.time_ns() // 1_000_000
            content = {"name": name, "createdAt": now, "updatedAt": now, "state": state}
            display.set_experiment_tag(home, VIEW_TAG + view, json.dumps(content))
    note = _describe_experiment(home)
    if tags.get(runs.NOTE, "") in ("", tags.get(OWN_NOTE)) and note != tags.get(runs.NOTE):
        display.set_experiment_tag(home, OWN_NOTE, note)
        display.set_experiment_tag(home, runs.NOTE, note)


def list_addresses(home: Home) -> dict[str, str]:
    """What to open in MLflow, as addresses relative to that of the server, by what is there."""
    pages = {
        f"{page} of {record.name}": address
        for record in _trainings(home)
        for page, address in _list_pages(home, record).items()
    }
    return _list_views(home) | pages


def _list_views(home: Home) -> dict[str, str]:
    """Addresses of MLflow's pages that show the runs of all trainings."""
    experiment = f"#/experiments/{runs.experiment_id(home)}/runs"
    return {
        "runs": f"{experiment}?viewStateShareKey=study&{MODE}",
        "charts and heatmaps": f"{experiment}?viewStateShareKey=study&{MODE}&compareRunsMode=CHART",
        "images to check": f"{experiment}?viewStateShareKey=check&{MODE}&compareRunsMode=ARTIFACT",
    }


def _list_pages(home: Home, training: RunRecord) -> dict[str, str]:
    """Addresses of the pages that a training has."""
    files = f"#/experiments/{runs.experiment_id(home)}/runs/{training.run_id}/artifacts"
    folder = home.run_folder(training.run_id)
    return {page: f"{files}/{page}.html?{MODE}" for page in ("report", "flow") if (folder / f"{page}.html").is_file()}


def _trainings(home: Home) -> list[RunRecord]:
    """The newest runs that own epochs, newest first."""
    return [record for record in read_records(home) if record.kind in TRAINED][: -NEWEST - 1 : -1]


def _describe_experiment(home: Home) -> str:
    """The experiment's note, in Markdown: what was found in each training, and what to open.

    Plain words come first, as the list of experiments shows the text as it is; the newest training is in the first
    paragraph, as the page of runs shows only that one while the note is closed.
    """
    trainings = _trainings(home)
    paragraphs = []
    for number, record in enumerate(trainings):
        finding = display.read_finding(home, record.run_id)
        name = f"{record.name}: " if len(trainings) > 1 else ""
        addresses = _list_pages(home, record) | ({} if number else _list_views(home))
        addresses.pop("runs", None)  # where the note is read
        links = " · ".join(f"[{what}]({address})" for what, address in addresses.items())
        if finding or links:
            paragraphs.append(" ".join([f"{name}{finding}".strip(), f"**Open:** {links}" if links else ""]).strip())
    return "\n\n".join(paragraphs)


def _view_state(home: Home) -> dict:
    """The view as MLflow's page keeps it: all runs in one list, trainings first, and a few charts."""
    records = read_records(home)
    last_steps: dict[str, int] = {}
    for record in records:
        for key, step in display.list_images(home, record.run_id):
            last_steps[key] = max(step, last_steps.get(key, 0))
    pictures = [
        _chart("IMAGE", PICTURES[folder], key, imageKeys=[key], step=step, showRunParams=False)
        for key, step in sorted(last_steps.items())
        if (folder := key.rpartition("/")[0]) in PICTURES
    ]
    methods = {key: Section(f"methods: {key}", 1, 320) for key in BARS}
    bars = [_chart("BAR", section, key, metricKey=key) for key, section in methods.items()]
    lines = [_chart("LINE", TRAINING, key, metricKey=key, **LINE) for key in LINES]
    names = _name_methods(home, records) | {"heatmap": _name_heatmaps(home, records)}
    confusion, *others = PICTURES.values()
    sections = (TRAINING, confusion, *methods.values(), *others, *OTHERS)
    return {
        # by kind, downwards: train, report, import, explain, compare
        "orderByKey": "tags.`study.kind`",
        "orderByAsc": False,
        "selectedColumns": list(COLUMNS),
        "columnOrder": [*PINNED, *COLUMNS],
        "columnWidths": PINNED | COLUMNS,
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "compareRunSections": [
            section.state() | {"name": names.get(section.name, section.name)} for section in sections
        ],
        "compareRunCharts": [*pictures, *bars, *lines],
    }


def _name_methods(home: Home, records: list[RunRecord]) -> dict[str, str]:
    """Names of the sections of methods: the metric, which way is better, and what maps have that ignore the model."""
    newest = next((record.run_id for record in reversed(records) if record.kind == "compare"), "")
    with connect(home) as connection:
        found = connection.execute("select key, value from metrics where run_id = ?", [newest]).fetchall()
    means = dict(found)
    names = {}
    for key, (metric, better) in BARS.items():
        baselines = [
            f"{name} {means[mean]:.2f}"
            for name, reference in (("random maps", "random"), ("edge detector", "edge"))
            if (mean := f"{key}/{reference}") in means
        ]
        names[f"methods: {key}"] = "; ".join([f"{metric}: {better}", *baselines])
    return names


def _name_heatmaps(home: Home, records: list[RunRecord]) -> str:
    """Name of the section of heatmaps: at which epochs which methods have any, as the others are grey there."""
    epochs_by_run: dict[str, set[int]] = {}
    for record in records:
        for key, step in display.list_images(home, record.run_id):
            if record.kind == "explain" and key.startswith("heatmap/"):
                epochs_by_run.setdefault(record.name, set()).add(step)
    several = sorted(name for name, epochs in epochs_by_run.items() if len(epochs) > 1)
    if not several or len(several) == len(epochs_by_run):
        return "heatmap"
    last = max(max(epochs) for epochs in epochs_by_run.values())
    return f"heatmap: all methods at epoch {last}, {' and '.join(several)} at others too"


def _chart(kind: str, section: Section, key: str, **more: object) -> dict:
    own = {"type": kind, "uuid": f"{kind} {key}", "metricSectionId": section.name, "runsCountToCompare": 20}
    return own | {"deleted": False, "isGenerated": False} | more
