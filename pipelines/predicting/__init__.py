"""New images in a training run's history."""
