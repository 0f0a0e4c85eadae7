"""The MLflow UI of a study, in a real browser; and who else may ask its server, and how it ends."""

import json
import signal
import time
from base64 import b64decode
from contextlib import nullcontext
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from zlib import decompress

import duckdb
import pytest

from pipelines.home import study_view
from support.commands import said
from support.servers import Served, open_page
from tracking import display
from tracking.catalogue import resolve
from tracking.home import Home, find_home
from tracking.mlflow_internals import VIEW_TAG

SEARCH = "/api/2.0/mlflow/experiments/search"


def see(browser, text: str, seconds: float = 30) -> bool:
    """Wait until `text` is on the page; whether it came."""
    deadline = time.monotonic() + seconds
    while text not in browser.find_element("tag name", "body").text:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def test_printed_address_lists_all_runs_with_what_they_are(trained, address: str, browser) -> None:
    """The saved view: the training first, its accuracy, and the method and number of images of the other run."""
    browser.get(address)
    for text in ("2 matching runs", trained.name, "saliency", "study.method", "study.n", "test_accuracy"):
        assert see(browser, text)
    deadline = time.monotonic() + 30
    while True:  # the page draws the list before it knows the view's columns, and only those in sight, in any order
        rows = [row.text.split() for row in browser.find_elements("css selector", ".ag-center-cols-container .ag-row")]
        if len(rows) == 2 and {"1215"} <= set(rows[0]) and {"saliency", "20"} <= set(rows[1]):
            break
        assert time.monotonic() < deadline, rows
        time.sleep(0.2)
    assert see(browser, "Study")  # the view's name, in the menu
    assert see(browser, "Open:")  # the note


COLUMNS_IN_SIGHT = """
    const viewport = document.querySelector('.ag-header-viewport');
    if (!viewport) return [0, []];
    const seen = viewport.getBoundingClientRect();
    const shown = [...viewport.querySelectorAll('.ag-header-row-column .ag-header-cell')].filter(cell => {
        const own = cell.getBoundingClientRect();
        return own.left >= seen.left && own.right <= seen.right;
    }).sort((one, other) => one.getBoundingClientRect().left - other.getBoundingClientRect().left);
    return [seen.width, shown.map(cell => cell.innerText.trim())]"""


def test_what_runs_are_compared_by_is_in_sight(address: str, browser) -> None:
    """In a window of 1400 pixels, beside MLflow's assistant and the list's own scroll bar."""
    size = browser.get_window_size()
    browser.set_window_size(1400, 900)
    try:
        browser.get("about:blank")
        browser.get(address)
        deadline = time.monotonic() + 30
        while (found := browser.execute_script(COLUMNS_IN_SIGHT))[1][:2] != ["test_accuracy", "study.n"]:
            assert time.monotonic() < deadline, found  # no method was compared, so what that shows is not there
            time.sleep(0.2)
    finally:
        browser.set_window_size(size["width"], size["height"])
    columns = list(study_view.COLUMNS)
    first = columns[: columns.index("metrics.`road_gap`") + 1]
    assert first == [
        "metrics.`test_accuracy`", "tags.`study.verdict`", "metrics.`insertion`", "metrics.`road_gap`"
    ]  # fmt: skip
    assert sum(study_view.COLUMNS[column] for column in first) <= found[0]


def test_training_run_tells_its_story(trained, address: str, browser) -> None:
    open_page(browser, address, f"/runs/{trained.run_id}")
    for text in (
        trained.name,
        "Child runs",
        "saliency",
        "Epoch 0 is the untrained network",
        "test_accuracy",
    ):
        assert see(browser, text)


@pytest.mark.parametrize(
    ("kind", "path"), [("train", "figures/learning_curves.png"), ("explain", "heatmaps/epoch_0003_page_01.png")]
)
def test_figures_are_there(study: Home, address: str, browser, kind: str, path: str) -> None:
    open_page(browser, address, f"/runs/{resolve(study, 'latest', (kind,)).run_id}/artifacts/{path}")
    deadline = time.monotonic() + 30
    script = "return Math.max(0, ...[...document.images].map(image => image.naturalWidth))"
    while browser.execute_script(script) < 800:
        assert time.monotonic() < deadline
        time.sleep(0.2)


SHOWN_WHOLE = """
    return [...document.images].filter(image => image.src.includes('heatmap')).map(image => {
        let box = image.parentElement;
        while (box && getComputedStyle(box).overflowY !== 'auto') box = box.parentElement;
        const own = image.getBoundingClientRect(), seen = box.getBoundingClientRect();
        return [image.naturalWidth, own.width, own.top >= seen.top && own.bottom <= seen.bottom + 1];
    })"""


SCROLL_TO_HEATMAPS = """
    const leaves = [...document.querySelectorAll('*')].filter(one => !one.childElementCount);
    const heads = leaves.filter(one => one.innerText === 'heatmap');
    heads.forEach(one => one.scrollIntoView());
    return heads.length;"""


def wait_for_heatmap(browser) -> list[int | float | bool]:
    """The first heatmap on the page: its width in its file and on the page, and whether all of it is seen."""
    deadline = time.monotonic() + 60
    while not (found := browser.execute_script(SHOWN_WHOLE)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found[0]


def test_heatmaps_are_seen_whole_in_the_chart_view(address: str, browser) -> None:
    browser.get("about:blank")
    browser.get(f"{address}&compareRunsMode=CHART")
    deadline = time.monotonic() + 60
    while not browser.execute_script(SCROLL_TO_HEATMAPS):  # the page draws what is in sight
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert see(browser, "heatmap/test_000")
    assert wait_for_heatmap(browser) == [128, 128, True]
    assert "where=" not in browser.find_element("tag name", "body").text


def test_heatmaps_are_seen_whole_on_the_run_s_page(study: Home, address: str, browser) -> None:
    open_page(browser, address, f"/runs/{resolve(study, 'saliency', ('explain',)).run_id}/model-metrics")
    assert see(browser, "heatmap/test_000")
    assert wait_for_heatmap(browser) == [128, 128, True]


def test_a_view_and_a_note_that_someone_changed_stay(copy: Home) -> None:
    study_view.save_views(copy)
    written = display.read_experiment_tags(copy)
    study_view.save_views(copy)
    view, note = f"{VIEW_TAG}study", "mlflow.note.content"
    assert display.read_experiment_tags(copy)[note] == written[note]
    changed = json.loads(written[view]) | {"updatedAt": 1, "name": "mine"}  # as MLflow's page does it
    display.set_experiment_tag(copy, view, json.dumps(changed))
    display.set_experiment_tag(copy, note, "my own words")
    study_view.save_views(copy)
    after = display.read_experiment_tags(copy)
    assert (json.loads(after[view])["name"], after[note]) == ("mine", "my own words")


def test_pages_of_a_training_have_addresses_of_their_own(copy: Home, trained) -> None:
    (copy.run_folder(trained.run_id) / "flow.html").unlink(missing_ok=True)  # made by other tests of the same study
    before = study_view.list_addresses(copy)
    assert list(before) == ["runs", "charts and heatmaps", "images to check"]
    (copy.run_folder(trained.run_id) / "report.html").write_text("")
    [(what, address)] = study_view.list_addresses(copy).items() - before.items()
    assert what == f"report of {trained.name}"
    assert address.endswith(f"/runs/{trained.run_id}/artifacts/report.html?workflowType=machine_learning")


def test_the_page_still_reads_saved_views(copy: Home) -> None:
    """The view's form is MLflow's own affair: a text that its page decompresses."""
    study_view.save_views(copy)
    saved = json.loads(display.read_experiment_tags(copy)[f"{VIEW_TAG}study"])
    state = json.loads(decompress(b64decode(saved["state"].removeprefix("deflate;"))))
    charts = {tuple(chart["imageKeys"]): chart for chart in state["compareRunCharts"] if "imageKeys" in chart}
    assert {chart["step"] for chart in charts.values()} == {3}  # the last epoch
    assert ("confusion_test",) in charts
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= {
        section["uuid"] for section in state["compareRunSections"]
    }


def test_sections_of_charts_say_how_to_read_them(copy: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow heads a chart with the metric's key alone, and shows a grey box where a run has no picture of a step."""

    def name_sections() -> list[str]:
        study_view.save_views(copy)
        saved = json.loads(display.read_experiment_tags(copy)[f"{VIEW_TAG}study"])
        state = json.loads(decompress(b64decode(saved["state"].removeprefix("deflate;"))))
        return [section["name"] for section in state["compareRunSections"]]

    assert name_sections() == [
        "training", "confusion", "insertion: higher is better", "deletion: lower is better",
        "ROAD gap: higher is better", "likeness to random weights: lower is better",
        "heatmap_mosaic", "concept", "heatmap", "Model metrics", "System metrics",
    ]  # fmt: skip
    saliency, grad_cam = (
        replace(resolve(copy, "saliency", ("explain",)), name=name, run_id=name) for name in ("saliency", "grad_cam")
    )
    compared = replace(saliency, kind="compare", run_id="c")
    steps = {"saliency": [0, 1, 3], "grad_cam": [3], "c": [0, 3]}
    monkeypatch.setattr(display, "list_images", lambda _, run_id: [("heatmap/a", step) for step in steps[run_id]])
    metrics = [("insertion/random", 0.312), ("insertion/edge", 0.5), ("insertion/saliency", 0.7)]
    with duckdb.connect() as connection:
        connection.execute("create table metrics (run_id varchar, key varchar, value double)")
        connection.executemany("insert into metrics values ('c', ?, ?)", metrics)
        monkeypatch.setattr(study_view, "connect", lambda _: nullcontext(connection))
        names = study_view._name_methods(copy, [compared])
    assert names["methods: insertion"] == "insertion: higher is better; random maps 0.31; edge detector 0.50"
    assert study_view._name_heatmaps(copy, [saliency, grad_cam, compared]) == (
        "heatmap: all methods at epoch 3, saliency at others too"
    )
    assert study_view._name_heatmaps(copy, [grad_cam, compared]) == "heatmap"


def test_a_model_per_epoch_with_metrics_of_both_runs(address: str, browser) -> None:
    open_page(browser, address, "/models")
    for epoch in range(4):
        assert see(browser, f"epoch_{epoch:04d}")


def test_nothing_was_broken(address: str, browser) -> None:
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # MLflow asks for an account, which only its login plug-in knows; a late layout is not an error for anyone
    own = ("favicon", "mlflow/users/current", "ResizeObserver loop")
    assert [message for message in severe if not any(name in message for name in own)] == []


def answered(address: str, host: str, origin: str | None, method: str) -> int:
    """Status of the server's answer to a question that a page of `origin` asks, under the name `host`."""
    place = urlsplit(address)
    connection = HTTPConnection(place.hostname, place.port, timeout=30)
    content = b'{"max_results": 1}' if method == "POST" else b""
    connection.putrequest(method, SEARCH if content else f"{SEARCH}?max_results=1", skip_host=True)
    for name, value in (("Host", host), ("Origin", origin), ("Content-Length", len(content))):
        if value is not None:
            connection.putheader(name, str(value))
    connection.putheader("Content-Type", "application/json")
    connection.endheaders(content)
    return connection.getresponse().status


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", None, 200),
        ("localhost:{port}", None, 200),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 200),
        ("evil.example", None, 403),
        ("evil.example:{port}", None, 403),
        ("192.168.1.5", None, 403),
        ("127.0.0.1:{other}", None, 403),
        ("127.0.0.1:{port}", "http://evil.example", 403),
        ("127.0.0.1:{port}", "http://127.0.0.1:{other}", 403),
        ("127.0.0.1:{port}", "null", 403),
    ],
)
def test_only_its_own_address_is_served(address: str, method: str, host: str, origin: str | None, status: int) -> None:
    port = urlsplit(address).port
    ports = {"port": port, "other": port + 1}
    assert answered(address, host.format(**ports), origin and origin.format(**ports), method) == status


def test_servers_listen_on_this_machine_alone(address: str) -> None:
    """`study ui` as it runs: no other address takes connections on its port."""
    port = urlsplit(address).port
    listening = [line.split()[1] for name in ("tcp", "tcp6") if (file := Path(f"/proc/net/{name}")).exists()
                 for line in file.read_text().splitlines()[1:] if line.split()[3] == "0A"]  # fmt: skip
    assert {entry for entry in listening if int(entry.rpartition(":")[2], 16) == port} == {f"0100007F:{port:04X}"}


def test_a_home_that_is_not_there_is_not_made(tmp_path, capsys) -> None:
    home = find_home(str(tmp_path / "nowhere" / "study"))
    code, line = said(capsys, home, "ui")
    assert (code, line) == (
        2,
        f"study: no study in {home.path}; `study train` makes one, --home names another study home",
    )
    assert not home.path.parent.exists()


def test_a_closed_terminal_ends_the_server_with_a_line(served: Served) -> None:
    """The last test of this file, as the others need the server; elsewhere Ctrl-C ends it."""
    served.process.send_signal(signal.SIGHUP)
    assert served.process.wait(20) == 130
    assert served.errors.read_text().splitlines()[-1] == "study: stopped"
