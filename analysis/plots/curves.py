"""Misses of a TLB over its size, a line for each machine or trace."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from analysis.plots.figure import MACHINES, STYLE, axes_or_new, label
from analysis.plots.lines import MARKS, MOST, WIDE
from hwmodel.machine import ConfigError

if TYPE_CHECKING:
    import pandas as pd


LINES = ("-", "--", ":", "-.")
"""Of lines that lie on one another the lower one is seen through the upper one."""


def draw_miss_curve(curves: "pd.DataFrame | Mapping[str, pd.DataFrame]", axes: Any = None) -> Any:
    """Draw what a TLB misses, size by size.

    Parameters
    ----------
    curves : DataFrame, or mapping of str to DataFrame
        What `analysis.miss_curve` returns; several, by the names that they have in the key.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        Those given, or those of a new `Picture`.

    Raises
    ------
    ConfigError
        If there is none, or one is no miss curve.
    """
    named = dict(curves) if isinstance(curves, Mapping) else {"": curves}
    for name, frame in named.items():
        if not {"tlb.entries", "tlb.ways", "miss_rate_percent"} <= set(getattr(frame, "columns", ())):
            raise ConfigError(f"curves: {name or 'it'} is no frame of analysis.miss_curve")
    if not named:
        raise ConfigError("curves: there is none")
    with rc_context(STYLE):
        axes = axes_or_new(axes, (7.2, 4.2))
        for place, (name, frame) in enumerate(named.items()):
            styles = {"linestyle": LINES, "color": MACHINES, "marker": MARKS}
            style: dict[str, Any] = {what: some[place % len(some)] for what, some in styles.items()}
            line = frame.sort_values(["tlb.entries", "tlb.ways"])
            axes.plot(line["tlb.entries"], line["miss_rate_percent"], label=label(name) if name else None, markersize=4.5, **style)
        _scales(axes, sorted({int(entries) for frame in named.values() for entries in frame["tlb.entries"]}))
        axes.set_xlabel(f"entries of the TLB{_ways(named)}")
        axes.set_ylabel("accesses of the engine that miss it, %")
        if any(named):
            axes.legend(frameon=False)
    return axes


def _scales(axes: Any, sizes: list[int]) -> None:
    axes.set_ylim(0, max(axes.get_ylim()[1], 1e-9))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y")
    if sizes[-1] >= WIDE * sizes[0]:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(sizes) <= MOST:
        axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _ways(named: "Mapping[str, pd.DataFrame]") -> str:
    """Return how the TLBs are organised, if all are so."""
    if all((frame["tlb.ways"] == frame["tlb.entries"]).all() for frame in named.values()):
        return ", fully associative"
    ways = {int(ways) for frame in named.values() for ways in frame["tlb.ways"]}
    return f", {ways.pop()} ways each" if len(ways) == 1 else ""
