"""Resuming an interrupted run of any kind."""

from pipelines.common import workers
from pipelines.common.settings import ResumeSettings
from pipelines.kinds import KINDS, check_repeatable, check_shareable, check_spreadable
from tracking import catalogue, runs
from tracking.home import Home, is_copy
from tracking.remote import fetch_run


def resume(settings: ResumeSettings, home: Home) -> str:
    """The run ID, once its last unit is committed. Raises InputError while another process writes the run."""
    resumable = {name: kind.resume for name, kind in KINDS.items() if kind.resume is not None}
    record = catalogue.resolve(home, settings.run, tuple(resumable))
    if is_copy(home):  # it may have been continued in another home
        fetch_run(home, record.run_id)
        record = catalogue.resolve(home, record.run_id, tuple(resumable))
    check_repeatable(record, home)
    check_shareable(record)
    check_spreadable(record, settings)
    with (
        workers.working(settings.workers, settings.scheduler, home, record.run_id),
        runs.claimed(home, record),
    ):
        # read again, as another process may have written it until now
        record = catalogue.resolve(home, record.run_id, tuple(resumable))
        return resumable[record.kind](record, home, settings.data)
