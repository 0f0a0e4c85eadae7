"""How large is the InstanceFlow page, how soon does it open, how soon does it answer?

    python tests/benchmarks/flow_page.py [--instances 10000] [--epochs 60] [--classes 10] [--runs 1]

Needs chromium and chromedriver. The run is made up: logits that drift towards the label and jitter, images of noise
(the hardest to compress). Opening is from the address to the drawn page; an answer is from the event to the next
frame, the page scrolled to the view. Each is measured once, as a user meets it, and once more.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import duckdb
import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from selenium import webdriver

from pipelines.instanceflow import page as flow_page
from pipelines.instanceflow import pictures
from pipelines.instanceflow.page import write_page
from pipelines.instanceflow.record import read_record
from pipelines.lifecycle.origin import UNKNOWN
from pipelines.models.predictions import Predictions
from tracking.home import Home
from tracking.ingesting import link
from tracking.runs import new_record
from tracking.tables import SCHEMA, add_macros, view_definitions

SCROLLING = 0.4  # seconds until the page has come to rest
SET = "const set = (id, value) => { const e = document.getElementById(id); e.value = value; e.oninput({target: e}); };"
POINT = """const point = (id, kind, x, y) => { const e = document.getElementById(id), r = e.getBoundingClientRect();
    e.dispatchEvent(new MouseEvent(kind, {clientX: r.x + x, clientY: r.y + y, bubbles: true})); };"""
INTERACTIONS = (
    ("overview", "leave out a class", "document.querySelector('#classes input').click()"),
    ("overview", "all epochs", "study.change({classes: [0,1,2,3,4,5,6,7,8,9], from: 0, to: 1e6, stride: 1})"),
    ("flow-section", "one class at a time", "document.getElementById('focus').click()"),
    ("flow-section", "back to one flow", "document.getElementById('focus').click()"),
    ("flow-section", "instances", "set('view', 'instances')"),
    ("flow-section", "opacity by frequency", "set('opacity', 'frequency')"),
    ("flow-section", "bars", "set('view', 'bars')"),
    ("flow-section", "changes", "set('view', 'moves')"),
    ("flow-section", "hide flicker", "document.getElementById('flicker').click()"),
    ("flow-section", "hover", "point('flow', 'mousemove', 360, 100)"),
    ("table-section", "sort", "document.querySelector('[data-key=frequency_raw]').click()"),
    ("table-section", "search", "set('search', '77')"),
    ("table-section", "select", "document.querySelector('.row').click()"),
    ("table-section", "open an image", "document.querySelector('.row').dispatchEvent(new MouseEvent('dblclick', "
     "{bubbles: true}))"),
    ("confusion-section", "click a cell", "point('confusion', 'click', 500, 100)"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1, choices=(1, 2))
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = make(Path(folder) / "flow.html", flags.instances, flags.epochs, flags.classes, flags.runs)
        print(f"{page.stat().st_size / 1e6:.1f} MB")
        browser = open_browser()
        for _ in range(2):
            measure(browser, page)
        browser.quit()


def make(path: Path, instances: int, epochs: int, classes: int, runs: int = 1) -> Path:
    """The page of a run that is made up, or of two on the same images."""
    random, connection = np.random.default_rng(0), duckdb.connect()
    connection.execute(SCHEMA)
    add_macros(connection)
    labels = random.integers(0, classes, instances).astype(np.int32)
    known = {"instance_id": np.arange(instances, dtype=np.int32), "label": labels}
    images = random.normal(0, 1, (instances, classes))
    run_ids = ("run", "other")[:runs]
    for run_id in run_ids:
        rows = known | {"split": ["test"] * instances, "source": ["noise"] * instances}
        insert(connection, "instances", rows, run_id)
        names = [f"class {c}" for c in range(classes)]
        insert(connection, "classes", {"class_id": range(classes), "name": names}, run_id)
        for epoch in range(epochs):
            logits = 2 * images + random.normal(0, 0.45, images.shape)
            logits[np.arange(instances), labels] += 5 * epoch / (epoch + 4)
            predictions = Predictions(
                "test", torch.arange(instances), torch.tensor(labels).long(), torch.tensor(logits)
            )
            insert(connection, "predictions", predictions.to_columns(run_id, epoch), run_id)
        link(connection, run_id)
    connection.execute(f"create view maps as {view_definitions(Home(path.parent), {})['maps']}")
    connection.execute("create view full_predictions as from predictions")
    made_up = new_record("train", "made up", {}, dataset="noise")
    records = [read_record(connection, replace(made_up, run_id=run_id), "test") for run_id in run_ids]
    noise = [Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(instances)]
    with (
        patch.object(pictures, "_read_images", lambda *_: noise),
        patch.object(flow_page, "read_origin", lambda *_: UNKNOWN),  # of a run that committed nothing
    ):
        return write_page(path, records[0], connection, Home(path.parent), None, *records[1:])


def insert(connection: duckdb.DuckDBPyConnection, table: str, columns: dict, run_id: str) -> None:
    rows = pa.table({name: pa.array(list(values)) for name, values in columns.items()})  # noqa: F841
    run = "" if "run_id" in columns else f", '{run_id}' as run_id"
    connection.execute(f"insert into {table} by name select *{run} from rows")


def open_browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,1000"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def measure(browser: webdriver.Chrome, page: Path) -> None:
    """Print milliseconds until the page is drawn, and of every interaction until the next frame."""
    browser.get("about:blank")
    browser.get(page.as_uri())
    while not browser.execute_script("return document.documentElement.dataset.ready"):
        time.sleep(0.01)
    print(f"{'open':<22}{browser.execute_script('return performance.now()'):>7.0f} ms")
    for section, name, script in INTERACTIONS:
        browser.execute_script("document.getElementById(arguments[0]).scrollIntoView()", section)
        time.sleep(SCROLLING)
        run = f"""{SET} {POINT} const begin = performance.now(), done = arguments[0]; {script};
            requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin)))"""
        print(f"{name:<22}{browser.execute_async_script(run):>7.0f} ms", flush=True)


if __name__ == "__main__":
    main()
