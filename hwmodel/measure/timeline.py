"""`Timeline`: the events of a run, as a frame, as a picture, and as a file for a viewer of traces."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwmodel import output
from hwmodel.core import log
from hwmodel.measure import perfetto, picture
from hwmodel.measure.details import Naming
from hwmodel.measure.tally import AgentInfo

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

INSIDE = (log.FAULT, log.PHASE, log.RETRY, log.KILL)
"""The kinds of events that may be a part of a fault."""


class Timeline:
    """The events of a run that it was told to keep (`hwmodel.Events`); read through `frame`, `plot` and `to_perfetto`.

    Its parameters, more than eight, are what a recorder leaves.

    Parameters
    ----------
    agents : tuple of AgentInfo
        As in the result.
    rows : sequence of (int, int)
        The agent of each row of the machine, and its lane: 0 for the agent itself, from 1 on its outstanding requests.
    events : EVENT[n]
        The log.
    omitted : int64[kind]
        How many events of each kind the limit left out.
    ns_per_cycle : float
        1000 / the machine's clock in MHz.
    naming : Naming
        Puts details into words.
    around : str
        The counter whose moments were looked for; "" if none.
    moments : sequence of int
        Its moments, in cycles.
    shown_ns : (float, float), optional
        The time that a picture shows unless told otherwise; by default that of all events.

    Attributes
    ----------
    cycles : EVENT[n]
        The events as they are logged, in cycles, in order of their beginnings; of several the longest first.
    omitted : dict of str to int
        How many events the limit left out, by kind; empty if none.
    moments_ns : tuple of float
        When the counter increased.
    """

    def __init__(
        self, agents: tuple[AgentInfo, ...], rows: Sequence[tuple[int, int]], events: np.ndarray, omitted: np.ndarray, ns_per_cycle: float,
        naming: Naming, around: str = "", moments: Sequence[int] = (), shown_ns: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        kept = np.array(events, log.EVENT)
        self.cycles = kept[np.lexsort((kept["kind"], kept["row"], -kept["end"], kept["begin"]))]
        self.cycles.flags.writeable = False
        self.agents, self.ns_per_cycle, self.around, self.shown_ns = agents, ns_per_cycle, around, shown_ns
        self.omitted = {kind: int(n) for kind, n in zip(log.KINDS, omitted, strict=True) if n}
        self.moments_ns = tuple(at * ns_per_cycle for at in moments)
        self._agent_of = np.array([agent for agent, _ in rows], np.int64)
        self._lane_of = np.array([lane for _, lane in rows], np.int64)
        self._naming = naming

    def __len__(self) -> int:
        return self.cycles.size

    def count(self, kind: str) -> int:
        """Return how many events of a kind are kept; raise KeyError if there is no such kind."""
        if kind not in log.KINDS:
            raise KeyError(f"{kind!r} is none of {', '.join(log.KINDS)}")
        return int((self.cycles["kind"] == log.KINDS.index(kind)).sum())

    def frame(self) -> "pd.DataFrame":
        """Return a row for each event, in order of their beginnings.

        Returns
        -------
        DataFrame
            kind; agent and role; lane: 0 for the agent itself, from 1 on one of its outstanding requests; detail: the path of a fault, the
            name of a phase, of a lock or of an operation, whose interrupt it is; begin_ns, end_ns; address of the first page (bytes) and
            number of pages, NA where there is none; fault: the row of the fault that this is or is a part of, NA if of none.
            ``attrs["omitted"]`` has what the limit left out.
        """
        import pandas as pd

        events, rows = self.cycles, self.cycles["row"]
        has_page, agents = events["page"] >= 0, self._agent_of[rows]
        labels, faults = np.array(self._naming.rows, object), self._faults()
        frame = pd.DataFrame({
            "kind": np.array(log.KINDS, object)[events["kind"]],
            "agent": labels[agents],
            "role": np.array([agent.role for agent in self.agents], object)[agents],
            "lane": self._lane_of[rows],
            "detail": self._naming.words(events, self._agent_of),
            "begin_ns": events["begin"] * self.ns_per_cycle,
            "end_ns": events["end"] * self.ns_per_cycle,
            "address": pd.array(events["page"] << 12, "Int64"),
            "pages": pd.array(events["pages"], "Int64"),
            "fault": pd.array(faults, "Int64"),
        })  # fmt: skip
        frame.loc[~has_page, ["address", "pages"]] = pd.NA
        frame.loc[faults < 0, "fault"] = pd.NA
        frame.attrs = {"omitted": dict(self.omitted), "around": self.around, "moments_ns": self.moments_ns}
        return frame

    def _faults(self) -> np.ndarray:
        """Return of each event the place of the fault of its row that holds all of its time, -1 if none does."""
        events, found = self.cycles, np.full(self.cycles.size, -1, np.int64)
        of_fault = events["kind"] == log.FAULT
        inside = np.isin(events["kind"], INSIDE)
        for row in np.unique(events["row"][of_fault]):
            mine = np.flatnonzero(of_fault & (events["row"] == row))  # one after the other: a row has one miss at a time
            others = np.flatnonzero(inside & (events["row"] == row))
            at = np.minimum(np.searchsorted(events["end"][mine], events["end"][others]), mine.size - 1)
            fits = (events["begin"][mine[at]] <= events["begin"][others]) & (events["end"][others] <= events["end"][mine[at]])
            found[others[fits]] = mine[at[fits]]
        return found

    def plot(
        self, ax: "Axes | None" = None, kinds: Sequence[str] | None = None, window_ns: tuple[float, float] | None = None
    ) -> "Axes":
        """Draw the events over time, agents as bands, kinds as colours; what lies within another is drawn on it, or in a lane below.

        Parameters
        ----------
        ax : Axes, optional
            Where; by default a figure of its own, as high as its lanes need.
        kinds : sequence of str, optional
            Only these.
        window_ns : (float, float), optional
            Only this time of the run; by default that of all events, or, around a counter's moments, from the first window to the last.

        Raises
        ------
        KeyError
            If a kind is none.
        ValueError
            If the window has no time.
        """
        for kind in kinds or ():
            self.count(kind)
        frame = self.frame()
        if window_ns is not None and not window_ns[0] < window_ns[1]:
            raise ValueError(f"a window of time ends after it begins, not {window_ns}")
        chosen = frame if kinds is None else frame[frame["kind"].isin(list(kinds))]
        return picture.draw(chosen, ax, self.moments_ns, self.around, window_ns or self.shown_ns)

    def to_perfetto(self, path: str | os.PathLike[str]) -> None:
        """Write the events as Chrome's trace-event JSON, for ui.perfetto.dev or chrome://tracing, whole or not at all.

        An agent is a process, each of its lanes a thread; times are in microseconds, as the format has them.

        Raises
        ------
        OSError
            If the file can't be written.
        """
        with output.whole(path) as file:
            file.write(perfetto.to_bytes(self.frame(), self._naming.rows))

    def __repr__(self) -> str:
        kinds, counts = np.unique(self.cycles["kind"], return_counts=True)
        kept = ", ".join(f"{n} {log.KINDS[kind]}" for kind, n in zip(kinds, counts, strict=True)) or "none"
        left = f"; the limit left out {sum(self.omitted.values())}" if self.omitted else ""
        near = f" near {len(self.moments_ns)} moments of {self.around}" if self.around else ""
        return f"<Timeline of {len(self)} events{near}: {kept}{left}>"
