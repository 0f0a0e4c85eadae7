"""What a training begins with besides a random network: weights of a file, and parameters that stay as they are."""

from fnmatch import fnmatchcase
from pathlib import Path

from pipelines.common.settings import TrainSettings
from pipelines.common.terminal import say
from pipelines.data.names import format_names
from pipelines.models.libraries import fetch_pretrained
from pipelines.models.networks import Classifier
from pipelines.models.weight_files import fit_weights, read_weights
from tracking.errors import InputError


def resolve_weights(weights: str | None) -> str | None:
    """What --weights names, a file by its whole path. Raises InputError if there is no such file."""
    if weights is None or weights == "pretrained":
        return weights
    if not Path(weights).is_file():
        raise InputError(f"--weights: no file {weights}; give a file, or pretrained")
    return str(Path(weights).absolute())


def load_initial_weights(settings: TrainSettings, model: Classifier, classes: int) -> None:
    """Load what --weights names; the head stays as it is where the classes differ. Raises InputError on a misfit."""
    if settings.weights is None:
        return
    if settings.weights == "pretrained":
        path = Path("pretrained")
        weights = fetch_pretrained(settings.model, settings.model_args)
    else:
        path = Path(str(resolve_weights(settings.weights)))
        weights = read_weights(path, None)
    fit_weights(path, weights, model.network, classes=classes)


def freeze_parameters(settings: TrainSettings, model: Classifier) -> None:
    """Exclude the parameters that --freeze names from training. Raises InputError if it names none, or all."""
    parameters = dict(model.network.named_parameters())
    for pattern in settings.freeze:
        chosen = [name for name in parameters if fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")]
        if not chosen:
            parts = [name for name, _ in model.network.named_children()]
            raise InputError(f"--freeze {pattern} names no parameter; the network's parts are {format_names(parts)}")
        for name in chosen:
            parameters[name].requires_grad_(False)
    if settings.freeze:
        trained = sum(weight.requires_grad for weight in parameters.values())
        if not trained:
            raise InputError("--freeze names every parameter, so there is nothing to train; leave some out")
        say(f"  {trained} of {len(parameters)} parameters are trained, {len(parameters) - trained} are frozen")
