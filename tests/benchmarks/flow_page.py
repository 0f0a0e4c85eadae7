"""How large is the InstanceFlow page, what does it take to make, how soon does it open, how soon does it answer?

    python tests/benchmarks/flow_page.py [--instances 10000] [--epochs 60] [--classes 10] [--runs 1]
        [--split test] [--probabilities all] [--width 1500] [--pictures FOLDER]

Needs chromium and chromedriver. The run is made up: logits that drift towards the label and jitter, of at most 16
classes per image, and images of noise (the hardest to compress). Tables lie on disk, and a process of its own makes the
page, as `study flow` does. Opening is from the address to the drawn page; an answer is from the event to the next
frame, the page scrolled to the view. Each is measured once, as a user meets it, and once more. `--pictures` also keeps
screenshots of every view, light and dark.
"""

import argparse
import multiprocessing
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import duckdb
import numpy as np
import pyarrow as pa
from PIL import Image
from selenium import webdriver

from pipelines.instanceflow import page as flow_page
from pipelines.instanceflow import pictures
from pipelines.instanceflow.flow import MEMORY
from pipelines.instanceflow.page import write_page
from pipelines.instanceflow.record import read_record
from pipelines.lifecycle.origin import UNKNOWN
from tracking.files import write_table
from tracking.home import Home
from tracking.runs import new_record
from tracking.tables import LARGE_COLUMNS, SCHEMA, add_macros, view_definitions

CANDIDATES = 16  # classes that an image may be predicted as
SCROLLING = 0.4  # seconds until the page has come to rest
SET = "const set = (id, value) => { const e = document.getElementById(id); e.value = value; e.oninput({target: e}); };"
POINT = """const point = (id, kind, x, y) => { const e = document.getElementById(id), r = e.getBoundingClientRect();
    e.dispatchEvent(new MouseEvent(kind, {clientX: r.x + x, clientY: r.y + y, bubbles: true})); };"""
INTERACTIONS = (
    ("overview", "leave out a class", "document.querySelector('#classes input').click()"),
    ("overview", "all epochs", "study.change({from: 0, to: 1e6, stride: 1})"),
    ("overview", "all classes", "document.querySelector('#classes button').click()"),
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


SECTIONS = ("overview", "flow-section", "table-section", "confusion-section")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1, choices=(1, 2))
    parser.add_argument("--split", default="test")
    parser.add_argument("--probabilities", default="all", choices=("all", "top", "none"))
    parser.add_argument("--width", type=int, default=1500)
    parser.add_argument("--pictures", type=Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "flow.html"
        for step in (make_tables, make_page):
            process = multiprocessing.get_context("spawn").Process(target=step, args=(page, flags))
            process.start()
            process.join()
        browser = open_browser(flags.width)
        for _ in range(2):
            measure(browser, page)
        if flags.pictures:
            take_pictures(browser, page, flags.pictures)
        browser.quit()


def make_tables(page: Path, flags: argparse.Namespace) -> None:
    """Tables of a run that is made up, or of two on the same images, beside the page."""
    random = np.random.default_rng(0)
    connection = duckdb.connect(page.with_suffix(".duckdb"))
    connection.execute(SCHEMA)
    add_macros(connection)
    count = flags.instances
    labels = random.integers(0, flags.classes, count).astype(np.int32)
    for run_id in ("run", "other")[: flags.runs]:
        stored_split = flags.split.replace("train_seen", "train")
        known = {"instance_id": np.arange(count, dtype=np.int32), "label": labels}
        insert(connection, "instances", run_id, known | {"split": [stored_split] * count, "source": ["noise"] * count})
        names = [f"class {c}" for c in range(flags.classes)]
        insert(connection, "classes", run_id, {"class_id": np.arange(flags.classes), "name": names})
        for epoch, columns in enumerate(make_epochs(random, labels, flags)):
            columns |= known | {"split": [flags.split] * count}
            large = {name: columns.pop(name) for name in LARGE_COLUMNS["predictions"] if name in columns}
            insert(connection, "predictions", run_id, columns)
            if large:
                keys = {name: columns[name] for name in ("epoch", "split", "instance_id")}
                file = page.with_name(f"{run_id}_{epoch}.parquet")
                write_table(file, {"run_id": [run_id] * count} | keys | large)
    connection.execute(f"create view full_predictions as {select_full(page)}")
    connection.close()


def select_full(page: Path) -> str:
    """Predictions with the large columns, which are in files of their own, as in a study."""
    files = sorted(map(str, page.parent.glob("*.parquet")))
    if not files:
        return "from predictions"
    large = ", ".join(LARGE_COLUMNS["predictions"])
    nothing = f"select run_id, epoch, split, instance_id, {large} from predictions where false"
    return f"""
        select * from (select * exclude ({large}) from predictions)
        join (from ({nothing}) union all by name from read_parquet({files}, hive_partitioning = false))
        using (run_id, epoch, split, instance_id)"""


def make_epochs(random: np.random.Generator, labels: np.ndarray, flags: argparse.Namespace) -> Iterator[dict]:
    """Columns of table `predictions` for each epoch."""
    count = len(labels)
    candidates = min(CANDIDATES, flags.classes)
    classes = np.tile(np.arange(candidates, dtype=np.int32), (count, 1))  # [N, C]
    places = labels  # of the label among them, [N]
    if candidates < flags.classes:
        others = random.integers(1, flags.classes, (count, candidates))
        classes = ((labels[:, None] + others) % flags.classes).astype(np.int32)
        classes[:, 0], places = labels, np.zeros(count, int)
    images = random.normal(0, 1, (count, candidates))
    rows = np.arange(count)
    previous = None
    for epoch in range(flags.epochs):
        logits = 2 * images + random.normal(0, 0.45, images.shape)
        logits[rows, places] += 5 * epoch / (epoch + 4)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
        label_logits = logits[rows, places]
        logits[rows, places] = -np.inf
        best = shares.argmax(1)
        columns = {
            "epoch": np.full(count, epoch, np.int32),
            "predicted": classes[rows, best],
            "p_true": shares[rows, places],
            "p_predicted": shares[rows, best],
            "margin": (label_logits - logits.max(1)).astype(np.float32),
            "p_sq": np.square(shares).sum(1),
        }
        if flags.probabilities == "top":
            ranked = np.argsort(-shares, axis=1)
            columns["top_classes"] = np.take_along_axis(classes, ranked, 1)
            columns["top_probabilities"] = np.take_along_axis(shares, ranked, 1)
        elif flags.probabilities == "all" and flags.split != "train_seen":
            columns["probabilities"] = random.random((count, flags.classes), np.float32) / 10_000
            np.put_along_axis(columns["probabilities"], classes, shares, 1)
        if previous is not None:
            columns |= {"previous_epoch": np.full(count, epoch - 1, np.int32), "previous": previous}
        previous = columns["predicted"]
        yield columns


def insert(connection: duckdb.DuckDBPyConnection, table: str, run_id: str, columns: dict) -> None:
    arrays = {}
    for name, values in columns.items():
        if np.ndim(values) == 2:
            offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
            arrays[name] = pa.ListArray.from_arrays(offsets, values.ravel())
        else:
            arrays[name] = pa.array(values)
    rows = pa.table(arrays)  # noqa: F841
    connection.execute(f"insert into {table} by name select *, '{run_id}' as run_id from rows")


def make_page(page: Path, flags: argparse.Namespace) -> None:
    """Make the page, and print its size and what it took."""
    connection = duckdb.connect(page.with_suffix(".duckdb"), config={"memory_limit": f"{MEMORY}GB"})
    connection.execute("set temp_directory = ''")
    home = Home(page.parent)
    connection.execute(f"create or replace view maps as {view_definitions(home, {})['maps']}")
    made_up = new_record("train", "made up", {}, dataset="noise")
    random = np.random.default_rng(1)
    start = time.process_time()
    records = [
        read_record(connection, replace(made_up, run_id=run_id), flags.split)
        for run_id in ("run", "other")[: flags.runs]
    ]
    with (
        patch.object(pictures, "_open_images", lambda *_: Noise(len(_[3]), random)),
        patch.object(flow_page, "read_origin", lambda *_: UNKNOWN),  # of a run that committed nothing
    ):
        write_page(page, records[0], connection, home, None, *records[1:])
    [peak] = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    print(
        f"{page.stat().st_size / 1e6:.1f} MB, {int(peak) / 1024:,.0f} MiB of memory, "
        f"{time.process_time() - start:.0f} s of processor time"
    )


class Noise(list):
    """Images of noise, each drawn when it is asked for."""

    def __init__(self, count: int, random: np.random.Generator) -> None:
        super().__init__(range(count))
        self.random = random

    def __iter__(self) -> Iterator[Image.Image]:
        for _ in range(len(self)):
            yield Image.fromarray(self.random.integers(0, 256, (32, 32, 3), np.uint8))


def open_browser(width: int) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},1000"):
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


def take_pictures(browser: webdriver.Chrome, page: Path, folder: Path) -> None:
    """Screenshots of every view as the page opens, and with all classes, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    browser.get("about:blank")
    browser.get(page.as_uri())
    time.sleep(10 * SCROLLING)
    for classes in ("first", "all"):
        for theme in ("light", "dark"):
            browser.execute_script("study.change({theme: arguments[0]})", theme)
            for section in SECTIONS:
                browser.execute_script("document.getElementById(arguments[0]).scrollIntoView()", section)
                time.sleep(SCROLLING)
                browser.save_screenshot(str(folder / f"{section}-{classes}-{theme}.png"))
        browser.execute_script("document.querySelector('#classes button').click()")


if __name__ == "__main__":
    main()
