"""What a report lacks, and the command that makes it."""

from pipelines.reporting.html import Html, command, html, joined


def missing(what: str, *commands: str) -> Html:
    """A note instead of an empty figure."""
    return hint(f"{what} To make it:" if commands else what, *commands)


def hint(lead: str, *commands: str) -> Html:
    """Commands to paste."""
    lines = joined(map(command, commands))
    return html('<div class="missing"><p>{}</p>{}</div>\n', lead, lines)
