"""A Lightning training as a run of the study: `Trainer(callbacks=[RecordCallback(sets, classes)])`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.recording.record import record
from pipelines.recording.recording import Recorder, name_metric
from tracking.errors import InputError

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise InputError("Lightning is not installed; pip install lightning") from None


class RecordCallback(Callback):
    """Commits an epoch whenever Lightning ends one; `options` are those of `record`.

    The module's forward takes pictures and returns logits. For predictions made in training, `training_step` returns a
    dict with loss, ids and logits, of batches that have ids (pipelines.recording.seen.WithIds yields them).

    `trainer.fit(..., ckpt_path=...)` with the option `resume` continues a run; Lightning's checkpoint is what is
    loaded.
    """

    def __init__(self, sets: Mapping[str, Any], classes: Sequence[str] | None = None, **options: Any) -> None:
        self.sets = sets
        self.classes = classes
        self.options = options
        self.run: Recorder | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, after Lightning has loaded its checkpoint, if there is one."""
        state: dict[str, Any] = {
            f"optimizer_{number}": optimizer for number, optimizer in enumerate(trainer.optimizers)
        }
        state |= {f"schedule_{number}": each.scheduler for number, each in enumerate(trainer.lr_scheduler_configs)}
        options = {"state": state} | self.options
        if options.get("resume") is not None:
            loop = trainer.fit_loop
            is_in_epoch = loop.restarted_mid_epoch and not loop.epoch_loop.batch_progress.is_last_batch
            options = {"trained_epochs": trainer.current_epoch + (0.5 if is_in_epoch else 0.0)} | options
        self.run = record(pl_module, self.sets, self.classes, **options)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.run and isinstance(outputs, Mapping) and {"ids", "logits"} <= outputs.keys():
            self.run.seen(outputs["ids"], outputs["logits"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.run:
            logged = trainer.logged_metrics
            self.run.epoch({f"logged_{name_metric(name)}": value for name, value in logged.items()})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.run and self.options.get("resume") is not None:  # its checkpoint was of the last epoch
            self.on_train_start(trainer, pl_module)
        if self.run:
            self.run.finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.run:
            self.run.give_up(exception)
