"""Going on with a training on what the model gets wrong, beside a control that goes on without."""
