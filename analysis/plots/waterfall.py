"""A difference cause by cause: a waterfall from one machine's overhead to another's."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.plots.figure import INK, MACHINES, MUTED, NAME, STYLE, axes_or_new, duration
from hwmodel.outside import visible

if TYPE_CHECKING:
    import pandas as pd

MORE, LESS = MACHINES[1], MACHINES[2]
"""The colours of what makes the first machine slower, and of what makes it faster."""
LEAST = 0.01
"""Causes of less than this share of the largest bar are drawn together."""
OTHERS = "all else"
ROW, REST = 0.42, 1.1
"""Inches: of a bar, of all else."""


def draw_waterfall(frame: "pd.DataFrame", machines: Sequence[str], totals: Sequence[float], axes: Any = None) -> Any:
    """Draw the causes of a difference, the largest first.

    Parameters
    ----------
    frame : DataFrame
        As `Explanation.frame` has it.
    machines : sequence of str
        The two machines.
    totals : sequence of float
        Their overheads, in ms.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
    """
    steps = _steps(frame, max(map(abs, totals)))
    first, second = (visible(name, NAME) for name in machines)
    with rc_context(STYLE):
        axes = axes_or_new(axes, (9.4, REST + ROW * (len(steps) + 2)))
        axes.barh(0, totals[1], 0.62, color=MUTED)
        at = totals[1]
        _write(axes, 0, 0.0, at, duration(1e6 * at) if at >= 0 else f"−{duration(-1e6 * at)}")
        for place, (_, step) in enumerate(steps, 1):
            axes.plot([at, at], [place - 0.69, place + 0.31], color=MUTED, linewidth=0.8)
            axes.barh(place, step, 0.62, left=at, color=MORE if step > 0 else LESS)
            _write(axes, place, at, at + step, f"{'+' if step > 0 else '−'}{duration(1e6 * abs(step))}")
            at += step
        axes.plot([at, at], [len(steps) + 0.31, len(steps) + 1.31], color=MUTED, linewidth=0.8)
        axes.barh(len(steps) + 1, totals[0], 0.62, color=INK)
        _write(axes, len(steps) + 1, 0.0, totals[0], duration(1e6 * totals[0]) if totals[0] >= 0 else f"−{duration(-1e6 * totals[0])}")
        names = [f"{second} in all", *(cause for cause, _ in steps), f"{first} in all"]
        axes.set_yticks(range(len(names)), [visible(name, 2 * NAME) for name in names], fontsize=9, color=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=MUTED, linewidth=0.9)
        ends = [0.0, *itertools.accumulate([totals[1], *(step for _, step in steps)])]
        if any(ends):
            axes.set_xlim(min(ends) * 1.02, max(ends) * 1.14)  # on the right of a bar is its length
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(axis="x")
        axes.set_xlabel("translation overhead, ms of all agents")
    return axes


def _steps(frame: "pd.DataFrame", largest: float) -> list[tuple[str, float]]:
    """Return causes and differences in ms; small ones are one step, the last."""
    largest = max(largest, float(frame["difference_ms"].abs().max()) if len(frame) else 0.0)
    is_small = frame["difference_ms"].abs() < LEAST * largest
    steps = list(frame.loc[~is_small, ["cause", "difference_ms"]].itertuples(index=False, name=None))
    rest = float(frame.loc[is_small, "difference_ms"].sum())
    return [*steps, (OTHERS, rest)] if rest else steps


def _write(axes: Any, place: int, start: float, end: float, text: str) -> None:
    """Write a bar's length to the right of it."""
    axes.annotate(text, (max(start, end), place), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
