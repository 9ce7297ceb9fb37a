"""Picture of a trace: its use of memory over time, its operations on memory, and its misses by size of TLB."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap, LogNorm

from analysis.plots.figure import FAINT, INK, MACHINES, MUTED, STYLE, Picture, heading, label, number
from hwmodel.op import EXIT, FORK, MADVISE, MMAP, MPROTECT, MREMAP, MUNMAP, NAMES, SYNC, SYSCALL

if TYPE_CHECKING:
    import pandas as pd

    from workloads.footprint import Footprint

SIZE = (10.6, 6.6)
HEAT = LinearSegmentedColormap.from_list("heat", ["#dceaf5", "#7fb2d9", "#0072B2", "#063a5b", "#021a29"])
MARKED = (64, 1536)
"""TLB sizes whose miss ratio is written in the picture: a first-level and a second-level TLB of an x86 CPU."""
FIRST = (MMAP, MUNMAP, MPROTECT, MREMAP, MADVISE, FORK, EXIT)
"""The operations whose lanes are drawn before others, in this order."""
LANES = 8


def draw_trace(footprint: "Footprint", agents: "pd.DataFrame", reuse: "pd.DataFrame") -> Picture:
    """Draw memory over time, the operations below it, and the miss ratio of LRU TLBs to the right.

    Parameters
    ----------
    footprint : Footprint
        Use of memory over time, and the operations.
    agents, reuse : DataFrame
        As `analysis.Inspection` describes them.
    """
    with rc_context(STYLE):
        figure = Picture(figsize=SIZE)
        lanes = _lanes(footprint.events)
        grid = figure.add_gridspec(
            2, 2, width_ratios=(1.75, 1), height_ratios=(1, 0.06 + 0.045 * len(lanes)), left=0.115, right=0.97, top=0.84,
            bottom=0.09, hspace=0.09, wspace=0.24,
        )  # fmt: skip
        heading(figure, _title(footprint), _subtitle(footprint, agents))
        memory = figure.add_subplot(grid[0, 0])
        _draw_memory(memory, footprint)
        _draw_lanes(figure.add_subplot(grid[1, 0], sharex=memory), footprint.events, lanes)
        _draw_reuse(figure.add_subplot(grid[:, 1]), agents, reuse)
    return figure


def _title(footprint: "Footprint") -> str:
    trace = footprint.trace
    program = str(trace.info.get("title") or trace.info.get("program") or trace.name or "a trace").split("/")[-1]
    return f"Memory of {program[:60]}"


def _subtitle(footprint: "Footprint", agents: "pd.DataFrame") -> str:
    pages, references = footprint.pages, footprint.trace.references
    who = f"{_several(len(agents), 'agent')} in {_several(agents['space'].nunique(), 'address space')}"
    return f"{who} · {references:,} references · {pages:,} pages of 4 KiB ({number(pages / 256)} MiB)"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def _draw_memory(axes: Any, footprint: Any) -> None:
    heat = np.ma.masked_equal(footprint.heat, 0)
    rows = heat.shape[0]
    if heat.count():
        norm = LogNorm(1, max(int(heat.max()), 2))
        axes.imshow(heat, aspect="auto", origin="lower", cmap=HEAT, norm=norm, extent=(0, 1, 0, rows), interpolation="nearest")
    ends = np.cumsum(footprint.places[:, 2]) * rows / max(footprint.pages, 1)
    for end in ends[:-1]:
        axes.axhline(end, color=FAINT, linewidth=0.8)
    starts = np.concatenate([[0], ends])[: ends.size]
    shown, last = [], -np.inf
    for start, place in zip(starts, footprint.places, strict=True):
        if start - last >= rows / 18:
            space = f"{place[0]}: " if footprint.places[:, 0].any() else ""
            shown.append((start, f"{space}{int(place[1]) << 12:#x}"))
            last = start
    axes.set_yticks([start for start, _ in shown], [text for _, text in shown], fontsize=7.5, family="monospace")
    axes.tick_params(axis="y", length=2)
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.set_ylim(0, rows)
    axes.set_title("Which memory, when: darker is more references", loc="left", fontsize=10.5, color=INK, pad=7)


def _lanes(events: np.ndarray) -> list[int]:
    """Return the kinds of operations to draw: those that occur, except system calls."""
    there = [kind for kind in range(32) if kind in NAMES and kind not in (SYSCALL, SYNC, 31) and events[kind].any()]
    return sorted(there, key=lambda kind: (FIRST.index(kind) if kind in FIRST else len(FIRST), kind))[:LANES]


def _draw_lanes(axes: Any, events: np.ndarray, lanes: list[int]) -> None:
    columns = events.shape[1]
    for lane, kind in enumerate(lanes):
        there = np.flatnonzero(events[kind])
        weight = np.log1p(events[kind][there]) / np.log1p(events[kind].max())
        axes.vlines((there + 0.5) / columns, lane + 0.5 - 0.42 * weight, lane + 0.5 + 0.42 * weight, color=MACHINES[1], linewidth=1.3)
    axes.set_yticks(np.arange(len(lanes)) + 0.5, [f"{NAMES[kind]} {int(events[kind].sum()):,}" for kind in lanes], fontsize=8)
    axes.set_ylim(max(len(lanes), 1), 0)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "half of the records", "", "all"])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_reuse(axes: Any, agents: "pd.DataFrame", frame: "pd.DataFrame") -> None:
    references = agents[["reads", "writes", "fetches"]].sum(axis=1)
    busiest = list(references.sort_values(ascending=False, kind="stable").index[:6]) if len(references) > 1 else []
    for colour, name in zip(MACHINES[1:], busiest, strict=False):
        axes.loglog(frame["entries"], frame[name], color=colour, linewidth=1.2, alpha=0.8, label=label(agents.loc[name, "name"]))
    axes.loglog(frame["entries"], frame["all"], color=MACHINES[0], linewidth=2.2, label="all agents")
    for size in MARKED:
        misses = float(np.interp(size, frame["entries"], frame["all"]))
        if misses > 0:
            axes.plot([size], [misses], "o", color=MACHINES[0], markersize=5)
            axes.annotate(f"{size:,}: {100 * misses:.2g} %", (size, misses), (5, 6), textcoords="offset points", fontsize=8.5, color=INK)
    axes.grid(True, which="major")
    sizes = [4**power for power in range(9)]
    axes.set_xticks(sizes, [str(size) if size < 1024 else f"{size >> 10} Ki" for size in sizes], fontsize=8)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("entries of a fully associative LRU TLB\nfor data, and of one for fetches", fontsize=9)
    axes.set_title("Misses per reference", loc="left", fontsize=10.5, color=INK, pad=7)
    axes.tick_params(colors=MUTED)
    if busiest:
        axes.legend(frameon=False, fontsize=8, loc="lower left")
