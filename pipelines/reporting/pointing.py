"""Question (a), where the data says what decides: do maps point at it?"""

from pipelines.reporting.techniques import called
from pipelines.reporting.words import percent, sized
from xai import METHODS


def pointing_sentence(rows: list[dict]) -> str | None:
    """From the method that hits the deciding glyph least to the one that does most; rows of faithfulness_by_method."""
    glyph, decoy = (_by_method(rows, f"points_at_{place}") for place in ("glyph", "decoy"))
    if not glyph or not decoy:
        return None
    own = sorted((method for method in glyph if method in METHODS), key=lambda method: glyph[method]["mean"])
    least, most = own[0], own[-1]
    n = glyph[most]["n"]
    hits = f"{percent(glyph[least]['mean'], n)} ({called(least)})"
    if least != most:
        hits += f" to {percent(glyph[most]['mean'], n)} ({called(most)})"
    worst = max(decoy[method]["mean"] for method in own)
    return (
        f"Here the data says what decides: the strongest place of a map lies on the deciding glyph in {hits} of the "
        f"images, on the decoy in at most {percent(worst, n)} ({sized(n)}); of random maps in "
        f"{percent(glyph['random']['mean'], n)}."
    )


def _by_method(rows: list[dict], metric: str) -> dict[str, dict]:
    return {row["method"]: row for row in rows if row["metric"] == metric}
