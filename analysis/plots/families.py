"""What the time of all agents went into: a bar for each workload and machine, stacked by the accounts' families."""

from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from analysis.plots.figure import FAINT, INK, STYLE, Picture, duration, heading, inches, label
from analysis.plots.overheads import COLOURS
from hwmodel.core import ledger

if TYPE_CHECKING:
    import pandas as pd

WIDTH, LEFT, RIGHT = 9.2, 2.5, 0.95
"""Inches: the picture; left of the bars, for names; right of them, for totals."""
TOP, ROW, HEAD, FOOT, KEY = 0.95, 0.27, 0.36, 0.6, 0.4
"""Inches: above the bars; a bar; the name of a workload, with the space above it; below the bars, for the axis; the key."""


def draw_families(parts: "pd.DataFrame", figure: Any = None) -> Any:
    """Draw the families of the agents' time.

    Parameters
    ----------
    parts : DataFrame
        Columns workload, machine, family, ns.
    figure : Figure or SubFigure, optional
        Where to draw; its size should be `families_size`.

    Returns
    -------
    Figure or SubFigure
    """
    with rc_context(STYLE):
        figure = figure or Picture(figsize=families_size(parts))
        width, height = inches(figure)
        heading(figure, "Where the time goes", "of all agents, without waiting for one another; at the right the sum")
        high = height - TOP - FOOT - KEY
        axes = figure.add_axes((LEFT / width, (FOOT + KEY) / height, (WIDTH - LEFT - RIGHT) / width, high / height))
        axes.set(ylim=(high, 0), xlim=(0, 1.0))
        at = 0.0
        for workload, here in parts.groupby("workload", sort=False):
            axes.text(-0.02, at + HEAD / 2, label(str(workload)), transform=axes.get_yaxis_transform(), ha="right", va="center",
                      fontsize=10.5, fontweight="bold")  # fmt: skip
            at += HEAD
            longest = here.groupby("machine")["ns"].sum().max()
            for machine, bar in here.groupby("machine", sort=False):
                _bar(axes, at + ROW / 2, str(machine), bar, longest)
                at += ROW
        _finish(figure, axes, parts)
    return figure


def families_size(parts: "pd.DataFrame") -> tuple[float, float]:
    """Return the width and height of the picture, in inches."""
    bars = len(parts[["workload", "machine"]].drop_duplicates())
    return WIDTH, TOP + ROW * bars + HEAD * parts["workload"].nunique() + FOOT + KEY


def _bar(axes: Any, y: float, machine: str, parts: "pd.DataFrame", longest: float) -> None:
    """Draw one machine's bar on one workload, as a part of the workload's longest."""
    sums, left = parts.set_index("family")["ns"], 0.0
    for family, colour in COLOURS.items():
        length = float(sums.get(family, 0.0)) / longest if longest else 0.0
        if length:
            axes.barh(y, length, ROW * 0.76, left=left, color=colour, linewidth=0)
            left += length
    place = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 9}
    axes.text(-0.02, y, label(machine), ha="right", color=INK, **place)
    axes.text(1.015, y, duration(float(sums.sum())), ha="left", color=INK, **place)


def _finish(figure: Any, axes: Any, parts: "pd.DataFrame") -> None:
    """Draw axis and key."""
    width, height = inches(figure)
    axes.set_yticks([])
    axes.spines["left"].set_color(FAINT)
    axes.tick_params(length=0)
    axes.xaxis.set_major_locator(MultipleLocator(0.25))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.set_xlabel("of the time on the machine that takes longest for the workload", fontsize=9)
    axes.grid(axis="x")
    there = set(parts.loc[parts["ns"] > 0, "family"])
    handles = [Patch(color=colour, label=ledger.FAMILIES[family]) for family, colour in COLOURS.items() if family in there]
    place = {"loc": "lower left", "bbox_to_anchor": (0.2 / width, 0.08 / height)}
    figure.legend(handles=handles, ncols=len(COLOURS), frameon=False, fontsize=9, handlelength=1, columnspacing=1.2, **place)
