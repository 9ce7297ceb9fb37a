"""Small tables in HTML, as a notebook shows objects: foreign text is text, numbers are for people, what is 0 is left out and counted."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from hwmodel.outside import visible

NOTHING = "–"
"""Written where nothing is known."""
MOST = 40
"""Most rows of a table, and columns: what is longer is no small table."""
LONGEST = 500
"""Most characters of a text in a cell: a verdict has 250."""


def cell(value: Any) -> str:
    """Return a value for a table: thousands separated, four significant digits of a fraction, a dash for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if math.isinf(value):
        return "infinite" if value > 0 else "−infinite"
    if float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{digits}f}" if digits <= 6 else f"{value:.3g}"


def text(words: object, longest: int = LONGEST) -> str:
    """Return a text as HTML that shows exactly this text, cut if it is long."""
    return html.escape(visible(str(words), longest))


def block(title: str, *parts: str) -> str:
    """Return a title, which is text, above parts, which are HTML."""
    return f"<div><p><b>{text(title)}</b></p>{''.join(parts)}</div>"


def lines(*told: str) -> str:
    """Return texts, a line each; nothing for none."""
    return "".join(f"<p>{text(line, 2000)}</p>" for line in told if line)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], what: str = "rows") -> str:
    """Return a table; what has more than `MOST` rows ends with how many more there are.

    Parameters
    ----------
    columns : sequence of str
        Their heads, each with the unit of its numbers.
    rows : iterable of sequence
        Texts are on the left, numbers, as `cell` writes them, on the right.
    what : str
        The name of several rows: "accounts".
    """
    listed = list(rows)
    head = "".join(f'<th style="text-align: left">{text(name)}</th>' for name in columns)
    body = "".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in listed[:MOST])
    more = lines(f"{len(listed) - MOST:,} more {what}") if len(listed) > MOST else ""
    return f'<table style="margin: 0.7em 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


def of_frame(frame: Any, what: str = "rows") -> str:
    """Return a DataFrame as `table` does, without its index; what is missing has a dash."""
    known = frame.astype(object).where(frame.notna(), None)
    return table([str(name) for name in frame.columns], known.itertuples(index=False), what)


def nonzero(columns: Sequence[str], rows: Iterable[Sequence[Any]], what: str) -> str:
    """Return a table without the rows all of whose numbers are 0 or missing, and a line with how many these are.

    Parameters
    ----------
    columns, rows, what
        As `table` takes them.
    """
    listed = list(rows)
    kept = [row for row in listed if any(isinstance(value, int | float) and value and not math.isnan(value) for value in row)]
    left = len(listed) - len(kept)
    said = lines(f"left out: {left:,} of the {what}, which are 0") if left else ""
    return (table(columns, kept, what) if kept else "") + said


def _td(value: Any) -> str:
    side = "right" if value is None or (isinstance(value, int | float) and not isinstance(value, bool)) else "left"
    return f'<td style="text-align: {side}">{text(cell(value))}</td>'
