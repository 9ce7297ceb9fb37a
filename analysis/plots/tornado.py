"""What decides a figure: a bar for each quantity, from its value at one end of the quantity's range to that at the other; Sobol indices."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.plots.figure import INK, LINE, MACHINES, MUTED, NAME, PAPER, STYLE, axes_or_new
from hwmodel.html import cell
from hwmodel.outside import visible

if TYPE_CHECKING:
    import pandas as pd

LOW, HIGH = MACHINES[5], MACHINES[4]
"""The colours of the low and of the high end of a range."""
ROW, REST = 0.36, 1.5
"""Inches: of a bar, of all else."""


def draw_tornado(rows: "pd.DataFrame", equal: float | None, title: str, axes: Any = None) -> Any:
    """Draw a bar for each quantity, the largest swing at the top.

    Parameters
    ----------
    rows : DataFrame
        As `Sensitivity.frame` has them, of one measure.
    equal : float, optional
        Where two machines are equal: it is marked if it is within reach.
    title : str
        What the measure is, with its unit.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
    """
    with rc_context(STYLE):
        axes = axes_or_new(axes, _size(len(rows)))
        for place, row in enumerate(rows.to_dict("records")):
            for end, colour in (("at_low", LOW), ("at_high", HIGH)):
                axes.barh(place, row[end] - row["at_value"], 0.62, left=row["at_value"], color=colour, linewidth=0)
            _write_ends(axes, place, row)
        _name(axes, [f"{row['quantity']} ({row['letter']})" for row in rows.to_dict("records")])
        axes.margins(x=0.18)
        if len(rows):
            axes.axvline(rows["at_value"].iloc[0], color=MUTED, linewidth=0.9)
        low, high = axes.get_xlim()
        if equal is not None and low <= equal <= high:
            axes.axvline(equal, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate("equal", (equal, 0), (4, 3), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                          color=MUTED, fontsize=9)  # fmt: skip
        axes.set_xlabel(textwrap.fill(visible(title, LINE), 2 * NAME))
        key = [Patch(color=LOW, label="at the low end of its range"), Patch(color=HIGH, label="at the high end")]
        axes.legend(handles=key, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    return axes


def draw_indices(rows: "pd.DataFrame", axes: Any = None) -> Any:
    """Draw the Sobol indices of quantities, first order and total, each with its 95 % interval; `rows` as `Sensitivity.frame` has them."""
    with rc_context(STYLE):
        axes = axes_or_new(axes, _size(len(rows)))
        kinds = (("first_order", -0.17, LOW, "alone"), ("total", 0.17, HIGH, "with all that it acts together with"))
        for kind, shift, colour, words in kinds:
            places = [place + shift for place in range(len(rows))]
            axes.barh(places, 100 * rows[kind], 0.32, color=colour, label=words, linewidth=0)
            axes.errorbar(100 * rows[kind], places, xerr=100 * rows[f"{kind}_band"], fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        _name(axes, [f"{row['quantity']} ({row['letter']})" for row in rows.to_dict("records")])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.axvline(0, color=MUTED, linewidth=0.9)
        axes.set_xlabel("share of the variance that the quantity explains, with its 95 % interval")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    return axes


def _size(bars: int) -> tuple[float, float]:
    return 9.4, REST + ROW * max(bars, 2)


def _name(axes: Any, names: Sequence[str]) -> None:
    """Write the names of the bars, the first at the top."""
    axes.set_yticks(range(len(names)), [textwrap.fill(visible(name, 3 * NAME), NAME) for name in names], fontsize=8.5, color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.grid(axis="x")


def _write_ends(axes: Any, place: int, row: Any) -> None:
    """Write at each end of a bar which value of the quantity it belongs to."""
    ends = sorted((row[f"at_{end}"], end) for end in ("low", "high"))
    for (at, end), side in zip(ends, ("right", "left"), strict=True):
        shift = -4 if side == "right" else 4
        edge = min(at, row["at_value"]) if side == "right" else max(at, row["at_value"])
        axes.annotate(f"{cell(row[end])} {row['unit']}", (edge, place), (shift, 0), textcoords="offset points", ha=side, va="center",
                      fontsize=8, color=MUTED, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6})  # fmt: skip
