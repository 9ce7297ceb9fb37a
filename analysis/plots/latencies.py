"""Latency of misses that need software: the shape of each machine's distribution, and its tail."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.plots.figure import FAINT, INK, MACHINES, MUTED, STYLE, Picture, duration, heading, inches, label, mark, powers
from analysis.plots.layout import spread

if TYPE_CHECKING:
    from hwmodel.measure.latency import Latency
    from hwmodel.measure.result import Result

SHADES = (1.0, 0.5, 0.28)
BINS_PER_DECADE = 32
WIDTH, TOP, RIDGE, TAIL, FOOT = 10.2, 0.95, 1.25, 2.9, 0.75
"""Inches: the picture; title; one machine's row; the tail's panel, and the space below its axis."""
LEFT, RIGHT = 2.35, 0.35
"""Inches left and right of the axes."""


def draw_latencies(results: Mapping[str, "Result"], subtitle: str, figure: Any = None) -> Any:
    """Draw the distribution of software-resolved misses of each machine.

    Parameters
    ----------
    results : mapping of str to Result
        Machines by the name they are shown under, in order.
    subtitle : str
        One line about the run.
    figure : Figure or SubFigure, optional
        Where to draw; its size should be `latencies_size`.

    Returns
    -------
    Figure or SubFigure
    """
    shown = {name: result for name, result in results.items() if result.latency("fault").count}
    with rc_context(STYLE):
        figure = figure or Picture(figsize=latencies_size(results))
        _, height = inches(figure)
        heading(figure, "How long a miss takes that needs software", subtitle)
        if not shown:
            figure.text(0.5, 0.4, "No miss needed software.", ha="center", color=MUTED, fontsize=12)
            return figure
        limits = _limits(shown)
        for i, (name, result) in enumerate(shown.items()):
            bottom = height - TOP - (i + 1) * RIDGE
            axes = _axes(figure, bottom, RIDGE - 0.42, limits)
            _ridge(axes, name, result, MACHINES[i % len(MACHINES)])
        _tail(_axes(figure, FOOT, TAIL - 0.45, limits), shown)
    return figure


def latencies_size(results: Mapping[str, "Result"]) -> tuple[float, float]:
    """Return the width and height of the picture, in inches."""
    shown = sum(bool(result.latency("fault").count) for result in results.values())
    return WIDTH, TOP + RIDGE * shown + TAIL + FOOT if shown else 2.5


def density(latency: "Latency", edges: np.ndarray) -> np.ndarray:
    """Return the number of latencies between consecutive edges; those in one bucket of the histogram are assumed evenly spread."""
    low, high, count = latency.buckets()
    points, below = np.stack([low, high], axis=1).ravel(), np.cumsum(count)
    return np.diff(np.interp(edges, points, np.stack([below - count, below], axis=1).ravel(), left=0))


def exceeding(latency: "Latency") -> tuple[np.ndarray, np.ndarray]:
    """Return the complementary distribution: latencies in ns, and the share of misses that took longer; 1 before the first."""
    _, high, count = latency.buckets()
    high = np.minimum(high, latency.max)
    share = 1 - np.cumsum(count) / latency.count
    return np.concatenate([[latency.min], high]), np.concatenate([[1.0], share])


def _limits(results: Mapping[str, "Result"]) -> tuple[float, float]:
    latencies = [result.latency("fault").ns for result in results.values()]
    return min(latency.min for latency in latencies) / 1.5, max(latency.max for latency in latencies) * 1.6


def _axes(figure: Any, bottom: float, high: float, limits: tuple[float, float]) -> Any:
    width, height = inches(figure)
    axes = figure.add_axes((LEFT / width, bottom / height, (WIDTH - LEFT - RIGHT) / width, high / height))
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    powers(axes, limits, LogLocator(10, (1.0, 2.0, 5.0) if limits[1] / limits[0] < 3000 else (1.0,)), mark)
    return axes


def _ridge(axes: Any, name: str, result: "Result", colour: str) -> None:
    low, high = axes.get_xlim()
    edges = np.geomspace(low, high, max(2, int(np.log10(high / low) * BINS_PER_DECADE)))
    paths = {about.path: result.latency(kind).ns for kind, about in result.book.latencies.items() if about.path}
    paths = {path: latency for path, latency in paths.items() if latency.count}
    whole = result.latency("fault").ns
    floor = np.zeros(edges.size - 1)
    for latency, shade in zip(paths.values() or (whole,), SHADES, strict=False):
        top = floor + density(latency, edges)
        axes.stairs(top, edges, baseline=floor, fill=True, color=colour, alpha=shade, linewidth=0)
        floor = top
    axes.stairs(floor, edges, color=colour, linewidth=1.1)
    axes.set_ylim(0, floor.max() * 1.04)
    axes.set_yticks([])
    axes.set_xticklabels([])
    axes.spines["bottom"].set_color(colour)
    _name(axes, name, paths, whole, colour)
    _marks(axes, whole)


def _name(axes: Any, name: str, paths: Mapping[str, "Latency"], whole: "Latency", colour: str) -> None:
    place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
    axes.text(-0.02, 1.0, label(name), fontsize=11.5, fontweight="bold", color=colour, **place)
    axes.text(-0.02, 0.70, f"{whole.count:,} misses", fontsize=9, color=MUTED, **place)
    named = [(path, latency.count) for path, latency in paths.items()]
    for row, ((path, count), shade) in enumerate(zip(named, SHADES, strict=False)):
        y = 0.45 - 0.22 * row
        text = axes.text(-0.045, y, f"{path} {100 * count / whole.count:.3g} %", fontsize=9, color=MUTED, **place)
        text.set_in_layout(False)
        axes.text(-0.02, y, "■", fontsize=9, color=colour, alpha=shade, **place)


def _marks(axes: Any, latency: "Latency") -> None:
    """Write the median, the 99th percentile and the maximum above a row."""
    values = [latency.percentile(50), latency.percentile(99), latency.max]
    texts = [f"{what} {duration(value)}" for what, value in zip(("p50", "p99", "max"), values, strict=True)]
    low, high = np.log(axes.get_xlim())
    width = WIDTH - LEFT - RIGHT
    wanted = [float((np.log(value) - low) / (high - low) * width) for value in values]
    places = spread(wanted, [0.085 * len(text) + 0.12 for text in texts], -0.1, width + 0.25)
    for value, text, place in zip(values, texts, places, strict=True):
        axes.axvline(value, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.annotate(
            text, (value, 1.0), xycoords=axes.get_xaxis_transform(), xytext=(place / width, 1.12),
            textcoords=axes.transAxes, ha="center", va="bottom", fontsize=9.5, color=INK,
            fontweight="bold" if text.startswith("p") else "normal",
            arrowprops={"arrowstyle": "-", "linewidth": 0.7, "color": INK, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _tail(axes: Any, results: Mapping[str, "Result"]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(0.5 / max(result.latency("fault").count for result in results.values()), 1.35)
    axes.yaxis.set_major_locator(FixedLocator([10.0**-n for n in range(9)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: "all" if y >= 1 else f"{100 * y:.6g} %"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y")
    axes.spines["bottom"].set_color(FAINT)
    axes.set_xlabel("time from the miss to the access that it held up", labelpad=8)
    axes.text(-0.02, 1.06, "share that took longer", transform=axes.transAxes, ha="right", fontsize=10, color=MUTED)
    for i, (name, result) in enumerate(results.items()):
        latency, colour = result.latency("fault").ns, MACHINES[i % len(MACHINES)]
        x, y = exceeding(latency)
        axes.plot(x, np.maximum(y, axes.get_ylim()[0]), color=colour, linewidth=2, drawstyle="steps-post", label=label(name))
        marks = [latency.percentile(50), latency.percentile(99)]
        axes.plot(marks, [0.5, 0.01], "o", color=colour, markersize=5.5, markeredgecolor="white", markeredgewidth=1)
    axes.legend(loc="upper right", frameon=False, fontsize=10, labelcolor="linecolor", handlelength=1.4)
