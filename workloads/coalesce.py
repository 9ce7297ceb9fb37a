"""Merge consecutive accesses of one page into one record with a count: lossless for every LRU TLB of a stream, and a stream itself.

A stream is an agent's fetches, or its reads and writes. A run of accesses of one kind to one page becomes one record, at the
place of its first access; the other stream does not end it. It ends at a mapping operation of any agent of the
address space, at an access that crosses a page, and after LIMIT records, which bounds the number of records held back.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from hwmodel.jit import entry, part
from hwmodel.op import AGENTS, ARG, COMPUTE, CONTINUES, FETCH, MMAP, OP, PAGE_SHIFT, copy_records, write

LIMIT = 4096
MOST = (1 << 31) - 1  # largest count of a record
MOST_GAP = (1 << 15) - 1
MOST_OWED = 1 << 30
CLOSED = -1

RUNS = np.dtype((np.record, [
    ("space", "i8"),       # address space of the agent
    ("fetch_at", "i8"),    # index of the record of the open run of fetches, or CLOSED
    ("fetch_page", "i8"),
    ("data_at", "i8"),     # the same for reads or writes
    ("data_page", "i8"),
    ("data_kind", "i8"),   # READ or WRITE
    ("owed", "i8"),        # instructions between the accesses of runs, for the next record's gap
]))  # fmt: skip
CONTROL = np.dtype((np.record, [
    ("first", "i8"),       # index of the record in out[0]
    ("filled", "i8"),      # number of records in out
]))  # fmt: skip


class Coalescer:
    """Coalesces a stream of OP arrays; the result does not depend on where it is cut into arrays.

    Parameters
    ----------
    spaces : iterable of int
        Address space of each agent; `admit` adds agents.
    """

    def __init__(self, spaces: Iterable[int] = ()) -> None:
        self._runs = np.zeros(AGENTS, RUNS)
        self._runs["fetch_at"] = self._runs["data_at"] = CLOSED
        self._runs["space"] = -1
        for agent, space in enumerate(spaces):
            self.admit(agent, space)
        self._control = np.zeros(1, CONTROL)
        self._out = np.empty(0, OP)

    def admit(self, agent: int, space: int) -> None:
        """Add an agent."""
        self._runs[agent]["space"] = space

    def push(self, ops: np.ndarray) -> np.ndarray:
        """Take whole units, halves of a crossing access adjacent; return the records that can no longer change."""
        held = int(self._control[0]["filled"])
        if self._out.size < held + 2 * ops.size:
            longer = np.empty(held + 2 * ops.size, OP)
            longer[:held] = copy_records(self._out[:held])
            self._out = longer
        return self._emit(_coalesce(ops, self._out, self._runs, self._control))

    def finish(self) -> np.ndarray:
        """Return the records held back, then the instructions still owed by runs, as COMPUTE records."""
        owed = np.flatnonzero(self._runs["owed"])
        rest = self._emit(int(self._control[0]["filled"]))
        rows = [(0, int(self._runs[agent]["owed"]), 0, COMPUTE, agent) for agent in owed]
        self._runs["owed"] = 0
        return np.concatenate([rest, np.array(rows, OP)]).view(OP)

    def _emit(self, ready: int) -> np.ndarray:
        control = self._control[0]
        done = copy_records(self._out[:ready])
        left = int(control["filled"]) - ready
        self._out[:left] = copy_records(self._out[ready : ready + left])
        control["first"], control["filled"] = control["first"] + ready, left
        return done


def coalesce(pieces: Iterable[np.ndarray], spaces: Iterable[int]) -> Iterator[np.ndarray]:
    """Coalesce a stream of OP arrays of whole units; `spaces` is each agent's address space."""
    coalescer = Coalescer(spaces)
    for piece in pieces:
        done = coalescer.push(piece)
        if done.size:
            yield done
    rest = coalescer.finish()
    if rest.size:
        yield rest


@entry
def _coalesce(ops, out, runs, control):
    """Append `ops` to `out`; return the number of records at its front that no open run can change."""
    ctl = control[0]
    i = 0
    while i < ops.size:
        i = _join(ops, i, out, ctl.first, ctl.first + ctl.filled, runs)
        if i < ops.size:
            _other(ops, i, out, ctl, runs)
            i += 1
    ready = ctl.first + ctl.filled
    for agent in range(runs.size):
        ready = min(ready, _oldest(runs[agent].fetch_at, ctl), _oldest(runs[agent].data_at, ctl))
    return ready - ctl.first


@part
def _join(ops, i, out, first, end, runs):
    """Add accesses from ops[i] on to the open runs of their streams; return the index of the first that can't be added."""
    while i < ops.size:
        op = ops[i]
        kind, page, run = op.kind, op.address >> PAGE_SHIFT, runs[op.agent]
        fetch = kind == FETCH
        at = run.fetch_at if fetch else run.data_at
        same = (run.fetch_page if fetch else run.data_page) == page and (fetch or kind == run.data_kind)
        if not same or at == CLOSED or end - at >= LIMIT or out[at - first].count > MOST - op.count or run.owed >= MOST_OWED:
            break
        if i + 1 < ops.size and ops[i + 1].kind & CONTINUES:
            break
        out[at - first].count += op.count
        run.owed += op.gap
        i += 1
    return i


@part
def _other(ops, i, out, ctl, runs):
    """Append a record that no open run takes; open or close runs as needed."""
    op = ops[i]
    run = runs[op.agent]
    access = op.kind >= 0 and op.kind <= FETCH
    if not access and op.kind & CONTINUES == 0 and op.kind >= MMAP:
        _close(runs, run.space)
    _append(op, out, ctl, run)
    if access:
        crosses = i + 1 < ops.size and ops[i + 1].kind == op.kind | CONTINUES and ops[i + 1].agent == op.agent
        _open(run, op.kind, CLOSED if crosses else ctl.first + ctl.filled - 1, op.address >> PAGE_SHIFT)


@part
def _open(run, kind, at, page):
    """Make record `at` the open run of its stream."""
    if kind == FETCH:
        run.fetch_at = at
        run.fetch_page = page
    else:
        run.data_at = at
        run.data_page = page
        run.data_kind = kind


@part
def _oldest(at, ctl):
    """Return `at`, or the end of `out` if that run can't grow any more."""
    end = ctl.first + ctl.filled
    return at if at != CLOSED and end - at < LIMIT else end


@part
def _close(runs, space):
    """End every run of an address space."""
    for agent in range(runs.size):
        if runs[agent].space == space:
            runs[agent].fetch_at = CLOSED
            runs[agent].data_at = CLOSED


@part
def _append(op, out, ctl, run):
    """Copy a record to `out`, with the gap it inherits."""
    gap = op.gap + (0 if op.kind == ARG else run.owed)
    if op.kind != ARG:
        run.owed = 0
    if gap > MOST_GAP:
        write(out[ctl.filled], 0, gap, 0, COMPUTE, op.agent)
        ctl.filled += 1
        gap = 0
    write(out[ctl.filled], op.address, op.count, gap, op.kind, op.agent)
    ctl.filled += 1

