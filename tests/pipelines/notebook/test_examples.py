"""The notebooks beside the code: kept without outputs, and run as they are on smaller data."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracking
from support.homes import fresh
from support.places import ROOT

EXAMPLES = sorted((ROOT / "pipelines" / "notebook" / "examples").glob("*.ipynb"))
SMALLER = 'training |= {"size": 8, "epochs": 2, "threads": 1}'


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"]] == []


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The kernel of all notebooks, as each new one would import everything again; it starts with the first of them."""
    manager = pytest.importorskip("jupyter_client").AsyncKernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield manager
    asyncio.run(manager.shutdown_kernel(now=True))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, empty_tracker: Path, kernel: Any) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    fresh(tmp_path, empty_tracker)  # the home `study` in the notebook's folder
    notebook = nbformat.read(path, as_version=4)
    [place] = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(SMALLER))
    for cell in notebook.cells:
        cell.source = cell.source.replace("count=40", "count=10")
    # as a new kernel would be; first out of the last notebook's folder, which is gone
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"%cd -q {tmp_path}\n%reset -f"))
    nbclient.NotebookClient(notebook, km=kernel, timeout=120).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type in ("execute_result", "display_data")]
    assert any("<table" in data.get("text/html", "") for data in shown)  # a DataFrame
    assert any(kind in data.get("text/html", "") for data in shown for kind in ("<iframe", "<svg"))
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stderr")
    assert "Traceback" not in printed
    assert tracking.open(tmp_path / "study").runs()["last_epoch"].max() == 2
