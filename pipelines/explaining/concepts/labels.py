"""Labels that users give to concepts."""

from pipelines.common.settings import LabelSettings
from pipelines.common.terminal import say
from queries import Answer
from tracking import catalogue, committing, runs
from tracking.errors import InputError
from tracking.home import Home
from tracking.index import ingest
from tracking.reading import connect

MAX_LABEL_LENGTH = 80  # characters
MIN_KEY_LENGTH = 4  # characters of a concept_key that may stand for it


def label_concept(settings: LabelSettings, home: Home) -> str:
    """Label a concept of an explainer run; returns the concept's key. A later label replaces an earlier one."""
    label = " ".join(settings.label.split())
    if not label or len(label) > MAX_LABEL_LENGTH or not label.isprintable():
        raise InputError(f"the name is {settings.label!r}; it takes 1 to {MAX_LABEL_LENGTH} printable characters")
    record = catalogue.resolve(home, settings.run, ("explain",))
    concept = _find_concept(home, record.run_id, settings)

    run = runs.open_run(home, record)
    labelled_at = catalogue.utc_now()
    unit = f"label_{catalogue.digits_of(labelled_at)}"
    copied = ("run_id", "epoch", "concept_id", "concept_key", "layer", "vector")
    row = {name: concept[name] for name in copied} | {"label": label, "labelled_at": labelled_at}
    committing.commit_tables(run, unit, {"concept_labels": {name: [value] for name, value in row.items()}}, None)
    runs.set_tag(run, f"study.concept.{concept['epoch']}.{concept['concept_id']}", label)
    ingest(home, [run.run_id])
    say(
        f"concept {concept['concept_id']} of layer {concept['layer']} at epoch {concept['epoch']}, run "
        f"{run.run_id[:8]}, is now called {label!r}"
    )
    return concept["concept_key"]


def _find_concept(home: Home, run_id: str, settings: LabelSettings) -> dict:
    """A row of table `concepts`, by concept_id or the beginning of its key, at the given epoch or the last."""
    with connect(home, run_ids=[run_id]) as connection:
        result = connection.execute("select * from concepts where run_id = ? order by epoch, concept_id", [run_id])
        concepts = Answer([column for column, *_ in result.description], result.fetchall()).dicts
    if not concepts:
        raise InputError(f"run {run_id[:8]} has no concepts; `study explain --method ice` finds some")
    epochs = sorted({concept["epoch"] for concept in concepts})
    epoch = epochs[-1] if settings.epoch is None else settings.epoch
    if epoch not in epochs:
        raise InputError(f"run {run_id[:8]} has no concepts of epoch {epoch}; it has epochs {epochs}")

    wanted = settings.concept
    candidates = [concept for concept in concepts if concept["epoch"] == epoch]
    matches = [concept for concept in candidates if wanted in (str(concept["concept_id"]), concept["concept_key"])]
    if not matches and len(wanted) >= MIN_KEY_LENGTH:
        matches = [concept for concept in candidates if concept["concept_key"].startswith(wanted)]
    if len(matches) != 1:
        raise InputError(
            f"{wanted!r} matches {len(matches)} concepts of epoch {epoch}; there are 0 to {len(candidates) - 1}, or "
            "give a concept_key"
        )
    return matches[0]
