"""Latencies of misses that need software, of many workloads: the median, the 99th percentile, and the ends, in one panel."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import LogLocator

from analysis.plots.figure import MUTED, duration, mark, powers
from analysis.plots.rows import NAMES, Rows

if TYPE_CHECKING:
    from analysis.points import Point

PANEL = 7.3
"""Inches of the panel. To the right of it are the numbers."""
COLUMNS = {"misses": 0.09, "p50": 0.18, "p99": 0.27, "longest": 0.37}
"""The columns of numbers, and where they end: parts of the panel's width, to the right of it."""


def draw_tails(groups: "Mapping[str, Sequence[Point]]", subtitle: str, figure: Any = None) -> Any:
    """Draw the latencies of misses that need software, a row for each workload and machine, in the machine's own window.

    Parameters
    ----------
    groups : mapping of str to sequence of Point
        The points by the name of the workload.
    subtitle : str
        One line about the runs.
    figure : Figure or SubFigure, optional
        Where to draw; its size should be `tails_size`.

    Returns
    -------
    Figure or SubFigure
    """
    rows = _rows(groups)
    titles = "How long a miss takes that needs software", subtitle
    return rows.drawn(figure, titles, "No miss needed software.", lambda figure: _draw(figure, rows))


def tails_size(groups: "Mapping[str, Sequence[Point]]") -> tuple[float, float]:
    """Return the width and height of the picture, in inches."""
    return _rows(groups).size


def _rows(groups: "Mapping[str, Sequence[Point]]") -> Rows:
    return Rows(groups, lambda point: point.configured and point.result.latency("fault").count)


def _draw(figure: Any, rows: Rows) -> None:
    spans = [point.result.latency("fault").ns for points in rows.groups.values() for point in points]
    rows.key(figure, [("●", MUTED, "median"), ("|", MUTED, "99th percentile"), ("—", MUTED, "from the shortest to the longest")])
    axes = rows.axes(figure, NAMES, PANEL, "time from the miss to the access that it held up")
    limits = min(span.min for span in spans) / 1.5, max(span.max for span in spans) * 1.5
    powers(axes, limits, LogLocator(10, numticks=20), mark)
    rows.name(axes)
    for words, x in COLUMNS.items():
        axes.text(1 + x, 1.0, words, transform=axes.transAxes, ha="right", va="bottom", fontsize=9, color=MUTED)
    for name, points in rows.groups.items():
        for point in points:
            _row(axes, point, rows.at(name, point.machine), rows.colours[point.machine])


def _row(axes: Any, point: "Point", y: float, colour: str) -> None:
    latency = point.result.latency("fault").ns
    frame: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 8.5, "color": colour}
    median, tail = latency.percentile(50), latency.percentile(99)
    axes.plot([latency.min, latency.max], [y, y], color=colour, linewidth=1.0, alpha=0.55)
    axes.plot([median, tail], [y, y], color=colour, linewidth=3.0, alpha=0.55, solid_capstyle="butt")
    axes.plot([median], [y], "o", color=colour, markersize=5.5)
    axes.plot([tail], [y], "|", color=colour, markersize=11, markeredgewidth=2)
    texts = (f"{latency.count:,}", duration(median), duration(tail), duration(latency.max))
    for x, text in zip(COLUMNS.values(), texts, strict=True):
        axes.text(1 + x, y, text, **frame)
