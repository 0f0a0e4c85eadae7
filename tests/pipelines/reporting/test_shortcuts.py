"""What a report claims of shortcuts."""

from types import SimpleNamespace

import pytest

from pipelines.reporting.evidence import Answer
from pipelines.reporting.found_shortcuts import list_clusters_inside
from pipelines.reporting.shortcuts import SHARES, MapCluster, find_cluster, gather_shortcuts, place_of
from xai.shortcuts import LARGEST_SIDE


def test_a_patch_that_is_only_suspected_is_not_claimed() -> None:
    """Where objects always lie at one place, as centred digits do, it may be a part of the object."""
    row = {"class_name": "8", "verdict": "suspected", "n": 32, "follows": 0.75}
    answers = {"shortcuts": Answer([row], 1), "split_gap": Answer([{"is_lower": False}], 2)}
    found = gather_shortcuts(SimpleNamespace(ask=lambda name, **_: answers[name], split="test"))
    assert (found.found, found.widest, found.tried) == ([], None, True)


@pytest.mark.parametrize(("top", "left", "side", "place"), [
    (0, 6, 2, "top right"), (3, 3, 2, "centre"), (6, 0, 2, "bottom left"), (0, 3, 1, "top"),
])  # fmt: skip
def test_a_place_has_a_name(top: int, left: int, side: int, place: str) -> None:
    assert place_of({"patch_top": top, "patch_left": left, "patch_side": side}) == place


def test_every_size_of_a_patch_has_a_word() -> None:
    assert set(SHARES) == set(range(1, LARGEST_SIDE + 1))


def test_clusters_of_maps_inside_a_patch_are_those_of_its_class_and_place() -> None:
    def row(class_id: int, cell_row: int, cell_column: int, fraction: float) -> dict:
        place = {"cell_row": cell_row, "cell_column": cell_column}
        return {"method": "shap", "class_id": class_id, "fraction": fraction} | place

    rows = [row(1, 0, 5, 0.2), row(1, 1, 6, 0.7), row(1, 2, 6, 0.9), row(1, 1, 7, 0.8), row(2, 0, 5, 0.5)]
    subject = SimpleNamespace(ask=lambda name, split: Answer(rows, 1), split="test")
    patch = {"class_id": 1, "patch_top": 0, "patch_left": 5, "patch_side": 2}
    assert [found["fraction"] for found in list_clusters_inside(subject, patch)] == [0.7, 0.2]


@pytest.mark.parametrize(("n", "stated"), [(15, True), (14, False)])
def test_a_cluster_is_stated_if_its_class_has_enough_maps(n: int, stated: bool) -> None:
    row = {"method": "shap", "class_id": 1, "cell_row": 0, "cell_column": 5, "n": n, "fraction": 0.75}
    source = Answer([row | {"instance_ids": [7, 2, 30, 4]}], 1)
    subject = SimpleNamespace(ask=lambda name, split: source, split="test")
    patch = {"class_id": 1, "patch_top": 0, "patch_left": 5, "patch_side": 2}
    cluster = MapCluster(source, "shap", n=15, n_maps=20, nearest=["#7", "#2", "#30"])
    assert find_cluster(subject, patch) == (cluster if stated else None)
