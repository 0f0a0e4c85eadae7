"""Go on with a run that was stopped or crashed, whatever its kind."""

from pipelines.common.settings import ResumeSettings
from pipelines.comparing import compare
from pipelines.explaining import explain
from pipelines.training import train
from tracking import catalogue, runs
from tracking.home import Home

KINDS = {"train": train.resume, "explain": explain.resume, "compare": compare.resume}


def resume(settings: ResumeSettings, home: Home) -> str:
    """The run ID, once its last unit is committed. Raises InputError while another process writes the run."""
    record = catalogue.resolve(home, settings.run, tuple(KINDS))
    with runs.claimed(home, record):
        # read again, as another may have written it until now
        return KINDS[record.kind](catalogue.resolve(home, record.run_id, tuple(KINDS)), home, settings.data)
