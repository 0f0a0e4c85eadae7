"""HTML that cannot be broken by names: whatever enters a template is escaped unless it is markup already."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Html = Markup  # text that is HTML already
NOTHING = Html("")


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


def command(text: str) -> Html:
    """A command to paste; a flag and its value are not broken over lines."""
    parts = re.split(r"(--[\w-]+ ?[^\s-]{0,24}(?=\s|$))", text)
    return html("<code>{}</code>", joined(html("<span>{}</span>", part) if number % 2 else part for number, part in
                                          enumerate(parts)))  # fmt: skip


def listing(items: Iterable[object]) -> Html:
    return html("<ul>{}</ul>", joined(html("<li>{}</li>", item) for item in items))


@dataclass(frozen=True)
class Cell:
    """A table cell of a class of its own."""

    content: object
    kind: str = ""


def table(
    caption: object,
    heads: Sequence[object],
    rows: Iterable[Sequence[object]],
    kind: str = "",
    names: int = 1,
) -> Html:
    """A table whose first `names` columns hold text, the others numbers."""
    top = joined(html('<th scope="col" class="{}">{}</th>', "" if i < names else "n", h) for i, h in enumerate(heads))
    body = joined(html("<tr>{}</tr>\n", joined(_cell(cell, i < names) for i, cell in enumerate(row))) for row in rows)
    return html(
        '<div class="table"><table class="{}"><caption>{}</caption>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>'
        "</table></div>\n",
        kind, caption, top, body,
    )  # fmt: skip


def _cell(cell: object, is_name: bool) -> Html:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    classes = " ".join(filter(None, ("" if is_name else "n", cell.kind)))
    extra = html(' class="{}"', classes) if classes else NOTHING
    return html("<td{}>{}</td>", extra, cell.content)


def figure(content: Html, caption: object, kind: str = "") -> Html:
    return html('<figure class="{}">{}<figcaption>{}</figcaption></figure>\n', kind, content, caption)
