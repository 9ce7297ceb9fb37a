"""Memory use of a trace over space and time: references by place and time, and its operations on memory by time."""

from typing import Any

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry
from hwmodel.trace import Trace
from workloads.reuse import DATA, FETCHES, Reuse

ROWS, COLUMNS = 160, 240
GAP = 4096
"""Least number of unused pages between two used ones for which these are drawn apart: 16 MiB."""


class Footprint:
    """Counts from one or two passes over a trace.

    Parameters
    ----------
    trace : Trace
        Any valid trace.
    heat : bool
        Whether to make the second pass, which fills `heat` and `events`.

    Attributes
    ----------
    reuse : list of (Reuse, Reuse)
        Reuse distances of each agent's data and of its fetches.
    counts : int64[agents, 32]
        References of each kind, instructions of COMPUTE, and the number of each other operation.
    records : int64[agents]
        Records of each agent.
    instructions : int64[agents]
        Sum of the gaps and of COMPUTE: instructions that are not recorded otherwise.
    pages_of : int64[32]
        Pages covered by the operations of each kind.
    places : int64[n, 3]
        Address space, first page and page count of each stretch of used memory, in order.
    heat : int64[ROWS, COLUMNS]
        References: rows are equal numbers of used pages, in order; columns are equal numbers of records.
    events : int64[32, COLUMNS]
        Operations by kind and time.
    """

    def __init__(self, trace: Trace, heat: bool = True) -> None:
        agents = len(trace.agents)
        self.trace = trace
        self.reuse = [(Reuse(agent, DATA), Reuse(agent, FETCHES)) for agent in range(agents)]
        self.counts = np.zeros((agents, 32), np.int64)
        self.records, self.instructions = np.zeros(agents, np.int64), np.zeros(agents, np.int64)
        self.pages_of = np.zeros(32, np.int64)
        for chunk in trace.chunks():
            self._count(chunk)
        self._spaces, self._pages = self._used()
        self.places = self._places()
        self.heat = np.zeros((ROWS, COLUMNS), np.int64)
        self.events = np.zeros((32, COLUMNS), np.int64)
        if heat:
            self._draw()

    @property
    def pages(self) -> int:
        """Return the number of used pages, each counted in its address space."""
        return self._pages.size

    def number(self, keys: np.ndarray) -> np.ndarray:
        """Return the numbers of used pages, in order of (space << 36) + page, from such keys."""
        return np.searchsorted((self._spaces << 36) + self._pages, keys)

    def _count(self, chunk: np.ndarray) -> None:
        for reuse in (stream for streams in self.reuse for stream in streams):
            reuse.add(chunk)
        kinds, agents, counts = chunk["kind"], chunk["agent"].astype(np.int64), chunk["count"].astype(np.int64)
        plain = (kinds & ~t.CONTINUES).astype(np.int64)
        weight = np.where(plain <= t.COMPUTE, counts, 1)
        weight[(kinds & t.CONTINUES) > 0] = 0
        self.counts += np.bincount(agents * 32 + plain, weight, self.counts.size).astype(np.int64).reshape(self.counts.shape)
        self.records += np.bincount(agents, minlength=self.records.size)
        extra = chunk["gap"] + np.where(plain == t.COMPUTE, counts, 0)
        self.instructions += np.bincount(agents, extra, self.records.size).astype(np.int64)
        for at in np.flatnonzero(np.isin(kinds, PAGED)):
            self.pages_of[kinds[at]] += t.pages_of(chunk, int(at))

    def _used(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (int64[n] address spaces, int64[n] pages), sorted, each once."""
        keys = [(agent.space << 36) + pages_of(streams)[0] for agent, streams in zip(self.trace.agents, self.reuse, strict=True)]
        used = np.unique(np.concatenate(keys))
        return used >> 36, used & (1 << 36) - 1

    def _places(self) -> np.ndarray:
        """Return stretches of used pages; neighbours in a stretch have fewer than GAP unused pages between them."""
        if not self._pages.size:
            return np.zeros((0, 3), np.int64)
        apart = (np.diff(self._pages) > GAP) | (np.diff(self._spaces) > 0)
        starts = np.concatenate([[0], np.flatnonzero(apart) + 1])
        sizes = np.diff(np.concatenate([starts, [self._pages.size]]))
        return np.stack([self._spaces[starts], self._pages[starts], sizes], axis=1)

    def _draw(self) -> None:
        total, before = max(len(self.trace), 1), 0
        keys = (self._spaces << 36) + self._pages
        spaces = np.array([agent.space for agent in self.trace.agents], np.int64)
        for chunk in self.trace.chunks():
            _heat(chunk, before, total, keys, spaces, self.heat, self.events)
            before += chunk.size


PAGED = tuple(sorted(t.PAGED))


def pages_of(streams: tuple[Reuse, Reuse]) -> tuple[np.ndarray, np.ndarray]:
    """Return (int64[n] pages used by an agent, in ascending order; int64[n] kinds of use: bits 1 << READ, WRITE, FETCH)."""
    pages, uses = (np.concatenate(both) for both in zip(*(stream.pages() for stream in streams), strict=True))
    used, at = np.unique(pages, return_inverse=True)
    kinds = np.zeros(used.size, np.int64)
    np.bitwise_or.at(kinds, at, uses)
    return used, kinds


def summary(footprint: Footprint) -> list[dict[str, Any]]:
    """Return a row for each agent: role, space, name, records, references by kind, instructions, pages used and how."""
    rows = []
    for number, (agent, streams) in enumerate(zip(footprint.trace.agents, footprint.reuse, strict=True)):
        pages, uses = pages_of(streams)
        row: dict[str, Any] = {"agent": number, "role": agent.role, "space": agent.space, "name": agent.name}
        row["records"] = int(footprint.records[number])
        for kind, name in ((t.READ, "reads"), (t.WRITE, "writes"), (t.FETCH, "fetches")):
            row[name] = int(footprint.counts[number, kind])
        row["instructions"] = int(footprint.instructions[number]) + row["fetches"]
        row["pages"], row["huge_pages"] = pages.size, np.unique(pages >> 9).size
        row["pages_written"] = int(np.count_nonzero(uses & 1 << t.WRITE))
        row["pages_fetched"] = int(np.count_nonzero(uses & 1 << t.FETCH))
        rows.append(row)
    return rows


def working_set(footprint: Footprint, window: int | None = None) -> dict[str, np.ndarray]:
    """Return the pages touched in each window of so many references, exactly: columns of int64, a row for each window.

    Parameters
    ----------
    footprint : Footprint
        Of the trace, which is read once more.
    window : int, optional
        References of a window; a hundredth of all, rounded up, by default.
    """
    total = int(footprint.counts[:, : t.FETCH + 1].sum())
    size = window or max(1, -(-total // 100))
    found = np.zeros((2, -(-total // size)), np.int64)
    seen, open_, before = np.zeros(footprint.pages, bool), np.zeros((0, 2), np.int64), 0
    for chunk in footprint.trace.chunks():
        pairs, before = _touched(footprint, chunk, before, size)
        pairs = np.unique(np.concatenate([open_, pairs]), axis=0)
        closed = pairs[:, 0] < before // size
        _add(found, seen, pairs[closed])
        open_ = pairs[~closed]
    _add(found, seen, open_)
    first = np.arange(found.shape[1], dtype=np.int64) * size
    return {"first_reference": first, "references": np.minimum(size, total - first), "pages": found[0], "new_pages": found[1]}


def _touched(footprint: Footprint, chunk: np.ndarray, before: int, size: int) -> tuple[np.ndarray, int]:
    """Return (int64[n, 2] window and number of each page touched by a chunk, the references before the next chunk).

    The second half of an access to two pages is no reference of its own, and touches its page in the window of the first.
    """
    plain = chunk["kind"] & ~t.CONTINUES
    ops, half = chunk[plain <= t.FETCH], (chunk["kind"] & t.CONTINUES)[plain <= t.FETCH] > 0
    counts = np.where(half, 0, ops["count"]).astype(np.int64)
    ends = before + np.cumsum(counts)
    last = np.maximum(ends - 1, 0) // size
    first = np.where(half, last, (ends - counts) // size)
    spaces = np.array([agent.space for agent in footprint.trace.agents], np.int64)
    pages = footprint.number((spaces[ops["agent"]] << 36) + (ops["address"] >> t.PAGE_SHIFT).astype(np.int64))
    times = last - first + 1
    windows = np.repeat(first - np.cumsum(times) + times, times) + np.arange(times.sum())
    return np.stack([windows, np.repeat(pages, times)], axis=1), int(ends[-1]) if ends.size else before


def _add(found: np.ndarray, seen: np.ndarray, pairs: np.ndarray) -> None:
    """Count the pages of windows that are complete, in order."""
    np.add.at(found[0], pairs[:, 0], 1)
    _, earliest = np.unique(pairs[:, 1], return_index=True)  # pairs are sorted by window
    new = pairs[earliest]
    new = new[~seen[new[:, 1]]]
    np.add.at(found[1], new[:, 0], 1)
    seen[new[:, 1]] = True


@entry
def _heat(ops, before, total, keys, spaces, heat, events):
    """Add the references and operations of a chunk, the first of which is record `before` of `total`."""
    last_key, last_row = -1, 0
    for i in range(ops.size):
        op = ops[i]
        column = min((before + i) * heat.shape[1] // total, heat.shape[1] - 1)
        kind = op.kind & ~t.CONTINUES
        if kind > t.FETCH:
            events[kind & 31, column] += 1
            continue
        key = (spaces[op.agent] << 36) + (op.address >> t.PAGE_SHIFT)
        if key != last_key:
            last_key = key
            low, high = 0, keys.size
            while low < high:
                middle = (low + high) >> 1
                if keys[middle] < key:
                    low = middle + 1
                else:
                    high = middle
            last_row = low * heat.shape[0] // keys.size
        heat[last_row, column] += op.count
