"""The command `study`. Standard output carries only a command's result; all else goes to standard error."""

import argparse
import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout

from pipelines.common import settings as known
from pipelines.common import stopping
from pipelines.common.console import redacting
from pipelines.common.flags import Parser, add_flags, from_flags, is_broken
from pipelines.common.streams import prepare_streams, shown, written
from pipelines.common.terminal import printable
from pipelines.models.user_errors import describe_model_error
from tracking.errors import InputError, RunError, from_outside
from tracking.home import check_alone, find_home

# command: (settings, module:function); modules are imported when used, so that asking starts quickly
COMMANDS = {
    "run": (known.RunSettings, "pipelines.study:run"),
    "train": (known.TrainSettings, "pipelines.training.train:train"),
    "resume": (known.ResumeSettings, "pipelines.resume:resume"),
    "rerun": (known.RerunSettings, "pipelines.rerun:rerun"),
    "explain": (known.ExplainSettings, "pipelines.explaining.explain:explain"),
    "compare": (known.CompareSettings, "pipelines.comparing.compare:compare"),
    "predict": (known.PredictSettings, "pipelines.predicting.predict:predict"),
    "label-concept": (known.LabelSettings, "pipelines.explaining.concepts.labels:label_concept"),
    "flow": (known.FlowSettings, "pipelines.flow.flow:flow"),
    "report": (known.ReportSettings, "pipelines.reporting.report:report"),
    "import-flow": (known.ImportFlowSettings, "pipelines.flow.import_log:import_flow"),
    "ask": (None, "pipelines.asking.ask:ask"),
    "sql": (known.SqlSettings, "pipelines.asking.sql:sql"),
    "prune": (known.PruneSettings, "pipelines.home.prune:prune"),
    "rebuild": (known.RebuildSettings, "pipelines.home.rebuild:rebuild"),
    "ui": (known.UiSettings, "pipelines.home.ui:serve"),
}
READERS = ("ask", "sql", "ui")  # commands that start no run
LONGEST = 2000  # characters of a message
ASK = """Answer one question of the catalogue; without a question, list the catalogue."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0, 1 when a run failed, 2 for wrong input, 130 when stopped.

    Without arguments it is the process's command, to which signals belong, and whose faults show no password.
    """
    if arguments is not None:
        prepare_streams()
        with redacting():
            return _completed(arguments)
    stopping.listen()
    try:
        prepare_streams()
        with redacting():
            code = _traced(sys.argv[1:])
    except KeyboardInterrupt:  # amid the words on an error
        code = stopping.CODE
    stopping.finish()
    return code


def _traced(arguments: list[str]) -> int:
    try:
        return _completed(arguments)
    except Exception:
        traceback.print_exc()  # here, as the interpreter would print passwords too
        return 1


def _completed(arguments: list[str]) -> int:
    try:
        with written():
            _dispatch(arguments)
    except BaseException as error:  # an own model may raise SystemExit
        return _told(error)
    return 0


def _told(error: BaseException) -> int:
    """Exit code of a command that ended with an error, of which one line tells."""
    if isinstance(error, BrokenPipeError):  # the reader of our output has seen enough
        return 0
    if isinstance(error, KeyboardInterrupt) or stopping.was_asked():  # a library may have made another error of it
        print("study: stopped", file=sys.stderr)
        return stopping.CODE
    known = isinstance(error, InputError | RunError)
    reason = str(error) if known else describe_model_error(error) or from_outside(error)
    if reason is None:
        raise error
    print(f"study: {_line(reason)}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1


def _line(message: str) -> str:
    """A message as one line that a terminal only shows, cut in the middle where input of the user makes it long."""
    line = printable(" ".join(message.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def _dispatch(arguments: list[str]) -> None:
    parser = make_parser()
    flags, rest = parser.parse_known_args(arguments)
    settings, target = COMMANDS[flags.command]
    if rest and flags.command != "ask":
        flags.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    module, function = target.split(":")
    step = getattr(importlib.import_module(module), function)
    if flags.command not in READERS:
        check_alone()
    home = find_home(flags.home)
    if is_broken(str(home.path)):
        raise InputError(f"the study home {home.path} is no UTF-8 path in this locale; choose another with --home")
    # a model's code may print, which is no result
    with nullcontext() if flags.command in READERS else redirect_stdout(sys.stderr):
        result = step(flags, rest, home) if settings is None else step(from_flags(settings, flags), home)
    if isinstance(result, Iterator):
        sys.stdout.writelines(result)
        return
    for line in [result] if isinstance(result, str) else result or []:
        print(shown(line))


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands, each with its settings' flags."""
    parser = Parser(prog="study", description="Explains image classifiers from their tracked history.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (settings, _) in COMMANDS.items():
        text = str(settings.__doc__) if settings else ASK
        # `study ask QUESTION --help` is about the question
        summary = text.split(". ")[0].split("; ")[0].removesuffix(".")
        command = commands.add_parser(name, help=summary, description=text, add_help=settings is not None)
        command.set_defaults(parser=command)
        command.add_argument("--home", help="study home [STUDY_HOME, else ./study]")
        if settings:
            add_flags(command, settings)
        else:
            command.add_argument("question", nargs="?", help="name in the catalogue")
            command.add_argument("--format", choices=known.FORMATS, default="table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
