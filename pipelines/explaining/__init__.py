"""Explainer jobs: maps per image, and concepts per layer."""
