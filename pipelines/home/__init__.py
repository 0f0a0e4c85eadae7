"""The study home's upkeep: its MLflow UI, and space."""
