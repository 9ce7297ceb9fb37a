"""Draws of what is uncertain: which share of them is below a value, a line for each machine or pair of machines."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from analysis.plots.figure import INK, LINE, MACHINES, MUTED, NAME, STYLE, axes_or_new, label, powers
from hwmodel.outside import visible

if TYPE_CHECKING:
    import pandas as pd

ENDS = (5, 95)
"""The percentiles between which a line is drawn thick."""
WIDE = 8
"""From this ratio of its ends on a scale is one of powers of ten."""


def draw_draws(lines: "Mapping[str, pd.Series]", equal: float | None, title: str, axes: Any = None) -> Any:
    """Draw, for each line, the share of the draws that are below a value.

    Parameters
    ----------
    lines : mapping of str to Series
        The values of the draws, by the name to show.
    equal : float, optional
        The value at which the two machines of a pair are equal: it is marked.
    title : str
        What the values are, with their unit.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        Those given, or those of a new `Picture`.
    """
    with rc_context(STYLE):
        axes = axes_or_new(axes, (7.2, 3.8))
        every = np.concatenate([values.to_numpy() for values in lines.values()] + ([] if equal is None else [np.array([equal])]))
        _scale(axes, every)
        for place, (name, values) in enumerate(lines.items()):
            colour = MACHINES[place % len(MACHINES)]
            ordered = np.sort(values.to_numpy())
            below = 100 * (np.arange(ordered.size) + 0.5) / ordered.size
            inner = (below >= ENDS[0]) & (below <= ENDS[1])
            axes.plot(ordered, below, color=colour, linewidth=1)
            axes.plot(ordered[inner], below[inner], color=colour, linewidth=3.2, label=label(name))
        if equal is not None:
            axes.axvline(equal, color=INK, linewidth=1)
            axes.annotate("equal", (equal, 1), (4, -2), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                          color=MUTED, fontsize=9, va="top")  # fmt: skip
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_ylabel("draws below")
        axes.set_xlabel(textwrap.fill(visible(title, LINE), 2 * NAME))
        axes.grid(axis="y")
        axes.legend(frameon=False, loc="lower right" if equal is None else "best", title=f"thick: {ENDS[0]} to {ENDS[1]} % of the draws")
    return axes


def _scale(axes: Any, values: np.ndarray) -> None:
    """Give x a scale of powers if its values are above 0 and far apart."""
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low >= WIDE:
        powers(axes, (low / 1.2, high * 1.2), LogLocator(10, subs=(1, 2, 5), numticks=12), "{:,g}".format)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7))
        axes.grid(axis="x")
