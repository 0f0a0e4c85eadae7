"""Settings of every step: one frozen dataclass each, from which flags, help, MLflow params and config.json come."""

import re
from dataclasses import MISSING, dataclass
from typing import Any

from pipelines.common.checked_settings import CheckedSettings, setting
from tracking.errors import InputError

RUN = "run ID, unique prefix of one, run name, or latest"
MODEL_OR_GROUP = "RUN, RUN:EPOCH with a number, last or best, or the name of a group of seeds"
MEMORY = "memory limit of a pass in GB; default: half of the machine's or the GPU's"
SEED = "random seed; randomness derives from it and the instance ID"
DATA = "where the data set is now; default: where it was in training"
DATASET = (
    "digits, cifar10, folder, planted, planted:pair, planted:shortcut, digits:faults, csv:FILE, hf:PATH, "
    "torchvision:NAME, recorded or package.module:factory"
)
KNOWN_OF_LOOPS = ("dataset", "data", "model", "model_args", "transform", "device", "threads", "probabilities", "group",
                  "name")  # fmt: skip
PROBABILITIES = (
    "probabilities kept for each evaluated image: all (of every class), top:K (of the K likeliest classes; all if "
    "there are no more) or none; those of the label and of the predicted class are always kept"
)
GROUP = (
    "group of runs that share data and recipe and differ only in the seed, which the run joins or starts; for a group, "
    "questions give means over seeds"
)
AUTO = "auto"
UNKNOWN_MODEL = "unknown"  # of a run that was recorded without a function that builds its model
MODEL_LATER = (
    "package.module:function that builds the model of a run that was recorded without one; it is checked against the "
    "recorded predictions, then remembered"
)
FORMATS = ("table", "csv", "excel-csv", "json")  # of an answer
FORMAT = "output format; excel-csv keeps spreadsheets from evaluating text such as =1+1"


@dataclass(frozen=True, kw_only=True)
class SpreadSettings(CheckedSettings):
    """Settings of steps that worker processes can share; results do not depend on these, and no record has them."""

    workers: int | None = setting(
        None, "worker processes of this machine that compute (Dask); default: none, this process computes",
        least=1, most=1024,
    )  # fmt: skip
    scheduler: str | None = setting(None, "running Dask scheduler whose workers compute, such as tcp://host:8786")

    def params(self) -> dict[str, Any]:
        return {key: value for key, value in super().params().items() if key not in ("workers", "scheduler")}


@dataclass(frozen=True)
class TrackedSettings(CheckedSettings):
    """What every run with checkpoints records, however it was trained: its data, and how its model is built and run."""

    dataset: str = setting("digits", DATASET)
    data: str | None = setting(
        None, "where the data set is; cifar10 and torchvision's are also looked for in the study home"
    )
    image_column: str | None = setting(None, "column of images, or of their paths; default: found by usual names")
    label_column: str | None = setting(None, "column of labels; default: found by usual names")
    split_column: str | None = setting(None, "column of train, val or test; default: found by usual names, if any")
    size: int | None = setting(None, "image side length in pixels; default: the data set's", least=8, most=1024)
    skip_unreadable: bool = setting(
        False, "leave out images that cannot be read, and record which; otherwise they are errors"
    )
    val_fraction: float = setting(
        0.1, "fraction of the training set used for validation, unless the data set has its own validation images",
        least=0, most=0.5, formerly="val_share",
    )  # fmt: skip
    test_fraction: float | None = setting(
        None, "fraction of the images held out for testing, for data without its own test images; default: 0.5 of "
        "its validation images, or 0.2 of all", least=0.01, most=0.9,
    )  # fmt: skip
    model: str = setting("cnn", "cnn, timm:NAME, torchvision:NAME, or package.module:factory, a function that returns "
                         "your torch module")  # fmt: skip
    model_args: str | None = setting(
        None, "arguments of the factory or network, a JSON object such as '{\"width\": 64}'"
    )
    transform: str | None = setting(
        None, "package.module:name of the torchvision transform that makes a picture the network's input, or none; it "
        "becomes the model's first layer; default: the network's own in timm and torchvision, else normalising",
    )  # fmt: skip
    channels: int | None = setting(
        None, "channels that the network takes, to which grey images are repeated", least=1, most=16
    )
    seed: int = setting(0, "random seed; all randomness derives from it", least=0, most=2**32 - 1)
    split_seed: int | None = setting(
        None, "seed that chooses the validation images; default: that of the group's first run, or --seed",
        least=0, most=2**32 - 1,
    )  # fmt: skip
    group: str | None = setting(None, GROUP)
    device: str = setting("auto", "auto: a GPU if there is one, else the CPU; or a torch device such as cpu or cuda:1")
    threads: int = setting(0, "CPU threads; 0: one per core", least=0, most=1024)
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)
    evaluation_batch: int | None = setting(
        None, "images per evaluation pass; default: 500, fewer if these would take over 1 GB", least=1, most=65_536
    )
    probabilities: str = setting("top:20", PROBABILITIES, unrecorded="all")
    name: str | None = setting(None, "run name; default: from data set, model and seed")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_probabilities(self.probabilities)

    @property
    def validation_seed(self) -> int:
        """The seed that chooses the validation images."""
        return self.seed if self.split_seed is None else self.split_seed


def parse_probabilities(text: str) -> int | None:
    """Of how many of the likeliest classes probabilities are kept, None for all. Raises InputError on another text."""
    if text in ("all", "none"):
        return None if text == "all" else 0
    if not re.fullmatch(r"top:[1-9][0-9]{0,8}", text):
        raise InputError(
            f"--probabilities is {text!r}; it takes all, none, or top:K, the K likeliest classes, such as top:20"
        )
    return int(text.removeprefix("top:"))


@dataclass(frozen=True)
class RecordSettings(TrackedSettings):
    """What is known of a run whose training loop is the user's; the rest of TrackedSettings says nothing of it."""

    def params(self) -> dict[str, Any]:
        """Only what is known."""
        return {key: value for key, value in super().params().items() if key in KNOWN_OF_LOOPS}


@dataclass(frozen=True)
class TrainSettings(TrackedSettings):
    """Train a classifier; every epoch's checkpoint and predictions are remembered. Prints the run ID (one per seed)."""

    val_fraction: float = setting(
        0.1, "fraction of the training set used for validation, unless the data set has its own validation images",
        least=0.01, most=0.5, formerly="val_share",
    )  # fmt: skip
    model: str = setting(
        AUTO, "cnn, timm:NAME, torchvision:NAME, or package.module:factory, a function that returns your torch module; "
        "auto: that of --from, else cnn",
    )  # fmt: skip
    weights: str | None = setting(
        None, "initial weights: a file of torch or safetensors, or pretrained, which timm and torchvision fetch; "
        "default: random ones",
    )  # fmt: skip
    from_: str | None = setting(
        None, "training run whose weights to start from, as RUN or RUN:EPOCH (a number, last or best; default: last); "
        "--model, --model-args, --transform and --channels are that run's unless given",
    )  # fmt: skip
    freeze: tuple[str, ...] = setting(
        (),
        "parameters that are not trained: body (all layers but the one that makes the logits), parts of the network "
        "such as layer1, or patterns such as 'layer[12].*'",
    )
    epochs: int = setting(10, "passes over the training images", least=1, most=10_000)
    batch: int | None = setting(None, "images per step; default: 256, fewer if an epoch would have under 20 steps or "
                                "they would not fit into --memory",
                                least=2, most=65_536)  # fmt: skip
    verdicts: str = setting(
        "ignore", "how reviewers' verdicts change the training images: apply corrects labels where all agree on "
        "another one, and leaves out other images that nobody would keep; leave-out leaves out both; ignore: no change",
        choices=("apply", "leave-out", "ignore"),
    )  # fmt: skip
    optimizer: str = setting("auto", "auto: muon for the cnn, adam for other models",
                             choices=("auto", "muon", "adam", "sgd"))  # fmt: skip
    lr: float | None = setting(None, "peak learning rate of the one-cycle schedule; default: by optimizer",
                               least=1e-8, most=100)  # fmt: skip
    body_lr: float | None = setting(
        None, "peak learning rate of the body: all layers but the one that makes the logits; default: --lr",
        least=1e-8, most=100,
    )  # fmt: skip
    weight_decay: float = setting(5e-4, "weight decay (decoupled, as in AdamW)", least=0, most=1)
    label_smoothing: float = setting(0.1, "probability spread evenly over all classes", least=0, most=0.9)
    random_shift: int = setting(
        2,
        "random shift of training images, at most this many pixels each way",
        least=0,
        most=64,
        formerly="shift",
    )
    random_flip: str = setting(
        "auto", "random horizontal flip of training images; auto: if the data set allows it",
        choices=("auto", "yes", "no"), formerly="flip",
    )  # fmt: skip
    progressive_resizing: str = setting(
        "auto", "train on small images first, then on larger ones; auto: if the data set allows it and the network is "
        "untrained",
        choices=("auto", "yes", "no"), formerly="grow",
    )  # fmt: skip
    ema_decay: float = setting(
        0.98, "decay of the exponential moving average of the weights, which is the model that is kept; 0: none",
        least=0, most=0.9999, formerly="average",
    )  # fmt: skip
    precision: str = setting("auto", "auto: bfloat16 if the processor supports it, else float32",
                             choices=("auto", "float32", "bfloat16"))  # fmt: skip
    seeds: str | None = setting(
        None, "seeds such as 0-4 or 0,3,7: trains one run per seed, one after the other, as a group; seeds that the "
        "group already has are not trained again, only resumed if interrupted", numbers=True,
    )  # fmt: skip

    def params(self) -> dict[str, Any]:
        """Those of one run, which has one seed."""
        return {key: value for key, value in super().params().items() if key != "seeds"}

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        return {
            "data": (
                "dataset", "data", "image_column", "label_column", "split_column", "size", "skip_unreadable",
                "val_fraction", "test_fraction", "verdicts",
            ),
            "model and optimization": (
                "model", "model_args", "transform", "channels", "weights", "from_", "freeze", "epochs", "batch",
                "optimizer", "lr", "body_lr", "weight_decay", "ema_decay",
            ),
            "regularization": ("label_smoothing", "random_shift", "random_flip", "progressive_resizing"),
            "reproducibility": ("seed", "seeds", "split_seed", "group", "name"),
            "what is logged": ("probabilities",),
            "machine": ("device", "precision", "threads", "memory", "evaluation_batch"),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings(TrainSettings):
    """Training settings with every `auto`, and every default that depends on the data or the machine, resolved."""

    lr: float = setting(MISSING, "peak learning rate", least=1e-8, most=100)


@dataclass(frozen=True, kw_only=True)
class ResolvedTraining(ResolvedSettings):
    """Resolved settings with the sizes of passes as well: what a run is trained with, and records."""

    batch: int = setting(MISSING, "images per step", least=2, most=65_536)
    first_epoch = 0  # a setting only of a training that continues another


@dataclass(frozen=True, kw_only=True)
class ResolvedImprovement(ResolvedTraining):
    """What a training records that continues from an epoch of another run, and sees some images more often."""

    first_epoch: int = setting(MISSING, "epoch of --from that training continues from", least=1)
    targeted: bool = setting(MISSING, "whether the images that an epoch sees again are chosen ones, or any")
    repeats: int = setting(MISSING, "number of images that an epoch sees again", least=0)
    augment: tuple[str, ...] = setting(MISSING, "how the images seen again are altered")
    where: str | None = setting(None, "SQL condition by which images were chosen; default: weak classes and others")
    new_images: str | None = setting(None, "sha256 of the new images that are trained on too; default: none are")
    weak_classes: tuple[str, ...] = setting(MISSING, "classes with the lowest recall on val, which are to improve")


@dataclass(frozen=True)
class ImproveSettings(CheckedSettings):
    """Continue training on what a model gets wrong, alongside a control run. Prints the improved run's ID.

    The comparison of the two on the test images, which guide no choice, goes to standard error.
    """

    run: str = setting(
        "latest", "training run to continue, as RUN or RUN:EPOCH (a number, last or best; default: best)",
        positional=True,
    )  # fmt: skip
    epochs: int = setting(5, "passes over the training images", least=1, most=10_000)
    where: str | None = setting(
        None, "SQL condition on the epoch's predictions of split train_seen that chooses images, such as "
        '"label = 3 and predicted = 5"; default: the question improvement_targets',
    )  # fmt: skip
    weak_classes: int = setting(
        3, "number of classes to improve and compare: those with the lowest recall on val", least=1
    )
    images: tuple[str, ...] = setting(
        (), "new images to train on too, or folders of them; each in a folder named after its class",
        path=True,
    )  # fmt: skip
    verdicts: str | None = setting(
        None, "how reviewers' verdicts change the training images, as in study train, but not in the control; default: "
        "as in the run",
        choices=("apply", "leave-out", "ignore"),
    )  # fmt: skip
    repeats: float = setting(
        0.5, "images that an epoch sees again, as a fraction of the training images; drawn from those chosen, in the "
        "control from all", least=0.01, most=10,
    )  # fmt: skip
    augment: tuple[str, ...] = setting(
        ("none",), "how the images seen again are altered: mix (half of them, with an image of the class that they are "
        "confused with), colour, cutout", choices=("none", "mix", "colour", "cutout"),
    )  # fmt: skip
    lr: float | None = setting(
        None, "peak learning rate; default: a fraction of the run's, as its full peak would undo what it learned",
        least=1e-8, most=100,
    )  # fmt: skip
    seeds: str | None = setting(
        None, "random seed, or several such as 0-2 or 0,3,7: one improved run per seed, as a group, and their controls "
        "as another group; default: that of the run", numbers=True,
    )  # fmt: skip
    name: str | None = setting(
        None, "name of the improved run or group; the control's ends in -control; default: from data set, model and "
        "seed",
    )  # fmt: skip
    data: str | None = setting(None, DATA)

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        return {
            "what is trained on": ("where", "weak_classes", "repeats", "augment", "images", "verdicts"),
            "how it is trained": ("epochs", "lr", "seeds"),
            "name and data": ("name", "data"),
        }


@dataclass(frozen=True)
class ResumeSettings(SpreadSettings):
    """Resume an interrupted run; the result is bit-identical to an uninterrupted one. Prints the run ID."""

    run: str = setting("latest", RUN, positional=True)
    data: str | None = setting(None, "where the data set is now; default: where it was then")


@dataclass(frozen=True)
class RerunSettings(SpreadSettings):
    """Repeat a run from its own record, as a new run. Prints its ID."""

    run: str = setting("latest", RUN, positional=True)
    check: bool = setting(
        False, "check that every number is identical; if not, report by how much they differ, with exit code 1"
    )
    data: str | None = setting(None, "where the data set is now; default: where it was then")


@dataclass(frozen=True)
class ExplainSettings(SpreadSettings):
    """Explain predictions of a training run's checkpoints. Prints the ID of one explainer run per method."""

    run: str = setting("latest", RUN, positional=True)
    method: tuple[str, ...] = setting(
        ("saliency",), "explanation methods; all: every method that makes maps and is applicable to the model"
    )
    epochs: str = setting("last", "last, best (highest val accuracy), all, or a list such as 0,5,10", numbers=True)
    split: str = setting("test", "train, val, test or extra:NAME; for train, --where reads train_seen")
    instances: str | None = setting(None, "instance IDs, such as 0,7,42", numbers=True)
    count: int | None = setting(
        None,
        "number of instances: a fixed random sample (smaller ones are subsets of larger ones); default: 64",
        least=1,
    )
    also: str | None = setting(
        None,
        "instance IDs to explain in addition to the random sample, such as 0,7,42; no average or test counts them",
        numbers=True,
    )
    where: str | None = setting(None, 'SQL condition on predictions, such as "label = 3 and predicted = 5"')
    target: tuple[str, ...] = setting(
        (), "classes whose score is explained: predicted, label, class names or IDs; default: by method", numbers=True
    )
    samples: int | None = setting(None, "forward passes per image, for sampling-based methods; default: by method",
                                  least=2, most=1_000_000)  # fmt: skip
    concepts: int | None = setting(None, "number of concepts, for ice; default: chosen from the data",
                                   least=1, most=1000)  # fmt: skip
    layer: str | None = setting(None, "layer, for layer-based methods; default: the last layer with spatial output")
    seed: int = setting(0, SEED, least=0, most=2**32 - 1)
    precision: str = setting(
        "float32",
        "precision of passes; auto: bfloat16 if supported, faster, and in agreement with float32 on a few maps per "
        "epoch; else float32",
        choices=("auto", "float32", "bfloat16"),
    )
    model: str | None = setting(None, MODEL_LATER)
    model_args: str | None = setting(None, "arguments of --model, a JSON object")
    data: str | None = setting(None, DATA)
    batch: int = setting(128, "images per batch, fewer if they would not fit into --memory", least=1, most=65_536)
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        return {
            "what is explained": ("method", "epochs", "split", "instances", "count", "also", "where", "target"),
            "how the methods work": ("samples", "concepts", "layer", "seed"),
            "data, model and machine": ("data", "model", "model_args", "precision", "batch", "memory"),
            "several processes": ("workers", "scheduler"),
        }


@dataclass(frozen=True)
class CompareSettings(SpreadSettings):
    """Compare the methods that explained a training run: faithfulness, agreement, drift. Prints the run ID."""

    run: str = setting("latest", RUN, positional=True)
    method: tuple[str, ...] = setting(
        (), "methods to compare, in addition to random and edge; default: all that have maps"
    )
    epoch: int | None = setting(None, "epoch to compare; default: the one that most methods explained", least=0)
    split: str = setting("test", "split of the instances")
    target: str = setting("predicted", "target whose maps are compared", choices=("predicted", "label"))
    randomization_count: int = setting(
        32, "instances for the randomization test, explained again with randomized weights; 0: none",
        least=0, most=1_000_000, formerly="randomized",
    )  # fmt: skip
    shortcut_count: int = setting(
        32, "images per class into which the patch that may decide the class is pasted, as a check for shortcuts; "
        "0: none", least=0, most=10_000,
    )  # fmt: skip
    seed: int = setting(0, SEED, least=0, most=2**32 - 1)
    data: str | None = setting(None, DATA)
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        return {
            "what is compared": ("method", "epoch", "split", "target"),
            "further checks": ("randomization_count", "shortcut_count", "seed"),
            "data and machine": ("data", "memory"),
            "several processes": ("workers", "scheduler"),
        }


@dataclass(frozen=True)
class PredictSettings(SpreadSettings):
    """Evaluate every checkpoint of a training run on new images; only what is missing is computed. Prints the split."""

    run: str = setting(MISSING, RUN, positional=True)
    images: tuple[str, ...] = setting(
        MISSING, "image files, or folders of them; a file's label is the class that its folder is named after",
        positional=True, path=True,
    )  # fmt: skip
    name: str = setting("new", "name of these images: their split is extra:NAME")
    skip_unreadable: bool = setting(False, "leave out images that cannot be read; otherwise they are errors")
    device: str | None = setting(None, "torch device such as cpu or cuda:1; default: the training's, if available")
    model: str | None = setting(None, MODEL_LATER)
    model_args: str | None = setting(None, "arguments of --model, a JSON object")
    data: str | None = setting(None, DATA)
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        return {
            "what is predicted": ("name", "skip_unreadable"),
            "data, model and machine": ("device", "model", "model_args", "data", "memory"),
            "several processes": ("workers", "scheduler"),
        }


@dataclass(frozen=True)
class FoldsSettings(CheckedSettings):
    """Predict the training images out of sample: each by a model that was trained as the run was, but on other images.

    They are split into folds, and for each fold a model is trained on the others. Prints the split.
    """

    run: str = setting("latest", RUN, positional=True)
    k: int = setting(4, "number of folds, and thus of models to train", least=2, most=100)
    data: str | None = setting(None, DATA)


@dataclass(frozen=True)
class LabelSettings(CheckedSettings):
    """Name a concept; later runs that find the same direction adopt the name. Prints the concept's key."""

    run: str = setting(MISSING, "explainer run of method ice: ID, unique prefix, name, or latest", positional=True)
    concept: str = setting(
        MISSING, "concept_id, or the beginning of its concept_key", positional=True, numbers=True
    )  # fmt: skip
    label: str = setting(MISSING, 'the name, such as "wheels"', positional=True)
    epoch: int | None = setting(None, "epoch of the concept; default: the run's last", least=0)


@dataclass(frozen=True)
class VerdictSettings(CheckedSettings):
    """Record what reviewers say about images and labels, from a CSV file: all of it, or nothing. Prints the run ID."""

    run: str = setting(MISSING, RUN, positional=True)
    file: str = setting(
        MISSING, "CSV with columns split, instance_id, verdict (label_ok, label_wrong, unclear, not_usable, withdrawn) "
        "and optionally new_label (a class, with label_wrong), who, note; - is standard input",
        positional=True, path=True,
    )  # fmt: skip
    who: str | None = setting(None, "reviewer of the rows that name none; default: your user name")


@dataclass(frozen=True)
class FlowSettings(CheckedSettings):
    """Make the InstanceFlow page of a run: which image was classified as what, epoch by epoch. Prints its path.

    With another run, the page shows both on the same images, and what the second fixes and breaks. For a group of
    seeds, each run gets its page.
    """

    run: str = setting("latest", f"{RUN}, or the name of a group of seeds", positional=True)
    other: str | None = setting(None, "run to compare it with, on the same images", positional=True)
    split: str = setting(
        "test", "split to show, such as test, val, train_seen or train_folds; images added later are included"
    )
    data: str | None = setting(None, "where the data set, or an imported log's images, are now")
    export: str | None = setting(None, "write InstanceFlow's JSON to this file instead", path=True)


@dataclass(frozen=True)
class DiffSettings(CheckedSettings):
    """Compare two models image by image, A and B: runs, epochs of runs, or groups of seeds. Prints the page's path."""

    run: str = setting(MISSING, f"A: {MODEL_OR_GROUP}", positional=True)
    other: str = setting(MISSING, "B: given in the same way as A", positional=True)
    split: str = setting("test", "split to compare them on, such as test, val or extra:NAME")
    data: str | None = setting(None, "where the data set, or an imported log's images, are now")


@dataclass(frozen=True)
class ReportSettings(CheckedSettings):
    """Make one page that answers the research questions from everything tracked for a run. Prints its path.

    For a group of seeds, the page says what they have in common and where they differ.
    """

    run: str = setting("latest", f"{RUN}, or the name of a group of seeds", positional=True)
    split: str = setting("test", "split to report on, such as test, val or extra:NAME")
    data: str | None = setting(None, "where the data set, or an imported log's images, are now")


@dataclass(frozen=True)
class FigureSettings(CheckedSettings):
    """Write figures ready for print; without a name, list the figures. Prints the files' paths."""

    name: str | None = setting(
        None, "name of a figure, several with commas between them, or all; without a name, or with a run in its place, "
        "lists the figures and which of them the run can give", positional=True,
    )  # fmt: skip
    run: str = setting("latest", RUN, positional=True)
    format: str | None = setting(
        None, "file format; default: that of --output, else pdf", choices=("svg", "pdf", "png")
    )
    output: str | None = setting(
        None, "file to write, for a single figure; default: NAME-RUN.FORMAT in this folder", path=True
    )
    width: str = setting("single", "width in columns of a printed page", choices=("single", "double"))
    split: str | None = setting(
        None, "split to show, such as test, val or extra:NAME; default: test, or all where a figure has all"
    )
    epoch: int | None = setting(None, "epoch to show; default: the last one", least=0)
    epochs: str | None = setting(None, "range of epochs to show, such as 2-10; default: all")
    instances: str | None = setting(
        None, "instance IDs to show, such as 0,7,42; default: two right, two wrong", numbers=True
    )
    method: tuple[str, ...] = setting((), "explanation methods to show; default: all")
    data: str | None = setting(None, "where the data set, or an imported log's images, are now")

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        return {
            "what is shown": ("split", "epoch", "epochs", "instances", "method", "data"),
            "the file": ("format", "output", "width"),
        }


@dataclass(frozen=True)
class ImportFlowSettings(CheckedSettings):
    """Import a training log in InstanceFlow's JSON format as a run. Prints the run ID."""

    file: str = setting(MISSING, "the log, a JSON file", positional=True, path=True)
    name: str | None = setting(None, "run name; default: from the log's name")


@dataclass(frozen=True)
class RunSettings(TrainSettings):
    """Run the whole study: train, explain, compare, report and summarise. Accepts every flag of `study train`."""

    dataset: str = setting("digits:faults", DATASET)


@dataclass(frozen=True, kw_only=True)
class ImportCheckpointsSettings(TrackedSettings):
    """Make a run whose epochs are your own checkpoint files, each evaluated on every split. Prints the run ID."""

    files: tuple[str, ...] = setting(
        MISSING, "checkpoint files of torch or safetensors, folders of them, or patterns such as 'ckpt/*.pt'",
        positional=True, path=True,
    )  # fmt: skip
    epochs: str | None = setting(
        None, "epochs of the files in their natural order, such as 5,10,15; default: the numbers in their names"
    )
    key: str | None = setting(
        None, "key of the weights in a file that holds more, such as ema or model.state_dict; default: a usual one"
    )
    val_fraction: float = setting(
        0.0, "fraction of the training set that your training left out for validation; default: none, as it is not "
        "known", least=0, most=0.5, formerly="val_share",
    )  # fmt: skip

    def params(self) -> dict[str, Any]:
        """The files are recorded beside the settings, each with its epoch and digest."""
        return {key: value for key, value in super().params().items() if key != "files"}

    @classmethod
    def flag_groups(cls) -> dict[str, tuple[str, ...]]:
        return {
            "checkpoints": ("epochs", "key"),
            "model": ("model", "model_args", "transform", "channels"),
            "data": (
                "dataset", "data", "image_column", "label_column", "split_column", "size", "skip_unreadable",
                "val_fraction", "test_fraction",
            ),
            "reproducibility": ("seed", "split_seed", "group", "name"),
            "what is logged": ("probabilities",),
            "machine": ("device", "threads", "memory", "evaluation_batch"),
        }  # fmt: skip


@dataclass(frozen=True)
class SqlSettings(CheckedSettings):
    """Run a read-only SQL query on everything that is tracked."""

    query: str = setting(MISSING, 'the SQL, such as "from runs"', positional=True)
    seconds: int = setting(60, "time limit in seconds", least=1, most=86_400)
    memory: int = setting(4, "memory limit in GB", least=1, most=100_000)
    format: str = setting("table", FORMAT, choices=FORMATS)


@dataclass(frozen=True)
class PruneSettings(CheckedSettings):
    """Delete checkpoints of a training run to free space; predictions and maps stay. Prints the epochs kept."""

    run: str = setting(MISSING, "training run: ID, unique prefix of one, run name, or latest", positional=True)
    every: int = setting(
        5, "keep every Nth checkpoint (5: epochs 0, 5, 10, ...); the best and the last are always kept", least=1
    )
    dry: bool = setting(False, "only report what would be freed")


@dataclass(frozen=True)
class RebuildSettings(CheckedSettings):
    """Rebuild study.duckdb from the runs' committed files."""


@dataclass(frozen=True)
class UiSettings(CheckedSettings):
    """Serve the MLflow UI of this study home on this machine. Prints the addresses to open."""

    port: int = setting(5000, "port on 127.0.0.1", least=1024, most=65_535)
