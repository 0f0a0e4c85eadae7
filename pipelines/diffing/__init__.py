"""Two models side by side, instance by instance: the page, and what it rests on."""
