"""Settings of every step: one frozen dataclass each, from which flags, help, MLflow params and config.json come."""

from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any

from tracking.errors import InputError

MEMORY = "GB that a pass may take, default half of the machine's, or of the GPU's"
FORMS = ("table", "csv", "excel-csv", "json")  # of an answer


def setting(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] | None = None,
    positional: bool = False,
    path: bool = False,
) -> Any:
    """A documented field of a settings class; `least`, `most` and `choices` are checked.

    A `path` may have any bytes; other texts, and paths that are recorded, are UTF-8.
    """
    known = {"help": help, "least": least, "most": most, "choices": choices, "positional": positional, "path": path}
    return field(default=default, metadata=known)


@dataclass(frozen=True)
class Checked:
    """Base of all settings: values outside a field's bounds raise InputError."""

    def __post_init__(self) -> None:
        for known in fields(self):
            value = getattr(self, known.name)
            for item in value if isinstance(value, tuple) else (value,):
                if item is not None:
                    _check(known, item)

    def params(self) -> dict[str, Any]:
        """Plain values by name, for MLflow and config.json."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


@dataclass(frozen=True)
class TrainSettings(Checked):
    """Train a classifier; every epoch's checkpoint and predictions are remembered. Prints the run ID."""

    dataset: str = setting("digits", "digits, cifar10, folder or planted")
    data: str | None = setting(None, "where the data set lies; cifar10 is also looked for in the study home")
    size: int | None = setting(None, "pixels a side, default the data set's own", least=8, most=1024)
    skip_unreadable: bool = setting(
        False, "leave out images that cannot be read, and record which; else they are errors"
    )
    val_share: float = setting(0.1, "share of the training images held out to validate", least=0.01, most=0.5)
    model: str = setting("cnn", "cnn, or package.module:factory, a function that returns your torch module")
    epochs: int = setting(10, "passes over the training images", least=1, most=10_000)
    batch: int | None = setting(None, "images a step, default 256, less where an epoch would have under 20 steps, or "
                                "they would not fit into --memory",
                                least=2, most=65_536)  # fmt: skip
    optimizer: str = setting("auto", "auto: muon for the cnn, adam for other models",
                             choices=("auto", "muon", "adam", "sgd"))  # fmt: skip
    lr: float | None = setting(None, "peak learning rate of the one-cycle schedule, default by optimizer",
                               least=1e-8, most=100)  # fmt: skip
    weight_decay: float = setting(5e-4, "pull of the weights towards zero", least=0, most=1)
    label_smoothing: float = setting(0.1, "probability spread evenly over all classes", least=0, most=0.9)
    shift: int = setting(2, "training images move up to this many pixels each way", least=0, most=64)
    flip: str = setting("auto", "mirror training images; auto: where the data set allows it",
                        choices=("auto", "yes", "no"))  # fmt: skip
    grow: str = setting("auto", "show small images first, then larger ones; auto: where the data set allows it",
                        choices=("auto", "yes", "no"))  # fmt: skip
    average: float = setting(0.98, "decay of the running mean of the weights, which is the model kept; 0: none",
                             least=0, most=0.9999)  # fmt: skip
    seed: int = setting(0, "all randomness derives from it", least=0, most=2**32 - 1)
    precision: str = setting("auto", "auto: bfloat16 where the processor computes it, else float32",
                             choices=("auto", "float32", "bfloat16"))  # fmt: skip
    device: str = setting("auto", "auto: a GPU if there is one; or a torch device such as cpu or cuda:1")
    threads: int = setting(0, "processor threads, 0: one per core", least=0, most=1024)
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)
    evaluation_batch: int | None = setting(
        None, "images per pass in evaluation, default 500, less where these would take over 1 GB", least=1, most=65_536
    )
    name: str | None = setting(None, "run name, default from data set, model and seed")


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings(TrainSettings):
    """The same with every `auto`, and every default that depends on the data or the machine, decided."""

    lr: float = setting(MISSING, "peak learning rate", least=1e-8, most=100)


@dataclass(frozen=True, kw_only=True)
class ResolvedTraining(ResolvedSettings):
    """The same with the sizes of passes: what a run is trained with, and records."""

    batch: int = setting(MISSING, "images a step", least=2, most=65_536)


@dataclass(frozen=True)
class ResumeSettings(Checked):
    """Go on with a run that was stopped or crashed, as if it had not been. Prints the run ID."""

    run: str = setting("latest", "run ID, unique prefix of one, run name, or latest", positional=True)
    data: str | None = setting(None, "where the data set lies now, default where it lay then")


@dataclass(frozen=True)
class RerunSettings(Checked):
    """Do a run again from its own record, as a new run. Prints its ID."""

    run: str = setting("latest", "run ID, unique prefix of one, run name, or latest", positional=True)
    check: bool = setting(False, "say whether every number is the same, else how far off; exit code 1 if not")
    data: str | None = setting(None, "where the data set lies now, default where it lay then")


@dataclass(frozen=True)
class ExplainSettings(Checked):
    """Explain predictions of a training run's checkpoints. Prints the ID of one explainer run per method."""

    run: str = setting("latest", "run ID, unique prefix of one, run name, or latest", positional=True)
    method: tuple[str, ...] = setting(("saliency",), "explanation methods")
    epochs: str = setting("last", "last, best (highest val accuracy), all, or a list such as 0,5,10")
    split: str = setting("test", "train, val, test or extra:NAME; for train, --where sees train_seen")
    instances: str | None = setting(None, "instance IDs, such as 0,7,42")
    count: int | None = setting(
        None, "so many instances, a sample that larger ones hold too; without any selection, 64", least=1
    )
    where: str | None = setting(None, 'SQL condition on predictions, such as "label = 3 and predicted = 5"')
    target: tuple[str, ...] = setting(
        (), "classes whose score is explained: predicted, label, class names or IDs; default by method"
    )
    samples: int | None = setting(None, "passes an image for methods that sample, default by method",
                                  least=2, most=1_000_000)  # fmt: skip
    concepts: int | None = setting(None, "number of concepts ice looks for, default chosen by the data",
                                   least=1, most=1000)  # fmt: skip
    layer: str | None = setting(None, "layer for methods that look at one, default the last with places")
    seed: int = setting(0, "all randomness derives from it and the instance ID", least=0, most=2**32 - 1)
    data: str | None = setting(None, "where the data set lies now, default where it lay in training")
    batch: int = setting(128, "images at a time, less where they would not fit into --memory", least=1, most=65_536)
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)


@dataclass(frozen=True)
class CompareSettings(Checked):
    """Compare the methods that explained a training run: faithfulness, agreement, drift. Prints the run ID."""

    run: str = setting("latest", "run ID, unique prefix of one, run name, or latest", positional=True)
    method: tuple[str, ...] = setting((), "methods compared, default every one with maps; random and edge are added")
    epoch: int | None = setting(None, "epoch compared, default the one that most methods explained", least=0)
    split: str = setting("test", "split of the instances")
    target: str = setting("predicted", "kind of target whose maps are compared", choices=("predicted", "label"))
    randomized: int = setting(32, "instances explained again with randomized weights; 0 leaves that out",
                              least=0, most=1_000_000)  # fmt: skip
    seed: int = setting(0, "all randomness derives from it and the instance ID", least=0, most=2**32 - 1)
    data: str | None = setting(None, "where the data set lies now, default where it lay in training")
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)


@dataclass(frozen=True)
class PredictSettings(Checked):
    """Evaluate all checkpoints of a training run on new images; only what is missing. Prints the split's name."""

    run: str = setting(MISSING, "run ID, unique prefix of one, run name, or latest", positional=True)
    images: tuple[str, ...] = setting(
        MISSING, "image files, and folders of them; a file's label is the class that its folder is named after",
        positional=True, path=True,
    )  # fmt: skip
    name: str = setting("new", "what the images are called together: their split is extra:NAME")
    skip_unreadable: bool = setting(False, "leave out images that cannot be read; else they are errors")
    device: str | None = setting(None, "torch device such as cpu or cuda:1, default the training's if it is here")
    data: str | None = setting(None, "where the data set lies now, default where it lay in training")
    memory: float | None = setting(None, MEMORY, least=0.01, most=100_000)


@dataclass(frozen=True)
class LabelSettings(Checked):
    """Give a concept a name; later runs that find the same direction take it over. Prints the concept's key."""

    run: str = setting(MISSING, "explainer run of method ice: ID, unique prefix, name, or latest", positional=True)
    concept: str = setting(MISSING, "concept_id, or the beginning of its concept_key", positional=True)
    label: str = setting(MISSING, 'the name, such as "wheels"', positional=True)
    epoch: int | None = setting(None, "epoch of the concept, default the run's last", least=0)


@dataclass(frozen=True)
class FlowSettings(Checked):
    """Make the InstanceFlow page of a run: which image was classified as what, epoch by epoch. Prints its path."""

    run: str = setting("latest", "run ID, unique prefix of one, run name, or latest", positional=True)
    split: str = setting("test", "split shown, such as test, val or train_seen; images added later come with it")
    data: str | None = setting(None, "where the data set, or an imported log's images, lie now")
    export: str | None = setting(None, "write InstanceFlow's JSON to this file instead", path=True)


@dataclass(frozen=True)
class ReportSettings(Checked):
    """Make one page that answers the research questions from all that is remembered of a run. Prints its path."""

    run: str = setting("latest", "run ID, unique prefix of one, run name, or latest", positional=True)
    split: str = setting("test", "split reported on, such as test, val or extra:NAME")
    data: str | None = setting(None, "where the data set, or an imported log's images, lie now")


@dataclass(frozen=True)
class ImportFlowSettings(Checked):
    """Take over a training log in InstanceFlow's JSON format as a run. Prints the run ID."""

    file: str = setting(MISSING, "the log, a JSON file", positional=True, path=True)
    name: str | None = setting(None, "run name, default from the log's name")


@dataclass(frozen=True)
class RunSettings(TrainSettings):
    """The whole study: train, explain, and say what was found. Takes the flags of `study train`."""


@dataclass(frozen=True)
class SqlSettings(Checked):
    """Answer a SQL query over everything remembered; read-only."""

    query: str = setting(MISSING, 'the SQL, such as "from runs"', positional=True)
    seconds: int = setting(60, "stop after so long", least=1, most=86_400)
    memory: int = setting(4, "stop at so many GB", least=1, most=100_000)
    format: str = setting("table", "form of the answer; excel-csv keeps spreadsheets from computing texts such as =1+1",
                          choices=FORMS)  # fmt: skip


@dataclass(frozen=True)
class PruneSettings(Checked):
    """Give up checkpoints of a training run to free space; predictions and maps stay. Prints the epochs kept."""

    run: str = setting(MISSING, "training run: ID, unique prefix of one, run name, or latest", positional=True)
    every: int = setting(
        5, "keep the checkpoints of epochs 0, 5, 10, ... for 5; the best and the last stay always", least=1
    )
    dry: bool = setting(False, "only say what would be freed")


@dataclass(frozen=True)
class RebuildSettings(Checked):
    """Make study.duckdb again from the runs' committed files."""


@dataclass(frozen=True)
class UiSettings(Checked):
    """Serve the MLflow UI of this study home on this machine. Prints the address."""

    port: int = setting(5000, "port on 127.0.0.1", least=1024, most=65_535)


def flag(known: Field) -> str:
    """What a field is called on the command line."""
    return f"--{known.name.replace('_', '-')}"


def _check(known: Field, value: Any) -> None:
    least, most = known.metadata["least"], known.metadata["most"]
    # written so that NaN fails too
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise InputError(f"{flag(known)} is {value}; it takes {bounds}")
