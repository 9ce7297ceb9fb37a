"""Pages that a program touches, window by window."""

from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.plots.figure import MACHINES, STYLE, axes_or_new

if TYPE_CHECKING:
    import pandas as pd


def draw_working_set(frame: "pd.DataFrame", axes: Any = None) -> Any:
    """Draw the working set over time: pages touched in each window, those of them that are new, and all touched so far.

    Parameters
    ----------
    frame : DataFrame
        What `Inspection.working_set` returns.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        Those given, or those of a new `Picture`.
    """
    with rc_context(STYLE):
        axes = axes_or_new(axes, (7.2, 4.0))
        last = frame.iloc[-1] if len(frame) else None
        edges = [*frame["first_reference"], last["first_reference"] + last["references"]] if last is not None else [0, 1]
        for column, colour, name, line in (
            ("pages_so_far", MACHINES[6], "touched so far", "--"),
            ("pages", MACHINES[0], "touched in the window", "-"),
            ("new_pages", MACHINES[1], "of these for the first time", "-"),
        ):
            heights = frame[column] if last is not None else [0]
            axes.stairs(heights, edges, color=colour, linewidth=1.6, linestyle=line, label=name, baseline=None)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, max(1, 1.05 * (last["pages_so_far"] if last is not None else 1)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("references of all agents")
        size = int(frame["references"].max()) if last is not None else 0
        axes.set_ylabel(f"pages of 4 KiB, windows of {size:,} references")
        axes.grid(axis="y")
        axes.legend(frameon=False)
    return axes
