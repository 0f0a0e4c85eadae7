"""Questions to the tables: one .sql file each, whose header comment is its signature. README.md says how to add one."""

from queries.catalogue import (
    NAMES,
    Answer,
    Batch,
    Header,
    OverSeeds,
    Param,
    execute,
    execute_to_batches,
    fetch_batches,
    header,
    internal_text,
    prepare,
    run,
    run_over_seeds,
    run_to_table,
    text,
    unique_names,
)  # fmt: skip

__all__ = (
    "NAMES", "Answer", "Batch", "Header", "OverSeeds", "Param", "execute", "execute_to_batches", "fetch_batches",
    "header", "internal_text", "prepare", "run", "run_over_seeds", "run_to_table", "text", "unique_names",
)  # fmt: skip
