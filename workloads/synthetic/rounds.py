"""Common parts of the workloads of memory management: endless rounds of accesses and operations, cut after the last access."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, BLOCK, PROT, generator, region
from workloads.synthetic.parameters import Common

FIRST_PAGE = BASE >> op.PAGE_SHIFT

Rounds = Callable[[], Iterator[np.ndarray]]
"""Returns a fresh endless iterator of OP arrays of whole units, none of which is written to again."""


def round_trace(
    rounds: Rounds,
    common: Common,
    prelude: Iterable[tuple[int, ...]] | None = None,
    agents: list[op.Agent] | None = None,
) -> Trace:
    """Return the trace of the rounds up to and including the last access; by default with the usual agents, and the region mapped."""
    source = functools.partial(_cut, rounds, common.accesses)
    return Trace(agents or common.agents, source, op.as_records(prelude or region(common.pages)), common.info)


def each_round(seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield the number of each round, without end, and its random numbers, which do not depend on earlier draws."""
    return ((k, generator(seed, k)) for k in itertools.count())


def units(
    kind: int,
    first: np.ndarray,
    pages: np.ndarray | int = 1,
    operand: np.ndarray | int = 0,
    other: np.ndarray | int = 0,
    agent: np.ndarray | int = 0,
) -> np.ndarray:
    """Return OP[unit, record]: an operation on `pages` pages from each page of `first`, counted from BASE.

    The ARG record, if the kind has one, has `operand` as its count and `other` as its address.
    """
    ops = np.zeros((first.size, 1 + op.ARGS.get(kind, 0)), op.OP)
    ops["address"][:, 0] = BASE + (first << op.PAGE_SHIFT)
    ops["count"][:, 0], ops["kind"][:, 0], ops["agent"][:, 0] = pages, kind, agent
    if ops.shape[1] > 1:
        ops["address"][:, 1], ops["count"][:, 1], ops["kind"][:, 1], ops["agent"][:, 1] = other, operand, op.ARG, agent
    return ops


def unit(kind: int, first: int, pages: int, operand: int = 0, other: int = 0, agent: int = 0) -> np.ndarray:
    """Return the records of one operation, like `units`."""
    return units(kind, np.array([first]), pages, operand, other, agent).ravel()


def renew(first: int, pages: int, agent: int = 0) -> np.ndarray:
    """Return MUNMAP and, directly after it, MMAP of the same pages: program order is kept, so no access finds a hole."""
    return np.concatenate([unit(op.MUNMAP, first, pages, agent=agent), unit(op.MMAP, first, pages, PROT, agent=agent)])


def barrier(agent: int = 0) -> np.ndarray:
    """Return a SYNC record: a barrier across all agents.

    An agent that only operates on memory, now and then, would run ahead of the agents that use the memory as far as the machine's
    lookahead lets it, and its operations would not meet the state of memory that they are meant for.
    """
    return single(op.SYNC, agent)


def single(kind: int, agent: int, count: int = 0) -> np.ndarray:
    """Return one record without an address."""
    return op.as_records([(0, count, 0, kind, agent)])


def runs(pages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first pages and lengths of the runs of neighbours in ascending pages."""
    starts = np.flatnonzero(np.diff(pages, prepend=-2) != 1)
    return pages[starts], np.diff(np.append(starts, pages.size))


def spread(parts: int, records: int) -> np.ndarray:
    """Return the indices, among `records` records, before which to insert `parts` others so that they are evenly spread."""
    return np.arange(parts) * records // parts


def page_of(ops: np.ndarray) -> np.ndarray:
    """Return the pages of records, counted from BASE."""
    return (ops["address"] >> op.PAGE_SHIFT) - FIRST_PAGE


def _cut(rounds: Rounds, accesses: int) -> Iterator[np.ndarray]:
    left = accesses
    for ops in _join(rounds(), min(accesses, BLOCK)):
        ends = np.cumsum(np.where(ops["kind"] <= op.FETCH, ops["count"], 0), dtype=np.int64)
        if ends[-1] >= left:
            last = int(np.searchsorted(ends, left))
            ops["count"][last] -= ends[last] - left
            yield ops[: last + 1]
            return
        left -= int(ends[-1])
        yield ops


def _join(pieces: Iterator[np.ndarray], enough: int) -> Iterator[np.ndarray]:
    """Yield copies of the pieces, joined to at least `enough` records: a round may be short."""
    waiting: list[np.ndarray] = []
    size = 0
    for piece in pieces:
        waiting.append(np.ascontiguousarray(piece).view(np.int64))
        size += piece.size
        if size >= enough:
            yield np.concatenate(waiting).view(op.OP)
            waiting, size = [], 0
