"""Maps of each class that lie in the same places, by method: logged as table map_clusters.

Where a class is recognised by two things, its maps form two groups; a small one may be a shortcut of some images.
"""

from collections import defaultdict

import numpy as np
import torch

import queries
from pipelines.common.progress import track
from pipelines.comparing.comparison import Comparison
from tracking import commits, committing, runs
from tracking.index import ingest
from tracking.reading import connect
from xai.map_clusters import cluster_maps

UNIT = "clusters"
MAX_MAPS = 1000  # per class and method; of more, this many are taken, evenly spread


def log_clusters(comparison: Comparison, run: runs.Run) -> None:
    """Clusters the maps of every method and class, and commits them, unless that is already done."""
    if UNIT in commits.commits_by_unit(run.home, run.run_id):
        return
    selection = comparison.selection
    columns: dict[str, list] = defaultdict(list)
    for method in track(selection.methods, "clusters of maps", "methods"):
        with connect(run.home, run_ids=[selection.run_id]) as connection:
            parameters = selection.name_maps(method, selection.instances)
            found = queries.execute(connection, "clustered_maps", parameters).fetchnumpy()
        maps = torch.from_numpy(np.stack(list(found["map8"])))
        is_empty = (maps == 0).all(1).numpy()
        for class_id in np.unique(found["class_id"]).tolist():
            members = np.flatnonzero((found["class_id"] == class_id) & ~is_empty)
            if len(members) > MAX_MAPS:
                members = members[np.linspace(0, len(members) - 1, MAX_MAPS).astype(int)]
            columns["method"] += [method] * len(members)
            columns["class_id"] += [class_id] * len(members)
            columns["cluster"] += cluster_maps(maps[members], comparison.settings.seed).tolist()
            columns["instance_id"] += found["instance_id"][members].tolist()
    count = len(columns["cluster"])
    shared = {
        "run_id": run.run_id,
        "source_run_id": run.record.source,
        "epoch": selection.epoch,
        "split": selection.split,
        "target_kind": selection.target,
    }
    columns |= {column: [value] * count for column, value in shared.items()}
    committing.commit_tables(run, UNIT, {"map_clusters": columns} if count else {}, selection.epoch)
    ingest(run.home, [run.run_id])
