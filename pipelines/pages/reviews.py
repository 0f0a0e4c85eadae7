"""What reviewers say of the images that a page shows."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.common.figures import short
from pipelines.pages.evidence import Answer, Evidence
from pipelines.pages.words import NAME

# verdicts as people read them; the InstanceFlow page has the same words
WORDS = {
    "label_ok": "label right",
    "label_wrong": "label wrong",
    "unclear": "cannot tell",
    "not_usable": "not usable",
}


@dataclass(frozen=True)
class Reviews:
    """The latest verdict of each person on each image of a run; often there is none."""

    source: Answer  # of verdicts

    def of(self, split: str, instance_id: int) -> list[dict]:
        """The rows about an image, by person; `split` is the one that the image lies in."""
        return self.source.where(split=split, instance_id=instance_id)


def read_reviews(evidence: Evidence, run_id: str) -> Reviews:
    """All verdicts on the images of a run."""
    return Reviews(evidence.ask("verdicts", run_id=run_id))


def describe_review(row: Mapping) -> str:
    """A row of verdicts in words: anna: label wrong, is cat."""
    new_label = f", is {short(row['new_label'], NAME)}" if row["new_label"] is not None else ""
    return f"{short(row['who'], NAME)}: {WORDS[row['verdict']]}{new_label}"
