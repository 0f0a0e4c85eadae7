"""A training by Hugging Face's Trainer as a run of the study: `Trainer(callbacks=[RecordCallback(sets, classes)])`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.recording.record import record
from pipelines.recording.recording import Recorder
from tracking.errors import InputError

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError:
    raise InputError("transformers is not installed; pip install transformers accelerate") from None


class RecordCallback(TrainerCallback):
    """Commits an epoch whenever the Trainer ends one; `options` are those of `record`.

    The model takes pictures, or what the option `transform` makes of them, as its first argument.
    `trainer.train(resume_from_checkpoint=...)` with the option `resume` continues a run; the Trainer's checkpoint is
    what is loaded.
    """

    def __init__(self, sets: Mapping[str, Any], classes: Sequence[str] | None = None, **options: Any) -> None:
        self.sets = sets
        self.classes = classes
        self.options = options
        self.run: Recorder | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        parts = {"optimizer": kwargs.get("optimizer"), "schedule": kwargs.get("lr_scheduler")}
        known = {name: part for name, part in parts.items() if part is not None}
        options = {"state": known} | self.options
        if options.get("resume") is not None:
            options = {"trained_epochs": round(state.epoch or 0.0, 6)} | options  # a sum of fractions of an epoch
        self.run = record(kwargs["model"], self.sets, self.classes, **options)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.run:
            # an epoch's own log comes after this, so that of the epoch before may be the last there is
            logged = [each for each in state.log_history if each.get("epoch", 0) > self.run.next_epoch - 1]
            names = ("loss", "learning_rate", "grad_norm")
            self.run.epoch({name: each[name] for each in logged for name in names if name in each})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.run:
            self.run.finish()
