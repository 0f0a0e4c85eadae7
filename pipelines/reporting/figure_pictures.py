"""Data of the figures with pictures: maps of images, concepts, and shortcuts."""

from collections.abc import Sequence

import numpy as np

import queries
from pipelines.common.figures import short
from pipelines.common.heatmaps import SCALE_NOTE
from pipelines.drawing.concepts import choose_concepts
from pipelines.drawing.pictures import BARS, ConceptRow, TileRow
from pipelines.drawing.style import BLUE, ORANGE, name_method
from pipelines.lifecycle.selection import parse_numbers
from pipelines.pages.pictures import enlarged, framed_image, outlined_map
from pipelines.pages.words import SMALL, percent
from pipelines.reporting.accuracy import gather_accuracy
from pipelines.reporting.criteria import VERDICTS
from pipelines.reporting.examples import ExplainedImages, read_explained
from pipelines.reporting.figure_predictions import choose_evenly
from pipelines.reporting.figure_request import Content, Request, span
from pipelines.reporting.found_concepts import FoundConcepts, find_concepts
from pipelines.reporting.found_shortcuts import LEVEL, ask_shortcuts
from pipelines.reporting.gallery import choose, is_right, read_images
from pipelines.reporting.mistakes import gather_mistakes
from pipelines.reporting.parts import find_epoch
from pipelines.reporting.patterns import DESCRIBED, cut_card, is_beyond_chance
from tracking.errors import InputError
from xai import CONCEPT_METHODS, METHODS

SCALES = f"{SCALE_NOTE} 1 stands for the 99.5th percentile of its magnitudes."
MOST_IMAGES = 12  # of a figure
MOST_EPOCHS = 8  # of an image's maps
NARROW_CONCEPTS, WIDE_CONCEPTS = 6, 8  # of a figure


def gather_maps(request: Request) -> Content:
    subject = request.subject
    epoch = find_epoch(subject) if request.settings.epoch is None else request.settings.epoch
    explained = None if epoch is None else read_explained(subject, epoch)
    maps_there = explained.answer.where(target_kind="predicted") if explained else []
    if explained is None or not maps_there:
        rows_there = subject.ask("explained").where(split=request.split, target_kind="predicted")
        there = sorted({row["epoch"] for row in rows_there})
        at = f" at epoch {epoch} (there are some at {', '.join(map(str, there))})" if there else ""
        raise request.missing(f"maps of split {request.split}{at}", subject.explain("saliency", more=subject.some))
    rows_of_maps: dict[int, dict[str, dict]] = {}
    for row in maps_there:
        rows_of_maps.setdefault(row["instance_id"], {})[row["method"]] = row
    methods = request.choose_methods([method for by_method in rows_of_maps.values() for method in by_method])
    instances = _choose_instances(request, rows_of_maps, methods)
    rows = []
    for instance in instances:
        row = next(iter(rows_of_maps[instance].values()))
        image = _read_image(request, instance)
        tiles = [enlarged(image), *(_draw_map(explained, image, rows_of_maps[instance].get(one)) for one in methods)]
        rows.append(TileRow(_describe(request, row), tiles, BLUE if is_right(row) else ORANGE))
    heads = [("Image",), *(tuple(name_method(method, request.style).split(" ")) for method in methods)]
    listed = ", ".join(f"#{instance}" for instance in instances)
    caption = (
        f"Maps of the predicted class of images {listed}, each with its true class and the predicted one (orange: "
        f"misclassified). {_describe_choice(request)} {SCALES}"
    )
    signs = [signed for signed in (True, False) if any(METHODS[method].signed is signed for method in methods)]
    return Content((rows, heads), caption, epoch, len(rows), {"scales": signs})


def _describe_choice(request: Request) -> str:
    if request.settings.instances is not None:
        return "The images were chosen by hand."
    return (
        "Chosen: two predicted correctly and two misclassified, as far as there are any with maps, first those by most "
        "methods, then those of the two classes confused most, then the lowest IDs."
    )


def _choose_instances(request: Request, rows_of_maps: dict[int, dict[str, dict]], methods: Sequence[str]) -> list[int]:
    """The images asked for, else two right and two wrong predictions as in the report."""
    if request.settings.instances is None:
        mistakes = gather_mistakes(request.subject, gather_accuracy(request.subject), None)
        return choose(rows_of_maps, methods, mistakes.pair.ids if mistakes.pair else ())
    return _read_instances(request, rows_of_maps, "maps")


def _read_instances(request: Request, images_with_maps: dict[int, dict[str, dict]], what: str) -> list[int]:
    """The images asked for. Raises InputError if one of them has no maps, or there are too many."""
    instances = parse_numbers(request.settings.instances or "", "--instances")
    absent = [instance for instance in instances if instance not in images_with_maps]
    if absent:
        unknown = [instance for instance in absent if instance not in read_images(request.subject)]
        if unknown:
            raise InputError(
                f'split {request.split} has no image {unknown[0]}; `study sql "select instance_id from instances '
                f"where split = '{request.split}'\"` lists those there are"
            )
        some = ", ".join(map(str, sorted(images_with_maps)[:MOST_IMAGES]))
        raise InputError(
            f"image {absent[0]} of split {request.split} has no {what} for this figure; some that have: {some}; to "
            f"make them: {request.subject.explain('saliency', more=f' --instances {absent[0]}')}"
        )
    if len(instances) > MOST_IMAGES:
        raise InputError(f"--instances has {len(instances)} images, and a figure takes {MOST_IMAGES} at most")
    return instances


def _describe(request: Request, row: dict) -> tuple[str, ...]:
    """Number, true and predicted class of an image, a line each."""
    label, predicted = (short(request.subject.classes[row[key]], 12) for key in ("label", "predicted"))
    return f"#{row['instance_id']}", label, f"→ {predicted}"


def _read_image(request: Request, instance: int) -> np.ndarray:
    """An image [H, W, 3], 0..1. Raises InputError if it cannot be found."""
    image = request.subject.pictures.image(request.split, instance)
    if image is None:
        why = request.subject.pictures.why_none
        raise request.missing("images that can be read" + (f": {why}" if why else ""))
    return image


def _draw_map(explained: ExplainedImages, image: np.ndarray, row: dict | None) -> np.ndarray | None:
    """None for a map that is not there, is zero everywhere, or has another size."""
    if row is None:
        return None
    return _overlay(image, explained.values(row), row["method"])


def _overlay(image: np.ndarray, values: np.ndarray, method: str) -> np.ndarray | None:
    if not values.any() or values.shape != image.shape[:2]:
        return None
    return outlined_map(image, values, METHODS[method].signed)


def gather_map_history(request: Request) -> Content:
    subject = request.subject
    scope: dict = {"run_id": request.run_id, "split": request.split, "target": "predicted"}
    connection = subject.evidence.connection
    found = queries.execute(connection, "mosaic_instances", scope | {"limit": 1000}).fetchall()
    if not found:
        command = subject.explain("saliency", more=f" --epochs all{subject.some}")
        raise request.missing(f"maps of several epochs of split {request.split}", command)
    there: dict[int, dict] = {instance: {} for instance, _ in found}
    chosen = _read_instances(request, there, "maps of several epochs") if request.settings.instances else [*there][:1]
    if len(chosen) > 1:
        raise InputError("map-history shows one image; give --instances one")
    [instance] = chosen
    maps: dict[str, dict[int, np.ndarray]] = {}
    for method, epoch, height, width, values in queries.execute(
        connection, "mosaic_maps", scope | {"instance_id": instance}
    ).fetchall():
        maps.setdefault(method, {})[epoch] = np.array(values, np.float32).reshape(height, width)
    methods = request.choose_methods([method for method in maps if len(maps[method]) > 1] or [*maps])
    first, last = request.choose_range([epoch for method in methods for epoch in maps[method]])
    epochs = sorted({epoch for method in methods for epoch in maps[method] if first <= epoch <= last})
    if len(epochs) < 2:
        raise InputError(f"--epochs is {request.settings.epochs}, and under two epochs in it have maps")
    epochs = choose_evenly(epochs, MOST_EPOCHS)
    image = _read_image(request, instance)
    found_history = subject.ask("instance_history", split=request.split, instance_id=instance)
    history = {row["epoch"]: row for row in found_history.rows}
    heads: list[tuple[str, ...]] = [("Image",)]
    heads += [(f"epoch {epoch}", short(subject.classes[history[epoch]["predicted"]], 10)) for epoch in epochs]
    plain = enlarged(image)
    rows = []
    for place, method in enumerate(methods):
        own = [maps[method].get(epoch) for epoch in epochs]
        drawn = [None if values is None else _overlay(image, values, method) for values in own]
        beside = plain if place == 0 else np.full_like(plain, 255)
        rows.append(TileRow(tuple(name_method(method, request.style).split(" ")), [beside, *drawn]))
    label = history[epochs[-1]]["label"]
    caption = (
        f"Maps of image #{instance} ({subject.classes[label] if label is not None else 'label unknown'}) by method and "
        f"epoch, each of the class predicted then, which stands with the epoch. {SCALES}"
    )
    signs = [signed for signed in (True, False) if any(METHODS[method].signed is signed for method in methods)]
    return Content((rows, heads), caption, epochs, 1, {"scales": signs})


def gather_concepts(request: Request) -> Content:
    found = _find_concepts(request)
    order = sorted(found.names, key=lambda concept: (concept in found.unstable, concept))
    most, images = (NARROW_CONCEPTS, 2) if request.style.is_narrow else (WIDE_CONCEPTS, 4)
    rows = []
    for concept in order[:most]:
        strip = cut_card(found, concept, images)
        by_class = sorted(found.by_class.where(concept_id=concept), key=lambda row: -abs(row["contribution"]))
        effects = [(row["class_name"], row["contribution"], is_beyond_chance(row)) for row in by_class[:BARS]]
        highest = max(by_class, key=lambda row: row["prevalence"])
        share = percent(highest["prevalence"], SMALL - 1)
        name = f"{_name_concept(found, concept)}: {share} of class {short(highest['class_name'], 14)}"
        rows.append(ConceptRow(name, None if strip is None else np.asarray(strip), effects))
    first = f"{len(rows)} of {len(order)} concepts" if len(rows) < len(order) else f"{len(rows)} concepts"
    order_of_rows = "those that other images lead to first, then by number" if found.unstable else "by number"
    caption = (
        f"{first} of layer {found.by_class.rows[0]['layer']} (ICE with TCAV), {order_of_rows}: the class "
        "that shows each most often, the images that show it most, each with its map, and the logits it adds to the "
        f"{BARS} classes it acts on most. {_describe_test(found, 'Filled')}"
    )
    return Content((rows,), caption, found.epoch, _count_scored(found))


def _describe_test(found: FoundConcepts, mark: str) -> str:
    """What a mark stands for: by which test, of how many hypotheses and at which level."""
    return (
        f"{mark}: an effect on the class's logit beyond chance (TCAV against directions without meaning, family-wise "
        f"over all {len(found.names)} concepts and {len(found.subject.classes)} classes, level "
        f"{VERDICTS['concepts'].level}, as in the report; `significant` in study ask concepts_by_class is at 0.05)."
    )


def _count_scored(found: FoundConcepts) -> int | None:
    """Images on which the concepts were scored; None in runs that did not count them."""
    counts = [row["n"] for row in found.own.rows]
    return None if None in counts else sum(counts)


def gather_concept_classes(request: Request) -> Content:
    found = _find_concepts(request)
    concepts = sorted(found.names)[: request.style.most_rows]
    classes = sorted(found.classes)[: request.style.most_rows]
    values, marked = np.full((len(concepts), len(classes)), np.nan), np.zeros((len(concepts), len(classes)), bool)
    for row in found.by_class.rows:
        if row["concept_id"] in concepts and row["class_id"] in classes:
            cell = concepts.index(row["concept_id"]), classes.index(row["class_id"])
            values[cell], marked[cell] = row["prevalence"], is_beyond_chance(row)
    names = [_name_concept(found, concept) for concept in concepts]
    caption = (
        "Images of each class (columns) that show each concept (rows), in percent, of layer "
        f"{found.by_class.rows[0]['layer']} (ICE). {_describe_test(found, 'Framed')}"
    )
    heads = [found.classes[one] for one in classes]
    return Content((values, marked, names, heads), caption, found.epoch, _count_scored(found))


def gather_concept_history(request: Request) -> Content:
    rows = request.subject.ask("concepts_by_epoch").rows
    if len({row["epoch"] for row in rows}) < 2:
        command = request.subject.explain(*CONCEPT_METHODS, more=" --epochs all")
        raise request.missing("concepts at several epochs", command)
    shown, there = choose_concepts(rows), {row["concept_id"] for row in rows}
    which = "Each concept" if len(shown) == len(there) else f"{len(shown)} of the {len(there)} concepts"
    rows = [row | {"concept_name": (row["concept_name"] or "").split(DESCRIBED)[0]} for row in rows]
    caption = (
        f"{which} of the last epoch by the most similar one found at earlier epochs: their cosine, the fraction of "
        "images that show it, and its TCAV sign for the class that shows it most (filled: beyond chance)."
    )
    rows = request.limit_epochs(rows, "epoch")
    return Content((rows,), caption, span(rows, "epoch"))


def _find_concepts(request: Request) -> FoundConcepts:
    found = find_concepts(request.subject)
    if found is None:
        raise request.missing("concepts", request.subject.explain(*CONCEPT_METHODS))
    return found


def _name_concept(found: FoundConcepts, concept: int) -> str:
    """Its number, and the user's name if it has one: what a description says stands in the figure."""
    name = found.names[concept]
    return f"concept {concept}" if DESCRIBED in name else f"concept {concept} ({short(name, 16)})"


def gather_shortcuts(request: Request) -> Content:
    rows = _read_shortcuts(request)
    caption = (
        "How often images that were predicted otherwise are predicted as a class, once the patch that acts most in "
        "training images of the class is pasted into them, with 95 % Wilson intervals; grey: the same with patches "
        f"that should not act. Orange: a shortcut is found (McNemar and Fisher, Holm, level {LEVEL} each)."
    )
    return Content((rows,), caption, n=max(row["n"] for row in rows))


def gather_shortcut_images(request: Request) -> Content:
    found = [row for row in _read_shortcuts(request) if row["verdict"] == "found"]
    if not found:
        raise request.missing(f"shortcut that is found on split {request.split}")
    predictions = read_images(request.subject)
    rows = []
    for row in found[:MOST_IMAGES]:
        place = (row["patch_top"], row["patch_left"], row["patch_side"])
        for right, text in ((True, "correct"), (False, "misclassified")):
            instances = [
                instance
                for instance, one in predictions.items()
                if one["predicted"] == row["class_id"] and is_right(one) is right
            ][:4]
            tiles: list = [framed_image(_read_image(request, instance), place) for instance in instances]
            if tiles:
                lines = (short(row["class_name"], 14), text)
                rows.append(TileRow(lines, tiles, BLUE if right else ORANGE))
    columns = max(len(row.tiles) for row in rows)
    caption = "Images predicted as a class that a patch decides, correctly and not; framed: the place of the patch."
    return Content((rows, [("",)] * columns), caption, request.subject.epoch, sum(len(row.tiles) for row in rows))


def _read_shortcuts(request: Request) -> list[dict]:
    """Rows of the classes whose patch was tried."""
    rows = [row for row in ask_shortcuts(request.subject).rows if row["follows"] is not None]
    if not rows:
        command = f"study compare {request.run_id} --split {request.split}"
        if not request.subject.ask("explained").where(split=request.split):
            command = f"{request.subject.explain(*METHODS, more=request.subject.some)} && {command}"
        raise request.missing("trials of patches", command)
    return rows
