"""Figures of a report, drawn as SVG in the page: sharp on paper, in the page's own colours in the dark."""

from collections.abc import Iterable, Sequence

from pipelines.common.figures import NAMES, short
from pipelines.reporting.faithfulness import REFERENCES, in_order
from pipelines.reporting.html import Html, html, joined
from pipelines.reporting.mistakes import Mistakes, Pair, PairFlow
from pipelines.reporting.techniques import called
from pipelines.reporting.words import number, percent, value

STYLES = {"test": "s1", "val": "s2", "train_seen": "s3"}  # classes of page.css
ENLARGED = 1.15  # pixels of a figure's unit, where there is room
TALL, LEFT, RIGHT = 190, 40, 10  # of a plot with axes, in its own units
CALLED = {"random": "random maps", "edge": "edge detector"}


def _svg(width: float, height: float, alt: str, parts: Iterable[object], kind: str = "chart") -> Html:
    return html(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>\n',
        kind, f"{width:g}", f"{height:g}", f"{ENLARGED * width:.0f}", alt, joined(parts),
    )  # fmt: skip


def _text(x: float, y: float, text: object, kind: str = "", anchor: str = "start") -> Html:
    return html('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', f"{x:.1f}", f"{y:.1f}", kind, anchor, text)


def _path(points: Sequence[tuple[float, float]], kind: str, closed: bool = False) -> Html:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return html('<path class="{}" d="M{}{}"/>', kind, steps, "Z" if closed else "")


def _box(x: float, y: float, width: float, height: float, kind: str) -> Html:
    return html('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>', f"{x:.1f}", f"{y:.1f}", f"{width:.1f}",
                f"{height:.1f}", kind)  # fmt: skip


def _dot(x: float, y: float, kind: str, radius: float = 2.5) -> Html:
    return html('<circle cx="{}" cy="{}" r="{}" class="{}"/>', f"{x:.1f}", f"{y:.1f}", radius, kind)


class Axes:
    """A plot's frame: from values to places."""

    def __init__(self, xs: tuple[float, float], ys: tuple[float, float], width: float = 330, height: float = TALL):
        self.xs, self.ys, self.width, self.height = xs, ys, width, height
        self.top, self.bottom = 12, height - 32

    def x(self, at: float) -> float:
        low, high = self.xs
        return LEFT + (at - low) / ((high - low) or 1) * (self.width - LEFT - RIGHT)

    def y(self, at: float) -> float:
        low, high = self.ys
        return self.bottom - (at - low) / ((high - low) or 1) * (self.bottom - self.top)

    def frame(self, x_ticks: dict[float, str], y_ticks: dict[float, str], x_name: str) -> list[Html]:
        """Grid, ticks and the name of the horizontal axis."""
        lines = [_path([(LEFT, self.y(at)), (self.width - RIGHT, self.y(at))], "grid") for at in y_ticks]
        ys = [_text(LEFT - 5, self.y(at) + 3.5, text, "tick", "end") for at, text in y_ticks.items()]
        xs = [_text(self.x(at), self.bottom + 14, text, "tick", "end" if "%" in text else "middle")
              for at, text in x_ticks.items()]  # fmt: skip
        return [*lines, *ys, *xs, _text((LEFT + self.width) / 2, self.height - 4, x_name, "name", "middle")]


def _whole_ticks(epochs: Sequence[int], most: int = 6) -> dict[float, str]:
    step = max(1, -(-(len(epochs) - 1) // most))
    return {float(epoch): str(epoch) for epoch in epochs[::step]}


SHARES = {0.0: "0\u00a0%", 0.5: "50\u00a0%", 1.0: "100\u00a0%"}


def curves(rows: Sequence[dict]) -> Html:
    """Accuracy by epoch of every split, 95 % intervals as bands; rows of accuracy_by_epoch."""
    known = [row for row in rows if row["accuracy"] is not None]
    epochs = sorted({row["epoch"] for row in known})
    axes = Axes((epochs[0], epochs[-1]), (0, 1))
    parts = axes.frame(_whole_ticks(epochs), SHARES, "epoch (0: untrained)")
    for place, split in enumerate(dict.fromkeys(row["split"] for row in known)):
        own = [row for row in known if row["split"] == split]
        kind = STYLES.get(split, "s4")
        low = [(axes.x(row["epoch"]), axes.y(row["low"])) for row in own]
        high = [(axes.x(row["epoch"]), axes.y(row["high"])) for row in own]
        line = [(axes.x(row["epoch"]), axes.y(row["accuracy"])) for row in own]
        parts += [_path([*low, *reversed(high)], f"band {kind}", closed=True), _path(line, f"line {kind}")]
        parts += [_dot(x, y, f"dot {kind}", 1.8) for x, y in line]
        y = axes.bottom - 10 - 13 * place
        parts += [_path([(205, y), (225, y)], f"line {kind}"), _text(230, y + 3.5, NAMES.get(split, split), "label")]
    return _svg(axes.width, axes.height, "Accuracy after each epoch, by split, with 95 % intervals", parts)


def classes(rows: Sequence[dict], most: int = 12) -> Html:
    """Accuracy by class with its 95 % interval, hardest first; rows of hard_classes."""
    shown, step = rows[:most], 14
    width, left, right = 330, 96, 42
    height = step * len(shown) + 22
    span = width - left - right
    parts: list[Html] = []
    for at, text in {0.0: "0", 0.5: "50", 1.0: "100\u00a0%"}.items():
        x = left + at * span
        parts += [_path([(x, 4), (x, height - 16)], "grid"), _text(x, height - 4, text, "tick", "middle")]
    for place, row in enumerate(shown):
        y = 10 + step * place
        low, middle, high = (left + row[key] * span for key in ("low", "accuracy", "high"))
        parts += [
            _text(left - 6, y + 3.5, short(row["class_name"], 16), "label", "end"),
            _path([(low, y), (high, y)], "whisker"), _dot(middle, y, "dot s2", 3),
            _text(width, y + 3.5, percent(row["accuracy"], row["n"]), "tick", "end"),
        ]  # fmt: skip
    return _svg(width, height, "Accuracy of each class with its 95 % interval", parts)


def reliability(rows: Sequence[dict]) -> Html:
    """Accuracy against confidence by bin, 95 % intervals; rows of calibration."""
    axes = Axes((0, 1), (0, 1), width=220)
    parts = axes.frame({0.0: "0", 0.5: "50", 1.0: "100\u00a0%"}, SHARES, "confidence")
    parts.append(_path([(axes.x(0), axes.y(0)), (axes.x(1), axes.y(1))], "reference"))
    for row in rows:
        x = axes.x(row["confidence"])
        parts += [_path([(x, axes.y(row["accuracy_low"])), (x, axes.y(row["accuracy_high"]))], "whisker"),
                  _dot(x, axes.y(row["accuracy"]), "dot s1" if row["is_off"] else "dot s2", 3)]  # fmt: skip
    return _svg(axes.width, axes.height, "Accuracy by confidence; the dashed line is as it should be", parts)


def metric(rows: Sequence[dict], name: str, better: str = "") -> Html:
    """One metric by method, mean and 95 % interval, references below; rows of faithfulness_by_method of one metric."""
    known = {row["method"]: row for row in rows if row["mean"] is not None}
    shown = [*in_order(known), *(method for method in REFERENCES if method in known)]
    if not shown:
        return Html("")
    step, width, left, right = 14, 330, 118, 16
    ends = [known[one][key] for one in shown for key in ("low", "mean", "high") if known[one][key] is not None]
    low, high = min(*ends, 0.0), max(*ends, 0.01)
    height = step * len(shown) + 40

    def x(at: float) -> float:
        return left + (at - low) / (high - low) * (width - left - right)

    title = f"{name} ({better}: better)" if better else name
    parts = [_text(4, 11, title, "title")]
    for at in (low, (low + high) / 2, high):
        parts += [_path([(x(at), 18), (x(at), height - 16)], "grid"),
                  _text(x(at), height - 4, value(at), "tick", "middle")]  # fmt: skip
    for place, method in enumerate(shown):
        row, y = known[method], 26 + step * place
        kind = "s3" if method in REFERENCES else "s2" if row.get("beats_random") is not False else "s1"
        parts.append(_text(left - 6, y + 3.5, CALLED.get(method, called(method)), "label", "end"))
        if row["low"] is not None:
            parts.append(_path([(x(row["low"]), y), (x(row["high"]), y)], f"whisker {kind}"))
        parts.append(_dot(x(row["mean"]), y, f"dot {kind}", 3))
    return _svg(width, height, f"{name} by method with 95 % intervals", parts)


def confusion(mistakes: Mistakes, names: Sequence[str]) -> Html:
    """Images by true class (rows) and predicted class (columns); the darker, the larger the fraction of the class."""
    shown = mistakes.classes
    cells = {(row["label"], row["predicted"]): row for row in mistakes.matrix.rows}
    side, left, top = 25, 82, 62
    size = side * len(shown)
    parts: list[Html] = []
    ends = set(mistakes.pair.ids) if mistakes.pair else set()
    large = sorted((row["n"] for (a, b), row in cells.items() if a != b and {a, b} <= set(shown)), reverse=True)[:12]
    for i, label in enumerate(shown):
        parts.append(_text(left - 6, top + side * i + 16, short(names[label], 12), "label", "end"))
        x, y = left + side * i + 15, top - 6
        parts.append(html('<text class="label" transform="translate({} {}) rotate(-60)">{}</text>', x, y,
                          short(names[label], 10)))  # fmt: skip
        for j, predicted in enumerate(shown):
            row = cells.get((label, predicted))
            share = row["share"] if row else 0
            kind = "right" if label == predicted else "wrong"
            mark = " pair" if label != predicted and {label, predicted} == ends else ""
            depth = f"{max(0.06, min(1.0, share if label == predicted else 3 * share)) if row else 0:.2f}"
            parts.append(html('<rect x="{}" y="{}" width="{}" height="{}" fill-opacity="{}" class="cell {}{}"/>',
                              left + side * j, top + side * i, side - 1, side - 1, depth, kind, mark))  # fmt: skip
            if row and label != predicted and large and row["n"] >= large[-1]:
                text = "on" if 3 * share > 0.6 else "label"
                parts.append(_text(left + side * j + 12, top + side * i + 16, row["n"], text, "middle"))
    parts += [_text(2, 12, "rows: true class", "name"), _text(2, 25, "columns: predicted", "name")]
    return _svg(
        left + size + 22, top + size + 4, "Confusion matrix: true classes in rows, predictions in columns", parts
    )


def pair_flow(pair: Pair, flow: PairFlow, names: Sequence[str]) -> Html:
    """Where the images of a pair are predicted at some epochs: as one, the other, or any other class."""
    a, b = pair.ids
    places = (a, -1, b)
    width, height, top, bar, gap = 330, 150, 18, 9, 8
    total = max(sum(link["n"] for link in flow.links if link["epoch"] == flow.epochs[0]), 1)
    scale = (height - top - 2 * gap - 4) / total
    xs = {epoch: 62 + i * (width - 62 - bar - 4) / (len(flow.epochs) - 1) for i, epoch in enumerate(flow.epochs)}

    def count(epoch: int, place: int, end: str) -> int:
        key, other = ("epoch", "place") if end == "out" else ("next_epoch", "next_place")
        return sum(link["n"] for link in flow.links if (link[key], link[other]) == (epoch, place))

    def tops(epoch: int) -> dict[int, float]:
        end = "in" if epoch == flow.epochs[-1] else "out"
        at, found = float(top), {}
        for place in places:
            found[place] = at
            at += count(epoch, place, end) * scale + gap
        return found

    starts = {epoch: tops(epoch) for epoch in flow.epochs}
    leave = {epoch: dict(found) for epoch, found in starts.items()}
    enter = {epoch: dict(found) for epoch, found in starts.items()}
    parts: list[Html] = []
    order = sorted(flow.links, key=lambda link: (link["epoch"], places.index(link["place"]),
                                                 places.index(link["next_place"]), link["label"]))  # fmt: skip
    for link in order:
        one, two, thick = link["epoch"], link["next_epoch"], link["n"] * scale
        y, z = leave[one][link["place"]], enter[two][link["next_place"]]
        leave[one][link["place"]] += thick
        enter[two][link["next_place"]] += thick
        x, w = xs[one] + bar, xs[two]
        middle = (x + w) / 2
        kind = "s2" if link["next_place"] == link["label"] else "s1"
        parts.append(html('<path class="ribbon {}" d="M{} {}C{} {} {} {} {} {}V{}C{} {} {} {} {} {}Z"/>', kind,
                          *(f"{at:.1f}" for at in (x, y, middle, y, middle, z, w, z, z + thick, middle, z + thick,
                                                   middle, y + thick, x, y + thick))))  # fmt: skip
    for epoch in flow.epochs:
        end = "in" if epoch == flow.epochs[-1] else "out"
        parts.append(_text(xs[epoch] + bar / 2, 10, f"epoch {epoch}" if epoch == flow.epochs[0] else epoch, "tick",
                           "middle"))  # fmt: skip
        for place in places:
            parts.append(_box(xs[epoch], starts[epoch][place], bar, count(epoch, place, end) * scale, "node"))
    first, above = flow.epochs[0], 0.0
    for place, name in zip(places, (names[a], "other", names[b]), strict=True):
        above = max(starts[first][place] + count(first, place, "out") * scale / 2 + 3, above + 11)  # no text on another
        parts.append(_text(xs[first] - 5, above, short(name, 10), "label", "end"))
    return _svg(width, height + 6, f"Predictions of the images of {names[a]} and {names[b]} over the epochs", parts)


def outcomes(rows: Sequence[dict]) -> Html:
    """Images fixed (up) and broken (down) by each epoch; rows of transition_outcomes."""
    epochs = [row["next_epoch"] for row in rows]
    up, down = max(row["fixed"] for row in rows) or 1, max(row["broken"] for row in rows) or 1
    axes = Axes((epochs[0] - 0.6, epochs[-1] + 0.6), (-down, up), height=170)
    ticks = {float(up): number(up), 0.0: "0", -float(down): number(down)}
    if axes.y(-down) - axes.y(0) < 10:
        del ticks[-float(down)]  # it would lie on the zero
    parts = axes.frame(_whole_ticks(epochs), ticks, "epoch")
    wide = min(26.0, 0.8 * (axes.x(1) - axes.x(0)))
    for row in rows:
        x = axes.x(row["next_epoch"]) - wide / 2
        parts += [_box(x, axes.y(row["fixed"]), wide, axes.y(0) - axes.y(row["fixed"]), "fill s2"),
                  _box(x, axes.y(0), wide, axes.y(-row["broken"]) - axes.y(0), "fill s1")]  # fmt: skip
    parts += [_box(210, 14, 9, 9, "fill s2"), _text(224, 22, "fixed", "label"),
              _box(264, 14, 9, 9, "fill s1"), _text(278, 22, "broken", "label")]  # fmt: skip
    return _svg(axes.width, axes.height, "Images that each epoch fixed (up) and broke (down)", parts)


def settling(rows: Sequence[dict]) -> Html:
    """Fraction of images whose map, and whose prediction, is settled by epoch; rows of explanation_drift."""
    epochs = sorted({row["epoch"] for row in rows})
    axes = Axes((epochs[0], epochs[-1]), (0, 1), height=170)
    parts = axes.frame(_whole_ticks(epochs), SHARES, "epoch")
    methods = in_order(row["method"] for row in rows)
    predicted = {row["epoch"]: row["share_prediction_settled"] for row in rows}
    parts.append(_path([(axes.x(epoch), axes.y(predicted[epoch] or 0)) for epoch in epochs], "line s4"))
    legend = [("s4", "predictions")]
    for place, method in enumerate(methods[:3]):
        own = [row for row in rows if row["method"] == method and row["share_settled"] is not None]
        kind = f"s{place + 1}"
        parts.append(_path([(axes.x(row["epoch"]), axes.y(row["share_settled"])) for row in own], f"line {kind}"))
        legend.append((kind, f"{called(method)} maps"))
    for place, (kind, text) in enumerate(legend):
        y = axes.bottom - 10 - 13 * place
        parts += [_path([(205, y), (225, y)], f"line {kind}"), _text(230, y + 3.5, text, "label")]
    return _svg(axes.width, axes.height, "Images whose prediction, and whose map, is settled, by epoch", parts)


def class_bars(rows: Sequence[dict], most: int = 3) -> Html:
    """How often the first classes show a concept; rows of concepts_by_class."""
    width, left, step = 170, 70, 15
    parts: list[Html] = []
    for place, row in enumerate(rows[:most]):
        y = 2 + step * place
        full = width - left - 34
        parts += [
            _text(left - 5, y + 10, short(row["class_name"], 11), "label", "end"), _box(left, y + 1, full, 11, "back"),
            _box(left, y + 1, row["prevalence"] * full, 11, "fill s2"),
            _text(width, y + 10, f"{100 * row['prevalence']:.0f}\u00a0%", "tick", "end"),
        ]  # fmt: skip
    return _svg(width, step * min(most, len(rows)) + 4, "The classes that show it most", parts, "chart small")


def bar(share: float | None, low: float | None = None, high: float | None = None, even: float | None = None) -> Html:
    """A bar for a fraction, its interval as a line, what to compare it with as a dashed mark."""
    if share is None:
        return Html("")
    wide = 100
    parts = [_box(0, 0, wide, 12, "back"), _box(0, 0, share * wide, 12, "fill s2 pale")]
    if low is not None and high is not None:
        parts.append(_path([(low * wide, 6), (high * wide, 6)], "whisker"))
    if even is not None:
        parts.append(_path([(even * wide, 0), (even * wide, 12)], "mark"))
    return _svg(wide, 12, percent(share), parts, "bar")


def colour_bar(signed: bool) -> Html:
    """What the colours of the maps mean, from their least to their greatest value."""
    stops = ("#053061", "#4393c3", "#f7f7f7", "#d6604d", "#67001f") if signed else (
        "#000004", "#57106e", "#bc3754", "#f98e09", "#fcffa4")  # fmt: skip
    name = "signed" if signed else "strength"
    gradient = joined(html('<stop offset="{}" stop-color="{}"/>', i / 4, stop) for i, stop in enumerate(stops))
    ends = ("against the class", "for it") if signed else ("weak", "strong")
    parts = [
        html('<defs><linearGradient id="{}">{}</linearGradient></defs>', name, gradient),
        html('<rect x="0" y="2" width="190" height="9" fill="url(#{})" class="frame"/>', name),
        _text(0, 22, ends[0], "tick"), _text(190, 22, ends[1], "tick", "end"),
    ]  # fmt: skip
    return _svg(190, 26, f"Colours from {ends[0]} to {ends[1]}", parts, "chart scale")
