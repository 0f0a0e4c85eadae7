"""`mlflow server` without its imports, which take seconds: they are done once, and a server forks per line of input.

A line holds the command's flags and its environment; the answer is the server's process ID. MLflow itself would start
its web server as another process, and import everything there again.
"""

import gc
import json
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence

from mlflow import cli, server


def run_here(command: Sequence[str], *, extra_env: Mapping[str, str], **_: object) -> None:
    """Run `python -m uvicorn ...` in this process, to the end."""
    os.environ |= extra_env
    sys.argv = list(command[2:])
    runpy.run_module(sys.argv[0], run_name="__main__")


def serve(flags: list[str], environment: dict[str, str]) -> None:
    """Become a server, in a session of its own and without a word."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream.fileno())
    os.environ.clear()
    os.environ |= environment
    sys.argv = ["mlflow", "server", *flags]
    try:
        cli.cli()
    finally:
        os._exit(1)


if __name__ == "__main__":
    server._exec_cmd = run_here
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # servers that end are gone, without being waited for
    gc.freeze()
    for request in map(json.loads, sys.stdin):
        child = os.fork()
        if not child:
            serve(**request)
        print(child, flush=True)
