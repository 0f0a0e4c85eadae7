"""What every step uses: settings and their flags, the terminal, figures. Knows no step."""
