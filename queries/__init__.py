"""Questions to the tables: one .sql file each, whose header comment is its signature. README.md says how to add one."""

from queries.catalogue import (
    NAMES,
    Answer,
    Header,
    Param,
    execute,
    header,
    internal_text,
    run,
    run_to_table,
    text,
    unique_names,
)  # fmt: skip

__all__ = (
    "NAMES", "Answer", "Header", "Param", "execute", "header", "internal_text", "run", "run_to_table", "text",
    "unique_names",
)  # fmt: skip
