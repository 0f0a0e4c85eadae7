"""Data sets behind one interface, and images that come later. Knows no step."""
