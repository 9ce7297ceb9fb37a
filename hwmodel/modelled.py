"""What the engine models: each chunk of a trace is checked here, once for all machines that run it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hwmodel.op import (
    ATTACH,
    COLLAPSE,
    COMPUTE,
    DETACH,
    DIRTY_LOG,
    GUEST,
    KSM_MERGE,
    MADVISE,
    MIGRATE,
    MMAP,
    NAMES,
    PAGEOUT,
    PUNCH,
    SWAP_FREE,
    XPMEM,
    TraceError,
)  # fmt: skip
from hwmodel.trace import Trace
from hwmodel.trace.check import Validator

NOT_YET = (PUNCH, SWAP_FREE, MIGRATE, KSM_MERGE, ATTACH, DETACH, GUEST, DIRTY_LOG)
NOT_YET_ADVICE = {PAGEOUT: "PAGEOUT", COLLAPSE: "COLLAPSE"}
"""Operations and advice that traces may carry and that the engine does not model."""


class Chunk(NamedTuple):
    """Records that have passed the checks.

    Parameters
    ----------
    ops : OP[n]
        Whole units, contiguous.
    operations : int64[n]
        Where what is no access and no computation is: operations with their ARG records, and a few second halves.
    first : int
        The number of the first record in its trace.
    """

    ops: np.ndarray
    operations: np.ndarray
    first: int


class Checker:
    """Checks the chunks of a trace in order: that they are valid, and that the engine models what they do.

    Parameters
    ----------
    trace : Trace
        Its prelude is checked here.

    Raises
    ------
    TraceError
        At a record that is not; the message names the file, the record (from 0) and the reason.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._validator = Validator(trace)
        check_modelled(trace, trace.prelude, np.arange(trace.prelude.size))

    def check(self, ops: np.ndarray) -> Chunk:
        """Check the next records of the trace."""
        first = self._validator.records
        self._validator.check(ops)
        at = np.flatnonzero(ops["kind"] > COMPUTE)
        check_modelled(self._trace, ops, at, first)
        return Chunk(np.ascontiguousarray(ops), at, first)

    def chunks(self, records: int) -> Iterator[Chunk]:
        """Read the trace, `records` or fewer at a time, and check what is read."""
        return map(self.check, self._trace.chunks(records))


def check_modelled(trace: Trace, ops: np.ndarray, at: np.ndarray, before: int = 0) -> None:
    """Refuse operations that traces may carry and the engine does not model; `at`: where the operations of `ops` are."""
    for index in at[np.isin(ops["kind"][at], (MMAP, MADVISE, *NOT_YET))]:
        reason = not_modelled(ops, int(index))
        if reason:
            raise TraceError(f"{trace.prefix}record {before + index}: {reason} is not modelled yet")


def not_modelled(ops: np.ndarray, at: int) -> str:
    """What of the operation at `at` the engine does not model; empty if it models all of it."""
    kind = int(ops["kind"][at])
    arg = int(ops["count"][at + 1]) if kind in (MADVISE, MMAP) else 0
    if kind == MADVISE:
        return f"madvise {NOT_YET_ADVICE[arg]}" if arg in NOT_YET_ADVICE else ""
    if kind == MMAP:
        return "a mapping of XPMEM" if arg >> 3 & 7 == XPMEM else ""
    return NAMES[kind] if kind in NOT_YET else ""
