"""The check that the engine models a trace: each chunk is checked once, for all machines that run the trace."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hwmodel import op
from hwmodel.regions import WHOLE, Regions, place
from hwmodel.trace import Trace
from hwmodel.trace.check import Validator

NOT_YET = (op.PUNCH, op.SWAP_FREE, op.MIGRATE, op.KSM_MERGE, op.ATTACH, op.DETACH, op.GUEST, op.DIRTY_LOG)
NOT_YET_ADVICE = {op.PAGEOUT: "PAGEOUT", op.COLLAPSE: "COLLAPSE"}
"""Operations and advice that traces may contain and that the engine does not model."""


class Chunk(NamedTuple):
    """Records that have passed the checks.

    Parameters
    ----------
    ops : OP[n]
        Whole units, contiguous.
    operations : int64[n]
        Indices of the records that are no access and no computation: operations, their ARG records, and a few second halves.
    first : int
        The number of the first record in its trace.
    edges : int64[n]
        Ascending: indices of the records at which parts of the run begin; one comes twice if a part has no record.
    """

    ops: np.ndarray
    operations: np.ndarray
    first: int
    edges: np.ndarray


class Checker:
    """A checker of a trace's chunks, in order: they must be valid, and the engine must model their operations.

    Parameters
    ----------
    trace : Trace
        Its prelude is checked here.
    regions : Regions
        The parts of the run: an edge within a unit or an access comes behind it.

    Raises
    ------
    TraceError
        At a record that is invalid or not modelled; the message names the file, the record (from 0) and the reason.
    """

    def __init__(self, trace: Trace, regions: Regions = WHOLE) -> None:
        self._trace, self._regions, self._edges = trace, regions, list(regions.edges)
        self._validator = Validator(trace)
        check_modelled(trace, trace.prelude, np.arange(trace.prelude.size))

    def check(self, ops: np.ndarray) -> Chunk:
        """Check the next records of the trace."""
        first = self._validator.records
        self._validator.check(ops)
        at = np.flatnonzero(ops["kind"] > op.COMPUTE)
        check_modelled(self._trace, ops, at, first)
        return Chunk(np.ascontiguousarray(ops), at, first, self._place(ops, first))

    def chunks(self, records: int) -> Iterator[Chunk]:
        """Read the trace, at most `records` records at a time, and check each chunk; an edge behind the end is refused there."""
        yield from map(self.check, self._trace.chunks(records))
        self._regions.check_end(len(self._regions.edges) - len(self._edges), self._validator.records)

    def _place(self, ops: np.ndarray, first: int) -> np.ndarray:
        """Return where in the next records parts of the run begin."""
        if not self._edges or self._edges[0] >= first + ops.size:
            return np.empty(0, np.int64)
        found = place(ops, [max(0, edge - first) for edge in self._edges if edge < first + ops.size])
        here = [at for at in found if at < ops.size]
        self._edges = self._edges[len(here) :]
        return np.array(here, np.int64)


def check_modelled(trace: Trace, ops: np.ndarray, at: np.ndarray, before: int = 0) -> None:
    """Refuse operations that traces may contain and the engine does not model; `at`: the indices of the operations in `ops`."""
    for index in at[np.isin(ops["kind"][at], (op.MMAP, op.MADVISE, *NOT_YET))]:
        reason = not_modelled(ops, int(index))
        if reason:
            raise op.TraceError(f"{trace.prefix}record {before + index}: {reason} is not modelled yet")


def not_modelled(ops: np.ndarray, at: int) -> str:
    """Return the part of the operation at `at` that the engine does not model; empty if the engine models all of it."""
    kind = int(ops["kind"][at])
    arg = int(ops["count"][at + 1]) if kind in (op.MADVISE, op.MMAP) else 0
    if kind == op.MADVISE:
        return f"madvise {NOT_YET_ADVICE[arg]}" if arg in NOT_YET_ADVICE else ""
    if kind == op.MMAP:
        return "a mapping of XPMEM" if arg >> 3 & 7 == op.XPMEM else ""
    return op.NAMES[kind] if kind in NOT_YET else ""
