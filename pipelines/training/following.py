"""The processes of a training besides rank 0, which `torchrun` starts: how rank 0 leads them, and what they do."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.common import ranks
from pipelines.common.settings import ResolvedTraining
from pipelines.common.user_code import describe_error
from pipelines.common.wording import plural
from pipelines.data.datasets import Dataset
from pipelines.data.raw import Reading
from pipelines.lifecycle.run_inputs import load_by_settings
from pipelines.models import hardware
from pipelines.models.checkpoints import load_state
from pipelines.models.networks import Classifier, build_tracked_model
from pipelines.training.beginning import freeze_parameters
from pipelines.training.collectives import copy_from_leader, copy_object_from_leader
from pipelines.training.epoch import train_and_evaluate
from pipelines.training.label_changes import LabelChanges
from pipelines.training.recipe import Recipe, add_repeats, make_recipe
from pipelines.training.whole_batch import check_divisible
from tracking.errors import InputError, RunError
from tracking.home import Home
from tracking.staging import scratch_folder


@dataclass(frozen=True)
class Beginning:
    """What the other processes need to know of a training that rank 0 begins or resumes."""

    home: Home
    settings: ResolvedTraining
    reading: Reading  # how rank 0 read the image files
    data_digest: str
    next_epoch: int  # that is computed first
    changes: LabelChanges


def lead(
    home: Home, recipe: Recipe, data: Dataset, model: Classifier, next_epoch: int, state: Path | None = None
) -> None:
    """Begin the training in the other processes too, if there are any; `state` is what a resumed one continues with.

    Raises InputError, before anything is made, if one of them cannot take part, or the training cannot be shared.
    """
    if ranks.world() == 1:
        return
    _check_machine(recipe)
    ranks.tell(Beginning(home, recipe.settings, data.reading, data.digest, next_epoch, recipe.changes))
    ranks.collect_reports()
    copy_object_from_leader(recipe.repeats)
    _share_weights(recipe, model, state.read_bytes() if state else b"")
    check_divisible(recipe.settings, model, data)


def follow() -> None:
    """Take part in one training after the other that rank 0 leads, and end as it ends: always by LeaderEnded."""
    while True:
        _take_part(ranks.hear())


def _take_part(beginning: Beginning) -> None:
    settings = beginning.settings
    try:
        data = load_by_settings(settings, beginning.home, reading=beginning.reading, digest=beginning.data_digest)
        if data.digest != beginning.data_digest:
            raise InputError(
                f"the data of {settings.dataset} has digest {data.digest[:12]} here, and "
                f"{beginning.data_digest[:12]} in rank 0; give every machine the same files"
            )
        hardware.prepare_device(settings)
        model = build_tracked_model(settings, data)
        freeze_parameters(settings, model, data)
        recipe = make_recipe(settings, data, model, beginning.changes)
    except Exception as error:
        ranks.report(str(error) if isinstance(error, InputError | RunError) else describe_error(error))
        ranks.hear()
        raise
    ranks.report(None)
    recipe = add_repeats(recipe, copy_object_from_leader(None))
    _share_weights(recipe, model, None)
    check_divisible(settings, model, data)
    for epoch in range(beginning.next_epoch, recipe.first_epoch + recipe.settings.epochs + 1):
        ranks.hear()
        train_and_evaluate(model, recipe, data, epoch)


def _check_machine(recipe: Recipe) -> None:
    """Raise InputError if this many processes cannot train on these devices, or in such batches."""
    device, local_world = recipe.device, ranks.local_world()
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"several processes train on cpu or cuda, not on {device}; run it without torchrun")
    if device != torch.device(device.type):
        raise InputError(f"--device {device} is one device, and each process takes its own GPU: give --device cuda")
    if device.type == "cuda" and local_world > torch.cuda.device_count():
        raise InputError(
            f"{local_world} processes on this machine have {torch.cuda.device_count()} GPUs; start as many as there "
            "are GPUs, or give --device cpu"
        )
    smallest_batch = recipe.images_per_epoch // recipe.steps_per_epoch
    if smallest_batch < ranks.world():
        raise InputError(
            f"{ranks.world()} processes cannot share batches of {plural(smallest_batch, 'image')}; start fewer, or "
            "give a larger --batch"
        )


def _share_weights(recipe: Recipe, model: Classifier, state: bytes | None) -> None:
    """Give every process the weights of rank 0, and the optimizers' state if it has one."""
    content: bytes = copy_object_from_leader(state)
    if content and ranks.rank():
        with scratch_folder() as folder:
            file = folder / "state.safetensors"
            file.write_bytes(content)
            load_state(model, recipe.optimizers, file)
    copy_from_leader(model)
    copy_from_leader(recipe.averaged_model)
