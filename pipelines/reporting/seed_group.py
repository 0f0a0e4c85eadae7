"""The runs of other seeds beside the run reported on: how much of its findings is due to its seed."""

from dataclasses import dataclass

from pipelines.lifecycle.groups import list_finished
from pipelines.pages.evidence import Answer
from pipelines.reporting.subject import Subject


@dataclass(frozen=True)
class SeedGroup:
    """A group of seeds on the split reported on."""

    name: str
    accuracy: Answer  # of seed_accuracy
    instances: Answer  # of seed_instances
    by_instance: dict[int, dict]  # its rows

    @property
    def overall(self) -> dict:
        """What seed_accuracy says of all seeds together."""
        return self.accuracy.rows[0]


def gather_seed_group(subject: Subject) -> SeedGroup | None:
    """What the seeds say together; None unless two finished runs of the group have predictions of the split."""
    members = list_finished(subject.home, subject.run.seed_group)
    if len(members) < 2:
        return None
    run_ids = ",".join(member.run_id for member in members)
    subject.evidence.groups[run_ids] = members[0].seed_group or ""
    accuracy = subject.ask("seed_accuracy", run_id=run_ids, split=subject.split)
    if len(accuracy.rows) < 2:
        return None
    instances = subject.ask("seed_instances", run_id=run_ids, split=subject.split)
    by_instance = {row["instance_id"]: row for row in instances.rows}
    return SeedGroup(subject.evidence.groups[run_ids], accuracy, instances, by_instance)
