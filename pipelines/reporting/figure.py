"""One figure of a run as a file, as one would print it, with its caption in the terminal and in the file's metadata."""

import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from pipelines.asking.tables import as_table
from pipelines.common.outputs import check_new_file
from pipelines.common.settings import FigureSettings, flag_name
from pipelines.common.terminal import find_screen, say
from pipelines.drawing.style import DOUBLE, SINGLE, draw
from pipelines.reporting.figure_catalogue import FIGURES, FigureKind
from pipelines.reporting.figure_request import MissingData, make_request
from tracking import catalogue
from tracking.catalogue import SHORT_ID, RunRecord
from tracking.errors import InputError
from tracking.files import write_bytes
from tracking.home import Home
from tracking.reading import connect

WIDTHS = {"single": SINGLE, "double": DOUBLE}
FORMATS = ("svg", "pdf", "png")
DEFAULT_FORMAT = "pdf"
DPI = 300  # of PNG
SELECTORS = ("epoch", "epochs", "instances", "method", "data")  # settings that only some figures take


def figure(settings: FigureSettings, home: Home) -> str:
    """Write a figure to a new file; returns its path, or without a name a table of all figures."""
    if settings.name not in FIGURES:
        return _list_figures(settings, home)
    kind = FIGURES[settings.name]
    _check_selectors(settings, kind)
    run = catalogue.resolve(home, settings.run)
    file_format = _choose_format(settings)
    path = Path(settings.output or f"{settings.name}-{run.run_id[:SHORT_ID]}.{file_format}")
    check_new_file(path)
    with connect(home) as connection:
        request = make_request(settings, home, run, connection, WIDTHS[settings.width])
        content = kind.gather(request)
        drawn = draw(kind.draw, request.style, *content.values, **content.options)
    caption = request.complete(content)
    say(caption)
    try:
        return str(write_bytes(path, save_figure(drawn, file_format, f"{settings.name}, {run.name}", caption)))
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r} ({error.strerror}); name another file") from None


def save_figure(drawn: Figure, file_format: str, title: str, caption: str) -> bytes:
    """A figure as a file's content, the same for the same figure; title and caption are in its metadata."""
    metadata: dict[str, dict] = {
        "svg": {"Title": title, "Description": caption, "Creator": "xai-study", "Date": None},
        "pdf": {"Title": title, "Subject": caption, "Creator": "xai-study", "Producer": None, "CreationDate": None},
        "png": {"Title": title, "Description": caption, "Software": "xai-study"},
    }
    file = io.BytesIO()
    # text stays text, TrueType fonts are embedded, and IDs within an SVG do not change
    with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "xai-study"}):
        drawn.savefig(file, format=file_format, dpi=DPI, metadata=metadata[file_format])
    return file.getvalue()


def _list_figures(settings: FigureSettings, home: Home) -> str:
    """What each figure shows, and whether a run can give it: the run that stands in the name's place, else the run."""
    names = ", ".join(FIGURES)
    reference = settings.run
    if settings.name is not None:
        if settings.run != "latest":
            raise InputError(f"no figure {settings.name!r}; there are: {names}")
        reference = settings.name
    try:
        run: RunRecord | None = catalogue.resolve(home, reference)
    except InputError:
        if settings.name is not None:
            raise InputError(f"no figure, and no run, {settings.name!r}; the figures are: {names}") from None
        run = None
    rows = [(name, kind.summary) for name, kind in FIGURES.items()]
    if run is None:
        say("there is no run yet; `study run` makes one")
        return as_table(["figure", "shows"], rows, find_screen())
    given = []
    with connect(home) as connection:
        request = make_request(settings, home, run, connection, WIDTHS[settings.width])
        for name, summary in rows:
            try:
                FIGURES[name].gather(request)
                given.append((name, summary, "yes"))
            except MissingData as error:
                given.append((name, summary, f"no {error.what}"))
    say(f"run {run.run_id[:SHORT_ID]} ({run.name}), split {request.split}")
    return as_table(["figure", "shows", "this run"], given, find_screen())


def _check_selectors(settings: FigureSettings, kind: FigureKind) -> None:
    """Raise InputError on a setting that has no meaning for a figure."""
    for selector in SELECTORS:
        if getattr(settings, selector) not in (None, ()) and selector not in kind.takes:
            known = ", ".join(flag_name(name) for name in ("split", *kind.takes))
            raise InputError(f"figure {settings.name} takes no {flag_name(selector)}; it takes {known}")


def _choose_format(settings: FigureSettings) -> str:
    if settings.output is None:
        return settings.format or DEFAULT_FORMAT
    ending = Path(settings.output).suffix.removeprefix(".").lower()
    if settings.format is None:
        if ending not in FORMATS:
            raise InputError(f"--output {settings.output!r} does not end in .svg, .pdf or .png; give one, or --format")
        return ending
    if ending in FORMATS and ending != settings.format:
        raise InputError(f"--output ends in .{ending} and --format is {settings.format}; make them agree")
    return settings.format
