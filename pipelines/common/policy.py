"""The content security policy of a page that is one file: its own styles and scripts run, and nothing else does."""

import base64
import hashlib

from markupsafe import Markup


def policy_of(*, styles: tuple[str, ...], scripts: tuple[str, ...] = ()) -> Markup:
    """A <meta> element for the page's head; what stands in its <style> and <script> elements is known by its sha256.

    Pictures are part of the page, as data: addresses. Attributes with styles or scripts of their own would not count.
    """
    sources = {"style-src": styles, "script-src": scripts}
    allowed = [f"{kind} {' '.join(map(_digest, texts))}" for kind, texts in sources.items() if texts]
    rules = ["default-src 'none'", *allowed, "img-src data:", "base-uri 'none'", "form-action 'none'"]
    # not escaped, as rules are words of this module and base64: no value from outside enters them
    return Markup(f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">')


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
