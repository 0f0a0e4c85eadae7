"""Words around numbers, as every sentence that counts something has them."""


def plural(count: int, one: str, many: str | None = None) -> str:
    """A counted thing: 1 image, 1,200 images."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
