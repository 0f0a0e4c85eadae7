"""What a report is about: a run, a split of it, and the evidence there is."""

from dataclasses import dataclass
from functools import cached_property

from pipelines.common.settings import ReportSettings, TrackedSettings
from pipelines.lifecycle.run_inputs import read_training_settings
from pipelines.pages.evidence import Answer, Evidence
from pipelines.pages.pictures import Pictures, read_pictures
from pipelines.reporting.criteria import NARROW_INTERVALS, VERDICTS
from tracking import catalogue
from tracking.catalogue import RunRecord
from tracking.errors import InputError
from tracking.home import Home

NEEDED = """
    select
        split,
        max(epoch) as epoch,
        count(distinct instance_id) as n
    from predictions
    where
        run_id = '{run_id}'
        and label is not null
        and split not in ('train_seen', 'train_folds')
    group by split
    order by split"""


@dataclass(frozen=True)
class Subject:
    """The run reported on; everything a section needs."""

    home: Home
    run: RunRecord
    split: str
    epoch: int  # the last with predictions of the split
    n: int  # labelled images of the split
    splits: Answer  # what there is to report on
    classes: tuple[str, ...]
    settings: TrackedSettings | None  # of the training; None for an imported log
    evidence: Evidence
    data: str | None  # where the images are, if they moved

    @cached_property
    def pictures(self) -> Pictures:
        """The images, read when first asked for. Raises InputError where they are not at `data`."""
        return read_pictures(self.evidence.connection, self.home, self.run, self.data)

    @property
    def imported(self) -> bool:
        return self.run.kind == "import"

    def ask(self, name: str, **values: object) -> Answer:
        return self.evidence.ask(name, **values)

    @property
    def some(self) -> str:
        """The flag that chooses images to explain: a sample where there are many."""
        return f" --count {min(self.n, NARROW_INTERVALS)}"

    def explain(self, *methods: str, more: str = "") -> str:
        """The command that explains the run with these methods."""
        return f"study explain {self.run.run_id} --method {' '.join(methods)} --split {self.split}{more}"


def make_subject(settings: ReportSettings, home: Home, run: RunRecord, evidence: Evidence) -> Subject:
    """Raises InputError if the run has no predictions of labelled images of the split."""
    split = settings.split
    found = evidence.sql(NEEDED.format(run_id=run.run_id), "Which splits have predictions of labelled images?")
    chosen = found.first(split=split)
    if chosen is None:
        there = ", ".join(row["split"] for row in found.rows)
        raise InputError(
            f"run {run.run_id[:8]} has no predictions of labelled images of split {split!r}; "
            + (f"a report can be on: {there}" if there else "it has none of any split yet")
        )
    names = "select name from classes where run_id = ? order by class_id"
    classes = tuple(name for (name,) in evidence.connection.execute(names, [run.run_id]).fetchall())
    trained = None if run.kind == "import" else read_training_settings(home, run)
    return Subject(home, run, split, chosen["epoch"], chosen["n"], found, classes, trained, evidence, settings.data)


def newest_comparison(subject: Subject) -> RunRecord | None:
    """The comparing run whose figures count: the newest finished one of the split, else the newest; None without."""
    sql = "select distinct run_id from attribution_scores where source_run_id = ? and split = ?"
    found = subject.evidence.connection.execute(sql, [subject.run.run_id, subject.split]).fetchall()
    own = [record for record in catalogue.read_records(subject.home) if (record.run_id,) in found]  # oldest first
    return max(own, key=lambda record: (record.status == "FINISHED", record.started_at), default=None)


def ask_faithfulness(subject: Subject, comparison: RunRecord) -> Answer:
    """The answer of faithfulness_by_method at the report's level."""
    return subject.ask("faithfulness_by_method", compare_run=comparison.run_id, level=VERDICTS["beats_random"].level)
