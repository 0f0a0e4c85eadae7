"""The whole study in one command."""

import queries
from pipelines.common.costs import PAGE_FRACTION, estimate_explaining, estimate_measuring
from pipelines.common.progress import Work, work
from pipelines.common.settings import CompareSettings, ExplainSettings, FlowSettings, ReportSettings, RunSettings
from pipelines.comparing.compare import compare
from pipelines.explaining.explain import explain
from pipelines.instanceflow.flow import flow
from pipelines.reporting.report import report
from pipelines.reporting.study_summary import summarise
from pipelines.training.train import train
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS, REFERENCES

EVERY_EPOCH_METHODS = ("saliency", "grad_cam")  # cheap ones, which explain every epoch
MAP_COUNT = 64  # test images with a map from every method, a random sample: most methods can be told from noise
CONCEPT_COUNT = 300  # test instances, or all if there are fewer, on which concepts are scored
RANDOMIZATION_COUNT = 20  # instances of the randomization test, which costs five times as much: fewer have no interval
CHECKED = 5  # images per reason to check them, explained beside the sample: those that report and MLflow show
FLOW_ROWS = 12  # first rows of the flow page's table, explained as well


def run(settings: RunSettings, home: Home) -> str:
    """Train, explain with every method, compare the methods, make both pages, and summarise."""
    if settings.seeds is not None:
        raise InputError(
            "--seeds is for study train: a whole study is about one run; train the others beside it, with the same "
            "flags and --group"
        )
    explaining = sum(cost for *_, cost in _list_jobs(settings.epochs))
    comparing = sum(estimate_measuring(method, MAP_COUNT, randomized=False) for method in (*METHODS, *REFERENCES))
    comparing += sum(estimate_measuring(method, RANDOMIZATION_COUNT, randomized=True) for method in METHODS)
    page = PAGE_FRACTION * (explaining + comparing)
    with work("", explaining + comparing + 2 * page, is_mixed=True) as stages:
        with stages.part(None):  # its cost is known once the data is loaded
            run_id = train(settings, home)
        explainer_runs = _explain(run_id, settings.epochs, home, stages)
        with stages.part(comparing):
            comparison = compare(CompareSettings(run=run_id, randomization_count=RANDOMIZATION_COUNT), home)
        with stages.part(page), work("making the flow page", 1):
            flow_page = flow(FlowSettings(run=run_id, data=settings.data), home)
        with stages.part(page), work("making the report", 1):  # last, as it links to the others
            report_page = report(ReportSettings(run=run_id, data=settings.data), home)
    return summarise(home, run_id, [*explainer_runs, comparison], report_page, flow_page)


def _list_jobs(epochs: int) -> list[tuple[tuple[str, ...], str, int, float]]:
    """Methods explained together, the epochs and the number of images that they explain, and their cost."""
    other_methods = tuple(method for method in METHODS if method not in EVERY_EPOCH_METHODS)
    concepts = tuple(CONCEPT_METHODS)
    explained = MAP_COUNT + 4 * CHECKED + FLOW_ROWS // 2  # with those beside the sample, about
    return [
        (EVERY_EPOCH_METHODS, "all", MAP_COUNT, estimate_explaining(EVERY_EPOCH_METHODS, explained * (epochs + 1))),
        (other_methods, "last", MAP_COUNT, estimate_explaining(other_methods, explained)),
        (concepts, "last", CONCEPT_COUNT, estimate_explaining(concepts, CONCEPT_COUNT)),
    ]


def _explain(run_id: str, epochs: int, home: Home, stages: Work) -> list[str]:
    """Run IDs of all explainer runs; methods that are not applicable to the model are named and left out."""
    with connect(home, run_ids=[run_id]) as connection:
        sql = "select count(*) from instances where run_id = ? and split = 'test'"
        [(test_count,)] = connection.execute(sql, [run_id]).fetchall()
    shown = ",".join(map(str, _list_shown(run_id, home))) or None
    explainer_runs = []
    for methods, chosen_epochs, count, cost in _list_jobs(epochs):
        also = None if set(methods) <= set(CONCEPT_METHODS) else shown  # figures of concepts are means over all images
        settings = ExplainSettings(
            run=run_id, method=methods, epochs=chosen_epochs, count=min(count, test_count), also=also
        )
        with stages.part(cost):
            explainer_runs += explain(settings, home, leave_out=True)
    return explainer_runs


def _list_shown(run_id: str, home: Home) -> list[int]:
    """Test images that the report and the first rows of the flow page show, so that each of them has maps."""
    with connect(home, run_ids=[run_id]) as connection:
        checked = queries.run(connection, "instances_to_check", {"run_id": run_id, "limit": str(CHECKED)}).dicts
        rows = queries.run(connection, "instance_metrics", {"run_id": run_id, "limit": "1000000000"}).dicts
    # the page sorts by misclassified epochs, then by ID
    first_rows = sorted(rows, key=lambda row: (-(row["score_raw"] or 0), row["instance_id"]))[:FLOW_ROWS]
    return sorted({row["instance_id"] for row in (*checked, *first_rows)})
