"""A figure over an axis: a line for each value of a column, a band over the seeds."""

import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from analysis.plots.figure import LINE, MACHINES, NAME, STYLE, axes_or_new, label, number
from hwmodel.outside import visible

if TYPE_CHECKING:
    import pandas as pd

MARKS = "os^Dv<>"
WIDE = 16
"""From this ratio of its ends on an axis has a scale of powers."""
MOST = 9
"""Most values of an axis that are each written below it."""


def draw_lines(frame: "pd.DataFrame", columns: tuple[str, str, str | None], title: str, axes: Any = None) -> Any:
    """Draw one column of a frame over another.

    Parameters
    ----------
    frame : DataFrame
        Rows with the same x and hue are of several seeds: the line goes through their median, the band from their least to their most.
    columns : (str, str, str or None)
        x, y, and the column whose values have colours.
    title : str
        What y is, with its unit.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        Those given, or those of a new `Picture`.
    """
    x, y, hue = columns
    with rc_context(STYLE):
        axes = axes_or_new(axes, (7.2, 4.2))
        groups = [(None, frame)] if hue is None else list(frame.groupby(hue, sort=False))
        for place, (value, rows) in enumerate(groups):
            found = rows.groupby(x)[y].agg(["median", "min", "max"])
            colour, mark = MACHINES[place % len(MACHINES)], MARKS[place % len(MARKS)]
            axes.plot(found.index, found["median"], marker=mark, color=colour, label=None if value is None else label(str(value)))
            if (found["min"] < found["max"]).any():
                axes.fill_between(found.index, found["min"], found["max"], color=colour, alpha=0.2, linewidth=0)
        _scale(axes, frame[x])
        axes.set_xlabel(label(x))
        axes.set_ylabel(textwrap.fill(visible(title, LINE), NAME))
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.grid(axis="y")
        if hue is not None:
            axes.legend(title=label(hue), frameon=False)
    return axes


def _scale(axes: Any, values: "pd.Series") -> None:
    """Give x a scale of powers if its values are far apart; write the values themselves if they are few."""
    if values.dtype.kind not in "iuf":
        return
    known = sorted(values.unique())
    if known[0] > 0 and known[-1] / known[0] >= WIDE:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(known) <= MOST:
        axes.xaxis.set_major_locator(FixedLocator(known))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value) if value % 1 else f"{value:,.0f}"))
