"""Text and markup: whatever enters a page is escaped unless it is markup already."""

from collections.abc import Iterable

from markupsafe import Markup, escape

Html = Markup  # text that is HTML already


def safe(value: object) -> Html:
    """Any value as HTML; control characters, which no page may hold, become spaces."""
    if isinstance(value, Html):
        return value
    return escape("".join(c if c.isprintable() or c in "\n\u00a0" else " " for c in str(value)))


def html(template: str, *values: object, **named: object) -> Html:
    """The template with every value escaped."""
    return Html(template).format(*map(safe, values), **{key: safe(value) for key, value in named.items()})


def joined(parts: Iterable[object], between: str = "") -> Html:
    return Html(between).join(map(safe, parts))
