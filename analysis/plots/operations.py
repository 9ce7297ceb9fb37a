"""What one operation on memory costs: over its pages and over the CPUs that share the memory, a line for each cause or payer."""

import textwrap
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.payers import CAUSES, PAYERS, Costs
from analysis.plots.figure import INK, LINE, MACHINES, MUTED, STYLE, Picture, heading, inches, label, mark, powers
from analysis.plots.lines import MARKS
from hwmodel.outside import visible

LEFT, PANEL, BETWEEN, RIGHT = 0.95, 3.0, 0.3, 0.3
"""Inches: left of the panels, each panel, between two, right of them."""
TOP, ROW, BETWEEN_ROWS, BELOW, KEY, LINES = 1.2, 2.45, 1.05, 0.6, 0.19, 0.2
"""Inches: above the panels, each row of them, between two rows, below the last, each line of the key and of the notes."""
TOTAL, CALL = "all of it", "time that the caller waits"
NAMES = {"cow": "fork with copy-on-write", "dontneed": "MADV_DONTNEED", "free": "MADV_FREE", "cold": "MADV_COLD"}
"""Operations that people call otherwise than `workloads.operation`."""
WIDE, APART, NEAR, MARGIN = 256, 1.3, 5, 0.04
"""From this ratio of its ends on an axis has marks at powers of 10; ratio from which on two marks of an axis, two numbers of steps, don't
touch; and the part of an axis that is left free at either end."""
CHARACTERS = 15
"""Characters of a note for each inch of the picture's width."""


def draw_operation(cost: Costs, by: str, pages: int, threads: int, figure: Any = None) -> Any:
    """Draw what an operation costs.

    Parameters
    ----------
    cost : Costs
        The measurements.
    by : "cause" or "payer"
        The column whose values are the lines.
    pages, threads : int
        Of the panels over CPUs, and of those over pages.
    figure : Figure or SubFigure, optional
        Where to draw; its size should be `operation_size`.

    Returns
    -------
    Figure or SubFigure
    """
    with rc_context(STYLE):
        figure = figure or Picture(figsize=operation_size(cost))
        width, height = inches(figure)
        subtitle = f"all agents together, by {by}; the others are at work meanwhile; both scales are of powers"
        heading(figure, f"What one {NAMES.get(cost.kind, cost.kind)} costs", subtitle)
        for row, (over, fixed, value, text) in enumerate(_rows(cost, pages, threads)):
            bottom = height - TOP - ROW - row * (ROW + BETWEEN_ROWS)
            panels = []
            for place, name in enumerate(cost.steps):
                left = LEFT + place * (PANEL + BETWEEN)
                axes = figure.add_axes((left / width, bottom / height, PANEL / width, ROW / height))
                _lines(axes, cost, name, by, over, (fixed, value))
                axes.set_title(label(name), fontsize=11, fontweight="bold", loc="left", pad=16)
                axes.set_xlabel(f"{over}{text}" if place == 0 else over, loc="left", fontsize=9)
                panels.append(axes)
            _scales(panels, cost, over)
            for axes, name in zip(panels, cost.steps, strict=True):
                _steps(axes, cost, name, over)
        _key(figure, cost, by)
    return figure


def operation_size(cost: Costs) -> tuple[float, float]:
    """Return the width and height of the picture, in inches."""
    several = len(cost.steps)
    width = max(7.2, LEFT + several * (PANEL + BETWEEN) - BETWEEN + RIGHT)
    rows = len(_rows(cost, 0, 0))
    below = KEY * -(-(2 + len(CAUSES)) // _columns(width)) + LINES * len(_notes(cost, width))
    return width, TOP + rows * ROW + (rows - 1) * BETWEEN_ROWS + BELOW + below + 0.15


def _columns(width: float) -> int:
    """Return the columns of the key in a picture so wide."""
    return 4 if width > 9 else 2


def _rows(cost: Costs, pages: int, threads: int) -> list[tuple[str, str, int, str]]:
    """Return the rows of panels: what x is, what is fixed at which value, and how that is told."""
    over_pages = ("pages", "threads", threads, f"   ({threads} CPU{'s' * (threads > 1)})")
    over_threads = ("threads", "pages", pages, f" that share the memory   ({pages:,} page{'s' * (pages > 1)})")
    several = {row[0]: row for row in (over_pages, over_threads) if cost.total[row[0]].nunique() > 1}
    return list(several.values()) or [over_pages]


def _lines(axes: Any, cost: Costs, machine: str, by: str, over: str, fixed: tuple[str, int]) -> None:
    """Draw a machine's lines; what is 0 at a point has no place on a scale of powers."""
    here, total = (frame[(frame["machine"] == machine) & (frame[fixed[0]] == fixed[1])] for frame in (cost.costs, cost.total))
    for value, colour, marker in _styles(by):
        line = here[here[by] == value].groupby(over)["ns"].sum()
        axes.plot(line.index, line, color=colour, marker=marker, markersize=4, linewidth=1.4)
    total = total.sort_values(over)
    axes.plot(total[over], total["cost_ns"], color=INK, marker=".", linewidth=2.2, zorder=3)
    axes.plot(total[over], total["duration_ns"], color=INK, marker=".", markersize=3, linewidth=1.3, linestyle=":", zorder=3)


def _styles(by: str) -> list[tuple[str, str, str]]:
    """Return value, colour and mark of each line."""
    values = list(CAUSES) if by == "cause" else list(PAYERS)
    return list(zip(values, MACHINES, MARKS, strict=False))


def _scales(panels: list[Any], cost: Costs, over: str) -> None:
    """Give the panels of a row the same scales of powers."""
    known = sorted(cost.total[over].unique())
    ends = np.array([axes.dataLim.intervaly for axes in panels])
    wide = known[-1] > WIDE * known[0]
    margin = (max(known[-1] / known[0], 2)) ** MARGIN
    apart = [value for place, value in enumerate(known) if place == 0 or value >= APART * known[place - 1]]
    for axes in panels:
        powers(axes, (known[0] / margin, known[-1] * margin), LogLocator(10) if wide else FixedLocator(apart), "{:,.0f}".format)
        axes.tick_params(axis="x", labelsize=8.5, labelrotation=0)
        axes.set_yscale("log")
        axes.set_ylim(ends[:, 0].min() / 1.6, ends[:, 1].max() * 1.6)
        axes.yaxis.set_major_locator(LogLocator(10, numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda ns, _: mark(ns)))
        axes.grid(axis="y")
        axes.tick_params(axis="y", labelleft=axes is panels[0], length=0, labelsize=9)
    panels[0].set_ylabel("time of all agents together", fontsize=9)


def _steps(axes: Any, cost: Costs, machine: str, over: str) -> None:
    """Mark the steps that the runs show, each by its number of pages above the panel."""
    steps = cost.steps[machine] if over == "pages" else []
    near = len(steps) > 1 and steps[-1].pages < NEAR * steps[0].pages
    for place, step in enumerate(steps):
        axes.axvline(step.pages, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        side = ("right", "left")[place] if near else "center"
        where = {"xycoords": axes.get_xaxis_transform(), "ha": side, "va": "bottom"}
        axes.annotate(f"{step.pages:,}", (step.pages, 1.01), fontsize=8, color=MUTED, **where)


def _notes(cost: Costs, width: float) -> list[str]:
    """Return the lines below the key: each step with its source, and what a reader must know."""
    told: dict[str, list[str]] = {}
    for name in cost.steps:
        for step in cost.steps[name]:
            told.setdefault(f"{step.says} ({step.setting}: {step.source})", []).append(name)
    everybody = len(cost.steps)
    lines = [text if len(names) == everybody else f"{', '.join(names)}: {text}" for text, names in told.items()]
    most = int((width - 0.5) * CHARACTERS)
    return [line for text in [*lines, *cost.notes] for line in textwrap.wrap(visible(text, 2 * LINE), most)]


def _key(figure: Any, cost: Costs, by: str) -> None:
    """Write below the panels what the lines are, then the notes."""
    width, height = inches(figure)
    drawn = set(cost.costs[by])
    handles = [Line2D([], [], color=INK, linewidth=2.2, label=TOTAL), Line2D([], [], color=INK, linewidth=1.3, linestyle=":", label=CALL)]
    handles += [
        Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=1.4, label=CAUSES.get(value, value))
        for value, colour, marker in _styles(by) if value in drawn
    ]  # fmt: skip
    notes = _notes(cost, width)
    place = {"loc": "lower left", "bbox_to_anchor": (0.25 / width, (0.12 + LINES * len(notes)) / height)}
    figure.legend(handles=handles, ncols=_columns(width), frameon=False, fontsize=8.5, handlelength=2.2, columnspacing=1.4, **place)
    for line, text in enumerate(reversed(notes)):
        figure.text(0.33 / width, (0.12 + LINES * line) / height, text, fontsize=8, color=MUTED, va="bottom")
