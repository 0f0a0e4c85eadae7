"""The steps of a study and its command line; the only package that knows xai, tracking and queries."""
