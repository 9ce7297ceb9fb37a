"""Where the time goes: one stacked bar for each machine and side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context

from analysis.plots.figure import INK, MUTED, PAPER, STYLE, Picture, heading, inches, label, number
from analysis.plots.layout import spread
from hwmodel.core import ledger

if TYPE_CHECKING:
    import pandas as pd

SHADES = {
    ledger.HARDWARE: ("#a9d2ef", "#3d8fc9"),
    ledger.SERVICE: ("#8e4585", "#b5679f", "#d79dc3", "#5e2a58", "#e9cfdf", "#a55a95"),
    ledger.COHERENCE: ("#f3c27a", "#e08a00", "#f0a83c", "#c65a11", "#d9752f", "#e89a66", "#9c3d00"),
    ledger.KERNEL: ("#c9b458", "#00795a", "#8fd3ba", "#2d9c7c", "#b9e4d5", "#005a43", "#5cb99a", "#8a7a1f"),
}
"""The colours of each family's accounts, in order; the program's own work is no cost of its memory."""
KEY = {ledger.HARDWARE: 1, ledger.SERVICE: 0, ledger.COHERENCE: 1, ledger.KERNEL: 3}
"""The shade that stands for a family in the picture's key."""
OTHER = "#d5d9de"
SHOWN = 0.02
"""Parts of a bar below this share are added to "other"."""
SIDES = {
    "engine": ("Secondary engine", "ns per device access, beyond the access", "the access itself"),
    "cpu": ("CPUs", "ns per CPU access, beyond the program", "the program itself"),
}
"""Heading of each side, the quantity its bars show, and the quantities they leave out."""
BAR, STEP, LABEL = 0.34, 1.0, 0.09
"""Width of a bar, distance between bars, gap before the labels."""
PANEL_HEIGHT, TOP, WIDTH = 4.6, 1.15, 9.6
"""Inches: one panel with its heading and machine names; title, subtitle and key above the panels; least width."""


def draw_costs(accounts: "pd.DataFrame", machines: Sequence[str], subtitle: str, figure: Any = None) -> Any:
    """Draw the stacked accounts of each machine, engine and CPUs in separate panels.

    Parameters
    ----------
    accounts : DataFrame
        As `analysis.metrics.accounts_frame` returns it.
    machines : sequence of str
        Order of the bars.
    subtitle : str
        One line about the run.
    figure : Figure or SubFigure, optional
        Where to draw; its size should be `costs_size`.

    Returns
    -------
    Figure or SubFigure
    """
    sides = sides_of(accounts)
    with rc_context(STYLE):
        figure = figure or Picture(figsize=costs_size(len(machines), len(sides)))
        width, height = inches(figure)
        heading(figure, "Where the time goes, beyond the program itself", subtitle)
        _key(figure)
        panel_width = _panel_width(len(machines))
        for i, side in enumerate(sides):
            across, down = (i, 0) if _abreast(len(machines)) else (0, i)
            left, bottom = across * panel_width + 0.25, height - TOP - (down + 1) * PANEL_HEIGHT + 0.95
            size = (panel_width - 0.35, PANEL_HEIGHT - 1.55)
            axes = figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))
            _panel(axes, accounts[accounts["side"] == side], machines, side, size)
    return figure


def costs_size(machines: int, sides: int) -> tuple[float, float]:
    """Return the width and height of the picture, in inches."""
    across, down = (sides, 1) if _abreast(machines) else (1, sides)
    return max(WIDTH, _panel_width(machines) * across), TOP + PANEL_HEIGHT * down


def sides_of(accounts: "pd.DataFrame") -> list[str]:
    """Return the sides that have anything to show."""
    return [side for side in SIDES if ((accounts["side"] == side) & ~accounts["waiting"]).any()] or ["cpu"]


def stack(accounts: "pd.DataFrame", machine: str) -> tuple[list[tuple[str, float]], float, float]:
    """Return one bar's parts, and the values printed below the bar.

    Parameters
    ----------
    accounts : DataFrame
        The accounts of one side.
    machine : str
        The machine that the bar is for.

    Returns
    -------
    parts : list of (str, float)
        From the bottom up: account and ns per access, in the same order in all bars, "other" last.
    work, waiting : float
        ns per access that are not in the bar: the program's own work, and waiting for the other side.
    """
    costs = accounts[accounts["family"].isin(SHADES)]
    order = costs.groupby("account")["ns_per_access"].sum().sort_values(ascending=False, kind="stable").index
    own = accounts[accounts["machine"] == machine].set_index("account")
    waiting = own[own["waiting"] & (own.index != "idle")]["ns_per_access"].sum()
    work = own[own["family"] == ledger.WORK]["ns_per_access"].sum()
    values = costs[costs["machine"] == machine].set_index("account")["ns_per_access"]
    total = values.sum()
    parts = [(name, float(values[name])) for name in order if name in values.index and values[name] >= SHOWN * total]
    rest = total - sum(value for _, value in parts)
    if rest > 1e-9 * total:
        parts.append(("other", float(rest)))
    return parts, float(work), float(waiting)


def colours_of(accounts: "pd.DataFrame") -> dict[str, str]:
    """Return the colour of each account that is a cost: its family's, in the shade of its place in the family."""
    shown = accounts[accounts["family"].isin(SHADES)][["account", "family", "shade"]]
    return {name: SHADES[family][shade % len(SHADES[family])] for name, family, shade in shown.itertuples(index=False)}


def _panel_width(machines: int) -> float:
    return max(3.2, 0.5 + 2.3 * machines)


def _abreast(machines: int) -> bool:
    return machines <= 3


def _key(figure: Any) -> None:
    last, (width, height) = None, inches(figure)
    for family, shade in KEY.items():
        colour, name = SHADES[family][shade], ledger.FAMILIES[family]
        place: dict[str, Any] = {"va": "top", "fontsize": 9}
        if last is None:
            square = figure.text(0.25 / width, 1 - 0.80 / height, "■", color=colour, **place)
        else:
            square = _beside(figure, last, 14, "■", colour)
        last = _beside(figure, square, 4, name, MUTED)


def _beside(figure: Any, text: Any, points: float, words: str, colour: str) -> Any:
    """Write a label to the right of another."""
    from matplotlib.text import Annotation

    note = Annotation(
        words, (1, 0.5), xycoords=text, xytext=(points, 0), textcoords="offset points",
        va="center", fontsize=9, color=colour,
    )  # fmt: skip
    figure.add_artist(note)
    return note


def _panel(axes: Any, accounts: "pd.DataFrame", machines: Sequence[str], side: str, size: tuple[float, float]) -> None:
    stacks = [stack(accounts, machine) for machine in machines]
    top = max((sum(value for _, value in parts) for parts, *_ in stacks), default=0.0) or 1.0
    colours = colours_of(accounts)
    axes.set_xlim(-BAR / 2, (len(machines) - 1) * STEP + 0.80)
    axes.set_ylim(0, top * 1.16)
    axes.axis("off")  # every part has its value as a label
    axes.set_title(SIDES[side][0], loc="left", fontsize=12, fontweight="bold", color=INK, pad=20)
    axes.text(0, 1.025, SIDES[side][1], transform=axes.transAxes, fontsize=9.5, color=MUTED)
    for i, (machine, (parts, work, waiting)) in enumerate(zip(machines, stacks, strict=True)):
        _bar(axes, i * STEP, parts, colours, top, size[1])
        notes = [f"+ {number(work)} ns {SIDES[side][2]}"] if work else []
        notes += [f"+ {number(waiting)} ns waiting for others"] if waiting else []
        _foot(axes, i * STEP, machine, notes or ["no accesses"])


def _bar(
    axes: Any, x: float, parts: list[tuple[str, float]], colours: Mapping[str, str], top: float, height: float
) -> None:
    middles, at = [], 0.0
    for name, value in parts:
        axes.bar(x, value, BAR, bottom=at, color=colours.get(name, OTHER), edgecolor=PAPER, linewidth=0.7)
        middles.append(at + value / 2)
        at += value
    line = 0.185 * top * 1.16 / height  # label height, in data units
    places = spread(middles, [line] * len(parts), 0.0, top * 1.16)
    edge, text_at = x + BAR / 2, x + BAR / 2 + LABEL
    for (name, value), middle, place in zip(parts, middles, places, strict=True):
        colour = colours.get(name, OTHER)
        axes.plot([edge + 0.01, text_at - 0.015], [middle, place], color=colour, linewidth=1, solid_capstyle="round")
        text = axes.annotate(number(value), (text_at, place), va="center", fontsize=9, fontweight="bold", color=INK)
        axes.annotate(
            name.replace("_", " "), (1, 0.5), xycoords=text, xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=9, color=MUTED,
        )  # fmt: skip
    if parts:
        axes.annotate(
            f"{number(at)} ns", (x, at), xytext=(0, 4), textcoords="offset points",
            ha="center", va="bottom", fontsize=12, fontweight="bold", color=INK,
        )  # fmt: skip


def _foot(axes: Any, x: float, machine: str, notes: list[str]) -> None:
    frame = axes.get_xaxis_transform()
    axes.plot([x - BAR / 2, x + BAR / 2], [0, 0], color=MUTED, linewidth=1.2, clip_on=False)
    axes.text(x - BAR / 2, -0.045, label(machine), transform=frame, fontsize=11, fontweight="bold", va="top", color=INK)
    axes.text(x - BAR / 2, -0.13, "\n".join(notes), transform=frame, fontsize=9, va="top", color=MUTED, linespacing=1.4)
