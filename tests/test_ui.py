"""The MLflow UI of a study, in a real browser."""

import time

import pytest
from conftest import BROWSER, DRIVER

from tracking.catalogue import resolve
from tracking.home import Home

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH")


def see(browser, text: str, seconds: float = 30) -> bool:
    """Wait until `text` is on the page; whether it came."""
    deadline = time.monotonic() + seconds
    while text not in browser.find_element("tag name", "body").text:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def open_page(browser, address: str, path: str) -> None:
    experiment = address.split("/runs?")[0]
    browser.get("about:blank")  # a change behind # alone would not load the page again
    browser.get(f"{experiment}{path}{'&' if '?' in path else '?'}workflowType=machine_learning")


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
