"""Names of metrics: every key that a comparison can have is named, and no two alike."""

from pipelines.common.metrics import name_metric


def test_every_metric_is_named_in_words() -> None:
    keys = [
        "insertion", "deletion", "road_gap", "road_morf_50", "road_lerf_50", "randomized/everything",
        "randomized_signed/everything", "randomized/network.features.3.0", "randomized_signed/network.features.3.0",
        "epoch_0", "epoch_0_signed", "points_at_glyph", "points_at_decoy", "covers_all_parts", "share_object",
        "share_part_1",
    ]  # fmt: skip
    names = [name_metric(key) for key in keys]
    assert len({*names}) == len(keys)
    assert not [name for name in names if "_" in name or "randomized" in name]
    assert name_metric("road_morf_50") == "ROAD, 50 % imputed, most relevant first"
    assert name_metric("randomized/network.features.3.0") == "random weights down to network.features.3.0"
    assert name_metric("unknown_metric") == "unknown_metric"
