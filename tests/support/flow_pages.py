"""The InstanceFlow page in a browser, and what its scripts compute without one."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from support.places import BROWSER, DRIVER, ROOT

NODE = shutil.which("node")
in_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH")


def computed(page: str, expression: str) -> Any:
    """The value of an expression over what the page's scripts compute."""
    command = [NODE, str(ROOT / "tests" / "support" / "page.mjs"), page, expression]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def show(browser, made: Path, hash: str = "") -> None:
    browser.get("about:blank")
    browser.get(f"{made.as_uri()}{hash}")
    deadline = time.monotonic() + 30
    while not browser.execute_script("return document.documentElement.dataset.ready"):
        assert time.monotonic() < deadline, browser.get_log("browser")
        time.sleep(0.05)


def look_at(browser, section: str) -> None:
    """Scroll to a section; those out of sight are not drawn."""
    browser.execute_script("document.getElementById(arguments[0]).scrollIntoView()", section)
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")


def said_by(browser, name: str) -> list[dict]:
    return browser.execute_script(f"return study.{name}()")
