"""Regions of a run: where they begin in the trace, and the books of each (docs/model.md 12.4).

A run's books are closed at each edge between two parts of it, and new ones begin. The edge is a SYNC of all address spaces at a record:
what was recorded before it is complete, what is recorded behind it has not begun, and every clock has come to it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwmodel.config import ConfigError
from hwmodel.core import device
from hwmodel.core.ledger import IDLE
from hwmodel.core.tables import Machine
from hwmodel.engine import INSTRUCTION
from hwmodel.op import ARG, CONTINUES, count_references
from hwmodel.trace import Trace

WARMUP = "warmup"
"""The name of the part before the headline."""
MEASURED = "after the warm-up"
"""The name of the headline if there is a warm-up."""
Named = Mapping[str, int] | Iterable[tuple[str, int]]
"""Regions as users give them: the first record of each, by name."""


@dataclass(frozen=True)
class Regions:
    """The parts that a run is divided into.

    Attributes
    ----------
    names : tuple of str
        Of each part, in order; "" for what comes before the first region. One more than `edges`.
    edges : tuple of int
        The record before which each part but the first begins; ascending.
    """

    names: tuple[str, ...] = ("",)
    edges: tuple[int, ...] = ()

    def check_end(self, placed: int, records: int) -> None:
        """Refuse an edge behind the end of a trace of so many records, if only so many edges have been placed."""
        if placed < len(self.edges):
            name, at = self.names[placed + 1], self.edges[placed]
            told = f"region {name!r} begins at record {at}" if name else f"the warm-up ends at record {at}"
            raise ConfigError(f"{told}, and no operation or access begins there or later: the trace has {records} records")


WHOLE = Regions()
"""A run in one part."""


def regions_of(trace: Trace, warmup: int | float = 0, regions: Named | None = None) -> Regions:
    """Return the parts of a run from what a user asks for.

    Parameters
    ----------
    trace : Trace
        Its length is counted, in a pass of its own, if the warm-up is a fraction.
    warmup : int or float
        Records of the first part, or, as a float in [0, 1), its share of the records.
    regions : mapping of str to int, or iterable of (str, int), optional
        The first record of each region by its name; it reaches to the next one. None begins within the warm-up.

    Raises
    ------
    ConfigError
        If a value is out of range, a name is empty, reserved or comes twice, or two regions begin at one record.
    """
    first = _warmup(trace, warmup)
    named = _named(regions)
    for name, at in named:
        if at < first:
            raise ConfigError(f"regions: {name!r} begins at record {at}, within the warm-up of {first} records")
    begins = {0: WARMUP if first else ""} | ({first: ""} if first else {}) | {at: name for name, at in named}
    starts = sorted(begins)
    found = Regions(tuple(begins[at] for at in starts), tuple(starts[1:]))
    size = trace.known_size
    if size:
        found.check_end(sum(at < size[0] for at in found.edges), size[0])
    return found


def _warmup(trace: Trace, warmup: int | float) -> int:
    whole = isinstance(warmup, int | np.integer) and not isinstance(warmup, bool)
    if not whole and not (isinstance(warmup, float) and 0 <= warmup < 1):
        raise ConfigError(f"warmup: must be a number of records, or a share of them in [0, 1) (0.5), not {warmup!r}")
    if warmup < 0:
        raise ConfigError(f"warmup: must be at least 0 records, not {warmup}")
    return int(warmup) if whole else int(warmup * len(trace)) if warmup else 0


def _named(regions: Named | None) -> list[tuple[str, int]]:
    pairs = list(regions.items()) if isinstance(regions, Mapping) else list(regions or ())
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str) or not pair[0]:
            raise ConfigError(f"regions: must be a name and its first record each, not {pair!r}")
        if isinstance(pair[1], bool) or not isinstance(pair[1], int | np.integer) or pair[1] < 0:
            raise ConfigError(f"regions: {pair[0]!r} must begin at a record from 0 on, not {pair[1]!r}")
    names, firsts = [name for name, _ in pairs], [int(at) for _, at in pairs]
    for name, at in zip(names, firsts, strict=True):
        if name == WARMUP or names.count(name) > 1:
            raise ConfigError(f"regions: {name!r} {'is the name of the warm-up' if name == WARMUP else 'comes twice'}")
        if firsts.count(at) > 1:
            raise ConfigError(f"regions: two begin at record {at}")
    return sorted(zip(names, firsts, strict=True), key=lambda pair: pair[1])


def place(ops: np.ndarray, edges: Iterable[int]) -> list[int]:
    """Return where in whole units of records each edge comes: at the next place, from its own on, that cuts neither a unit nor an access.

    An edge without such a place gets the number of the records: it comes behind them.
    """
    found = []
    for at in edges:
        while at < ops.size and (ops["kind"][at] == ARG or ops["kind"][at] & CONTINUES):
            at += 1
        found.append(at)
    return found


def sizes(ops: np.ndarray, edges: np.ndarray) -> list[tuple[int, int]]:
    """Return the numbers of records and of references of a chunk before its first edge, between its edges, and behind the last one."""
    return [(part.size, count_references(part)) for part in np.split(ops, edges)]


class Books(NamedTuple):
    """What one part of a run measured, as `Result` takes it."""

    counters: np.ndarray  # int64[agent, counter]
    ledger: np.ndarray  # int64[agent, account]
    clocks: np.ndarray  # int64[agent]  how far each clock came in this part
    histograms: np.ndarray  # int64[latency, HEAD + BUCKETS]
    serving: np.ndarray  # int64[agent, account]
    phases: np.ndarray  # int64[path * phases + phase, HEAD + BUCKETS]
    shares: np.ndarray  # int64[path, bucket, phase]


def together(parts: Iterable[Books]) -> Books:
    """Return the books of several parts as those of one."""
    parts = list(parts)
    sums = {name: sum(getattr(part, name) for part in parts[1:]) + getattr(parts[0], name) for name in Books._fields}
    for name in ("histograms", "phases"):
        used = [getattr(part, name) for part in parts]
        low = np.min([np.where(h[:, 0] > 0, h[:, 2], np.iinfo(np.int64).max) for h in used], axis=0)
        sums[name][:, 2] = np.where(sums[name][:, 0] > 0, low, 0)
        sums[name][:, 3] = np.max([h[:, 3] for h in used], axis=0)
    return Books(**sums)


def turn_over(m: Machine, before: np.ndarray) -> Books:
    """Close the books of a part at its edge, which is now, and begin those of the next.

    What an agent has waited so far is booked; the gap that it is in counts up to the edge; a service counts where it began.

    Parameters
    ----------
    before : int64[agent]
        How far each clock came in the parts before.
    """
    now, n = int(m.ctl[0].now), int(m.ctl[0].agents)
    for i in range(m.ctl[0].cpus, m.ctl[0].engines):
        rest = min(m.flights[i - m.ctl[0].cpus].max() + m.ctl[0].latency, now) - m.rows[i].clock
        m.ledger[i, device.ACCESS] += max(rest, 0)
        m.rows[i].clock += max(rest, 0)
    missing = now - before - m.ledger.sum(axis=1)
    behind = np.zeros(n, np.int64)
    for r in range(n):
        row = m.rows[r]
        if missing[r] > 0:
            m.ledger[r, row.wait_account if row.blocked else IDLE] += missing[r]
            row.clock += missing[r]
        elif row.head < row.tail and row.charged:
            behind[r] = min(-missing[r], m.queue[row.head].gap * m.costs[0].instruction)
    m.ledger[:, INSTRUCTION] -= behind
    m.ctl["edge"] = 0
    kept = (m.counts, m.ledger, m.hists, m.serving, m.phases, m.shares)
    counters, ledger, *planes = (table.copy() for table in kept)
    books = Books(counters, ledger, ledger.sum(axis=1), *planes)
    for table in kept:
        table[:] = 0
    m.ledger[:, INSTRUCTION] = behind
    return books
