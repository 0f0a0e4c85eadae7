"""Checkpoint files of any training as a run: its epochs are the files."""
