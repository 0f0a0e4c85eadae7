"""Which images have pictures of their own in MLflow: charts of heatmaps with a slider over epochs, and a mosaic."""

from collections.abc import Mapping
from itertools import chain, zip_longest

import duckdb

import queries

PICTURED = 8  # images of a training and a split


def choose_pictured(
    connection: duckdb.DuckDBPyConnection, run_id: str, split: str, epochs_by_instance: Mapping[int, int]
) -> list[int]:
    """The images explained at the most epochs; of these, first the most striking to check, of each reason in turn.

    Then the lowest IDs, so that every method and the comparison choose the same.
    """
    if len(epochs_by_instance) <= PICTURED:
        return sorted(epochs_by_instance)
    scope = {"run_id": run_id, "split": split, "limit": str(PICTURED)}
    by_reason: dict[str, list[int]] = {}
    for row in queries.run(connection, "instances_to_check", scope).dicts:
        by_reason.setdefault(row["reason"], []).append(row["instance_id"])
    in_turn = [instance for instance in chain.from_iterable(zip_longest(*by_reason.values())) if instance is not None]
    places = {instance: place for place, instance in enumerate(dict.fromkeys(in_turn))}

    def nearest(instance: int) -> tuple[int, int, int]:
        return -epochs_by_instance[instance], places.get(instance, len(places)), instance

    return sorted(epochs_by_instance, key=nearest)[:PICTURED]
