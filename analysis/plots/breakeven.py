"""Which of two machines is cheaper: over one axis two lines and their crossings, over two a map, over a third a map for each value."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from analysis.plots.figure import FAINT, INK, MACHINES, MUTED, NAME, PAPER, STYLE, Picture, label, number
from analysis.plots.lines import draw_lines
from hwmodel.outside import visible

if TYPE_CHECKING:
    import pandas as pd

COLOURS = LinearSegmentedColormap.from_list("breakeven", [MACHINES[0], "#f4f4f4", MACHINES[1]])
"""From the first machine's colour, where it is cheaper, to the second's."""
MAP, COLUMNS = (4.6, 3.8), 3
"""Inches of a map; the most maps side by side."""
MOST = 9
"""Most values written along an axis."""


def draw_lines_with_crossings(
    frame: "pd.DataFrame", axis: str, machines: Sequence[str], crossings: Iterable[tuple[float, str]], title: str, axes: Any = None
) -> Any:
    """Draw the figures of two machines over one axis and mark where they cross.

    Parameters
    ----------
    frame : DataFrame
        As `BreakEven.visited` has it.
    axis : str
        The axis.
    machines : sequence of str
        The two machines.
    crossings : iterable of (float, str)
        The crossings: where on the axis, and what is written there.
    title : str
        What the figure is, with its unit.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
    """
    rows = frame.melt(id_vars=[axis], value_vars=list(machines), var_name="machine", value_name="figure")
    axes = draw_lines(rows, (axis, "figure", "machine"), title, axes)
    with rc_context(STYLE):
        for at, text in crossings:
            axes.axvline(at, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(text, (at, 1), (3, -2), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                          fontsize=9, color=MUTED, va="top", rotation=90,
                          bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6})  # fmt: skip
    return axes


def draw_map(frame: "pd.DataFrame", names: Sequence[str], machines: Sequence[str], crossings: "pd.DataFrame", axes: Any = None) -> Any:
    """Draw which machine is cheaper over two axes: a field for each point, the colour by how much; the crossings as a line.

    Parameters
    ----------
    frame : DataFrame
        As `BreakEven.frame` has it, of one value of a third axis.
    names : sequence of str
        The two axes: to the right, upwards.
    machines : sequence of str
        The two machines.
    crossings : DataFrame
        As `BreakEven.crossings` has them.
    axes : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes
    """
    across, up = names[:2]
    with rc_context(STYLE):
        if axes is None:
            axes = Picture(figsize=(MAP[0] + 2.2, MAP[1] + 0.6), layout="constrained").add_subplot()
        values = [list(dict.fromkeys(frame[name])) for name in (across, up)]
        table = frame.assign(share=_share(frame, machines)).pivot(index=up, columns=across, values="share").loc[values[1], values[0]]
        image = axes.imshow(table, origin="lower", aspect="auto", cmap=COLOURS, norm=Normalize(-1, 1), interpolation="nearest")
        _write_undecided(axes, frame, names, values)
        _trace(axes, crossings, names, values)
        for axis, name, those in ((axes.xaxis, across, values[0]), (axes.yaxis, up, values[1])):
            step = -(-len(those) // MOST)
            axis.set_ticks(range(0, len(those), step), [_short(value) for value in those[::step]])
            axis.set_label_text(label(name))
        axes.tick_params(length=0)
        if axes.figure.axes == [axes]:
            _key(axes.figure, image, [axes], machines)
    return axes


def draw_maps(frame: "pd.DataFrame", names: Sequence[str], machines: Sequence[str], crossings: "pd.DataFrame") -> Any:
    """Draw a map as `draw_map` does for each value of the third of the axes `names`; return the picture."""
    third = names[2]
    values = list(dict.fromkeys(frame[third]))
    with rc_context(STYLE):
        columns = min(COLUMNS, len(values))
        lines = -(-len(values) // columns)
        figure = Picture(figsize=(MAP[0] * columns + 1.4, MAP[1] * lines + 0.6), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, value in zip(panels, values, strict=False):
            draw_map(frame[frame[third] == value], names[:2], machines, crossings[crossings[third] == value], axes)
            axes.set_title(f"{visible(third, NAME)}: {_short(value)}", loc="left", fontsize=10.5, color=INK)
        for axes in panels[len(values) :]:
            axes.remove()
        shown = list(panels[: len(values)])
        _key(figure, shown[0].images[0], shown, machines)
    return figure


def _share(frame: "pd.DataFrame", machines: Sequence[str]) -> "pd.Series":
    """Return the difference as a share of the larger figure, from -1 to 1."""
    larger = frame[list(machines)].abs().max(axis=1)
    return (frame["difference"] / larger.where(larger > 0, 1.0)).clip(-1, 1)


def _write_undecided(axes: Any, frame: "pd.DataFrame", names: Sequence[str], values: Sequence[list[Any]]) -> None:
    """Mark the points at which the seeds differ about the sign."""
    for row in frame[frame["cheaper"] == "undecided"].to_dict("records"):
        axes.annotate("?", tuple(values[i].index(row[name]) for i, name in enumerate(names[:2])), ha="center", va="center", color=INK)


def _trace(axes: Any, crossings: "pd.DataFrame", names: Sequence[str], values: Sequence[list[Any]]) -> None:
    """Draw a bar across each row of the map where the machines change places, between the columns in which that is."""
    for row in crossings.to_dict("records"):
        x, y = _between(row["at"], values[0]), values[1].index(row[names[1]])
        axes.plot([x, x], [y - 0.5, y + 0.5], color=INK, linewidth=2.2, solid_capstyle="butt")


def _between(at: float, values: Sequence[float]) -> float:
    """Return where a value is among columns, which are equally wide; by its logarithm if all are above 0."""
    scale = np.log if min(values) > 0 else np.asarray
    return float(np.interp(scale(at), scale(np.array(values, float)), np.arange(len(values))))


def _key(figure: Any, image: Any, panels: Sequence[Any], machines: Sequence[str]) -> None:
    bar = figure.colorbar(image, ax=panels, ticks=[-1, -0.5, 0, 0.5, 1], shrink=0.9)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * abs(value):.0f} %"))
    bar.ax.tick_params(length=0)
    bar.outline.set_edgecolor(FAINT)
    bar.set_label("difference, of the larger one")
    first, second = (visible(name, NAME) for name in machines)
    key = [Patch(color=MACHINES[0], label=f"{first} is cheaper"), Patch(color=MACHINES[1], label=f"{second} is cheaper")]
    figure.legend(handles=key, loc="outside upper left", ncols=2, frameon=False, fontsize=9)


def _short(value: Any) -> str:
    if isinstance(value, float) and not value.is_integer():
        return number(value)
    return f"{value:,.0f}" if isinstance(value, int | float) and not isinstance(value, bool) else visible(str(value), NAME)
