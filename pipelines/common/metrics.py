"""What the metrics of a comparison are called wherever a person reads them: in figures, tables and sentences."""

METRICS = {
    "insertion": "insertion",
    "deletion": "deletion",
    "road_gap": "ROAD gap",
    "randomized/everything": "random weights",
    "randomized_signed/everything": "random weights, with signs",
    "epoch_0": "before training",
    "epoch_0_signed": "before training, with signs",
    "points_at_glyph": "on what decides",
    "points_at_decoy": "on the decoy",
    "covers_all_parts": "all parts covered",
    "share_object": "fraction on the object",
}
# what the means of a comparison say that a method's own run shows in MLflow, by the name that they have there
MEANINGS = {
    "insertion": "area under the probability curve as pixels are put in, most relevant first, 0..1; higher is better",
    "deletion": "the same as pixels are blurred away; lower is better",
    "road_gap": "ROAD, least minus most relevant pixels removed first, -1..1; higher is better",
    "randomized": "rank correlation with maps of the network with random weights; lower is better",
    "epoch_0": "rank correlation with maps of the network before training; lower is better",
}
JUDGING = ("insertion", "deletion", "road_gap")  # those by which a method is said to beat random maps
BEATS_RANDOM_LEVEL = 0.004  # family-wise level of that verdict everywhere: in MLflow, reports and figures
# by the beginning of other keys: their names, with the rest: a percentage, a layer or a part's number
FAMILIES = {
    "road_morf_": "ROAD, {} % imputed, most relevant first",
    "road_lerf_": "ROAD, {} % imputed, least relevant first",
    "randomized/": "random weights down to {}",
    "randomized_signed/": "random weights down to {}, with signs",
    "share_part_": "fraction on part {}",
}


def name_metric(key: str) -> str:
    """A metric's name within a sentence; the key itself if it has none."""
    if key in METRICS:
        return METRICS[key]
    for start, name in FAMILIES.items():
        if key.startswith(start):
            return name.format(key.removeprefix(start))
    return key
