"""ICE with TCAV: concepts found, described, drawn and named."""
