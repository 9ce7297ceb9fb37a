"""Pictures: one function for each; it takes data and a place to draw, and computes no result."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context

from analysis.plots.curves import draw_miss_curve
from analysis.plots.families import draw_families
from analysis.plots.figure import STYLE, Picture, save
from analysis.plots.latencies import draw_latencies, latencies_size
from analysis.plots.lines import draw_lines
from analysis.plots.maps import draw_contour, draw_heatmap
from analysis.plots.operations import draw_operation
from analysis.plots.overheads import draw_overheads, overheads_size
from analysis.plots.phases import draw_phases
from analysis.plots.tails import draw_tails, tails_size
from analysis.plots.workingset import draw_working_set

if TYPE_CHECKING:
    from analysis.points import Point
    from hwmodel.measure.result import Result

__all__ = [
    "STYLE", "Picture", "draw_both", "draw_contour", "draw_families", "draw_heatmap", "draw_latencies", "draw_line_ups", "draw_lines",
    "draw_miss_curve", "draw_operation", "draw_overheads", "draw_phases", "draw_tails", "draw_working_set", "save",
]  # fmt: skip


def draw_both(groups: "Mapping[str, Sequence[Point]]", results: Mapping[str, "Result"], subtitle: str) -> Picture:
    """Draw the overheads above the latencies; the arguments are those of `draw_overheads` and `draw_latencies`."""
    return _stacked(
        [
            (overheads_size(groups), lambda part: draw_overheads(groups, subtitle, part)),
            (latencies_size(results), lambda part: draw_latencies(results, subtitle, part)),
        ]
    )


def draw_line_ups(line_ups: "Mapping[str, Mapping[str, Sequence[Point]]]", overheads: bool) -> Picture:
    """Draw the overheads, or the latencies, of several line-ups one below the other; each by the line that is its subtitle."""
    draw, size = (draw_overheads, overheads_size) if overheads else (draw_tails, tails_size)
    return _stacked(
        [(size(groups), lambda part, line=line, groups=groups: draw(groups, line, part)) for line, groups in line_ups.items()]
    )


def _stacked(parts: "Sequence[tuple[tuple[float, float], Any]]") -> Picture:
    """Return a picture of several ones, each a size in inches and a function that draws it, one below the other."""
    with rc_context(STYLE):
        width, heights = max(size[0] for size, _ in parts), [size[1] for size, _ in parts]
        figure = Picture(figsize=(width, sum(heights)))
        places: Any = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)
        for place, (_, draw) in zip(places[:, 0], parts, strict=True):
            draw(place)
    return figure
