"""What a question must answer."""

import numpy as np

import queries
from support import tables as data


def records(connection, name, **values):
    data.link_all(connection)
    answer = queries.run(connection, name, {"run_id": "tiny"} | values)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def wilson(hits, n):
    """Ends of the 95 % interval: the shares p for which hits / n is 1.96 standard errors away from p."""
    share = hits / n
    ends = np.roots([1 + 1.96**2 / n, -2 * share - 1.96**2 / n, share**2])
    return tuple(round(float(end), 5) for end in sorted(ends))
