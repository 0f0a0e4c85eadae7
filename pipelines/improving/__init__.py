"""Continuing a training on what the model gets wrong, beside a control that continues without."""
