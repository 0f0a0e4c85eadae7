"""A loop on several processes: rank 0 writes one run, with what all of them have seen."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from support.places import ROOT
from tracking.catalogue import read_records
from tracking.home import Home
from tracking.reading import connect

LOOP = """
import sys
import torch
import torch.distributed as distributed
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler
from pipelines import record
from support.recorded import CLASSES, make_net, make_sets

distributed.init_process_group("gloo")
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(make_net())
optimizer = torch.optim.Adam(model.parameters(), 0.02)
sets = make_sets()
run = record(model, sets, CLASSES, home=sys.argv[1], state={"optimizer": optimizer}, resume=sys.argv[2] or None)
train_set = run.with_ids(sets["train"])
for epoch in run.epochs(int(sys.argv[3])):
    model.train()
    for images, labels, ids in DataLoader(train_set, batch_size=8, sampler=DistributedSampler(train_set)):
        logits = model(images.permute(0, 3, 1, 2).float() / 255)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        run.seen(ids, logits, labels)
    run.epoch()
run.finish()
print("weights", sum(weight.double().sum().item() for weight in model.parameters()))
distributed.destroy_process_group()
"""


def launch(tmp_path: Path, *arguments: str) -> list[str]:
    """The last line that each of two processes prints."""
    script = tmp_path / "loop.py"
    script.write_text(LOOP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    common["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env=os.environ | common | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=240) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(error for _, error in outputs)
    return [out.splitlines()[-1] for out, _ in outputs]


def test_rank_0_writes_what_all_have_seen_and_all_go_on(home: Home, tmp_path: Path) -> None:
    launch(tmp_path, str(home.path), "", "1")
    resumed = launch(tmp_path, str(home.path), "latest", "2")
    assert resumed[0] == resumed[1]  # both went on with the same weights
    assert [record.status for record in read_records(home)] == ["FINISHED"]
    with connect(home) as connection:
        counts = connection.execute(
            "select epoch, count(*) from predictions where split = 'train_seen' group by all order by all"
        ).fetchall()
    assert counts == [(1, 48), (2, 48)]
