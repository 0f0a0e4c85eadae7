"""The MLflow UI of a study, in a real browser; and who else may ask its server, and how it ends."""

import signal
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.commands import said
from support.servers import Served, open_page
from tracking.catalogue import resolve
from tracking.home import Home, find_home

SEARCH = "/api/2.0/mlflow/experiments/search"


def see(browser, text: str, seconds: float = 30) -> bool:
    """Wait until `text` is on the page; whether it came."""
    deadline = time.monotonic() + seconds
    while text not in browser.find_element("tag name", "body").text:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def test_printed_address_shows_the_runs_nested(study: Home, trained, address: str, browser) -> None:
    browser.get(address)
    assert see(browser, trained.name)
    assert see(browser, "2 matching runs")
    assert resolve(study, "latest", ("explain",)).name not in browser.find_element("tag name", "body").text
    expand = browser.find_element("css selector", "[role=gridcell] button, .ag-cell button")
    browser.execute_script("arguments[0].click()", expand)
    assert see(browser, resolve(study, "latest", ("explain",)).name)


def test_training_run_tells_its_story(trained, address: str, browser) -> None:
    open_page(browser, address, f"/runs/{trained.run_id}")
    for text in (
        trained.name,
        "Child runs",
        "saliency-digits-cnn-0",
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


def test_heatmaps_share_a_key_with_a_step_slider(address: str, browser) -> None:
    open_page(browser, address, "/runs?compareRunsMode=CHART")
    assert see(browser, "heatmap/test_00000")


def test_a_model_per_epoch_with_metrics_of_both_runs(address: str, browser) -> None:
    open_page(browser, address, "/models")
    for epoch in range(4):
        assert see(browser, f"epoch_{epoch:04d}")


def test_nothing_was_broken(address: str, browser) -> None:
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # MLflow asks for an account, which only its login plug-in knows; a late layout is no error to anyone
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
