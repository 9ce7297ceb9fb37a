"""A figure over two axes: a map of cells, or lines of equal value."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from analysis.plots.figure import INK, LINE, NAME, PAPER, STYLE, axes_or_new, label, number
from analysis.plots.lines import WIDE
from hwmodel.machine import ConfigError
from hwmodel.outside import visible

if TYPE_CHECKING:
    import pandas as pd

COLOURS = "cividis"
"""A scale of even steps that those who can't tell red from green see as others do (Nuñez, Anderton and Renslow 2018)."""
SIZE = (7.2, 4.8)
"""Inches of the picture."""
WRITTEN = 12
"""Most columns, and rows, of a map whose cells have their values written in."""
FAR = 10
"""From this ratio of its ends on, and if it is above 0, a figure has a scale of powers."""
LEVELS = 10
"""Most lines of equal value on an even scale; on one of powers there are three for each power of ten, if these are few."""


def draw_heatmap(grid: "pd.DataFrame", title: str, axes: Any = None) -> Any:
    """Draw a map of cells of one size, with the values of either axis written beside it; a cell that was not run stays empty.

    Parameters
    ----------
    grid : DataFrame
        A row for each value of y, a column for each of x, both named.
    title : str
        The figure with its unit.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        Those given, or those of a new `Picture`.
    """
    values = grid.to_numpy(float)
    with rc_context(STYLE):
        axes = axes_or_new(axes, SIZE)
        scale = _scale(values)
        image = axes.imshow(np.ma.masked_invalid(values), aspect="auto", origin="lower", cmap=COLOURS, norm=scale, interpolation="nearest")
        for axis, known in ((axes.xaxis, grid.columns), (axes.yaxis, grid.index)):
            every = -(-len(known) // WRITTEN)
            axis.set_major_locator(FixedLocator(range(0, len(known), every)))
            axis.set_major_formatter(FuncFormatter(lambda place, _, known=known: _text(known[int(place)])))
        axes.tick_params(length=0)
        if max(values.shape) <= WRITTEN:
            _write(axes, values, image)
        _name(axes, grid, image, title)
    return axes


def draw_contour(grid: "pd.DataFrame", title: str, axes: Any = None) -> Any:
    """Draw lines of equal value over two axes with numbers, which have scales of powers if their values are far apart.

    Parameters
    ----------
    grid, title, axes
        As `draw_heatmap` takes them.

    Returns
    -------
    Axes

    Raises
    ------
    ConfigError
        If an axis is no number, has one value only, or a pair of values has not been run.
    """
    values = grid.to_numpy(float)
    for name, known in ((grid.columns.name, grid.columns), (grid.index.name, grid.index)):
        if np.asarray(known).dtype.kind not in "iuf" or len(known) < 2:
            raise ConfigError(f"{name}: must be numbers, two at least, for lines of equal value; draw a heat map")
    if missing := int((~np.isfinite(values)).sum()):
        raise ConfigError(f"{missing} pairs of {grid.columns.name} and {grid.index.name} have no value; draw a heat map")
    with rc_context(STYLE):
        axes = axes_or_new(axes, SIZE)
        scale = _scale(values)
        levels = _levels(values, scale)
        image = axes.contourf(grid.columns, grid.index, values, levels=levels, cmap=COLOURS, norm=scale)
        axes.contour(grid.columns, grid.index, values, levels=levels, colors=PAPER, linewidths=0.8)
        for name, known in (("x", grid.columns), ("y", grid.index)):
            _ticks(axes, name, np.asarray(known, float))
        _name(axes, grid, image, title)
    return axes


def _scale(values: np.ndarray) -> Any:
    """Return the scale of the colours: of powers if the values are above 0 and far apart."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return LogNorm(low, high) if 0 < low * FAR <= high else Normalize(low, high if high > low else low + 1)


def _levels(values: np.ndarray, scale: Any) -> np.ndarray:
    """Return the values of the lines, round numbers, of which the first and the last reach around all values."""
    low, high = float(values.min()), float(values.max())
    if isinstance(scale, LogNorm):
        first, last = int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1
        every = -(-(last - first) // LEVELS)
        powers = [float(f"1e{power}") for power in range(first, last + every, every)]
        marks = np.ravel([(power, 2 * power, 5 * power) for power in powers] if every == 1 else powers)
    else:
        marks = np.asarray(MaxNLocator(LEVELS).tick_values(low, high if high > low else low + 1))
    start = max(0, int(np.searchsorted(marks, low, "right")) - 1)
    return marks[start : max(int(np.searchsorted(marks, high)), start + 1) + 1]


def _write(axes: Any, values: np.ndarray, image: Any) -> None:
    """Write each cell's value into it, in the ink that is seen on its colour."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45
            axes.text(column, row, _signed(value), ha="center", va="center", fontsize=8, color=INK if light else PAPER)


def _ticks(axes: Any, name: str, known: np.ndarray) -> None:
    """Give an axis a scale of powers if its values are far apart; write the values that were run, if they are few."""
    axis = axes.xaxis if name == "x" else axes.yaxis
    if known.min() > 0 and known.max() / known.min() >= WIDE:
        (axes.set_xscale if name == "x" else axes.set_yscale)("log", base=2)
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    if known.size <= WRITTEN:
        axis.set_major_locator(FixedLocator(known.tolist()))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _text(value)))


def _name(axes: Any, grid: "pd.DataFrame", image: Any, title: str) -> None:
    """Name the axes, and draw the scale of the colours with the figure's unit."""
    axes.set_xlabel(label(str(grid.columns.name)))
    axes.set_ylabel(label(str(grid.index.name)))
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes)
    bar.outline.set_visible(False)
    bar.set_label(textwrap.fill(visible(title, LINE), NAME))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "−")))
    if isinstance(image.norm, LogNorm):
        marks = _levels(grid.to_numpy(float)[np.isfinite(grid.to_numpy(float))], image.norm)
        bar.ax.yaxis.set_major_locator(FixedLocator([mark for mark in marks if image.norm.vmin <= mark <= image.norm.vmax]))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(which="both", length=0)


def _text(value: Any) -> str:
    """Return a value of an axis as it is written beside it."""
    if isinstance(value, str):
        return label(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return label(str(value))
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _signed(value: float) -> str:
    return "0" if value == 0 else number(value) if value > 0 else f"−{number(-value)}"
