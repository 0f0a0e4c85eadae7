"""The queries behind every figure, as one can paste them."""

from pipelines.reporting.evidence import Evidence
from pipelines.reporting.html import command, html, joined
from pipelines.reporting.subject import Section

TITLE = "Queries"


def appendix(evidence: Evidence, place: str) -> Section:
    """Every query used, in the order of its footnote; `place` is the study home."""
    items = joined(
        html(
            '<li id="q{}"><p>{}</p>{}<details><summary>SQL</summary><pre>{}</pre></details></li>\n',
            number, used.question, command(used.command), used.sql,
        )
        for number, used in enumerate(evidence.used, start=1)
    )  # fmt: skip
    intro = html(
        "<p>Every figure's footnote leads here. The study home, where it is not <code>./study</code>, comes first:</p>"
        "<code>export STUDY_HOME={}</code>", place,
    )  # fmt: skip
    return Section("queries", TITLE, body=html('{}<ol class="queries">{}</ol>', intro, items))
