"""Pictures: one function for each; it takes data and a place to draw, and computes no result."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context

from analysis.plots.costs import costs_size, draw_costs, sides_of
from analysis.plots.figure import STYLE, Picture, save
from analysis.plots.latencies import draw_latencies, latencies_size

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.measure.result import Result

__all__ = ["Picture", "draw_both", "draw_costs", "draw_latencies", "save"]


def draw_both(accounts: "pd.DataFrame", results: Mapping[str, "Result"], subtitle: str) -> Picture:
    """Draw the costs above the latencies; the arguments are those of `draw_costs` and `draw_latencies`."""
    machines: Sequence[str] = list(results)
    sizes: list[tuple[float, float]] = [costs_size(len(machines), len(sides_of(accounts))), latencies_size(results)]
    with rc_context(STYLE):
        figure = Picture(figsize=(max(width for width, _ in sizes), sum(height for _, height in sizes)))
        parts: Any = figure.subfigures(2, 1, height_ratios=[height for _, height in sizes])
        draw_costs(accounts, machines, subtitle, parts[0])
        draw_latencies(results, subtitle, parts[1])
    return figure
