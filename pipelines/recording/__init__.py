"""Training loops of the user's own."""
