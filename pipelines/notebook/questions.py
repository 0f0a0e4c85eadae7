"""The questions of the catalogue as Python has them: each is a function with its parameters and its text as help."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

import queries
from pipelines.asking.ask import RUN_KINDS, describe_seeds, join_lines, open_question
from pipelines.lifecycle.python_errors import plain_errors
from tracking.errors import InputError
from tracking.home import Home

if TYPE_CHECKING:
    import pandas as pd


class Question:
    """One question about a study. Call it for a DataFrame; printed, it explains itself."""

    def __init__(self, name: str, home: Home) -> None:
        header = queries.header(name)
        self.name = name
        self._home = home
        # `run` for run_id, as a name or `latest` will do
        self._parameters = {parameter.removesuffix("_id") if parameter in RUN_KINDS else parameter: parameter
                            for parameter in header.params}  # fmt: skip
        self.__signature__ = self._sign(header)
        self.__doc__ = self._describe(header)

    @plain_errors()
    def __call__(self, run: object = None, **parameters: object) -> pd.DataFrame:
        from pipelines.notebook.frames import to_frame

        if run is not None:
            parameters = {"run": run} | parameters
        values = {self._parameters.get(name, name): _to_text(value) for name, value in parameters.items()}
        unknown = [name for name in values if name not in self._parameters.values()]
        if unknown:
            nearest = difflib.get_close_matches(unknown[0], self._parameters, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            taken = ", ".join(self._parameters) or "none"
            raise InputError(f"{self.name} has no parameter {unknown[0]!r}{hint} (it takes: {taken})")
        with open_question(self.name, values, self._home) as opened:
            answer = opened.to_table()
        return to_frame(answer)

    def __repr__(self) -> str:
        return str(self.__doc__)

    def _sign(self, header: queries.Header) -> Signature:
        parameters = []
        for name, parameter in self._parameters.items():
            default: Any = "latest" if name == "run" else header.params[parameter].default
            kind = Parameter.POSITIONAL_OR_KEYWORD if name == "run" else Parameter.KEYWORD_ONLY
            is_required = header.params[parameter].required and name != "run"
            parameters.append(Parameter(name, kind, default=Parameter.empty if is_required else default))
        return Signature(sorted(parameters, key=lambda one: one.kind))

    def _describe(self, header: queries.Header) -> str:
        parameters = [(name, header.params[parameter].doc) for name, parameter in self._parameters.items()]
        sections = [f"{self.name}{self.__signature__}", header.question, join_lines(header.notes)]
        sections.append(describe_seeds(header).strip())
        for title, entries in (("Parameters", parameters), ("Columns", list(header.returns.items()))):
            width = max((len(name) for name, _ in entries), default=0)
            sections.append("\n".join([f"{title}:", *(f"    {name:{width}}  {doc}" for name, doc in entries)]))
        return "\n\n".join(filter(None, sections))


class Catalogue:
    """Every question of a study: `study.ask("hard_classes", split="val")` or `study.ask.hard_classes(split="val")`.

    `study.ask.hard_classes` alone explains the question: its parameters, its columns and how they are computed.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def __call__(self, question: str, run: object = None, **parameters: object) -> pd.DataFrame:
        """The answer as a DataFrame; `run` is a run ID, a unique prefix, a name, or latest, which is the default."""
        return self._find(question)(run, **parameters)

    def __getattr__(self, name: str) -> Question:
        if name not in queries.NAMES:
            raise AttributeError(f"no question {name!r}; `study.questions()` lists them")
        return Question(name, self._home)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *queries.NAMES]

    def __repr__(self) -> str:
        width = max(map(len, queries.NAMES))
        return "\n".join(f"{name:{width}}  {queries.header(name).question}" for name in queries.NAMES)

    @plain_errors()
    def _find(self, name: str) -> Question:
        if name not in queries.NAMES:
            nearest = difflib.get_close_matches(str(name), queries.NAMES, n=1, cutoff=0)
            raise InputError(f"no question {name!r}; nearest: {nearest[0]}; study.questions() lists them")
        return Question(name, self._home)


def _to_text(value: object) -> str | None:
    """A value as the command line takes it; several of one parameter are joined by commas."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return ",".join(str(item) for item in value)
    return str(value)
