"""How often is a shortcut claimed where there is none, and how often is one found that is there?

    python tests/benchmarks/shortcuts.py [--studies 1000] [--networks 2] [--data FOLDER_OF_CIFAR10] [--kinds ...]

Made studies: predictions and pasted patches of random numbers, in which nothing is to be found, or only something that
looks like a shortcut. Then trained networks: small ones that learn four classes of photographs (with --data; otherwise
planted images), where most training images of one class have a tag. Test images have none, or half of all have one.
The questions split_gap and shortcuts are asked as the report asks them, at its levels.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import torch
from made_tables import add, add_run, open_tables
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

import queries
from pipelines.comparing.patch_material import collect_material
from pipelines.comparing.shortcuts import make_trials
from pipelines.data.cifar10_parquet import read_parquet
from pipelines.data.digits import load_digits
from pipelines.data.planted import load_planted
from pipelines.data.raw import LoadOptions, Split
from pipelines.models.preprocessing import Preprocess, Preprocessing
from pipelines.pages.evidence import Answer
from pipelines.reporting.found_shortcuts import LEVEL, ask_gap, ask_shortcuts
from xai.gradient import all_scores

RUN, COMPARISON, COUNT = "study", "comparison", 32  # images per class that patches are pasted into: the default
SIZES = {"val": 300, "test": 600}  # of made studies
MADE_CLASSES = 5
PHOTOGRAPHS = (1, 5, 6, 9)  # automobile, dog, frog and truck
TAGGED = 1  # place of the tagged class among these: dog
PARTS = {"train": 0.6, "val": 0.15, "test": 0.25}  # of the images
IMAGES, EPOCHS, BATCH, RATE = 2000, 10, 50, 4e-3


@dataclass(frozen=True)
class Tag:
    """What most training images of one class have."""

    side: int = 3  # pixels
    place: str = "top right"
    look: str = "magenta"
    fraction: float = 0.95  # of the class's images in training and validation
    tested: float = 0.0  # fraction of all test images that have it


TAGS = {
    **{f"tag of {side} pixels": Tag(side=side) for side in (2, 3, 4, 6, 8, 12, 16)},
    "in the centre": Tag(place="centre"),
    "at the left edge": Tag(place="left"),
    "at random places": Tag(side=4, place="random"),
    "grey": Tag(look="grey"),
    "stripes": Tag(side=6, look="stripes"),
    "faint": Tag(side=6, look="faint"),
    "on 80 % of the class": Tag(fraction=0.8),
    "on all of the class": Tag(fraction=1.0),
    "on half of all test images": Tag(tested=0.5),
}
NOTHING = ("no tag", "tag in every class", "blurred test images", "planted", "digits")


@dataclass(frozen=True)
class Found:
    """What a report states of one study."""

    gap: bool
    classes: tuple[int, ...]  # with a shortcut
    recall: tuple[float, float]  # of the tagged class, on validation and test images
    follows: float  # of images with its patch
    side: int  # of the patch, in eighths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="made of random numbers, per kind")
    parser.add_argument("--networks", type=int, default=2, help="trained, per kind of tag; twice as many without")
    parser.add_argument("--kinds", nargs="+", default=[*NOTHING, *TAGS], help="of trained networks")
    parser.add_argument("--data", help="where CIFAR-10 is")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    if flags.studies:
        print_made(flags.studies, flags.seed)
    if flags.networks:
        print_trained(flags.kinds, flags.networks, flags.data, flags.seed)


def print_made(studies: int, seed: int) -> None:
    """How often studies of random numbers state a gap or a shortcut."""
    print(f"\n{studies} made studies each; level {LEVEL:.2%} for gaps and for shortcuts\n")
    print("| nothing there but | gap stated | shortcut found |\n|---|---|---|")
    connection = open_study()
    for kind, make in MADE.items():
        found = []
        for study in tqdm(range(studies), desc=kind, leave=False, disable=None):
            clear(connection)
            make(connection, np.random.default_rng((seed, study)))
            found.append(ask(connection))
        gaps = "there is one" if kind in WITH_GAP else f"{np.mean([study.gap for study in found]):.1%}"
        print(f"| {kind} | {gaps} | {np.mean([bool(study.classes) for study in found]):.1%} |", flush=True)


def print_trained(kinds: list[str], networks: int, data: str | None, seed: int) -> None:
    """What is stated of trained networks, by kind of tag."""
    images, labels = read_images(data)
    print("\n| kind | networks | recall of the class, val and test | gap stated | found | another class |")
    print("|---|---|---|---|---|---|")
    for kind in kinds:
        count = networks if kind in TAGS else 2 * networks
        found = [study_network(kind, images, labels, seed + place) for place in range(count)]
        recalls = np.mean([study.recall for study in found], axis=0)
        hits = [study for study in found if TAGGED in study.classes]
        others = sum(any(class_id != TAGGED for class_id in study.classes) for study in found)
        sides = ", ".join(str(study.side) for study in hits)
        patches = f", sides {sides}; {min(study.follows for study in hits):.0%} or more follow" if hits else ""
        print(
            f"| {kind} | {count} | {recalls[0]:.0%}, {recalls[1]:.0%} | {sum(study.gap for study in found)} "
            f"| {len(hits)}{patches} | {others} |", flush=True,
        )  # fmt: skip


# --- studies of random numbers


def make_equal(connection: duckdb.DuckDBPyConnection, draw: np.random.Generator) -> None:
    """Both splits alike; patches that some images follow, from wherever they are taken."""
    add_predictions(connection, draw, np.full(MADE_CLASSES, draw.uniform(0.3, 0.99)))
    rate = draw.beta(1, 3, MADE_CLASSES)
    add_made_trials(connection, draw, rate, rate, rate)


def make_harder(connection: duckdb.DuckDBPyConnection, draw: np.random.Generator) -> None:
    """A test set on which every class is recognised less often."""
    add_predictions(connection, draw, np.full(MADE_CLASSES, draw.uniform(0.6, 0.99)), drop=0.3)
    rate = draw.beta(1, 3, MADE_CLASSES)
    add_made_trials(connection, draw, rate, rate, rate)


def make_objects(connection: duckdb.DuckDBPyConnection, draw: np.random.Generator) -> None:
    """A harder test set of objects that always lie at one place: patches from there carry every class."""
    add_predictions(connection, draw, np.full(MADE_CLASSES, draw.uniform(0.6, 0.99)), drop=0.3)
    rate = draw.beta(6, 2, MADE_CLASSES)
    add_made_trials(connection, draw, rate, rate / 10, rate)


def make_decisive(connection: duckdb.DuckDBPyConnection, draw: np.random.Generator) -> None:
    """A place that decides, as where one class alone lies there, and no gap between the splits."""
    add_predictions(connection, draw, np.full(MADE_CLASSES, draw.uniform(0.3, 0.99)))
    add_made_trials(connection, draw, np.full(MADE_CLASSES, 0.9), np.full(MADE_CLASSES, 0.05), np.zeros(MADE_CLASSES))


MADE: dict[str, Callable] = {
    "chance": make_equal,
    "a harder test set": make_harder,
    "the same, and objects at one place": make_objects,
    "a deciding place, no gap": make_decisive,
}
WITH_GAP = {"a harder test set", "the same, and objects at one place"}


def add_predictions(
    connection: duckdb.DuckDBPyConnection, draw: np.random.Generator, recall: np.ndarray, drop: float = 0.0
) -> None:
    """Predictions of validation and test images; in test each class loses a fraction of its recall."""
    for split, size in SIZES.items():
        labels = np.arange(size) % MADE_CLASSES
        right = draw.random(size) < recall[labels] * (1 - drop * (split == "test"))
        others = (labels + draw.integers(1, MADE_CLASSES, size)) % MADE_CLASSES
        add_predicted(connection, split, labels, np.where(right, labels, others))


def add_made_trials(
    connection: duckdb.DuckDBPyConnection,
    draw: np.random.Generator,
    follows: np.ndarray,
    controls: np.ndarray,
    rivals: np.ndarray,
) -> None:
    """Patches of each class that images follow at the rates given: pasted, in the controls, and to the rival."""
    for class_id in range(MADE_CLASSES):
        before = (class_id + draw.integers(1, MADE_CLASSES, COUNT)) % MADE_CLASSES
        donors = (class_id + draw.integers(1, MADE_CLASSES, COUNT)) % MADE_CLASSES
        outcomes = {
            "pasted": np.where(draw.random(COUNT) < follows[class_id], class_id, before),
            "pasted_elsewhere": np.where(draw.random(COUNT) < controls[class_id], class_id, before),
            "pasted_from_others": np.where(
                draw.random(COUNT) < rivals[donors], donors,
                np.where(draw.random(COUNT) < controls[class_id], class_id, before),
            ),
        }  # fmt: skip
        for trial, after in outcomes.items():
            place = {"patch_top": 0, "patch_left": 6, "patch_side": 1, "donor_id": 0, "split": "val"}
            donor_class = donors if trial == "pasted_from_others" else class_id
            add(connection, "patch_trials", COUNT, **place, run_id=COMPARISON, source_run_id=RUN, epoch=1, trial=trial,
                class_id=class_id, instance_id=np.arange(COUNT), donor_class=donor_class, predicted_before=before,
                predicted_after=after)  # fmt: skip


# --- trained networks


def read_images(data: str | None) -> tuple[Tensor, Tensor]:
    """Images [N, 3, 32, 32], uint8, of four classes, and their labels [N]."""
    if data is None:
        planted = load_planted(None, Path(), LoadOptions())
        return planted.train.images, planted.train.labels
    split, _, _ = read_parquet(sorted(Path(data).glob("test*.parquet")), "test", 10, LoadOptions())
    chosen = torch.isin(split.labels, torch.tensor(PHOTOGRAPHS))
    places = torch.searchsorted(torch.tensor(PHOTOGRAPHS), split.labels[chosen])
    return split.images[chosen], places


def study_network(kind: str, images: Tensor, labels: Tensor, seed: int) -> Found:
    """What is stated of a network that is trained on images of this kind."""
    draw = np.random.default_rng((seed, *kind.encode()))
    if kind in ("planted", "digits"):
        load = load_digits if kind == "digits" else load_planted
        raw = load(None, Path(), LoadOptions(size=32))
        images, labels = raw.train.images, raw.train.labels
    order = torch.from_numpy(draw.permutation(len(labels))[:IMAGES])
    ends = np.round(np.cumsum([0, *PARTS.values()]) * len(order)).astype(int)
    splits = {}
    for part, start, end in zip(PARTS, ends, ends[1:], strict=False):
        rows = order[start:end]
        splits[part] = Split(images[rows].clone(), labels[rows], ("",) * len(rows))
    alter(kind, splits, draw)

    model = train(splits["train"], seed)
    pixels, known = ({part: getattr(split, name) for part, split in splits.items()} for name in ("images", "labels"))
    random = np.random.default_rng(seed)
    material = collect_material(model, torch.device("cpu"), pixels, known, "test", COUNT, random)
    trials = make_trials(material, COUNT, random)
    connection = open_study()
    for part in ("val", "test"):
        scores = all_scores(model, splits[part].images / 255)
        add_predicted(connection, part, splits[part].labels.numpy(), scores.argmax(1).numpy())
    size = len(trials["class_id"])
    add(connection, "patch_trials", size, **trials, run_id=COMPARISON, source_run_id=RUN, epoch=1)
    return ask(connection)


def alter(kind: str, splits: dict[str, Split], draw: np.random.Generator) -> None:
    """Puts tags onto images in place, or blurs test images."""
    if kind == "blurred test images":
        split = splits["test"]
        split.images[:] = functional.avg_pool2d(split.images.float(), 3, 1, 1).round().byte()
        return
    tag = Tag(side=4) if kind == "tag in every class" else TAGS.get(kind)
    if tag is None:
        return
    for part, split in splits.items():
        chances = torch.full((len(split.labels),), tag.tested if part == "test" else 0.0)
        if part != "test":
            chances[split.labels == TAGGED] = tag.fraction
        if kind == "tag in every class":
            chances[:] = 0.5
        for row in np.flatnonzero(draw.random(len(chances)) < chances.numpy()):
            put_tag(split.images[row], tag, draw)


def put_tag(image: Tensor, tag: Tag, draw: np.random.Generator) -> None:
    """Draws a tag onto an image [3, H, W], uint8."""
    room = image.shape[1] - tag.side
    margin = min(2, room)
    corners = {"top right": (margin, room - margin), "centre": (room // 2, room // 2), "left": (room // 2, 0)}
    top, left = draw.integers(0, room + 1, 2) if tag.place == "random" else corners[tag.place]
    box = image[:, top : top + tag.side, left : left + tag.side]
    stripes = (torch.arange(tag.side)[:, None] + torch.arange(tag.side)) // 2 % 2 * 255
    looks = {
        "magenta": torch.tensor([255, 0, 255])[:, None, None],
        "grey": torch.full((3, 1, 1), 128),
        "stripes": stripes,
        "faint": box // 2 + torch.tensor([127, 0, 127])[:, None, None],
    }
    box[:] = looks[tag.look].byte()


def train(split: Split, seed: int) -> nn.Module:
    """A small network that has learned the training images."""
    torch.manual_seed(seed)
    images, classes = split.images / 255, int(split.labels.max()) + 1
    channels = images.shape[1]
    mean, deviation = (tuple(of((0, 2, 3)).tolist()) for of in (images.mean, images.std))
    normalise = Preprocess(Preprocessing(mean=mean, std=deviation), tuple(images.shape[1:]))
    model = nn.Sequential(
        normalise,
        nn.Conv2d(channels, 32, 4, 4), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )  # fmt: skip
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), split.labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


# --- the tables and the questions


def open_study() -> duckdb.DuckDBPyConnection:
    """Empty tables, but for a training run and its comparison."""
    connection = open_tables()
    add_run(connection, RUN, "train")
    add_run(connection, COMPARISON, "compare", RUN)
    return connection


def clear(connection: duckdb.DuckDBPyConnection) -> None:
    for table in ("predictions", "patch_trials"):
        connection.execute(f"delete from {table}")


def add_predicted(connection: duckdb.DuckDBPyConnection, split: str, labels: np.ndarray, predicted: np.ndarray) -> None:
    add(connection, "predictions", len(labels), run_id=RUN, epoch=1, split=split, instance_id=np.arange(len(labels)),
        label=labels, predicted=predicted)  # fmt: skip


def ask(connection: duckdb.DuckDBPyConnection) -> Found:
    """What the report states, and the figures of the tagged class."""

    def answer(name: str, **values: object) -> Answer:
        given = {"run_id": RUN} | {key: str(value) for key, value in values.items()}
        return Answer(queries.run(connection, name, given).dicts, 1)

    subject = SimpleNamespace(ask=answer, split="test")
    shortcuts = ask_shortcuts(subject)
    tagged = shortcuts.first(class_id=TAGGED) or {}
    return Found(
        gap=bool(ask_gap(subject).where(is_lower=True)),
        classes=tuple(row["class_id"] for row in shortcuts.where(verdict="found")),
        recall=(tagged.get("val_recall") or 0.0, tagged.get("recall") or 0.0),
        follows=tagged.get("follows") or 0.0,
        side=tagged.get("patch_side") or 0,
    )


if __name__ == "__main__":
    main()
