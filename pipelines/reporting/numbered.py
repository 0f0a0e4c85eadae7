"""Styles that follow from numbers, as classes: the page's policy lets no element have a style of its own."""

DEEPEST = 55  # of a hundred parts of colour
COLOURS = {"above": "0,114,178", "below": "213,94,0"}
WIDE, MOST = 112, 64  # pixels of a column of maps at the most, and columns of a table


def shade(amount: float) -> str:
    """Class of a cell: the stronger, the bluer; orange below zero."""
    return f"{'above' if amount >= 0 else 'below'}-{round(min(abs(amount), 1) * DEEPEST)}"


def rules() -> str:
    """The style of every class whose name has a number: a cell's shade, and `across-N` of a table of N columns."""
    depths = range(DEEPEST + 1)
    shades = "".join(f".{sign}-{depth}{{background:rgba({colour},{depth / 100:.2f})}}\n"
                   for sign, colour in COLOURS.items() for depth in depths)  # fmt: skip
    widths = "".join(f".across-{count}{{max-width:{WIDE * count}px}}\n" for count in range(1, MOST + 1))
    return shades + widths
