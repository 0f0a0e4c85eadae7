"""What a report claims of shortcuts."""

from types import SimpleNamespace

import pytest

from pipelines.pages.evidence import Answer
from pipelines.reporting.found_shortcuts import list_clusters_inside
from pipelines.reporting.shortcuts import (
    SHARES,
    Carriers,
    MapCluster,
    count_maps,
    find_carriers,
    find_cluster,
    find_concepts_of_patches,
    gather_shortcuts,
    place_of,
)
from xai.shortcuts import LARGEST_SIDE


def test_a_patch_that_is_only_suspected_is_not_claimed() -> None:
    """Where objects always lie at one place, as centred digits do, it may be a part of the object."""
    row = {"class_name": "8", "verdict": "suspected", "n": 32, "follows": 0.75}
    answers = {"shortcuts": Answer([row], 1), "split_gap": Answer([{"is_lower": False}], 2)}
    found = gather_shortcuts(SimpleNamespace(ask=lambda name, **_: answers[name], split="test"), None, None)
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
    subject = SimpleNamespace(ask=lambda name, split, limit: Answer(rows, 1), split="test", n=9)
    patch = {"class_id": 1, "patch_top": 0, "patch_left": 5, "patch_side": 2}
    assert [found["fraction"] for found in list_clusters_inside(subject, patch)] == [0.7, 0.2]


@pytest.mark.parametrize(("n", "trusted", "fraction", "stated"), [
    (15, ["shap"], 0.75, True), (14, ["shap"], 0.75, False), (15, ["lime"], 0.75, False), (20, ["shap"], 1.0, False),
])  # fmt: skip
def test_a_cluster_is_stated_of_a_trusted_method_whose_maps_do_split(
    n: int, trusted: list[str], fraction: float, stated: bool
) -> None:
    row = {"method": "shap", "class_id": 1, "cell_row": 0, "cell_column": 5, "n": n, "fraction": fraction}
    source = Answer([row | {"instance_ids": [7, 2, 30, 4]}], 1)
    subject = SimpleNamespace(ask=lambda name, split, limit: source, split="test", n=9)
    patch = {"class_id": 1, "patch_top": 0, "patch_left": 5, "patch_side": 2}
    cluster = MapCluster(source, "shap", n=15, n_maps=20, nearest=["#7", "#2", "#30"])
    assert find_cluster(subject, patch, trusted) == (cluster if stated else None)


def tried(instance: int, label: int, predicted: int, carries: bool | None, covered: int = 0) -> dict:
    row = {"instance_id": instance, "label": label, "predicted": predicted, "carries": carries}
    return row | {"predicted_covered": covered}


def test_carriers_are_told_only_where_nearly_all_images_can_be() -> None:
    rows = [tried(0, 0, 1, True), tried(1, 1, 1, True, 1), tried(2, 1, 0, False), *[tried(3, 0, 0, False)] * 17]
    evidence = SimpleNamespace(ask=lambda name, **values: Answer(rows, 1))
    known = find_carriers(evidence, "test", 1)
    assert [row["instance_id"] for row in known.misled] == [0]
    assert [row["instance_id"] for row in known.missed] == [2]
    assert [row["instance_id"] for row in known.of(carries=True)] == [0, 1]
    assert [row["is_right_covered"] for row in rows[:3]] == [True, True, False]
    rows[3] = tried(3, 0, 0, None)  # 1 of 20: up to 5 % is little
    assert find_carriers(evidence, "test", 1)
    rows[4] = tried(4, 0, 0, None)
    assert find_carriers(evidence, "test", 1) is None
    rows.clear()
    assert find_carriers(evidence, "test", 1) is None


def map_row(method: str, instance: int, label: int, predicted: int, inside: bool) -> dict:
    return {"method": method, "instance_id": instance, "label": label, "predicted": predicted, "is_inside": inside}


def test_maps_on_a_patch_are_counted_by_method_and_by_image() -> None:
    rows = [
        map_row(method, image, 0, int(image < 10), image < 10) for image in range(30) for method in ("shap", "lime")
    ]
    rows[1]["is_inside"] = False  # lime, of image 0: no more than half of its maps are inside
    found = count_maps(Answer(rows, 1), 1)
    assert (found.images, found.own, found.others) == (30, 10, (0, 40))
    assert found.by_method == [("shap", 10, 10), ("lime", 9, 10)]
    assert (found.wrong, found.right) == ((9, 10), (0, 20))
    assert found.differ
    alike = count_maps(Answer([row | {"is_inside": False} for row in rows], 1), 1)
    assert not alike.differ


class Scored:
    """A connection that knows which images were scored for concepts."""

    def execute(self, *_: object) -> "Scored":
        return self

    def fetchall(self) -> list[tuple[int]]:
        return [(image,) for image in range(40)]


def test_a_concept_stands_for_a_patch_if_its_images_carry_it_beyond_chance() -> None:
    """Concept 0 is in 10 images that carry the patch, 1 in as many that do not, 2 in all, 3 in 2 that do."""
    shown = {0: range(10), 1: range(20, 30), 2: range(40), 3: range(2)}
    source = Answer([{"concept_id": key, "instance_id": image} for key, own in shown.items() for image in own], 1)
    evidence = SimpleNamespace(connection=Scored(), sql=lambda *_: source)
    subject = SimpleNamespace(evidence=evidence, split="test")
    found = SimpleNamespace(run_id="ice", epoch=4, names=dict.fromkeys(shown), unstable=set())
    rows = [tried(image, 0, 1, image < 12) for image in range(40)]
    carriers = {1: Carriers(Answer(rows, 2), 1)}
    one = find_concepts_of_patches(subject, found, carriers)[1]
    assert (one.concept_id, one.carrying, one.n, one.others_carrying, one.others) == (0, 10, 10, 2, 30)
    found.unstable = {0}
    assert find_concepts_of_patches(subject, found, carriers) == {}  # two images are no evidence
    assert find_concepts_of_patches(subject, found, {}) == {}
