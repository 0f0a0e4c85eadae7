"""Drawings of the tool, each in one place: for paper, for the report's page and for MLflow."""
