"""One figure of a run as a file, ready for print, with its caption in the terminal and in the file's metadata."""

import difflib
import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pipelines.asking.tables import as_table
from pipelines.common.checked_settings import flag_name
from pipelines.common.outputs import check_new_file
from pipelines.common.settings import FigureSettings
from pipelines.common.terminal import find_screen, say
from pipelines.drawing.style import DOUBLE, SINGLE, draw
from pipelines.reporting.figure_catalogue import FIGURES
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
EVERY = "all"  # in place of a name
DPI = 300  # of PNG
SELECTORS = ("epoch", "epochs", "instances", "method", "data")  # settings that only some figures take


def figure(settings: FigureSettings, home: Home) -> str:
    """Write figures to new files; returns their paths, a line each, or without a name a table of all figures."""
    names = _read_names(settings)
    if names is None:
        return _list_figures(settings, home)
    for name in names:
        _check_selectors(settings, name)
    if len(names) > 1 and settings.output is not None:
        raise InputError(f"--output is one file, and these are {len(names)} figures; leave it out, or name one figure")
    run = catalogue.resolve(home, settings.run)
    file_format = _choose_format(settings)
    paths = [Path(settings.output or f"{name}-{run.run_id[:SHORT_ID]}.{file_format}") for name in names]
    for path in paths:
        check_new_file(path)
    written = []
    with connect(home, run_ids=[run.run_id]) as connection:
        request = make_request(settings, home, run, connection, WIDTHS[settings.width])
        for name, path in zip(names, paths, strict=True):
            try:
                content = FIGURES[name].gather(request)
            except MissingData as error:
                if settings.name != EVERY:
                    raise
                say(f"no {name}: {error}")
                continue
            drawn = draw(FIGURES[name].draw, request.style, *content.values, **content.options)
            caption = request.complete(content)
            say(caption)
            content_of_file = save_figure(drawn, file_format, f"{name}, {run.name}", caption, request.style.width)
            try:
                written.append(str(write_bytes(path, content_of_file)))
            except OSError as error:
                raise InputError(f"cannot write {str(path)!r} ({error.strerror}); name another file") from None
    return "\n".join(written)


def _read_names(settings: FigureSettings) -> list[str] | None:
    """The figures asked for, each once; None if a run, or nothing, stands in their place."""
    if settings.name == EVERY:
        return list(FIGURES)
    names = list(dict.fromkeys((settings.name or "").split(",")))
    unknown = [name for name in names if name not in FIGURES]
    if len(unknown) == 1 == len(names):
        return None
    if unknown:
        raise InputError(_explain_unknown(unknown[0]))
    return names


def _explain_unknown(name: str) -> str:
    nearest = difflib.get_close_matches(name, FIGURES, n=1)
    hint = f"did you mean {nearest[0]}? There are" if nearest else "there are"
    return f"no figure {name!r}; {hint}: {', '.join(FIGURES)}, and {EVERY}"


def save_figure(drawn: Figure, file_format: str, title: str, caption: str, width: float) -> bytes:
    """A figure as a file's content, the same for the same figure; title and caption are in its metadata.

    One that is narrower than `width`, in inches, has white on both sides: its text is as large as that of others once
    it fills a column.
    """
    beside = max(0.0, (width - drawn.get_figwidth()) / 2)
    page = Bbox.from_extents(-beside, 0, drawn.get_figwidth() + beside, drawn.get_figheight())
    metadata: dict[str, dict] = {
        "svg": {"Title": title, "Description": caption, "Creator": "xai-study", "Date": None},
        "pdf": {"Title": title, "Subject": caption, "Creator": "xai-study", "Producer": None, "CreationDate": None},
        "png": {"Title": title, "Description": caption, "Software": "xai-study"},
    }
    file = io.BytesIO()
    # text stays text, TrueType fonts are embedded, and IDs within an SVG do not change
    with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "xai-study"}):
        drawn.savefig(file, format=file_format, dpi=DPI, metadata=metadata[file_format], bbox_inches=page)
    return file.getvalue()


def _list_figures(settings: FigureSettings, home: Home) -> str:
    """What each figure shows, and whether a run can give it: the run that stands in the name's place, else the run."""
    reference = settings.run
    if settings.name is not None:
        if settings.run != "latest":
            raise InputError(_explain_unknown(settings.name))
        reference = settings.name
    try:
        run: RunRecord | None = catalogue.resolve(home, reference)
    except InputError:
        if settings.name is not None and catalogue.matches(home, settings.name):
            raise
        if settings.name is not None:
            raise InputError(_explain_unknown(settings.name)) from None
        run = None
    rows = [(name, kind.summary) for name, kind in FIGURES.items()]
    if run is None:
        say("there is no run yet; `study run` makes one")
        return as_table(["figure", "shows"], rows, find_screen())
    given = []
    with connect(home, run_ids=[run.run_id]) as connection:
        request = make_request(settings, home, run, connection, WIDTHS[settings.width])
        for name, summary in rows:
            try:
                FIGURES[name].gather(request)
                given.append((name, summary, "yes"))
            except MissingData as error:
                given.append((name, summary, f"no {error.what}"))
    say(f"run {run.run_id[:SHORT_ID]} ({run.name}), split {request.split}")
    return as_table(["figure", "shows", "this run"], given, find_screen())


def _check_selectors(settings: FigureSettings, name: str) -> None:
    """Raise InputError on a setting that has no meaning for a figure."""
    kind = FIGURES[name]
    for selector in SELECTORS:
        if getattr(settings, selector) not in (None, ()) and selector not in kind.takes:
            known = ", ".join(flag_name(name) for name in ("split", *kind.takes))
            raise InputError(f"figure {name} takes no {flag_name(selector)}; it takes {known}")


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
