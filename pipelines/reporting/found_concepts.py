"""Question (b): which concepts are reported on: those of the newest run of ice, at its last epoch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.pages.evidence import Answer
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.subject import Subject
from xai.concept_count import STABLE

MEASURED = """
    select
        key,
        value
    from metrics
    where
        run_id = '{run_id}'
        and epoch = {epoch}
    order by key"""
KEPT = """
    with measured as (
        select
            coalesce(
                max(value) filter (key = 'answers_kept'), max(value) filter (key = 'nmf_agreement')
            ) as answers_kept,
            coalesce(max(value) filter (key = 'judging_images'), (
                select count(distinct (split, instance_id))
                from concept_scores
                where
                    run_id = '{run_id}'
                    and epoch = {epoch}
            )) as n
        from metrics
        where
            run_id = '{run_id}'
            and epoch = {epoch}
    )
    select
        answers_kept,
        n::integer as n,
        wilson_low(answers_kept, n) as low,
        wilson_high(answers_kept, n) as high
    from measured
    where answers_kept is not null"""


@dataclass(frozen=True)
class FoundConcepts:
    """Concepts of one run and epoch, and the classes of which images were scored."""

    subject: Subject
    run_id: str  # explainer run
    epoch: int
    own: Answer  # of class_concepts
    by_class: Answer  # of concepts_by_class, of this run and of scored classes alone

    @cached_property
    def names(self) -> dict[int, str]:
        """The user's name of each concept, else its description."""
        return {row["concept_id"]: row["concept"] for row in self.by_class.rows}

    @cached_property
    def unstable(self) -> set[int]:
        """Concepts that other images do not lead to."""
        return {row["concept_id"] for row in self.by_class.rows if not is_stable(row)}

    @cached_property
    def stable_rows(self) -> list[dict]:
        """Rows of by_class of the concepts that are spoken of."""
        return [row for row in self.by_class.rows if is_stable(row)]

    @cached_property
    def classes(self) -> dict[int, str]:
        """Names of the classes scored."""
        return {row["class_id"]: row["class_name"] for row in self.by_class.rows}

    @cached_property
    def examples(self) -> Answer:
        """The images that show each concept most."""
        found = self.subject.ask("concept_examples", epoch=self.epoch, limit=4)
        return Answer(found.where(explainer_run_id=self.run_id), found.number)

    @cached_property
    def measured(self) -> Answer:
        """What the run measured at the epoch."""
        statement = MEASURED.format(run_id=self.run_id, epoch=self.epoch)
        return self.subject.evidence.sql(statement, "How far do the concepts stand for the model?")

    @cached_property
    def kept(self) -> Answer:
        """How many answers the model keeps, with a 95 % interval; earlier versions measured it on the images scored."""
        statement = KEPT.format(run_id=self.run_id, epoch=self.epoch)
        return self.subject.evidence.sql(statement, "How many answers does the model keep, given the concepts alone?")

    @property
    def fidelity(self) -> dict[str, float]:
        return {row["key"]: row["value"] for row in self.measured.rows}

    def card(self, concept: int) -> Path:
        """The picture of a concept that its run logged."""
        folder = self.subject.home.run_folder(self.run_id) / "concept_cards"
        return folder / f"epoch_{self.epoch:04d}_concept_{concept:02d}.png"


def is_stable(row: dict) -> bool:
    """Whether other images lead to a row's concept; true of runs of versions that did not look for it."""
    return row["stability"] is None or row["stability"] >= STABLE


def is_own(row: dict) -> bool:
    """Whether a row's class shows the concept more often than other classes do, beyond chance."""
    return row["p_prevalence"] is not None and row["p_prevalence"] <= VERDICTS["own_concepts"].level


def find_concepts(subject: Subject) -> FoundConcepts | None:
    """The concepts there are; None without."""
    own = subject.ask("class_concepts")
    if not own.rows:
        return None
    run_id, epoch = own.rows[0]["explainer_run_id"], own.rows[0]["epoch"]
    found = subject.ask("concepts_by_class", epoch=epoch)
    scored = {row["class_id"] for row in own.rows if row["n"]}
    rows = [row for row in found.where(explainer_run_id=run_id) if row["class_id"] in scored]
    return FoundConcepts(subject, run_id, epoch, own, Answer(rows, found.number)) if rows else None
