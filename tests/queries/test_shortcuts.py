"""Questions on shortcuts: what is claimed, and above all what is not."""

import duckdb
import pytest

from support import tables as data
from support.answers import records

SIZE = 16  # images that a patch is pasted into


def study(
    *, follows: int, elsewhere: int = 0, others: int = 0, rivals: int = 0, recall: int = 30, class_count: int = 3,
    one_rival: bool = False,
) -> duckdb.DuckDBPyConnection:  # fmt: skip
    """A run of which `recall` of 30 dogs are right in test, all in val; a patch of dogs that so many images follow.

    Of `others` and `rivals`, as many images take the patch of another class's image for dogs, and for that class; with
    `one_rival` all images with a patch of that class do, and the others' patches come from a class that none follows.
    """
    connection = data.empty()
    data.add_run(connection, "tiny")
    data.add_run(connection, "compared", "2026-01-02", "compare", source="tiny")
    data.add_classes(connection, "tiny", data.CLASSES[:class_count])
    rows = [data.prediction("tiny", "val", 4, key, key % 2, key % 2, 0.9) for key in range(60)]
    for key in range(60):
        wrong = key % 2 == 1 and key // 2 >= recall
        rows.append(data.prediction("tiny", "test", 4, key, key % 2, 0 if wrong else key % 2, 0.9))
    data.insert(connection, "predictions", rows)
    data.link_all(connection)

    key = {"run_id": "compared", "source_run_id": "tiny", "epoch": 4, "class_id": 1, "split": "test"}
    key |= {"patch_top": 0, "patch_left": 6, "patch_side": 2, "donor_id": 1, "predicted_before": 0}
    other = class_count - 1 if class_count > 2 else 0
    trials = []
    for image in range(SIZE):
        after_others = 1 if image < others else other if image >= SIZE - rivals else 0
        for trial, after, donor_class in (
            ("pasted", int(image < follows), 1),
            ("pasted_elsewhere", int(image < elsewhere), 1),
            ("pasted_from_others", after_others, other if image >= SIZE - rivals or not one_rival else 2),
        ):
            row = {"trial": trial, "instance_id": image, "predicted_after": after, "donor_class": donor_class}
            trials.append(key | row)
    data.insert(connection, "patch_trials", trials)
    return connection


def verdict(**numbers: int) -> str | None:
    [row] = [row for row in records(study(**numbers), "shortcuts") if row["class_name"] == "dog"]
    return row["verdict"]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"follows": 16, "recall": 10}, "found"),
        ({"follows": 16}, "suspected"),  # no gap between the splits
        ({"follows": 9, "recall": 10}, "found"),
        ({"follows": 4, "recall": 10}, None),  # too rarely
        ({"follows": 7}, None),  # without a gap, more is needed
        ({"follows": 16, "rivals": 16, "recall": 10}, None),  # where every class shows
        ({"follows": 16, "rivals": 8, "recall": 10}, "found"),  # half as often
        ({"follows": 16, "rivals": 8, "recall": 10, "one_rival": True, "class_count": 4}, None),  # as often for one
        ({"follows": 16, "others": 14, "recall": 10}, None),  # whatever is pasted there
        ({"follows": 16, "elsewhere": 14, "recall": 10}, None),  # from wherever it is taken
        ({"follows": 0, "recall": 10}, None),
        ({"follows": 16, "class_count": 2}, None),  # no rivals, no suspicion
        ({"follows": 16, "class_count": 2, "recall": 10}, "found"),
    ],
)
def test_a_shortcut_is_claimed_only_on_all_the_evidence(numbers: dict, expected: str | None) -> None:
    assert verdict(**numbers) == expected


def test_figures_of_a_shortcut_are_counts_by_hand() -> None:
    connection = study(follows=16, elsewhere=2, others=1, rivals=4, recall=10)
    explained = {"run_id": "tiny", "epoch": 4, "instance_id": 1}  # a dog predicted as one
    data.add_run(connection, "explained", "2026-01-03", "explain", source="tiny")
    data.add_map(connection, "explained", [[0] * 7 + [-5]] + [[1] * 8] * 7, **explained)
    data.add_map(connection, "explained", [[1] * 8] * 7 + [[2] * 8], **(explained | {"method": "shap"}))
    data.add_map(connection, "explained", [[0] * 6 + [3, 1]] + [[1] * 8] * 7, **(explained | {"instance_id": 0}))
    [row] = [row for row in records(connection, "shortcuts") if row["class_name"] == "dog"]
    assert (row["val_recall"], row["recall"], row["val_precision"], row["precision"]) == (1, 10 / 30, 1, 1)
    assert (row["n"], row["follows"], row["follows_elsewhere"], row["follows_others"]) == (16, 1, 2 / 16, 1 / 16)
    assert row["rivals"] == 4 / 16
    assert row["p_value"] == pytest.approx(0.5**12)  # against the rivals, who do best
    assert (row["n_maps"], row["maps_inside"], row["others_inside"]) == (2, 0.5, 1)


def test_the_gap_is_a_claim_of_its_own() -> None:
    rows = records(study(follows=0, recall=10), "split_gap")
    assert (rows[0]["metric"], rows[0]["class_name"], rows[0]["value"]) == ("accuracy", None, 40 / 60)
    assert {(row["class_name"], row["metric"]) for row in rows if row["is_lower"]} == {
        (None, "accuracy"), ("dog", "recall"), ("cat", "precision"),
    }  # fmt: skip
    assert all(row["val_low"] <= row["val"] <= row["val_high"] + 1e-9 for row in rows)
    assert not any(row["is_lower"] for row in records(study(follows=0), "split_gap"))


def test_maps_lie_where_their_magnitude_is_place_by_place() -> None:
    connection = study(follows=0)
    data.add_run(connection, "explained", "2026-01-03", "explain", source="tiny")
    place = {"run_id": "tiny", "epoch": 4}
    dog, cat = [[0] * 6 + [-3, 1]] + [[0] * 8] * 7, [[0] * 8] * 7 + [[1] + [0] * 6 + [1]]
    data.add_map(connection, "explained", dog, instance_id=1, **place)
    data.add_map(connection, "explained", dog, instance_id=3, **place)
    data.add_map(connection, "explained", cat, instance_id=0, **place)
    data.add_map(connection, "compared", [[1] * 8] * 8, method="edge", instance_id=1, **place)
    rows = [row for row in records(connection, "attribution_places") if row["class_name"] == "dog"]
    first, second = rows[0], rows[1]
    assert len(rows) == 64
    assert (first["cell_row"], first["cell_column"], first["n"]) == (0, 6, 2)
    assert (first["strongest"], first["fraction"], first["others"], first["edge"]) == (1, 0.75, 0, 1 / 64)
    assert (second["cell_row"], second["cell_column"], second["strongest"], second["fraction"]) == (0, 7, 0, 0.25)
    assert sum(row["fraction"] for row in rows) == pytest.approx(1)
    assert len(records(connection, "attribution_places", limit="1")) == 2


def test_a_cluster_is_where_its_maps_lie_and_what_its_images_are() -> None:
    """Dogs by one method: two at the top right, of which one is a cat, and one at the bottom left."""
    connection = study(follows=0)
    data.insert(connection, "predictions", [data.prediction("tiny", "test", 4, 99, 0, 1, 0.2)])
    data.add_run(connection, "explained", "2026-01-03", "explain", source="tiny")
    corner, wide = [[0] * 6 + [-3, 1]] + [[0] * 8] * 7, [[0] * 6 + [2, 2]] + [[0] * 8] * 7
    for instance_id, values in ((1, corner), (99, wide), (3, [[0] * 8] * 7 + [[5] + [0] * 7])):
        data.add_map(connection, "explained", values, epoch=4, instance_id=instance_id)
    key = {"source_run_id": "tiny", "epoch": 4, "method": "saliency", "split": "test", "target_kind": "predicted"}
    members = [
        {"class_id": 1, "cluster": cluster, "instance_id": image} for image, cluster in ((1, 0), (99, 0), (3, 1))
    ]
    data.insert(connection, "map_clusters", [key | {"run_id": "compared"} | member for member in members])
    data.insert(connection, "map_clusters", [key | {"run_id": "compared", "split": "val"} | members[0]])
    data.add_run(connection, "older", "2026-01-01", "compare", source="tiny")
    data.insert(connection, "map_clusters", [key | {"run_id": "older"} | members[0]])

    first, second = records(connection, "attribution_clusters")
    expected = {"class_name": "dog", "cluster": 0, "n": 2, "fraction": 2 / 3, "cell_row": 0, "cell_column": 6}
    expected |= {"magnitude": (3 / 4 + 1 / 2) / 2, "strongest": 1, "accuracy": 0.5, "instance_ids": [1, 99]}
    assert first.items() >= (expected | {"label_name": "cat", "label_fraction": 0.5}).items()
    expected = {"cluster": 1, "n": 1, "cell_row": 7, "cell_column": 0, "magnitude": 1, "strongest": 1, "accuracy": 1}
    assert second.items() >= (expected | {"label_name": "dog", "label_fraction": 1, "instance_ids": [3]}).items()
    assert [row["instance_ids"] for row in records(connection, "attribution_clusters", limit="1")] == [[1], [3]]
    assert records(connection, "attribution_clusters", target_kind="label") == []


def test_an_image_carries_the_patch_if_more_than_two_thirds_follow_it_and_lacks_it_under_a_third() -> None:
    connection = study(follows=16, recall=10)
    key = {"run_id": "compared", "source_run_id": "tiny", "epoch": 4, "class_id": 1, "split": "test", "n_pasted": 9}
    following = {1: 9, 0: 7, 2: 6, 21: 3, 23: 2, 4: 0}
    rows = [{"instance_id": image, "n_following": n, "predicted_covered": 0} for image, n in following.items()]
    data.insert(connection, "patch_carriers", [key | row for row in rows])
    data.insert(connection, "patch_carriers", [key | rows[0] | {"run_id": "older"}, key | rows[0] | {"split": "val"}])
    found = records(connection, "shortcut_images")
    # those that carry it first, and of these the images predicted as the class: dogs have odd numbers, of which the
    # ten up to 19 are predicted as dogs
    assert [(row["instance_id"], row["carries"]) for row in found] == [
        (1, True), (0, True), (4, False), (23, False), (2, None), (21, None),
    ]  # fmt: skip
    assert found[0] == {
        "class_id": 1, "class_name": "dog", "instance_id": 1, "carries": True, "label": 1, "label_name": "dog",
        "predicted": 1, "predicted_name": "dog", "n_pasted": 9, "n_following": 9, "predicted_covered": 0,
        "predicted_covered_name": "cat",
    }  # fmt: skip
    assert records(connection, "shortcut_images", class_id="0") == []
