"""Trainings by Lightning and by Hugging Face's Trainer, on their real libraries."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from pipelines.common.settings import ExplainSettings
from pipelines.explaining.explain import explain
from pipelines.recording.seen import WithIds
from support.recorded import CLASSES, Pictures, make_net, make_sets, make_vit
from tracking.catalogue import resolve
from tracking.commits import read_epochs
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect


def count_predictions(home: Home, run_id: str) -> dict[str, int]:
    sql = "select split, count(*) from predictions where run_id = ? and epoch = 2 group by split"
    with connect(home) as connection:
        return dict(connection.execute(sql, [run_id]).fetchall())


def fit(home: Home, tmp_path: Path, training_step: Callable, epochs: int) -> None:
    """Fit a module with that training step under the callback."""
    lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
    from pipelines.recording.lightning import RecordCallback

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images)

        def training_step(self, batch: list, batch_idx: int) -> dict:
            return training_step(self, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), 0.02)

    sets = make_sets()
    callback = RecordCallback(sets, CLASSES, home=str(home.path))
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[callback], logger=False, enable_checkpointing=False, accelerator="cpu",
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(WithIds(sets["train"]), batch_size=16, shuffle=True))


def test_a_lightning_training(home: Home, tmp_path: Path) -> None:
    def step(module: nn.Module, batch: list) -> dict:
        images, labels, ids = batch
        logits = module(images.permute(0, 3, 1, 2).float() / 255)
        loss = nn.functional.cross_entropy(logits, labels)
        module.log("train/loss", loss)
        return {"loss": loss, "ids": ids, "logits": logits.detach()}

    fit(home, tmp_path, step, epochs=2)
    known = resolve(home, "latest")
    assert known.status == "FINISHED"
    last = read_epochs(home, known.run_id)[-1]
    assert last.epoch == 2
    assert last.metrics["logged_train_loss"] > 0
    assert count_predictions(home, known.run_id) == {"test": 24, "val": 12, "train_seen": 48}


def test_a_lightning_training_that_fails(home: Home, tmp_path: Path) -> None:
    def step(module: nn.Module, batch: list) -> dict:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(home, tmp_path, step, epochs=1)
    assert resolve(home, "latest").status == "FAILED"


def test_a_training_by_hugging_face(home: Home, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from pipelines.recording.hugging_face import RecordCallback

    class Items(Pictures):
        def __getitem__(self, position: int) -> dict:
            image = self.images[position].transpose(2, 0, 1).astype(np.float32) / 255
            return {"pixel_values": torch.from_numpy(image), "labels": int(self.labels[position])}

    sets = make_sets() | {"train": Items(48, 0)}
    callback = RecordCallback(sets, CLASSES, home=str(home.path), factory="support.recorded:make_vit")
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=16, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="no", logging_strategy="epoch",
    )  # fmt: skip
    transformers.Trainer(make_vit(), arguments, train_dataset=sets["train"], callbacks=[callback]).train()
    known = resolve(home, "latest")
    assert known.status == "FINISHED"
    assert [commit.epoch for commit in read_epochs(home, known.run_id)] == [0, 1, 2]
    assert count_predictions(home, known.run_id) == {"test": 24, "val": 12}
    assert len(explain(ExplainSettings(count=4), home)) == 1  # what the factory builds is verified and explained


def test_data_without_positions_are_refused_before_training(home: Home) -> None:
    pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
    from pipelines.recording.lightning import RecordCallback

    callback = RecordCallback({"train": make_sets()["train"]}, CLASSES, home=str(home.path))
    with pytest.raises(InputError, match="test is missing"):
        callback.on_fit_start(type("Trainer", (), {"optimizers": [], "lr_scheduler_configs": []})(), make_net())
