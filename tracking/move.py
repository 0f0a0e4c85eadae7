"""A study home in another folder, or copied to another machine: MLflow's database follows."""

import sqlite3
from contextlib import closing

from tracking.home import Home

# where MLflow keeps absolute places of files
PLACES = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}


def follow_move(home: Home, before: str) -> None:
    """Let everything that lay below the address `before` lie in the home's artifacts."""
    now = home.artifacts.as_uri()
    with closing(sqlite3.connect(home.mlflow_db, timeout=30)) as connection, connection:
        for table, column in PLACES.items():
            connection.execute(
                f"""
                update {table} set {column} = :now || substr({column}, length(:before) + 1)
                where {column} = :before or substr({column}, 1, length(:before) + 1) = :before || '/'""",
                {"now": now, "before": before},
            )
