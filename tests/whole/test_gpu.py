"""A whole study on a GPU, where there is one; elsewhere, that tensors stay on theirs."""

import os
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from support.places import GPU, ROOT
from tracking.home import Home
from tracking.reading import connect
from xai import METHODS, REFERENCES, ice
from xai.faithfulness import filters
from xai.occlusion import occlusion_windows
from xai.shortcuts import Window, paste
from xai.tcav import correct_by_holm


@pytest.mark.skipif(GPU in ("", "-1"), reason="there is no GPU")
def test_a_whole_study_on_a_gpu(home: Home) -> None:
    def study(*command: str) -> None:
        process = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *command, "--home", str(home.path)],
            cwd=ROOT, capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": GPU},
        )  # fmt: skip
        assert process.returncode == 0, process.stderr

    study("run", "--size", "8", "--epochs", "2", "--device", "cuda", "--name", "whole")
    study("rerun", "ice")
    with connect(home) as connection:
        mapped = {method for (method,) in connection.execute("select distinct method from attributions").fetchall()}
        [(concepts,)] = connection.execute("select count(*) from concepts").fetchall()
    assert mapped == {*METHODS, *REFERENCES}  # the references are made by the comparison
    assert concepts > 0


def test_what_is_computed_from_a_tensor_is_on_its_device() -> None:
    """No GPU is needed: fake tensors know their device, and torch refuses to mix them."""
    with FakeTensorMode():
        scores, images = torch.rand(9, 4, device="cuda"), torch.rand(2, 3, 16, 16, device="cuda")
        found = [
            ice.otsu_thresholds(scores),
            correct_by_holm(scores),
            filters.blur(images),
            paste(images, images.flip(0), [Window(0, 0, 2), Window(1, 3, 4)]),
            torch.where(occlusion_windows(16, 16).to(images.device), images[:, None, 0], 0),
        ]
    assert {tensor.device.type for tensor in found} == {"cuda"}
