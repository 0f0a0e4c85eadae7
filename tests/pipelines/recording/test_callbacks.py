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
from support.homes import fresh
from support.recorded import CLASSES, Pictures, make_net, make_sets, make_vit
from tracking import index
from tracking.catalogue import read_records, resolve
from tracking.commits import read_epochs
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect


def count_predictions(home: Home, run_id: str) -> dict[str, int]:
    sql = "select split, count(*) from predictions where run_id = ? and epoch = 2 group by split"
    with connect(home) as connection:
        return dict(connection.execute(sql, [run_id]).fetchall())


def fit(
    home: Home, tmp_path: Path, training_step: Callable, epochs: int, checkpoint: str | None = None, **options
) -> None:
    """Fit a module with that training step under the callback; Lightning keeps a checkpoint of every second step."""
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
    callback = RecordCallback(sets, CLASSES, home=str(home.path), **options)
    keep = lightning.callbacks.ModelCheckpoint(
        dirpath=tmp_path / "kept", filename="{step}", every_n_train_steps=2, save_top_k=-1
    )
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[callback, keep], logger=False, accelerator="cpu", default_root_dir=tmp_path,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    torch.manual_seed(0)
    loader = DataLoader(WithIds(sets["train"]), batch_size=16, shuffle=True)  # three steps an epoch
    trainer.fit(Module(), loader, ckpt_path=checkpoint and str(tmp_path / f"kept/step={checkpoint}.ckpt"))


def learn(module: nn.Module, batch: list) -> dict:
    images, labels, ids = batch
    logits = module(images.permute(0, 3, 1, 2).float() / 255)
    loss = nn.functional.cross_entropy(logits, labels)
    module.log("train/loss", loss)
    return {"loss": loss, "ids": ids, "logits": logits.detach()}


def count_epochs(home: Home) -> list[tuple[int, int]]:
    """Epochs and how many test images each has, of the only run."""
    with connect(home) as connection:
        return connection.execute(
            "select epoch, count(*) from predictions where split = 'test' group by all order by all"
        ).fetchall()


def test_a_lightning_training(home: Home, tmp_path: Path) -> None:
    fit(home, tmp_path, learn, epochs=2)
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


@pytest.mark.parametrize(
    ("stopped_at", "checkpoint", "said"),
    [
        (7, 6, "continues, 3 epochs committed"),  # where epoch 3 begins
        (8, 8, "continues"),  # in epoch 3
        (7, 4, "1.5 epochs, and 2 are committed"),  # in epoch 2, which is committed
        (9, 8, "3 are committed"),  # all are committed
    ],
)
def test_a_lightning_training_goes_on_from_its_checkpoint(
    home: Home, tmp_path: Path, capfd: pytest.CaptureFixture, stopped_at: int, checkpoint: int, said: str
) -> None:
    def learn_until(module: nn.Module, batch: list) -> dict:
        if module.global_step == stopped_at:
            raise ZeroDivisionError
        return learn(module, batch)

    with pytest.raises(ZeroDivisionError):
        fit(home, tmp_path, learn_until, epochs=4)
    fit(home, tmp_path, learn, 4, str(checkpoint), resume="latest")
    assert said in capfd.readouterr().err
    assert [record.status for record in read_records(home)] == ["FINISHED"]
    assert count_epochs(home) == [(epoch, 24) for epoch in range(5)]


def test_an_epoch_that_only_the_checkpoint_has_is_recorded_from_it(home: Home, tmp_path: Path) -> None:
    fit(home, tmp_path, learn, epochs=2)  # six steps
    run_id = resolve(home, "latest").run_id
    commit = read_epochs(home, run_id)[-1]
    (home.run_folder(run_id) / commit.path).unlink()  # as if the process had been killed before the commit
    index.rebuild(home)
    fit(home, tmp_path, learn, 3, "6", resume=run_id)
    assert count_epochs(home) == [(epoch, 24) for epoch in range(4)]


@pytest.mark.parametrize(
    ("epochs", "checkpoint", "message"),
    [
        (1, None, "the loop has trained no epoch, and run .* has committed 1; begin from a checkpoint"),
        (1, "8", r"comes after 2.5 epochs, and run .* has committed 1, so epoch 2 would be missing"),
        (3, "6", "is not of run .* weights differ from those of epoch 2"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    home: Home, empty_tracker: Path, tmp_path: Path, epochs: int, checkpoint: str | None, message: str
) -> None:
    (tmp_path / "other").mkdir()
    fit(home, tmp_path / "other", learn, epochs)

    def learn_otherwise(module: nn.Module, batch: list) -> dict:
        return learn(module, [1 - batch[0] / 255, *batch[1:]])

    other = fresh(tmp_path / "other", empty_tracker)
    fit(other, tmp_path, learn_otherwise, epochs=3)
    with pytest.raises(InputError, match=message):
        fit(home, tmp_path, learn, 4, checkpoint, resume="latest")
    assert count_epochs(home) == [(epoch, 24) for epoch in range(epochs + 1)]


class LossNet(nn.Module):
    """A network as the Trainer takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_net()

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> dict:
        logits = self.net(pixel_values)
        return {"logits": logits} | ({} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)})


def train_by_hugging_face(
    home: Home, tmp_path: Path, resume_from_checkpoint: bool = False, net: nn.Module | None = None, **options
) -> None:
    """Three epochs of six steps, of which every fourth is kept."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from pipelines.recording.hugging_face import RecordCallback

    class Items(Pictures):
        def __getitem__(self, position: int) -> dict:
            image = self.images[position].transpose(2, 0, 1).astype(np.float32) / 255
            return {"pixel_values": torch.from_numpy(image), "labels": int(self.labels[position])}

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            if state.global_step == options.get("stopped_at"):
                raise ZeroDivisionError

    sets = make_sets() | {"train": Items(48, 0)}
    known = {key: value for key, value in options.items() if key != "stopped_at"}
    callback = RecordCallback(sets, CLASSES, home=str(home.path), **known)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=3, per_device_train_batch_size=8, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="steps", save_steps=4, logging_strategy="epoch",
    )  # fmt: skip
    torch.manual_seed(0)
    trainer = transformers.Trainer(
        net or make_vit(), arguments, train_dataset=sets["train"], callbacks=[callback, Stop()]
    )
    trainer.train(resume_from_checkpoint=resume_from_checkpoint or None)


def test_a_training_by_hugging_face(home: Home, tmp_path: Path) -> None:
    train_by_hugging_face(home, tmp_path, factory="support.recorded:make_vit")
    known = resolve(home, "latest")
    assert known.status == "FINISHED"
    committed = read_epochs(home, known.run_id)
    assert [commit.epoch for commit in committed] == [0, 1, 2, 3]
    assert "loss" not in committed[2].metrics  # the Trainer logs an epoch after its end: this would be epoch 1's
    assert count_predictions(home, known.run_id) == {"test": 24, "val": 12}
    assert len(explain(ExplainSettings(count=4), home)) == 1  # what the factory builds is verified and explained


@pytest.mark.parametrize(
    ("stopped_at", "said"),
    [
        (7, "epoch   1  trained again; the one that is committed stays\n"),  # bit by bit, from step 4
        (11, "continues, 2 epochs committed"),  # from step 8, in epoch 2
        (14, "continues, 3 epochs committed"),  # from step 12, where epoch 3 begins
    ],
)
def test_a_training_by_hugging_face_goes_on(
    home: Home, tmp_path: Path, capfd: pytest.CaptureFixture, stopped_at: int, said: str
) -> None:
    with pytest.raises(ZeroDivisionError):
        train_by_hugging_face(home, tmp_path, net=LossNet(), stopped_at=stopped_at)
    train_by_hugging_face(home, tmp_path, net=LossNet(), resume_from_checkpoint=True, resume="latest")
    assert [record.status for record in read_records(home)] == ["FINISHED"]
    assert count_epochs(home) == [(epoch, 24) for epoch in range(4)]
    assert said in capfd.readouterr().err


def test_data_without_positions_are_refused_before_training(home: Home) -> None:
    pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")
    from pipelines.recording.lightning import RecordCallback

    callback = RecordCallback({"train": make_sets()["train"]}, CLASSES, home=str(home.path))
    with pytest.raises(InputError, match="test is missing"):
        callback.on_train_start(type("Trainer", (), {"optimizers": [], "lr_scheduler_configs": []})(), make_net())
