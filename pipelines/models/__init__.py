"""A model in hand: made, placed on a device, evaluated, saved and loaded. Knows no run."""
