"""Merge the records that a device gets, one after the other, of one page and one kind into runs, counted in lines or pages.

A record has the first address and the number of its accesses, not the lines that they touch. A program that reads a page word by word asks
its L1 cache for each word; a device asks memory for each line, and an engine that streams pages for each page.

A run stands in the place of its first record. It ends at the device's next record of another page or kind, at an operation on memory by any
agent (what a page holds may be another after it), where the record's count or gap would be too large, and after LIMIT records of the
trace, which bounds the number of records held back. A second half of a crossing access is an access of its own page, like any other.
"""

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from workloads.coalesce import LIMIT, MOST_GAP

LINE_SHIFT = 6
LINE = 1 << LINE_SHIFT
LINES = t.PAGE >> LINE_SHIFT
WHOLE_RUN = 0
CLOSED = -1

RUNS = np.dtype((np.record, [
    ("at", "i8"),      # number of the run's record in the merged trace, or CLOSED
    ("page", "i8"),
    ("kind", "i8"),    # READ or WRITE
    ("count", "i8"),   # accesses of its records
    ("begun", "i8"),   # bit k: a record of it begins in line k of the page
    ("lines", "i8"),   # number of these bits
]))  # fmt: skip
CONTROL = np.dtype((np.record, [
    ("first", "i8"),   # number of the first record held back in the merged trace
    ("ended", "i8"),   # runs whose record has a lower number can't grow any more
    ("lowest", "i8"),  # agent number of the first device
    ("bytes", "i8"),   # of an access, or WHOLE_RUN
]))  # fmt: skip


class Merger:
    """Merges a stream of OP arrays of valid records; the result does not depend on where it is cut into arrays.

    Parameters
    ----------
    lowest, devices : int
        The number of the first device and how many there are, one after the other; they have nothing but reads and writes.
    bytes : int
        Bytes that an access of a record moves on average, in [1, LINE]: a run is an access to each line that it moves. WHOLE_RUN: a
        run is one access.
    """

    def __init__(self, lowest: int, devices: int, bytes: int) -> None:
        self._runs = np.zeros(devices, RUNS)
        self._runs["at"] = CLOSED
        self._control = np.array([(0, 0, lowest, bytes)], CONTROL)

    def merge(self, ops: np.ndarray, held: int) -> tuple[np.ndarray, np.ndarray]:
        """Merge the records of whole units that follow the first `held` of `ops`, in place.

        Return the records that can no longer change, and those with which the next array must begin.
        """
        settled, filled = _merge(ops, held, self._runs, self._control)
        return ops[:settled], t.copy_records(ops[settled:filled])


@entry
def _merge(ops, held, runs, control):
    """Merge the records from `held` on, in place; return how many can't change any more, and how many there are now."""
    ctl = control[0]
    filled = held
    for i in range(held, ops.size):
        op = ops[i]
        if op.agent < ctl.lowest:
            if op.kind >= t.MMAP and op.kind & t.CONTINUES == 0 and op.kind != t.SYSCALL and op.kind != t.ARG:
                ctl.ended = ctl.first + filled
        elif _joins(op, ops, filled, runs[op.agent - ctl.lowest], ctl):
            continue
        if filled < i:
            t.write(ops[filled], op.address, op.count, op.gap, op.kind, op.agent)
        if op.agent >= ctl.lowest:
            _begin(ops[filled], ctl.first + filled, runs[op.agent - ctl.lowest], ctl)
        filled += 1
    end = settled = ctl.first + filled
    for k in range(runs.size):
        if runs[k].at >= ctl.ended and end - runs[k].at < LIMIT:
            settled = min(settled, runs[k].at)
    settled -= ctl.first
    ctl.first += settled
    return settled, filled


@part
def _joins(op, ops, filled, run, ctl):
    """Add a record to the open run of its device; return whether the run took it."""
    if run.at < ctl.ended or op.address >> t.PAGE_SHIFT != run.page or op.kind & ~t.CONTINUES != run.kind:
        return False
    if ctl.first + filled - run.at >= LIMIT or run.count + op.count > t.MOST_COUNT:
        return False
    grown = ops[run.at - ctl.first]
    if grown.gap > MOST_GAP - op.gap:
        return False
    grown.gap += op.gap
    _count(grown, op.address, op.count, run, ctl)
    return True


@part
def _begin(op, at, run, ctl):
    """Let the record `op`, number `at` of the merged trace, be a run."""
    op.kind = op.kind & ~t.CONTINUES
    run.at, run.page, run.kind = at, op.address >> t.PAGE_SHIFT, op.kind
    run.count = run.begun = run.lines = 0
    _count(op, op.address, op.count, run, ctl)


@part
def _count(op, address, count, run, ctl):
    """Add a record's accesses to a run; let `op`, the run's record, have as many accesses as the device makes."""
    bit = address >> LINE_SHIFT & (LINES - 1)
    if run.begun >> bit & 1 == 0:
        run.begun |= 1 << bit
        run.lines += 1
    run.count += count
    op.count = max(run.lines, (run.count * ctl.bytes + LINE - 1) >> LINE_SHIFT) if ctl.bytes != WHOLE_RUN else 1
