"""Evidence: every figure of a report comes from a query, and says from which."""

import shlex
from dataclasses import dataclass, field

from duckdb import DuckDBPyConnection

import queries


@dataclass(frozen=True)
class Answer:
    """Rows of a query by column name, and the number under which the appendix names it."""

    rows: list[dict]
    number: int

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
    groups: dict[str, str] = field(default_factory=dict)  # names by which commands take several run IDs
    used: list[Used] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)

    def ask(self, name: str, **values: object) -> Answer:
        """The answer of a query of the catalogue about the run; values that are None take their default.

        Of several runs it has means over seeds where the query has such, as `study ask` has.
        """
        given = {"run_id": self.run_id} | {key: str(value) for key, value in values.items() if value is not None}
        named = {key: self.groups.get(value, value) for key, value in given.items()}
        flags = " ".join(f"--{key.replace('_', '-')} {shlex.quote(value)}" for key, value in named.items())
        command = f"study ask {name} {flags}"
        if command not in self._answers:
            header, run_ids = queries.header(name), given["run_id"].split(",")
            if header.over_seeds and len(run_ids) > 1:
                runs = [given | {"run_id": run_id} for run_id in run_ids]
                columns = queries.run_over_seeds(self.connection, name, runs).to_pydict()
                answer = queries.Answer([*columns], list(zip(*columns.values(), strict=True)))
            else:
                answer = queries.run(self.connection, name, given)
            self._remember(command, header.question, queries.text(name), answer.columns, answer.rows)
        return self._answers[command]

    def sql(self, statement: str, question: str) -> Answer:
        """The answer of a statement of the report's own."""
        statement = " ".join(statement.split())
        # double quotes read better, as SQL has the single ones, but in them a shell replaces some characters
        quoted = shlex.quote(statement) if set(statement) & set('"$`!\\') else f'"{statement}"'
        command = f"study sql {quoted}"
        if command not in self._answers:
            found = self.connection.execute(statement)
            columns = [column for column, *_ in found.description]
            self._remember(command, question, statement, columns, found.fetchall())
        return self._answers[command]

    def _remember(self, command: str, question: str, sql: str, columns: list[str], rows: list[tuple]) -> None:
        self.used.append(Used(command, question, sql))
        self._answers[command] = Answer(queries.Answer(columns, rows).dicts, len(self.used))
