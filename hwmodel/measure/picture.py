"""The picture of a timeline: agents as bands, lanes in them, kinds as colours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwmodel.core import log
from hwmodel.measure.lanes import placed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = {
    "miss": "#d9d9d9", "join": "#7f7f7f", "fault": "#a6cee3", "phase": "#56b4e9", "cpu_fault": "#0072b2", "window": "#f0e442",
    "notice": "#e69f00", "flush": "#009e73", "ipi": "#66c2a4", "lock": "#cab2d6", "wait": "#6a3d9a", "operation": "#bdbdbd",
    "retry": "#cc79a7", "kill": "#d55e00",
}  # fmt: skip
"""Okabe's and Ito's colours, which the colour-blind can tell apart, and lighter ones for what holds others."""
NAMES = {"cpu_fault": "CPU fault", "lock": "lock held", "wait": "lock wait", "ipi": "IPI"}
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
SIZE, LETTER, MARGIN = 7.5, 4.4, 6.0
"""The size of the texts in bars, the width of a letter of it and what is free beside it, in points: a bar too narrow has none."""
MOST_LABELS = 400
"""With more events than this no bar has a text: none could be read."""


def draw(
    frame: "pd.DataFrame", ax: "Axes | None", moments: Sequence[float], around: str, window: tuple[float, float] | None
) -> "Axes":
    """Draw events.

    Parameters
    ----------
    frame : DataFrame
        As `Timeline.frame` returns it.
    ax : Axes, optional
        Where; by default a figure of its own.
    moments : sequence of float
        Times to mark, in ns.
    around : str
        The counter that increased then.
    window : (float, float), optional
        The time to show, in ns; by default that of all events. What began before or ends after it is cut.
    """
    from hwmodel.measure.figure import Picture

    if window is not None:
        frame = frame[(frame["begin_ns"] <= window[1]) & (frame["end_ns"] >= window[0])]
    at = placed(frame)
    lanes = _lanes(at)
    if ax is None:
        ax = Picture(figsize=(11, 1.6 + 0.3 * max(len(lanes), 4)), layout="constrained").subplots()
    first, last = (float(at["begin_ns"].min()), float(at["end_ns"].max())) if len(at) else (0.0, 1.0)
    if window is not None:
        first, last = (max(first, window[0]), min(last, window[1])) if len(at) else window
    places = [lanes[key] for key in zip(at["agent"], at["group"], at["track"], at["depth"], strict=True)]
    begin, end = at["begin_ns"].clip(first, last), at["end_ns"].clip(first, last)
    scale, unit = next(((ns, name) for ns, name in UNITS if max(abs(first), abs(last)) >= 2 * ns), UNITS[-1])
    margin = 0.01 * max(last - first, 1.0)
    ax.set_xlim((first - margin) / scale, (last + margin) / scale)
    _bars(ax, at.assign(y=places, begin=begin / scale, long=(end - begin) / scale, is_instant=at["duration"] == 0))
    _axis(ax, lanes, unit)
    for moment in moments:
        if first <= moment <= last:
            ax.axvline(moment / scale, color="black", linewidth=0.8, linestyle=":")
    if moments:
        ax.set_title(f"around {around}", fontsize="medium")
    _legend(ax, [kind for kind in log.KINDS if kind in set(at["kind"])])
    return ax


def _lanes(at: "pd.DataFrame") -> dict[tuple[Any, ...], int]:
    """Return the height of each lane, from the top down: by agent, as they come in the frame's order of roles and names."""
    keys = set(zip(at["role"], at["agent"], at["group"], at["track"], at["depth"], strict=True))
    order = {"cpu": 0, "kernel": 1, "device": 2}
    listed = sorted(keys, key=lambda key: (order[key[0]], key[1], _number(key[2]), *key[2:]))
    return {key[1:]: number for number, key in enumerate(listed)}


def _number(group: str) -> int:
    """Return the number of a request's lane, 0 of the agent's own: the tenth does not come before the second."""
    words = group.split()
    return int(words[1]) if words[:1] == ["request"] else 0


def _bars(ax: "Axes", at: "pd.DataFrame") -> None:
    """Draw bars and, for what takes no time, marks; `at` has their beginnings and lengths on the axis."""
    import matplotlib.patheffects as effects

    for kind, of_kind in at.groupby("kind"):
        colour = COLOURS[str(kind)]
        for y, of_lane in of_kind[~of_kind["is_instant"]].groupby("y"):
            spans = list(zip(of_lane["begin"], of_lane["long"], strict=True))
            ax.broken_barh(spans, (int(y) - 0.42, 0.84), facecolors=colour, edgecolors="white", linewidth=0.4)
        short = of_kind[of_kind["is_instant"]]
        ax.plot(short["begin"], short["y"], "d", color=colour, markersize=6, markeredgecolor="black", linestyle="")
    if len(at) > MOST_LABELS:
        return
    ax.figure.canvas.figure.draw_without_rendering()  # of the whole figure, of which `ax` may have a part only
    per_unit = ax.get_window_extent().width * 72 / ax.figure.dpi / (ax.get_xlim()[1] - ax.get_xlim()[0])
    for event in at.to_dict("records"):
        text = event["detail"] or NAMES.get(event["kind"], event["kind"])
        if event["long"] * per_unit > LETTER * len(text) + MARGIN:
            said = ax.text(event["begin"] + event["long"] / 2, event["y"], text, ha="center", va="center", fontsize=SIZE, clip_on=True)
            said.set_path_effects([effects.withStroke(linewidth=1.5, foreground="white")])


def _label(agent: str, group: str, track: int) -> str:
    return f"{agent}  {group}{f' ({track + 1})' if track else ''}".strip()


def _axis(ax: "Axes", lanes: dict[tuple[Any, ...], int], unit: str) -> None:
    """Name the lanes, once each, and part the agents."""
    seen, ticks, labels, before = set(), [], [], None
    for (agent, group, track, _), y in lanes.items():
        if (agent, group, track) not in seen:
            seen.add((agent, group, track))
            ticks.append(y)
            labels.append(_label(agent if agent != before else "", group, track) or agent)
        if before not in (None, agent):
            ax.axhline(y - 0.5, color="black", linewidth=0.6)
        before = agent
    ax.set_yticks(ticks, labels, fontsize=8)
    ax.set_ylim(max(len(lanes), 1) - 0.4, -0.6)
    ax.set_xlabel(f"time of the run ({unit})")
    ax.set_ylabel("agent, and its lanes")
    ax.spines[["top", "right"]].set_visible(False)


def _legend(ax: "Axes", kinds: list[str]) -> None:
    from matplotlib.patches import Patch

    if kinds:
        handles = [Patch(facecolor=COLOURS[kind], edgecolor="black", linewidth=0.3, label=NAMES.get(kind, kind)) for kind in kinds]
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
