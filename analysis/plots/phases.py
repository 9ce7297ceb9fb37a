"""Phases of a miss that needs software: bars by percentile, whose parts add up to the misses of the percentile."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context

from analysis.plots.figure import INK, MUTED, PAPER, STYLE, Picture, duration, heading, inches, label

if TYPE_CHECKING:
    from hwmodel.measure.result import Result

PERCENTILES = (50.0, 90.0, 99.0)
SHADES = (
    "#0072B2", "#56B4E9", "#a9d2ef", "#8e4585", "#b5679f", "#d79dc3", "#e9cfdf", "#c9b458", "#D55E00", "#E69F00", "#009E73", "#8fd3ba",
    "#4d4d4d",
)  # fmt: skip
"""Colours of the phases, in their order; a picture with more begins anew."""
WIDTH, TOP, BAR, GAP, FOOT = 10.2, 0.95, 0.34, 0.75, 0.55
"""Inches: the picture; title; a bar with its share of the space between two; a machine's name and key; the space below the axis."""
LEFT, RIGHT = 1.15, 0.85
"""Inches left and right of the axes."""
KEYS = 5
"""Entries in a row of a key."""


def draw_phases(results: Mapping[str, "Result"], subtitle: str) -> Picture:
    """Draw where misses of a percentile's latency spent their time, for each machine whose design has phases.

    Parameters
    ----------
    results : mapping of str to Result
        Machines by the name they are shown under, in order.
    subtitle : str
        One line about the run.
    """
    shown = {name: result for name, result in results.items() if result.book.phases and result.latency("fault").count}
    bars = {name: result.phase_bars(percentiles=PERCENTILES) for name, result in shown.items()}
    heights = [_height(len(frame.columns)) for frame in bars.values()]
    with rc_context(STYLE):
        figure = Picture(figsize=(WIDTH, TOP + sum(heights) + FOOT if shown else 2.5))
        heading(figure, "What a miss waits for that needs software", subtitle)
        if not shown:
            figure.text(0.5, 0.4, "No miss needed software of a design with phases.", ha="center", color=MUTED, fontsize=12)
            return figure
        longest, bottom = max(frame.sum(axis=1).max() for frame in bars.values()), inches(figure)[1] - TOP
        for (name, frame), height in zip(bars.items(), heights, strict=True):
            bottom -= height
            _panel(figure, name, frame, (bottom, longest), list(shown[name].book.phases))
    return figure


def _height(phases: int) -> float:
    """Return the inches of a machine with so many phases."""
    return BAR * len(PERCENTILES) + GAP + 0.22 * (-(-phases // KEYS))


def _panel(figure: Any, name: str, frame: Any, place: tuple[float, float], order: list[str]) -> None:
    """Draw one machine's bars, with its key below them; `place`: where it begins, and the longest bar of all."""
    width, height = inches(figure)
    bottom, longest = place
    tall = BAR * len(PERCENTILES)
    low = bottom + 0.22 * (-(-len(frame.columns) // KEYS)) + 0.3
    axes = figure.add_axes((LEFT / width, low / height, (WIDTH - LEFT - RIGHT) / width, tall / height))
    left = [0.0] * len(frame)
    for phase in frame.columns:
        colour = SHADES[order.index(phase) % len(SHADES)]
        axes.barh(range(len(frame)), frame[phase], left=left, color=colour, height=0.72, edgecolor=PAPER, linewidth=0.6, label=label(phase))
        left = [before + part for before, part in zip(left, frame[phase], strict=True)]
    for k, total in enumerate(left):
        axes.text(total + longest * 0.01, k, duration(total), va="center", fontsize=9, color=INK)
    axes.set(xlim=(0, longest), ylim=(len(frame) - 0.5, -0.5), yticks=range(len(frame)), xticks=[])
    axes.set_yticklabels([f"p{percent:g}" for percent in frame.index])
    axes.set_title(label(name), loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=4)
    axes.spines["bottom"].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.04), ncols=KEYS, frameon=False, fontsize=8.5, handlelength=1, columnspacing=1.2,
                borderaxespad=0)  # fmt: skip
