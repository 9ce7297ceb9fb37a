"""A stretch of a trace, in the memory that the records before it left."""

import functools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.compose.head import head
from workloads.compose.mappings import CHANGING, Mapping, Memory, units
from workloads.compose.numbering import finished

FOLLOWED = (*CHANGING, op.MADVISE, op.FORK, op.EXIT)


def stretch(trace: Trace, first: int, records: int) -> Trace:
    """Keep the records from `first` on, in the memory that those before it left.

    The mappings at that place become the initial memory, and the pages that have been used by then, and not been returned, are in it.
    A page that was copied from a file or a parent is shared again, and all pages are on their first frames; caches are cold.

    Parameters
    ----------
    trace : Trace
        The whole trace. The records before `first` are read at once, for their memory; up to `first` + `records` when it is used.
    first : int
        The stretch begins at the operation or access to which this record belongs.
    records : int
        Most records to keep, as for `head`.

    Raises
    ------
    TraceError
        If `first` is negative or `records` less than 1.
    """
    if first < 0:
        raise op.TraceError(f"a stretch of a trace begins at record 0 or later, not at {first}")
    if first == 0:
        return head(trace, records)
    memory, before = _Spaces(trace), 0
    memory.follow(trace.prelude)
    for chunk in head(trace, first).chunks():
        memory.follow(chunk)
        before += chunk.size
    info = trace.info | {"stretch": {"first": before, "records": records}}
    rest = Trace(trace.agents, functools.partial(_rest, trace, before), op.as_records(memory.prelude()), info, trace.name)
    return finished(head(rest, records))


def _rest(trace: Trace, before: int) -> Iterator[np.ndarray]:
    for chunk in trace.chunks():
        if before < chunk.size:
            yield chunk[before:]
        before = max(before - chunk.size, 0)


class _Spaces:
    """The mappings and the used pages of each address space."""

    def __init__(self, trace: Trace) -> None:
        self._agents = trace.agents
        self._space_of = np.array([agent.space for agent in trace.agents], np.int64)
        spaces = sorted({agent.space for agent in trace.agents})
        self._memory = {space: Memory() for space in spaces}
        self._used = {space: np.empty(0, np.int64) for space in spaces}

    def follow(self, ops: np.ndarray) -> None:
        """Apply records: accesses use pages, operations change mappings and return pages."""
        done = 0
        for at, unit in units(ops, FOLLOWED):
            self._use(ops[done:at])
            self._apply(int(self._space_of[unit["agent"][0]]), unit)
            done = at
        self._use(ops[done:])

    def prelude(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield the records that make the memory: the used pages of a mapping are in it, huge ones as a whole."""
        for space, memory in self._memory.items():
            agent = min(range(len(self._agents)), key=lambda i: (self._agents[i].space != space, self._agents[i].role != "cpu"))
            if memory.break_ is not None:
                yield memory.break_ << op.PAGE_SHIFT, 0, 0, op.BRK, agent
            for mapping in memory.mappings:
                for piece in _pieces(mapping, self._used[space]):
                    yield from piece.unit(agent)

    def _use(self, ops: np.ndarray) -> None:
        accesses = ops[ops["kind"] & ~op.CONTINUES <= op.FETCH]
        spaces = self._space_of[accesses["agent"]]
        for space in np.unique(spaces).tolist():
            pages = accesses["address"][spaces == space] >> op.PAGE_SHIFT
            self._used[space] = np.union1d(self._used[space], pages)

    def _apply(self, space: int, unit: np.ndarray) -> None:
        kind, memory, used = unit["kind"][0], self._memory[space], self._used[space]
        if kind == op.FORK:
            child = int(unit["count"][0])
            self._memory[child], self._used[child] = memory.copy(), used
            return
        if kind == op.EXIT:
            self._memory[space], self._used[space] = Memory(), used[:0]
            return
        old = memory.break_ or 0
        if kind != op.MADVISE:
            memory.apply(unit)
        if kind == op.BRK:
            self._used[space] = _without(used, memory.break_ or 0, old)
        elif kind == op.MREMAP:
            self._used[space] = _moved(used, unit)
        elif kind in (op.MMAP, op.MUNMAP) or (kind == op.MADVISE and unit["count"][1] == op.DONTNEED):
            first = int(unit["address"][0]) >> op.PAGE_SHIFT
            self._used[space] = _without(used, first, first + op.pages_of(unit, 0))
            if kind == op.MMAP and unit["count"][1] & op.POPULATE:
                self._used[space] = np.union1d(self._used[space], np.arange(first, first + op.pages_of(unit, 0)))


def _without(used: np.ndarray, first: int, end: int) -> np.ndarray:
    return used[(used < first) | (used >= end)]


def _moved(used: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Return the used pages after an MREMAP."""
    first, target = int(unit["address"][0]) >> op.PAGE_SHIFT, int(unit["address"][1]) >> op.PAGE_SHIFT
    pages, size = op.pages_of(unit, 0), int(unit["count"][1])
    moving = used[(used >= first) & (used < first + min(pages, size))] + target - first
    return np.union1d(_without(_without(used, first, first + pages), target, target + size), moving)


def _pieces(mapping: Mapping, used: np.ndarray) -> Iterator[Mapping]:
    """Yield the parts of a mapping whose pages are all used, or all not: the used ones are populated."""
    pages = used[(used >= mapping.first) & (used < mapping.end)]
    if mapping.is_huge and pages.size:
        pages = np.arange(mapping.first, mapping.end)
    breaks = np.flatnonzero(np.diff(pages) > 1) + 1
    at = mapping.first
    for run in np.split(pages, breaks) if pages.size else ():
        first, end = int(run[0]), int(run[-1]) + 1
        if first > at:
            yield mapping.part(at, first)
        yield replace(mapping.part(first, end), flags=mapping.flags | op.POPULATE)
        at = end
    if at < mapping.end:
        yield mapping.part(at, mapping.end)
