"""The command `study`. Standard output carries only a command's result; all else goes to standard error."""

import argparse
import sys
import traceback
from collections.abc import Iterator
from inspect import getdoc

from pipelines.commands import ASK_HELP, COMMANDS, GROUPS, SHARED, keep_output, load_step, open_home
from pipelines.common import ranks, settings, stopping, terminal
from pipelines.common.console import redacting
from pipelines.common.flags import Parser, add_flags, from_flags
from pipelines.common.streams import prepare_streams, shown, written
from pipelines.common.terminal import has_colours, printable, styled
from pipelines.models.user_errors import describe_model_error, watching_own_model
from tracking.errors import InputError, RunError, from_outside
from tracking.staging import unmade_home_removed

MAX_MESSAGE_LENGTH = 2000  # characters


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 if a run failed, 2 for wrong input, 130 if stopped.

    Without arguments, it runs the command line of this process: it also handles signals, and prints tracebacks
    without passwords.
    """
    if arguments is not None:
        prepare_streams()
        with redacting():
            return _run_command(arguments)
    stopping.listen()
    try:
        prepare_streams()
        if ranks.is_follower():
            terminal.mute()
        with redacting():
            code = _run_with_traceback(sys.argv[1:])
            if ranks.was_launched():
                stopping.ignore()
                ranks.leave(code)
    except KeyboardInterrupt:  # while an error was being reported
        code = stopping.CODE
    stopping.finish()
    return code


def _run_with_traceback(arguments: list[str]) -> int:
    try:
        return _run_command(arguments)
    except Exception:
        traceback.print_exc()  # here, as the interpreter's own would show passwords
        return 1


def _run_command(arguments: list[str]) -> int:
    with watching_own_model():
        try:
            with written():
                _dispatch(arguments)
        except BaseException as error:  # a user's model may raise SystemExit
            return _report_error(error)
    return 0


def _report_error(error: BaseException) -> int:
    """Print the error that ended a command in one line; returns the exit code. Raises errors of our own making."""
    if isinstance(error, ranks.LeaderEnded):  # which has said why
        return error.code
    if isinstance(error, KeyboardInterrupt) or stopping.was_asked():  # libraries may turn it into another error
        _print_error("stopped")
        return stopping.CODE
    if isinstance(error, InputError | RunError):
        reason: str | None = str(error)
    else:
        reason = describe_model_error(error) or from_outside(error)
    if reason is None:
        raise error
    _print_error(reason)
    return 2 if isinstance(error, InputError) else 1


def _print_error(reason: str) -> None:
    """Print why a command ends; of processes that end alike, only rank 0 does."""
    if ranks.is_follower():
        if ranks.rank() == 0 or stopping.was_asked():  # before they have joined, all of them read the same flags
            return
        reason = f"rank {ranks.rank()}: {reason}"
    prefix = styled("study:", "bold", "red") if has_colours(sys.stderr) else "study:"
    print(prefix, _single_line(reason), file=sys.stderr)


def _single_line(message: str) -> str:
    """A message as one printable line, with its middle cut out if the user's input makes it too long."""
    line = printable(" ".join(message.split()))
    if len(line) <= MAX_MESSAGE_LENGTH:
        return line
    half = MAX_MESSAGE_LENGTH // 2
    return f"{line[:half]} ... {line[-half:]}"


def _dispatch(arguments: list[str]) -> None:
    parser = make_parser()
    flags, rest = parser.parse_known_args(arguments)
    settings_class, *_ = COMMANDS[flags.command]
    if rest and flags.command != "ask":
        flags.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if flags.command in SHARED:
        ranks.join()
        if ranks.rank():  # a process that torchrun started beside rank 0, in whose training it takes part
            from pipelines.training.following import follow  # here, as torch takes seconds

            with keep_output(flags.command):
                return follow()
    run_step = load_step(flags.command)
    home = open_home(flags.command, flags.home)
    with keep_output(flags.command), unmade_home_removed(home):
        if settings_class is None:
            result = run_step(flags, rest, home)
        else:
            result = run_step(from_flags(settings_class, flags), home)

    if isinstance(result, Iterator):
        sys.stdout.writelines(result)
    elif isinstance(result, str):
        print(shown(result))
    else:
        for line in result or []:
            print(shown(line))


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands, each with its settings' flags."""
    parser = OverviewParser(prog="study", description="Explains image classifiers from their tracked history.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (settings_class, _, example) in COMMANDS.items():
        command = commands.add_parser(
            name,
            description=getdoc(settings_class) if settings_class else ASK_HELP,
            epilog=f"example:\n  {example}",
            add_help=settings_class is not None,  # `study ask QUESTION --help` is about the question
        )
        command.set_defaults(parser=command)
        command.add_argument("--home", help="study home [STUDY_HOME, else ./study]")
        if settings_class:
            add_flags(command, settings_class)
            command.takes_words_anywhere = True
        else:
            command.add_argument("question", nargs="?", help="name in the catalogue")
            command.add_argument("--format", choices=settings.FORMATS, default="table", help=settings.FORMAT)
    return parser


class OverviewParser(Parser):
    """Its help lists the commands in groups, each with an example."""

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage("%(prog)s COMMAND [flags]", (), ())
        formatter.add_text(self.description)
        for title, commands in GROUPS.items():
            formatter.start_section(title)
            for name, (settings_class, _, example) in commands.items():
                text = str(settings_class.__doc__) if settings_class else ASK_HELP
                summary = text.split(". ")[0].split("; ")[0].removesuffix(".")
                entry = argparse.Action([], name, metavar=name, help=f"{summary}\n{example}".replace("%", "%%"))
                formatter.add_argument(entry)
            formatter.end_section()
        formatter.add_text("study COMMAND --help explains a command and its flags.")
        return formatter.format_help()


if __name__ == "__main__":
    sys.exit(main())
