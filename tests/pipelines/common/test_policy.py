"""The pages' content security policy: their own scripts and styles run wherever they are opened, and nothing else."""

import base64
import functools
import hashlib
import http.server
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.common.policy import policy_of
from pipelines.common.settings import FlowSettings, ReportSettings
from pipelines.instanceflow.flow import flow
from pipelines.reporting.report import report
from support.places import BROWSER, DRIVER
from support.servers import open_page
from tracking.catalogue import RunRecord, resolve
from tracking.home import Home, find_home

in_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH")
PAGES = {"flow": "flow.html", "report": "report.html"}


@pytest.fixture(scope="module")
def study(study: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy of the shared study, as a report is a run of its own."""
    copy = tmp_path_factory.mktemp("pages") / "study"
    shutil.copytree(study.path, copy)
    return find_home(str(copy))


@pytest.fixture(scope="module")
def trained(study: Home) -> RunRecord:
    return resolve(study, "latest")


@pytest.fixture(scope="module")
def pages(study: Home) -> dict[str, Path]:
    return {"flow": Path(flow(FlowSettings(), study)), "report": Path(report(ReportSettings(), study))}


def policy_in(text: str) -> str:
    [found] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    return found


def digests(text: str, element: str) -> list[str]:
    parts = re.findall(rf"<{element}(?: type=\"module\")?>(.*?)</{element}>", text, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts]


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_names_the_pages_own_parts_and_nothing_else(pages: dict[str, Path], name: str) -> None:
    text = pages[name].read_text()
    rules = dict(rule.split(" ", 1) for rule in policy_in(text).split("; "))
    expected = {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    expected |= {"style-src": " ".join(digests(text, "style"))}
    expected |= {"script-src": " ".join(digests(text, "script"))} if name == "flow" else {}
    assert rules == expected
    assert text.index("Content-Security-Policy") < text.index("<style")


@pytest.mark.parametrize("name", PAGES)
def test_no_element_has_a_style_or_a_script_of_its_own(pages: dict[str, Path], name: str) -> None:
    text = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", pages[name].read_text(), flags=re.DOTALL)
    assert not re.search(r"<[^>]*\s(style|on\w+)\s*=", text)
    assert "javascript:" not in text


def test_another_script_is_not_let_in() -> None:
    assert policy_of(styles=("p {}",), scripts=("alert(1)",)) != policy_of(styles=("p {}",), scripts=("alert(2)",))
    assert "unsafe" not in policy_of(styles=("p {}",), scripts=("alert(1)",))


@pytest.fixture(scope="module")
def strict(pages: dict[str, Path]) -> Iterator[str]:
    """The pages from a server whose header allows what it serves, and of each page what its hashes name."""

    class Strict(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            rules = policy_in(pages[self.path.strip("/").split(".")[0]].read_text())
            self.send_header("Content-Security-Policy", rules.replace("default-src 'none'", "default-src 'self'"))
            super().end_headers()

        def log_message(self, *_) -> None:
            pass

    folder = pages["flow"].parent
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Strict, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def works(browser, name: str) -> None:
    """The page is drawn, with its colours, answers to its user, and the browser has refused nothing."""
    deadline = time.monotonic() + 60
    ready = "return document.documentElement.dataset.ready === 'yes'" if name == "flow" else "return !!document.body"
    while not browser.execute_script(ready):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if name == "flow":
        browser.execute_script("study.change({from: 1, to: 3, classes: [1, 2]})")
        assert "epochs 1 to 3" in browser.find_element("id", "flow-range").text
        browser.execute_script("document.querySelector('#body [role=row], #body > *')?.dispatchEvent("
                               "new MouseEvent('dblclick', {bubbles: true}))")  # fmt: skip
        time.sleep(0.5)
    styled = "return getComputedStyle(document.querySelector('h1')).fontFamily + getComputedStyle(document.body).margin"
    assert "Times" not in browser.execute_script(styled)
    pictures = "return [...document.images].map(image => image.naturalWidth)"
    assert 0 not in browser.execute_script(pictures)


def refused(browser) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")
            if "Content Security Policy" in entry["message"] or "Refused" in entry["message"]]  # fmt: skip


@in_browser
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("place", ["disk", "server"])
def test_pages_work_from_disk_and_from_a_strict_server(pages, strict: str, browser, name: str, place: str) -> None:
    refused(browser)
    browser.get(pages[name].as_uri() if place == "disk" else f"{strict}/{PAGES[name]}")
    works(browser, name)
    assert refused(browser) == []


@in_browser
@pytest.mark.parametrize("name", PAGES)
def test_pages_work_in_mlflows_viewer(pages, trained, address: str, browser, name: str) -> None:
    refused(browser)
    open_page(browser, address, f"/runs/{trained.run_id}/artifacts/{PAGES[name]}")
    deadline = time.monotonic() + 60
    while not (frames := browser.find_elements("css selector", "iframe")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    browser.switch_to.frame(frames[0])
    works(browser, name)
    browser.switch_to.default_content()
    assert refused(browser) == []


@in_browser
def test_a_page_with_a_foreign_script_does_not_run_it(pages, tmp_path: Path, browser) -> None:
    foreign = "<script>document.title = 'taken over'</script><p style='color: red' id='foreign'>x</p></body>"
    page = tmp_path / "forged.html"
    page.write_text(pages["report"].read_text().replace("</body>", foreign))
    browser.get(page.as_uri())
    assert browser.title != "taken over"
    red = "return getComputedStyle(document.getElementById('foreign')).color"
    assert browser.execute_script(red) != "rgb(255, 0, 0)"
    assert len(refused(browser)) == 2
