"""Training that remembers every epoch."""
