"""Asking the catalogue of queries. Imports neither torch nor mlflow, so answers come quickly."""

import argparse

import queries
from pipelines.asking.checks import check_parameters
from pipelines.asking.formats import FORMATS
from pipelines.common.flags import Parser, utf8
from tracking.catalogue import TRAINED, resolve
from tracking.errors import InputError
from tracking.home import Home
from tracking.reading import connect

# parameters that mean a run, and the kinds of run they take
RUNS = {"run_id": TRAINED, "other_run_id": TRAINED, "compare_run": ("compare",)}
COMPARED = (*TRAINED, "explain", "compare")  # kinds that two runs to compare may have


def ask(flags: argparse.Namespace, rest: list[str], home: Home) -> str:
    """Answer the question `flags.question`, its parameters as flags in `rest`; or list the catalogue."""
    form = FORMATS[flags.format]
    if flags.question is None:
        if rest in (["-h"], ["--help"]):
            return flags.parser.format_help()
        if rest:
            raise InputError(f"no question given, but {' '.join(rest)}; `study ask` lists the questions")
        return form(["query", "question"], [(name, queries.header(name).question) for name in queries.NAMES])
    try:
        header = queries.header(flags.question)
        values = _parameters(flags.question, header, rest)
        values |= _run_ids(values, home)
        with connect(home) as connection:
            answer = queries.run(connection, flags.question, values)
            check_parameters(connection, values)
    except ValueError as error:
        raise InputError(str(error)) from None
    return form(answer.columns, answer.rows)


def _parameters(question: str, header: queries.Header, rest: list[str]) -> dict[str, str | None]:
    """A query's own parameters from flags; `latest` where a run is needed and none is given."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog=f"study ask {question}", description=header.question, epilog=header.notes, formatter_class=layout
    )
    for name, param in header.params.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, help=param.doc.replace("%", "%%"))
    flags = vars(parser.parse_args(rest))
    values = {name: None if value is None else utf8(name, value) for name, value in flags.items()}
    if "run_id" in values and values["run_id"] is None:
        values["run_id"] = "latest"
    return values


def _run_ids(values: dict[str, str | None], home: Home) -> dict[str, str]:
    """The IDs of the runs that parameters mean. Raises InputError where two runs to compare are of different kinds."""
    compares_two = "other_run_id" in values
    records = {}
    for name, reference in values.items():
        if name in RUNS and reference is not None:
            # `latest` is the newest training also where two runs are compared
            any_kind = compares_two and RUNS[name] == TRAINED and reference != "latest"
            records[name] = resolve(home, reference, COMPARED if any_kind else RUNS[name])
    one, other = records.get("run_id"), records.get("other_run_id")
    if one and other and one.kind != other.kind:
        kinds = f"run {one.run_id[:8]} is of kind {one.kind}, run {other.run_id[:8]} of kind {other.kind}"
        raise InputError(f"{kinds}; give two of one kind")
    return {name: record.run_id for name, record in records.items()}
