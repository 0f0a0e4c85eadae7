"""Explanation methods compared on the same instances."""
