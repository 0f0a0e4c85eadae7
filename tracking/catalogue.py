"""Which runs a study home holds, and what a user's RUN means. Reads run.json files only, so it is quick."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from tracking.errors import InputError
from tracking.home import Home

LONGEST = 200  # characters of a run's name
TRAINED = ("train", "import")  # kinds of run that own epochs


@dataclass(frozen=True)
class RunRecord:
    """One row of table `runs`; the content of a run's run.json."""

    run_id: str
    kind: str
    name: str
    source_run_id: str | None
    status: str
    dataset: str | None
    data_digest: str | None
    seed: int | None
    git_commit: str | None
    started_at: str
    finished_at: str | None
    params: dict[str, Any]

    def content(self) -> dict:
        return asdict(self)


def now() -> str:
    """UTC, to the microsecond, without an offset: the form of the tables' timestamps."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ")


def records(home: Home) -> list[RunRecord]:
    """All runs of the home, oldest first."""
    files = home.artifacts.glob("*/artifacts/run.json")
    found = [RunRecord(**json.loads(file.read_text())) for file in files]
    return sorted(found, key=lambda record: (record.started_at, record.run_id))


def resolve(home: Home, reference: str, kinds: tuple[str, ...] = TRAINED) -> RunRecord:
    """The run that `reference` means: a run ID, a unique prefix of one, a run name, or `latest`.

    `latest` is the newest run of `kinds`. Raises InputError when no run, several, or one of another kind fits.
    """
    known = records(home)
    if reference == "latest":
        fitting = [record for record in known if record.kind in kinds][-1:]
    else:
        fitting = [record for record in known if reference in (record.run_id, record.name)] or [
            record for record in known if reference and record.run_id.startswith(reference)
        ]
    if not fitting:
        raise InputError(_nothing_fits(home, reference, known, kinds))
    if len(fitting) > 1:
        ids = ", ".join(record.run_id[:8] for record in fitting)
        raise InputError(f"{reference!r} means {len(fitting)} runs ({ids}); give more of the run ID")
    if fitting[0].kind not in kinds:
        without = " (imported, so without checkpoints)" if fitting[0].kind == "import" else ""
        raise InputError(
            f"run {fitting[0].run_id[:8]} is of kind {fitting[0].kind}{without}, needed is {' or '.join(kinds)}; "
            "`study ask runs` lists all"
        )
    return fitting[0]


def _nothing_fits(home: Home, reference: str, known: list[RunRecord], kinds: tuple[str, ...]) -> str:
    candidates = [record for record in known if record.kind in kinds]
    if not candidates:
        kind = f" of kind {' or '.join(kinds)}" if known else ""
        return f"no run{kind} in {home.path} yet; `study train` makes one, --home names another study home"
    newest = ", ".join(f"{record.run_id[:8]} ({record.name})" for record in candidates[:-6:-1])
    return f"no run {reference!r} in {home.path}; the newest are: {newest}; `study ask runs` lists all"


def free_name(home: Home, wanted: str | None, default: str) -> str:
    """`wanted` if no run is called that, else an InputError; without it `default`, numbered if taken."""
    if wanted and (wanted == "latest" or len(wanted) > LONGEST or not wanted.isprintable()):
        raise InputError(f"--name is {wanted!r}; it takes 1 to {LONGEST} printable characters, and not latest")
    taken = {record.name for record in records(home)}
    if wanted in taken:
        raise InputError(f"there is a run called {wanted!r} already; choose another --name")
    names = [default, *(f"{default}-{number}" for number in range(2, len(taken) + 3))]
    return wanted or next(name for name in names if name not in taken)
