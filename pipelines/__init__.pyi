"""Written by `python -m pipelines.stub` from the commands' settings; a test compares the two."""

import typing
from collections.abc import Sequence
from os import PathLike

from pipelines.recording.record import record as record

def run(
    *,
    dataset: str = "digits:faults",
    data: str | PathLike[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
    val_fraction: float = 0.1,
    test_fraction: float | None = None,
    model: str = "auto",
    model_args: str | None = None,
    transform: str | None = None,
    channels: int | None = None,
    seed: int = 0,
    split_seed: int | None = None,
    group: str | None = None,
    device: str = "auto",
    threads: int = 0,
    memory: float | None = None,
    evaluation_batch: int | None = None,
    probabilities: str = "top:20",
    name: str | None = None,
    weights: str | None = None,
    from_: str | None = None,
    freeze: str | Sequence[str] = (),
    epochs: int = 10,
    batch: int | None = None,
    verdicts: str = "ignore",
    optimizer: str = "auto",
    lr: float | None = None,
    body_lr: float | None = None,
    weight_decay: float = 0.0005,
    label_smoothing: float = 0.1,
    random_shift: int = 2,
    random_flip: str = "auto",
    progressive_resizing: str = "auto",
    ema_decay: float = 0.98,
    precision: str = "auto",
    seeds: str | int | Sequence[int] | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Run the whole study: train, explain, compare, report and summarise. Accepts every flag of `study train`.

    Arguments, as the flags of `study run`:
        dataset: digits, cifar10, folder, planted, planted:pair, planted:shortcut, digits:faults, csv:FILE, hf:PATH, torchvision:NAME, recorded or package.module:factory [digits:faults]
        data: where the data set is; cifar10 and torchvision's are also looked for in the study home
        image_column: column of images, or of their paths; default: found by usual names
        label_column: column of labels; default: found by usual names
        split_column: column of train, val or test; default: found by usual names, if any
        size: image side length in pixels; default: the data set's
        skip_unreadable: leave out images that cannot be read, and record which; otherwise they are errors
        val_fraction: fraction of the training set used for validation, unless the data set has its own validation images [0.1]
        test_fraction: fraction of the images held out for testing, for data without its own test images; default: 0.5 of its validation images, or 0.2 of all
        model: cnn, timm:NAME, torchvision:NAME, or package.module:factory, a function that returns your torch module; auto: that of `from_`, else cnn [auto]
        model_args: arguments of the factory or network, a JSON object such as '{"width": 64}'
        transform: package.module:name of the torchvision transform that makes a picture the network's input, or none; it becomes the model's first layer; default: the network's own in timm and torchvision, else normalising
        channels: channels that the network takes, to which grey images are repeated
        seed: random seed; all randomness derives from it [0]
        split_seed: seed that chooses the validation images; default: that of the group's first run, or `seed`
        group: group of runs that share data and recipe and differ only in the seed, which the run joins or starts; for a group, questions give means over seeds
        device: auto: a GPU if there is one, else the CPU; or a torch device such as cpu or cuda:1 [auto]
        threads: CPU threads; 0: one per core [0]
        memory: memory limit of a pass in GB; default: half of the machine's or the GPU's
        evaluation_batch: images per evaluation pass; default: 500, fewer if these would take over 1 GB
        probabilities: probabilities kept for each evaluated image: all (of every class), top:K (of the K likeliest classes; all if there are no more) or none; those of the label and of the predicted class are always kept [top:20]
        name: run name; default: from data set, model and seed
        weights: initial weights: a file of torch or safetensors, or pretrained, which timm and torchvision fetch; default: random ones
        from_: training run whose weights to start from, as RUN or RUN:EPOCH (a number, last or best; default: last); `model`, `model_args`, `transform` and `channels` are that run's unless given
        freeze: parameters that are not trained: body (all layers but the one that makes the logits), parts of the network such as layer1, or patterns such as 'layer[12].*'
        epochs: passes over the training images [10]
        batch: images per step; default: 256, fewer if an epoch would have under 20 steps or they would not fit into `memory`
        verdicts: how reviewers' verdicts change the training images: apply corrects labels where all agree on another one, and leaves out other images that nobody would keep; leave-out leaves out both; ignore: no change [ignore]
        optimizer: auto: muon for the cnn, adam for other models [auto]
        lr: peak learning rate of the one-cycle schedule; default: by optimizer
        body_lr: peak learning rate of the body: all layers but the one that makes the logits; default: `lr`
        weight_decay: weight decay (decoupled, as in AdamW) [0.0005]
        label_smoothing: probability spread evenly over all classes [0.1]
        random_shift: random shift of training images, at most this many pixels each way [2]
        random_flip: random horizontal flip of training images; auto: if the data set allows it [auto]
        progressive_resizing: train on small images first, then on larger ones; auto: if the data set allows it and the network is untrained [auto]
        ema_decay: decay of the exponential moving average of the weights, which is the model that is kept; 0: none [0.98]
        precision: auto: bfloat16 if the processor supports it, else float32 [auto]
        seeds: seeds such as 0-4 or 0,3,7: trains one run per seed, one after the other, as a group; seeds that the group already has are not trained again, only resumed if interrupted
        home: study home [STUDY_HOME, else ./study]
    """

def train(
    *,
    dataset: str = "digits",
    data: str | PathLike[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
    val_fraction: float = 0.1,
    test_fraction: float | None = None,
    model: str = "auto",
    model_args: str | None = None,
    transform: str | None = None,
    channels: int | None = None,
    seed: int = 0,
    split_seed: int | None = None,
    group: str | None = None,
    device: str = "auto",
    threads: int = 0,
    memory: float | None = None,
    evaluation_batch: int | None = None,
    probabilities: str = "top:20",
    name: str | None = None,
    weights: str | None = None,
    from_: str | None = None,
    freeze: str | Sequence[str] = (),
    epochs: int = 10,
    batch: int | None = None,
    verdicts: str = "ignore",
    optimizer: str = "auto",
    lr: float | None = None,
    body_lr: float | None = None,
    weight_decay: float = 0.0005,
    label_smoothing: float = 0.1,
    random_shift: int = 2,
    random_flip: str = "auto",
    progressive_resizing: str = "auto",
    ema_decay: float = 0.98,
    precision: str = "auto",
    seeds: str | int | Sequence[int] | None = None,
    home: str | PathLike[str] | None = None,
) -> str | typing.Any:
    """Train a classifier; every epoch's checkpoint and predictions are remembered. Returns the run ID (one per seed).

    Arguments, as the flags of `study train`:
        dataset: digits, cifar10, folder, planted, planted:pair, planted:shortcut, digits:faults, csv:FILE, hf:PATH, torchvision:NAME, recorded or package.module:factory [digits]
        data: where the data set is; cifar10 and torchvision's are also looked for in the study home
        image_column: column of images, or of their paths; default: found by usual names
        label_column: column of labels; default: found by usual names
        split_column: column of train, val or test; default: found by usual names, if any
        size: image side length in pixels; default: the data set's
        skip_unreadable: leave out images that cannot be read, and record which; otherwise they are errors
        val_fraction: fraction of the training set used for validation, unless the data set has its own validation images [0.1]
        test_fraction: fraction of the images held out for testing, for data without its own test images; default: 0.5 of its validation images, or 0.2 of all
        model: cnn, timm:NAME, torchvision:NAME, or package.module:factory, a function that returns your torch module; auto: that of `from_`, else cnn [auto]
        model_args: arguments of the factory or network, a JSON object such as '{"width": 64}'
        transform: package.module:name of the torchvision transform that makes a picture the network's input, or none; it becomes the model's first layer; default: the network's own in timm and torchvision, else normalising
        channels: channels that the network takes, to which grey images are repeated
        seed: random seed; all randomness derives from it [0]
        split_seed: seed that chooses the validation images; default: that of the group's first run, or `seed`
        group: group of runs that share data and recipe and differ only in the seed, which the run joins or starts; for a group, questions give means over seeds
        device: auto: a GPU if there is one, else the CPU; or a torch device such as cpu or cuda:1 [auto]
        threads: CPU threads; 0: one per core [0]
        memory: memory limit of a pass in GB; default: half of the machine's or the GPU's
        evaluation_batch: images per evaluation pass; default: 500, fewer if these would take over 1 GB
        probabilities: probabilities kept for each evaluated image: all (of every class), top:K (of the K likeliest classes; all if there are no more) or none; those of the label and of the predicted class are always kept [top:20]
        name: run name; default: from data set, model and seed
        weights: initial weights: a file of torch or safetensors, or pretrained, which timm and torchvision fetch; default: random ones
        from_: training run whose weights to start from, as RUN or RUN:EPOCH (a number, last or best; default: last); `model`, `model_args`, `transform` and `channels` are that run's unless given
        freeze: parameters that are not trained: body (all layers but the one that makes the logits), parts of the network such as layer1, or patterns such as 'layer[12].*'
        epochs: passes over the training images [10]
        batch: images per step; default: 256, fewer if an epoch would have under 20 steps or they would not fit into `memory`
        verdicts: how reviewers' verdicts change the training images: apply corrects labels where all agree on another one, and leaves out other images that nobody would keep; leave-out leaves out both; ignore: no change [ignore]
        optimizer: auto: muon for the cnn, adam for other models [auto]
        lr: peak learning rate of the one-cycle schedule; default: by optimizer
        body_lr: peak learning rate of the body: all layers but the one that makes the logits; default: `lr`
        weight_decay: weight decay (decoupled, as in AdamW) [0.0005]
        label_smoothing: probability spread evenly over all classes [0.1]
        random_shift: random shift of training images, at most this many pixels each way [2]
        random_flip: random horizontal flip of training images; auto: if the data set allows it [auto]
        progressive_resizing: train on small images first, then on larger ones; auto: if the data set allows it and the network is untrained [auto]
        ema_decay: decay of the exponential moving average of the weights, which is the model that is kept; 0: none [0.98]
        precision: auto: bfloat16 if the processor supports it, else float32 [auto]
        seeds: seeds such as 0-4 or 0,3,7: trains one run per seed, one after the other, as a group; seeds that the group already has are not trained again, only resumed if interrupted
        home: study home [STUDY_HOME, else ./study]
    """

def explain(
    run: str = "latest",
    *,
    method: str | Sequence[str] = ("saliency",),
    epochs: str | int | Sequence[int] = "last",
    split: str = "test",
    instances: str | int | Sequence[int] | None = None,
    count: int | None = None,
    also: str | int | Sequence[int] | None = None,
    where: str | None = None,
    target: str | int | Sequence[str | int] = (),
    samples: int | None = None,
    concepts: int | None = None,
    layer: str | None = None,
    seed: int = 0,
    precision: str = "float32",
    model: str | None = None,
    model_args: str | None = None,
    data: str | PathLike[str] | None = None,
    batch: int = 128,
    memory: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    home: str | PathLike[str] | None = None,
) -> list[str]:
    """Explain predictions of a training run's checkpoints. Returns the ID of one explainer run per method.

    Arguments, as the flags of `study explain`:
        run: run ID, unique prefix of one, run name, or latest [latest]
        method: explanation methods; all: every method that makes maps and is applicable to the model [saliency]
        epochs: last, best (highest val accuracy), all, or a list such as 0,5,10 [last]
        split: train, val, test or extra:NAME; for train, `where` reads train_seen [test]
        instances: instance IDs, such as 0,7,42
        count: number of instances: a fixed random sample (smaller ones are subsets of larger ones); default: 64
        also: instance IDs to explain in addition to the random sample, such as 0,7,42; no average or test counts them
        where: SQL condition on predictions, such as "label = 3 and predicted = 5"
        target: classes whose score is explained: predicted, label, class names or IDs; default: by method
        samples: forward passes per image, for sampling-based methods; default: by method
        concepts: number of concepts, for ice; default: chosen from the data
        layer: layer, for layer-based methods; default: the last layer with spatial output
        seed: random seed; randomness derives from it and the instance ID [0]
        precision: precision of passes; auto: bfloat16 if supported, faster, and in agreement with float32 on a few maps per epoch; else float32 [float32]
        model: package.module:function that builds the model of a run that was recorded without one; it is checked against the recorded predictions, then remembered
        model_args: arguments of `model`, a JSON object
        data: where the data set is now; default: where it was in training
        batch: images per batch, fewer if they would not fit into `memory` [128]
        memory: memory limit of a pass in GB; default: half of the machine's or the GPU's
        workers: worker processes of this machine that compute (Dask); default: none, this process computes
        scheduler: running Dask scheduler whose workers compute, such as tcp://host:8786
        home: study home [STUDY_HOME, else ./study]
    """

def compare(
    run: str = "latest",
    *,
    method: str | Sequence[str] = (),
    epoch: int | None = None,
    split: str = "test",
    target: str = "predicted",
    randomization_count: int = 32,
    shortcut_count: int = 32,
    seed: int = 0,
    data: str | PathLike[str] | None = None,
    memory: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Compare the methods that explained a training run: faithfulness, agreement, drift. Returns the run ID.

    Arguments, as the flags of `study compare`:
        run: run ID, unique prefix of one, run name, or latest [latest]
        method: methods to compare, in addition to random and edge; default: all that have maps
        epoch: epoch to compare; default: the one that most methods explained
        split: split of the instances [test]
        target: target whose maps are compared [predicted]
        randomization_count: instances for the randomization test, explained again with randomized weights; 0: none [32]
        shortcut_count: images per class into which the patch that may decide the class is pasted, as a check for shortcuts; 0: none [32]
        seed: random seed; randomness derives from it and the instance ID [0]
        data: where the data set is now; default: where it was in training
        memory: memory limit of a pass in GB; default: half of the machine's or the GPU's
        workers: worker processes of this machine that compute (Dask); default: none, this process computes
        scheduler: running Dask scheduler whose workers compute, such as tcp://host:8786
        home: study home [STUDY_HOME, else ./study]
    """

def report(
    run: str = "latest",
    *,
    split: str = "test",
    data: str | PathLike[str] | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Make one page that answers the research questions from everything tracked for a run. Returns its path.

    For a group of seeds, the page says what they have in common and where they differ.

    Arguments, as the flags of `study report`:
        run: run ID, unique prefix of one, run name, or latest, or the name of a group of seeds [latest]
        split: split to report on, such as test, val or extra:NAME [test]
        data: where the data set, or an imported log's images, are now
        home: study home [STUDY_HOME, else ./study]
    """

def flow(
    run: str = "latest",
    other: str | None = None,
    *,
    split: str = "test",
    data: str | PathLike[str] | None = None,
    export: str | PathLike[str] | None = None,
    home: str | PathLike[str] | None = None,
) -> str | typing.Any:
    """Make the InstanceFlow page of a run: which image was classified as what, epoch by epoch. Returns its path.

    With another run, the page shows both on the same images, and what the second fixes and breaks. For a group of
    seeds, each run gets its page.

    Arguments, as the flags of `study flow`:
        run: run ID, unique prefix of one, run name, or latest, or the name of a group of seeds [latest]
        other: run to compare it with, on the same images
        split: split to show, such as test, val, train_seen or train_folds; images added later are included [test]
        data: where the data set, or an imported log's images, are now
        export: write InstanceFlow's JSON to this file instead
        home: study home [STUDY_HOME, else ./study]
    """

def diff(
    run: str,
    other: str,
    *,
    split: str = "test",
    data: str | PathLike[str] | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Compare two models image by image, A and B: runs, epochs of runs, or groups of seeds. Returns the page's path.

    Arguments, as the flags of `study diff`:
        run: A: RUN, RUN:EPOCH with a number, last or best, or the name of a group of seeds
        other: B: given in the same way as A
        split: split to compare them on, such as test, val or extra:NAME [test]
        data: where the data set, or an imported log's images, are now
        home: study home [STUDY_HOME, else ./study]
    """

def figure(
    name: str | None = None,
    run: str = "latest",
    *,
    format: str | None = None,
    output: str | PathLike[str] | None = None,
    width: str = "single",
    split: str | None = None,
    epoch: int | None = None,
    epochs: str | None = None,
    instances: str | int | Sequence[int] | None = None,
    method: str | Sequence[str] = (),
    data: str | PathLike[str] | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Write figures ready for print; without a name, list the figures. Returns the files' paths.

    Arguments, as the flags of `study figure`:
        name: name of a figure, several with commas between them, or all; without a name, or with a run in its place, lists the figures and which of them the run can give
        run: run ID, unique prefix of one, run name, or latest [latest]
        format: file format; default: that of `output`, else pdf
        output: file to write, for a single figure; default: NAME-RUN.FORMAT in this folder
        width: width in columns of a printed page [single]
        split: split to show, such as test, val or extra:NAME; default: test, or all where a figure has all
        epoch: epoch to show; default: the last one
        epochs: range of epochs to show, such as 2-10; default: all
        instances: instance IDs to show, such as 0,7,42; default: two right, two wrong
        method: explanation methods to show; default: all
        data: where the data set, or an imported log's images, are now
        home: study home [STUDY_HOME, else ./study]
    """

def improve(
    run: str = "latest",
    *,
    epochs: int = 5,
    where: str | None = None,
    weak_classes: int = 3,
    images: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
    verdicts: str | None = None,
    repeats: float = 0.5,
    augment: str | Sequence[str] = ("none",),
    lr: float | None = None,
    seeds: str | int | Sequence[int] | None = None,
    name: str | None = None,
    data: str | PathLike[str] | None = None,
    home: str | PathLike[str] | None = None,
) -> list[str]:
    """Continue training on what a model gets wrong, alongside a control run. Returns the improved run's ID.

    The comparison of the two on the test images, which guide no choice, goes to standard error.

    Arguments, as the flags of `study improve`:
        run: training run to continue, as RUN or RUN:EPOCH (a number, last or best; default: best) [latest]
        epochs: passes over the training images [5]
        where: SQL condition on the epoch's predictions of split train_seen that chooses images, such as "label = 3 and predicted = 5"; default: the question improvement_targets
        weak_classes: number of classes to improve and compare: those with the lowest recall on val [3]
        images: new images to train on too, or folders of them; each in a folder named after its class
        verdicts: how reviewers' verdicts change the training images, as in study train, but not in the control; default: as in the run
        repeats: images that an epoch sees again, as a fraction of the training images; drawn from those chosen, in the control from all [0.5]
        augment: how the images seen again are altered: mix (half of them, with an image of the class that they are confused with), colour, cutout [none]
        lr: peak learning rate; default: a fraction of the run's, as its full peak would undo what it learned
        seeds: random seed, or several such as 0-2 or 0,3,7: one improved run per seed, as a group, and their controls as another group; default: that of the run
        name: name of the improved run or group; the control's ends in -control; default: from data set, model and seed
        data: where the data set is now; default: where it was in training
        home: study home [STUDY_HOME, else ./study]
    """

def predict(
    run: str,
    images: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    name: str = "new",
    skip_unreadable: bool = False,
    device: str | None = None,
    model: str | None = None,
    model_args: str | None = None,
    data: str | PathLike[str] | None = None,
    memory: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Evaluate every checkpoint of a training run on new images; only what is missing is computed. Returns the split.

    Arguments, as the flags of `study predict`:
        run: run ID, unique prefix of one, run name, or latest
        images: image files, or folders of them; a file's label is the class that its folder is named after
        name: name of these images: their split is extra:NAME [new]
        skip_unreadable: leave out images that cannot be read; otherwise they are errors
        device: torch device such as cpu or cuda:1; default: the training's, if available
        model: package.module:function that builds the model of a run that was recorded without one; it is checked against the recorded predictions, then remembered
        model_args: arguments of `model`, a JSON object
        data: where the data set is now; default: where it was in training
        memory: memory limit of a pass in GB; default: half of the machine's or the GPU's
        workers: worker processes of this machine that compute (Dask); default: none, this process computes
        scheduler: running Dask scheduler whose workers compute, such as tcp://host:8786
        home: study home [STUDY_HOME, else ./study]
    """

def folds(
    run: str = "latest",
    *,
    k: int = 4,
    data: str | PathLike[str] | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Predict the training images out of sample: each by a model that was trained as the run was, but on other images.

    They are split into folds, and for each fold a model is trained on the others. Returns the split.

    Arguments, as the flags of `study folds`:
        run: run ID, unique prefix of one, run name, or latest [latest]
        k: number of folds, and thus of models to train [4]
        data: where the data set is now; default: where it was in training
        home: study home [STUDY_HOME, else ./study]
    """

def label_concept(
    run: str,
    concept: str | int | Sequence[int],
    label: str,
    *,
    epoch: int | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Name a concept; later runs that find the same direction adopt the name. Returns the concept's key.

    Arguments, as the flags of `study label-concept`:
        run: explainer run of method ice: ID, unique prefix, name, or latest
        concept: concept_id, or the beginning of its concept_key
        label: the name, such as "wheels"
        epoch: epoch of the concept; default: the run's last
        home: study home [STUDY_HOME, else ./study]
    """

def verdict(
    run: str,
    file: str | PathLike[str],
    *,
    who: str | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Record what reviewers say about images and labels, from a CSV file: all of it, or nothing. Returns the run ID.

    Arguments, as the flags of `study verdict`:
        run: run ID, unique prefix of one, run name, or latest
        file: CSV with columns split, instance_id, verdict (label_ok, label_wrong, unclear, not_usable, withdrawn) and optionally new_label (a class, with label_wrong), who, note; - is standard input
        who: reviewer of the rows that name none; default: your user name
        home: study home [STUDY_HOME, else ./study]
    """

def import_checkpoints(
    files: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    dataset: str = "digits",
    data: str | PathLike[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
    test_fraction: float | None = None,
    model: str = "cnn",
    model_args: str | None = None,
    transform: str | None = None,
    channels: int | None = None,
    seed: int = 0,
    split_seed: int | None = None,
    group: str | None = None,
    device: str = "auto",
    threads: int = 0,
    memory: float | None = None,
    evaluation_batch: int | None = None,
    probabilities: str = "top:20",
    name: str | None = None,
    val_fraction: float = 0.0,
    epochs: str | None = None,
    key: str | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Make a run whose epochs are your own checkpoint files, each evaluated on every split. Returns the run ID.

    Arguments, as the flags of `study import-checkpoints`:
        files: checkpoint files of torch or safetensors, folders of them, or patterns such as 'ckpt/*.pt'
        dataset: digits, cifar10, folder, planted, planted:pair, planted:shortcut, digits:faults, csv:FILE, hf:PATH, torchvision:NAME, recorded or package.module:factory [digits]
        data: where the data set is; cifar10 and torchvision's are also looked for in the study home
        image_column: column of images, or of their paths; default: found by usual names
        label_column: column of labels; default: found by usual names
        split_column: column of train, val or test; default: found by usual names, if any
        size: image side length in pixels; default: the data set's
        skip_unreadable: leave out images that cannot be read, and record which; otherwise they are errors
        test_fraction: fraction of the images held out for testing, for data without its own test images; default: 0.5 of its validation images, or 0.2 of all
        model: cnn, timm:NAME, torchvision:NAME, or package.module:factory, a function that returns your torch module [cnn]
        model_args: arguments of the factory or network, a JSON object such as '{"width": 64}'
        transform: package.module:name of the torchvision transform that makes a picture the network's input, or none; it becomes the model's first layer; default: the network's own in timm and torchvision, else normalising
        channels: channels that the network takes, to which grey images are repeated
        seed: random seed; all randomness derives from it [0]
        split_seed: seed that chooses the validation images; default: that of the group's first run, or `seed`
        group: group of runs that share data and recipe and differ only in the seed, which the run joins or starts; for a group, questions give means over seeds
        device: auto: a GPU if there is one, else the CPU; or a torch device such as cpu or cuda:1 [auto]
        threads: CPU threads; 0: one per core [0]
        memory: memory limit of a pass in GB; default: half of the machine's or the GPU's
        evaluation_batch: images per evaluation pass; default: 500, fewer if these would take over 1 GB
        probabilities: probabilities kept for each evaluated image: all (of every class), top:K (of the K likeliest classes; all if there are no more) or none; those of the label and of the predicted class are always kept [top:20]
        name: run name; default: from data set, model and seed
        val_fraction: fraction of the training set that your training left out for validation; default: none, as it is not known [0.0]
        epochs: epochs of the files in their natural order, such as 5,10,15; default: the numbers in their names
        key: key of the weights in a file that holds more, such as ema or model.state_dict; default: a usual one
        home: study home [STUDY_HOME, else ./study]
    """

def import_flow(
    file: str | PathLike[str],
    *,
    name: str | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Import a training log in InstanceFlow's JSON format as a run. Returns the run ID.

    Arguments, as the flags of `study import-flow`:
        file: the log, a JSON file
        name: run name; default: from the log's name
        home: study home [STUDY_HOME, else ./study]
    """

def resume(
    run: str = "latest",
    *,
    data: str | PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Resume an interrupted run; the result is bit-identical to an uninterrupted one. Returns the run ID.

    Arguments, as the flags of `study resume`:
        run: run ID, unique prefix of one, run name, or latest [latest]
        data: where the data set is now; default: where it was then
        workers: worker processes of this machine that compute (Dask); default: none, this process computes
        scheduler: running Dask scheduler whose workers compute, such as tcp://host:8786
        home: study home [STUDY_HOME, else ./study]
    """

def rerun(
    run: str = "latest",
    *,
    check: bool = False,
    data: str | PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    home: str | PathLike[str] | None = None,
) -> str:
    """Repeat a run from its own record, as a new run. Returns its ID.

    Arguments, as the flags of `study rerun`:
        run: run ID, unique prefix of one, run name, or latest [latest]
        check: check that every number is identical; if not, report by how much they differ, with exit code 1
        data: where the data set is now; default: where it was then
        workers: worker processes of this machine that compute (Dask); default: none, this process computes
        scheduler: running Dask scheduler whose workers compute, such as tcp://host:8786
        home: study home [STUDY_HOME, else ./study]
    """

def prune(
    run: str,
    *,
    every: int = 5,
    dry: bool = False,
    home: str | PathLike[str] | None = None,
) -> str:
    """Delete checkpoints of a training run to free space; predictions and maps stay. Returns the epochs kept.

    Arguments, as the flags of `study prune`:
        run: training run: ID, unique prefix of one, run name, or latest
        every: keep every Nth checkpoint (5: epochs 0, 5, 10, ...); the best and the last are always kept [5]
        dry: only report what would be freed
        home: study home [STUDY_HOME, else ./study]
    """

def rebuild(
    *,
    home: str | PathLike[str] | None = None,
) -> str:
    """Rebuild study.duckdb from the runs' committed files.

    Arguments, as the flags of `study rebuild`:
        home: study home [STUDY_HOME, else ./study]
    """
