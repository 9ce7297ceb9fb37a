"""What translation costs: for each workload the overhead of every machine, and of what it consists on either side, in one unit."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, LogLocator, MultipleLocator

from analysis.metrics import SIDES, overheads_frame
from analysis.plots.figure import MUTED, number, powers
from analysis.plots.rows import NAMES, Rows
from hwmodel.core import ledger

if TYPE_CHECKING:
    import pandas as pd

    from analysis.points import Point

COLOURS = {
    ledger.WORK: "#d5d9de",
    ledger.HARDWARE: "#f2dc6b",
    ledger.SERVICE: "#5e3023",
    ledger.COHERENCE: "#9fb85c",
    ledger.KERNEL: "#2b1b4d",
}
"""The colour of each family of accounts, none of them near a machine's (`MACHINES`); waiting for others is no cost."""
ACCESSES = "accesses, against the bound's"
"""What the program's own work is here: below 0 where accesses pass while a miss is resolved."""
COLUMNS = {"engine": "borne by the engines", "cpu": "borne by the CPUs"}
DOTS, BARS, GAP = 4.2, 2.6, 0.35
"""Inches: the panel of totals, each panel of parts, the space between panels."""
LEAST = 1e-3
"""The smallest overhead that has a place on the scale, in ns per access: a thousandth is nothing beside any access."""


def draw_overheads(groups: "Mapping[str, Sequence[Point]]", subtitle: str, figure: Any = None) -> Any:
    """Draw the overheads of machines, a group of rows for each workload.

    Parameters
    ----------
    groups : mapping of str to sequence of Point
        The points by the name of the workload; of one workload the name may be empty.
    subtitle : str
        One line about the runs.
    figure : Figure or SubFigure, optional
        Where to draw; its size should be `overheads_size`.

    Returns
    -------
    Figure or SubFigure
    """
    rows = _rows(groups)
    titles, otherwise = ("What translation costs", subtitle), "No machine has engines with an access whose translation could be free."
    return rows.drawn(figure, titles, otherwise, lambda figure: _draw(figure, rows))


def overheads_size(groups: "Mapping[str, Sequence[Point]]") -> tuple[float, float]:
    """Return the width and height of the picture, in inches."""
    return _rows(groups).size


def _rows(groups: "Mapping[str, Sequence[Point]]") -> Rows:
    return Rows(groups, lambda point: point.per_access and not math.isnan(point.per_access.median))  # NaN: engines without an access


def _draw(figure: Any, rows: Rows) -> None:
    families = [("■", colour, ACCESSES if family == ledger.WORK else ledger.FAMILIES[family]) for family, colour in COLOURS.items()]
    rows.key(figure, [("○", MUTED, "dependent accesses, one in flight")], families)
    _totals(rows.axes(figure, NAMES, DOTS, "ns for each access of the engines"), rows)
    panels = [rows.axes(figure, NAMES + DOTS + GAP + i * (BARS + GAP), BARS, COLUMNS[side]) for i, side in enumerate(SIDES)]
    reach = [-0.02, 1.0, *(end for axes, side in zip(panels, SIDES, strict=True) for end in _parts(axes, rows, side))]
    for axes in panels:  # the parts of both sides add up: one scale
        axes.set_xlim(max(-1.0, min(reach)) * 1.03, min(2.0, max(reach)) * 1.03)


def pieces(parts: "pd.DataFrame", largest: float) -> list[tuple[str, float, float]]:
    """Return the bar of one machine and side: family, where its piece begins, its length, all as parts of `largest`.

    Pieces above 0 go to the right of 0, those below to the left of it.
    """
    sums = parts.groupby("family")["ns_per_access"].sum()
    ends, found = {True: 0.0, False: 0.0}, []
    for family in COLOURS:
        value = float(sums.get(family, 0.0)) / largest
        if value:
            found.append((family, ends[value > 0], value))
            ends[value > 0] += value
    return found


def _totals(axes: Any, rows: Rows) -> None:
    """Mark every total on a scale of powers of ten: filled in the machine's own window, hollow with dependent accesses."""
    points = [point for points in rows.groups.values() for point in points]
    ends = [end for point in points for end in _ends(point)]
    low = min((max(end, LEAST) for end in ends if end > 0), default=LEAST)
    powers(axes, (low / 2.5, max(*ends, low) * 12), LogLocator(10, numticks=20), "{:g}".format)
    rows.name(axes)
    for name, group in rows.groups.items():
        for point in group:
            _total(axes, point, rows.at(name, point.machine), rows.colours[point.machine])


def _ends(point: "Point") -> tuple[float, float]:
    found = point.per_access
    return (found.low, found.high) if found else (0.0, 0.0)


def _total(axes: Any, point: "Point", y: float, colour: str) -> None:
    found, edge = point.per_access, axes.get_xlim()[0]
    assert found is not None  # points without an overhead have no row
    x, low, high = (max(value, edge) for value in (found.median, found.low, found.high))
    axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    mark = "o" if found.median > edge else "<"  # nothing, or less than nothing, has no place on this scale
    face = colour if point.configured else "white"
    style = {"color": colour, "markersize": 6, "markerfacecolor": face, "markeredgewidth": 1.2, "clip_on": False}
    axes.plot([x], [y], mark, zorder=3 + point.configured, **style)
    if point.configured:
        text = number(found.median) if found.median >= 0 else f"−{number(-found.median)}"
        axes.annotate(
            text, (0.99, y), xycoords=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8.5, color=colour, fontweight="bold"
        )  # fmt: skip


def _parts(axes: Any, rows: Rows, side: str) -> list[float]:
    """Draw of what the totals consist on one side, as parts of the workload's largest total; return where the bars end."""
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.set_xlabel("of the workload's largest total", fontsize=9)
    reach = []
    for name, points in rows.groups.items():
        own = overheads_frame([point for point in points if point.configured])
        largest = float(own.groupby("machine")["ns_per_access"].sum().abs().max()) if len(own) else 0.0
        for machine, colour in rows.colours.items() if largest else ():
            y = rows.at(name, machine)
            axes.plot([-0.01], [y], ".", color=colour, markersize=4, clip_on=False)
            for family, left, length in pieces(own[(own["side"] == side) & (own["machine"] == machine)], largest):
                axes.barh(y, length, rows.row * 0.74, left=left, color=COLOURS[family], linewidth=0)
                reach.append(left + length)
    axes.axvline(0, color=MUTED, linewidth=0.9)
    return reach
