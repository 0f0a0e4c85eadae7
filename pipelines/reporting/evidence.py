"""Evidence: every figure of a report comes from a query, and says from which."""

import shlex
from dataclasses import dataclass, field
from functools import cached_property

from duckdb import DuckDBPyConnection

import queries
from pipelines.reporting.html import NOTHING, Html, html, joined


@dataclass(frozen=True)
class Answer:
    """Rows of a query by column name, and the number under which the appendix names it."""

    rows: list[dict]
    number: int

    @property
    def mark(self) -> Html:
        """The footnote that leads to the query."""
        return html('<sup class="q"><a href="#q{0}">{0}</a></sup>', self.number)

    def first(self, **wanted: object) -> dict | None:
        """The first row whose columns have these values."""
        return next(iter(self.where(**wanted)), None)

    def where(self, **wanted: object) -> list[dict]:
        return [row for row in self.rows if all(row[key] == value for key, value in wanted.items())]


@dataclass(frozen=True)
class Used:
    """One query that was asked, as the appendix shows it."""

    command: str
    question: str
    sql: str


@dataclass
class Evidence:
    """Asks each question once and remembers which were asked, in their order."""

    connection: DuckDBPyConnection
    run_id: str
    used: list[Used] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)

    def ask(self, name: str, **values: object) -> Answer:
        """The answer of a query of the catalogue about the run; values that are None take their default."""
        given = {"run_id": self.run_id} | {key: str(value) for key, value in values.items() if value is not None}
        command = _command(name, given)
        if command not in self._answers:
            answer = queries.run(self.connection, name, given)
            self._remember(command, queries.header(name).question, queries.text(name), answer.columns, answer.rows)
        return self._answers[command]

    def sql(self, statement: str, question: str) -> Answer:
        """The answer of a statement of the report's own."""
        statement = " ".join(statement.split())
        command = f"study sql {_quoted(statement)}"
        if command not in self._answers:
            found = self.connection.execute(statement)
            columns = [column for column, *_ in found.description]
            self._remember(command, question, statement, columns, found.fetchall())
        return self._answers[command]

    def _remember(self, command: str, question: str, sql: str, columns: list[str], rows: list[tuple]) -> None:
        self.used.append(Used(command, question, sql))
        self._answers[command] = Answer(queries.Answer(columns, rows).dicts, len(self.used))


def _quoted(statement: str) -> str:
    """A statement as a shell takes it; double quotes read better, as SQL has the single ones."""
    return shlex.quote(statement) if set(statement) & set('"$`!\\') else f'"{statement}"'


def _command(name: str, given: dict[str, str]) -> str:
    flags = " ".join(f"--{key.replace('_', '-')} {shlex.quote(value)}" for key, value in given.items())
    return f"study ask {name} {flags}"


@dataclass(frozen=True)
class Said:
    """A sentence with the answers it stands on."""

    text: str
    answers: tuple[Answer, ...] = ()
    answers_question: bool = False  # stands at the head of its section, else beside its evidence
    key: bool = False  # stands in the abstract too

    @cached_property
    def html(self) -> Html:
        return html("{}{}", self.text, marks(*self.answers))


def said(text: str | None, *found: Answer, answer: bool = False, key: bool = False) -> list[Said]:
    """The sentence as a list of one; of none if there is nothing to say. A `key` sentence answers the question too."""
    return [Said(text, found, answer or key, key)] if text else []


def marks(*found: Answer) -> Html:
    """Footnotes of several answers, each once."""
    unique = {answer.number: answer.mark for answer in found}
    return joined(unique.values(), "\u2009") if unique else NOTHING


def answers(sentences: list[Said]) -> list[Said]:
    """The sentences that answer the question."""
    return [one for one in sentences if one.answers_question]


def details(sentences: list[Said]) -> Html:
    """The other sentences, which go beside their evidence."""
    return spoken([one for one in sentences if not one.answers_question], "")


def spoken(sentences: list[Said], kind: str = "answer") -> Html:
    """Sentences as a paragraph."""
    return html('<p class="{}">{}</p>\n', kind, joined((one.html for one in sentences), " ")) if sentences else NOTHING
