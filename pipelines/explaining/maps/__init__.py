"""Attribution maps: computed, kept as rows, drawn."""
