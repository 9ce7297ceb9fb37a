"""Rows of a picture: for each workload one for each machine, with the same colours, in panels side by side."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context

from analysis.plots.figure import FAINT, INK, MACHINES, MUTED, STYLE, Picture, heading, inches, label

if TYPE_CHECKING:
    from analysis.points import Point

WIDTH, NAMES = 12.2, 1.75
"""Inches: the picture; the workloads' names, to the left of the panels."""
TOP, FOOT = 1.6, 0.75
"""Inches above the panels, for title and key, and below them, for the axis."""
ROW, ALONE, BETWEEN = 0.22, 0.4, 0.2
"""Inches: a machine's row, the same if there is only one workload, the space between workloads."""


class Rows:
    """The rows of a picture.

    Parameters
    ----------
    groups : mapping of str to sequence of Point
        The points by the name of the workload; of one workload the name may be empty.
    is_shown : callable
        Of a point, whether it has anything to show.

    Attributes
    ----------
    groups : dict of str to list of Point
        Those that are shown.
    colours : dict of str to str
        By machine, in the order of the rows.
    row : float
        Of a machine's row, in inches.
    size : tuple of float
        Width and height of the whole picture, in inches.
    """

    def __init__(self, groups: "Mapping[str, Sequence[Point]]", is_shown: "Callable[[Point], object]") -> None:
        self.groups = {name: [point for point in points if is_shown(point)] for name, points in groups.items()}
        machines = dict.fromkeys(point.machine for points in self.groups.values() for point in points)
        self.colours = {machine: MACHINES[i % len(MACHINES)] for i, machine in enumerate(machines)}
        self.row = ROW if len(groups) > 1 else ALONE
        self._step = self.row * max(1, len(machines)) + BETWEEN
        self.size = WIDTH, TOP + FOOT + len(groups) * self._step

    def drawn(self, figure: Any, titles: tuple[str, str], otherwise: str, draw: Callable[[Any], None]) -> Any:
        """Return a figure, a new one if there is none, with title and subtitle and what `draw` draws; the words if there is no row."""
        with rc_context(STYLE):
            figure = figure or Picture(figsize=self.size)
            heading(figure, *titles)
            if self.colours:
                draw(figure)
            else:
                _, height = inches(figure)
                figure.text(0.5, 1 - 1.1 / height, otherwise, ha="center", va="top", color=MUTED, fontsize=12)
        return figure

    def at(self, name: str, machine: str) -> float:
        """Return where the row of a workload and machine is, in inches from the top of the panels."""
        return list(self.groups).index(name) * self._step + (BETWEEN + self.row) / 2 + list(self.colours).index(machine) * self.row

    def axes(self, figure: Any, left: float, wide: float, title: str) -> Any:
        """Add a panel, `left` inches from the left."""
        width, height = inches(figure)
        high = height - TOP - FOOT
        axes = figure.add_axes((left / width, FOOT / height, wide / width, high / height))
        axes.set_ylim(high, 0)
        axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.set_title(title, loc="left", fontsize=10, color=MUTED)
        for i in range(1, len(self.groups)):
            axes.axhline(i * self._step, color=FAINT, linewidth=0.8)
        return axes

    def name(self, axes: Any) -> None:
        """Write the workloads' names to the left of a panel."""
        for i, name in enumerate(self.groups):
            axes.text(
                -0.03, (i + 0.5) * self._step, label(name), transform=axes.get_yaxis_transform(),
                ha="right", va="center", fontsize=10.5, fontweight="bold",
            )  # fmt: skip

    def key(self, figure: Any, *lines: Sequence[tuple[str, str, str]]) -> None:
        """Write which colour is which machine, then, on the same line, more marks: each a sign, a colour, its meaning."""
        width, height = inches(figure)
        first = [("●", colour, machine) for machine, colour in self.colours.items()]
        for row, line in enumerate(itertools.chain([[*first, *lines[0]]], lines[1:])):
            x, y = 0.25 / width, 1 - (0.82 + 0.24 * row) / height
            for mark, colour, words in line:
                figure.text(x, y, mark, color=colour, va="top", fontsize=9.5)
                figure.text(x + 0.16 / width, y, label(words), color=MUTED if row else INK, va="top", fontsize=9)
                x += (0.42 + 0.073 * len(label(words))) / width
