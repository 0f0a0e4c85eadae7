"""A whole study on a GPU, where there is one; elsewhere, that tensors stay on theirs."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pipelines.common.settings import CompareSettings, ExplainSettings, ReportSettings
from pipelines.comparing.compare import compare
from pipelines.explaining.explain import explain
from pipelines.reporting.report import report
from pipelines.training.train import train
from support.homes import TINY
from tracking.home import Home
from tracking.reading import connect
from xai import CONCEPT_METHODS, METHODS, ice
from xai.faithfulness import filters
from xai.occlusion import occlusion_windows
from xai.shortcuts import Window, paste
from xai.tcav import correct_by_holm

METHOD_NAMES = (*METHODS, *CONCEPT_METHODS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_every_method_explains_and_is_compared_on_a_gpu(home: Home) -> None:
    run_id = train(replace(TINY, device="cuda"), home)
    explain(ExplainSettings(run=run_id, method=METHOD_NAMES, count=24), home)
    compare(CompareSettings(run=run_id, randomization_count=2), home)
    report(ReportSettings(run=run_id), home)
    with connect(home) as connection:
        mapped = connection.execute("select distinct method from attributions order by all").fetchall()
        [(concepts,)] = connection.execute("select count(*) from concepts").fetchall()
    assert [method for (method,) in mapped] == sorted(METHODS)
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
