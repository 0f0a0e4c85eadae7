"""Several processes of one training, started as a launcher does it, by a script that forks them after its imports."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.places import ROOT


@dataclass(frozen=True)
class Outcome:
    """What became of the processes of a launch, by rank."""

    codes: list[int]
    printed: list[str]
    errors: list[str]


def run_launches(folder: Path, script: str, launches: Sequence[Mapping[str, object]]) -> list[Outcome]:
    """What became of each launch.

    The script gets a launch per line of standard input. It prints the exit codes of the launch's processes, whose
    output is in NUMBER.RANK.out and .err.
    """
    (folder / "launches.py").write_text(script)
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "launches.py"],
        cwd=folder,
        input="\n".join(map(json.dumps, launches)),
        env=os.environ | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    outcomes: list[Outcome] = []
    for number, codes in enumerate(map(json.loads, done.stdout.splitlines())):
        out, err = (
            [(folder / f"{number}.{rank}.{name}").read_text() for rank in range(len(codes))] for name in ("out", "err")
        )
        outcomes.append(Outcome(codes, out, err))
    return outcomes
