"""Remembering: MLflow runs, the commit protocol, and the DuckDB index of everything committed."""
