"""Upkeep of the study home: its MLflow UI, its index and its disk space."""
