"""Where the weights come from that a run begins with, and that epoch 0 shows: a recorded fact of the run.

Only what is known to be untrained is treated as such: it is what maps are compared with that show nothing learned.
"""

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.lifecycle.run_inputs import read_recorded_config
from tracking import catalogue, commits
from tracking.catalogue import SHORT_ID, RunRecord
from tracking.errors import InputError
from tracking.home import Home

ORIGIN = "origin"  # its key in config.json


@dataclass(frozen=True)
class Origin:
    """What the network of a run is before the first epoch."""

    begins: str  # untrained: drawn at random; weights: trained elsewhere; unknown
    weights: str | None = None  # the file that they are from, or pretrained
    source_run_id: str | None = None  # or the run, and its epoch
    source_epoch: int | None = None
    weights_sha256: str | None = None
    new_weights: tuple[str, ...] = ()  # those that are drawn at random nevertheless, as those of a new head

    def params(self) -> dict[str, Any]:
        """What is known, by name, for MLflow, config.json and the column `params` of table `runs`."""
        known = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return known | ({"new_weights": list(self.new_weights)} if self.new_weights else {})

    @property
    def is_trained(self) -> bool:
        """Whether the network is known to be a trained one, head and all; others may only guess before training."""
        return self.begins == "weights" and not self.new_weights


UNTRAINED = Origin("untrained")
UNKNOWN = Origin("unknown")


def read_origin(home: Home, record: RunRecord) -> Origin:
    """What a run recorded; of one of an earlier version, what its settings say."""
    config = read_recorded_config(home, record)
    known = config.get(ORIGIN)
    if known is not None:
        return Origin(**known | {"new_weights": tuple(known.get("new_weights", ()))})
    if config["command"] not in ("train", "record"):
        return UNKNOWN
    weights = config["settings"].get("weights")
    return UNTRAINED if weights is None else Origin("weights", weights)


def begins_untrained(home: Home, record: RunRecord) -> bool:
    """Whether the run has a checkpoint of epoch 0, and it is known to be untrained."""
    has_start = any(commit.epoch == 0 for commit in commits.stored_epochs(home, record.run_id))
    return has_start and read_origin(home, record).begins == UNTRAINED.begins


def describe_origin(home: Home, origin: Origin) -> str | None:
    """What a run "begins from"; None if its network is untrained, or nothing is known of it."""
    if origin.source_run_id is not None:
        return f"epoch {origin.source_epoch} of run {_name_run(home, origin.source_run_id)}"
    return "its network's pretrained weights" if origin.weights == "pretrained" else origin.weights


def _name_run(home: Home, run_id: str) -> str:
    """Name and short ID; the ID alone of a run that is not in this home any more."""
    try:
        return f"{catalogue.resolve(home, run_id).name} ({run_id[:SHORT_ID]})"
    except InputError:
        return run_id[:SHORT_ID]
