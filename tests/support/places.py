"""Where things are, and what this machine has."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("STUDY_TEST_DATA") or ROOT.parent / "shared" / "data")
# processes of the tests inherit it
GPU = os.environ.setdefault(
    "STUDY_TEST_GPU", os.environ.get("CUDA_VISIBLE_DEVICES", "0" if shutil.which("nvidia-smi") else "")
)
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--window-size=1600,1000")  # fmt: skip
PACKAGES = ("pipelines", "xai", "tracking", "queries")
