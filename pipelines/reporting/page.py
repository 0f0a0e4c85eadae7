"""The page as one file: text, style, pictures and figures inside, nothing fetched from elsewhere, no script."""

from datetime import UTC, datetime
from pathlib import Path

from pipelines.common.policy import policy_of
from pipelines.reporting.evidence import spoken
from pipelines.reporting.html import Html, html, joined
from pipelines.reporting.numbered import rules
from pipelines.reporting.subject import Section, Subject

STYLE = Path(__file__).with_name("page.css")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{policy}
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="about">{about}</p>
{abstract}</header>
<nav aria-label="Contents"><ol>{contents}</ol></nav>
<main>
{sections}</main>
</body>
</html>
"""


def page(subject: Subject, sections: list[Section]) -> str:
    """The whole document."""
    style = STYLE.read_text(encoding="utf-8") + rules()
    return html(
        PAGE,
        policy=policy_of(styles=(style,)),
        title=f"Report on {subject.run.name}",
        style=Html(style),
        about=_about(subject),
        abstract=abstract(sections),
        contents=joined(html('<li><a href="#{}">{}</a></li>', one.anchor, one.title) for one in sections),
        sections=joined(_section(number, one) for number, one in enumerate(sections, start=1)),
    )


def _about(subject: Subject) -> Html:
    run, made = subject.run, datetime.now(UTC)
    return html(
        "Run {} ({}), data set {}, {} {}; on split {} at epoch {}{}{}; made {} UTC.",
        html("<code>{}</code>", run.run_id), run.name, run.dataset,
        "imported" if subject.imported else "trained", run.started_at[:10], subject.split, subject.epoch,
        subject.splits.mark, "" if run.status == "FINISHED" else f"; the run is {run.status}",
        f"{made:%Y-%m-%d %H:%M}",
    )  # fmt: skip


def abstract(sections: list[Section]) -> Html:
    """What the sections' most important sentences say, a paragraph for each question."""
    parts = [(section.topic, [one for one in section.answer if one.key]) for section in sections]
    lines = [
        html("<p><b>{}</b> {}</p>\n", topic, joined((one.html for one in own), " ")) for topic, own in parts if own
    ]
    return html('<section class="abstract"><h2>In short</h2>\n{}</section>\n', joined(lines))


def _section(number: int, section: Section) -> Html:
    return html(
        '<section id="{}"><h2>{}. {}</h2>\n{}{}</section>\n',
        section.anchor, number, section.title, spoken(section.answer), section.body,
    )  # fmt: skip
