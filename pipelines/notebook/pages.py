"""Pages inline in a notebook: each in a frame of its own, which can reach neither the notebook nor the network."""

import re
from dataclasses import dataclass

from markupsafe import escape

# without allow-same-origin the page has an origin of its own; its policy lets only its own scripts run
FRAME = (
    '<iframe title="{title}" sandbox="allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox" '
    'srcdoc="{page}" style="width: 100%; height: {height}px; border: 1px solid rgba(128, 128, 128, 0.4); '
    'resize: vertical"></iframe>'
)
LINK = re.compile(r'<a href="([^"]*)"')


@dataclass(frozen=True)
class Page:
    """A page that is one file, as a notebook shows it."""

    title: str
    html: str  # the whole document
    height: int = 720  # pixels of the frame

    def _repr_html_(self) -> str:
        page = LINK.sub(_link_within_frame, self.html)
        return FRAME.format(title=escape(self.title), page=escape(page), height=self.height)

    def __repr__(self) -> str:
        return f"<{self.title}, {len(self.html) / 1e6:.1f} MB; a notebook shows it>"


def _link_within_frame(link: re.Match[str]) -> str:
    """A link within the page, to the web, or to a file beside it, where addresses are relative to the notebook's."""
    address = link[1]
    if address.startswith("#"):
        return f'<a href="about:srcdoc{address}"'
    if address.startswith("https:"):
        return f'<a target="_blank" href="{address}"'
    return "<a"  # there is no such file beside a notebook
