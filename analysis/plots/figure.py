"""The style of every picture: type, ink and colours; and writing of pictures."""

import os
from collections.abc import Callable
from typing import Any, BinaryIO

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from hwmodel.measure import figure as plain
from hwmodel.outside import visible

INK, MUTED, FAINT, PAPER = "#1f2328", "#6b7280", "#dfe3e8", "#ffffff"
MACHINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4d4d4d")
"""Colours of Okabe and Ito, distinguishable with every kind of colour blindness."""
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Source Sans 3", "Helvetica Neue", "DejaVu Sans"],
    "font.size": 10.5,
    "text.parse_math": False,  # a name may contain dollars
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}
NAME, LINE = 40, 160
"""Most characters of a name and of a line that are drawn."""


class Picture(plain.Picture):
    """A figure in this style that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        with rc_context(STYLE):
            return super()._repr_png_()


def axes_or_new(given: Any, size: tuple[float, float]) -> Any:
    """Return the axes where somebody wants to draw, or those of a new picture of that size in inches."""
    return Picture(figsize=size, layout="constrained").add_subplot() if given is None else given


def save(figure: Figure, target: str | os.PathLike[str] | BinaryIO) -> None:
    """Write a picture as PNG; the same picture gives the same bytes."""
    with rc_context(STYLE):
        figure.savefig(target, format="png", dpi=plain.DPI, metadata={"Software": None})


def inches(figure: Any) -> tuple[float, float]:
    """Return the width and height of a figure or subfigure, in inches."""
    return figure.bbox.width / figure.dpi, figure.bbox.height / figure.dpi


def heading(figure: Any, title: str, subtitle: str) -> None:
    """Write title and subtitle at the top left of a figure or subfigure."""
    width, height = inches(figure)
    figure.text(0.25 / width, 1 - 0.16 / height, visible(title, LINE), fontsize=15, fontweight="bold", va="top")
    figure.text(0.25 / width, 1 - 0.50 / height, visible(subtitle, LINE), fontsize=10, color=MUTED, va="top")


def powers(axes: Any, limits: tuple[float, float], ticks: Any, text: Callable[[float], str]) -> None:
    """Give a horizontal axis a scale of powers: its limits, a locator of its marks, what is written at one of a value."""
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x")


def label(name: str) -> str:
    """Return a name as drawn in a key: matplotlib leaves out labels that begin with an underscore."""
    shown = visible(name, NAME)
    return f" {shown}" if shown.startswith("_") else shown


def number(value: float) -> str:
    """Return a number with three digits, never in powers of ten."""
    if value >= 1000:
        return f"{value:,.0f}"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{value:.{digits}f}"


def duration(ns: float) -> str:
    """Return a time with its unit: 870 ns, 1.52 µs, 12.0 ms."""
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= 0.9995 * scale:
            return f"{_digits(ns / scale)} {unit}"
    return f"{_digits(ns)} ns"


def mark(ns: float) -> str:
    """Return a time as it is written at an axis, a round number: 1 µs."""
    value, unit = duration(ns).split()
    return f"{float(value):g} {unit}"


def _digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")
