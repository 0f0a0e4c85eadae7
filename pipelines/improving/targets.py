"""What a continued training should see more often: chosen by predictions of val and train_seen, never of test."""

from dataclasses import dataclass
from typing import Any

import queries
from pipelines.common.settings import ImproveSettings
from pipelines.lifecycle.selection import select_where
from pipelines.training.beginning import Source
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

TRAINING_IMAGES = "select count(*) from instances where run_id = ? and split = 'train'"


@dataclass(frozen=True)
class Choice:
    """The classes that are to improve, and the training images that an epoch sees again."""

    weak_classes: tuple[str, ...]  # names
    images: dict[str, list[Any]]  # columns of table improvement_targets but the run's ID
    reasons: dict[str, int]  # how many images were chosen for each reason; an image may have several
    image_count: int  # of all training images


def choose_targets(settings: ImproveSettings, home: Home, source: Source) -> Choice:
    """The weakest classes on val, and the images that the settings choose. Raises InputError if there are none."""
    run_id, epoch = source.record.run_id, source.commit.epoch
    values = {"run_id": run_id, "epoch": str(epoch), "weak_classes": str(settings.weak_classes)}
    with connect(home, run_ids=[run_id]) as connection:
        if settings.where is not None:
            chosen = select_where(settings.where, "train", connection, run_id, epoch)
            values["instances"] = ",".join(map(str, chosen.tolist()))
        images = queries.run(connection, "improvement_targets", values).dicts if values.get("instances") != "" else []
        [(image_count,)] = connection.execute(TRAINING_IMAGES, [run_id]).fetchall()
        classes = queries.run(connection, "hard_classes", {"run_id": run_id, "split": "val", "epoch": str(epoch)}).dicts
    if not images:
        reason = (
            f"no training image fits --where {settings.where!r}" if settings.where else "no training image has a reason"
        )
        raise InputError(
            f'{reason} at epoch {epoch} of run {run_id[:8]}; choose others, such as --where "predicted <> label"'
        )
    names = ("instance_id", "weight", "reasons", "confused_with")
    columns = {name: [row[name] for row in images] for name in names}
    if settings.where is not None:
        columns["reasons"] = [settings.where] * len(images)
    reasons: dict[str, int] = {}
    for listed in columns["reasons"]:
        for reason in [listed] if settings.where is not None else listed.split(", "):
            reasons[reason] = reasons.get(reason, 0) + 1
    weak_classes = tuple(row["class_name"] for row in classes[: settings.weak_classes])
    return Choice(weak_classes, columns, reasons, image_count)
