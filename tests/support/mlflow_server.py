"""`mlflow server` in one process: MLflow would start its web server as another one, and be imported twice."""

import os
import runpy
import sys
from collections.abc import Mapping, Sequence

from mlflow import cli, server


def run_here(command: Sequence[str], *, extra_env: Mapping[str, str], **_: object) -> None:
    """Run `python -m uvicorn ...` in this process, to the end."""
    os.environ |= extra_env
    sys.argv = list(command[2:])
    runpy.run_module(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    server._exec_cmd = run_here
    cli.cli()
