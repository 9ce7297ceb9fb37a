"""The log of events: what happened to whom, from when to when, where a run is told to keep it (docs/model.md 12.5).

An event is noted where its counter or histogram is booked, when it is over, so the log can't disagree with the books. Without a log each
of these places costs a look at a mask in CTL; none of them is in a private step. The log has as many rows as there may be events: a step
never waits for room, what comes after that is counted.
"""

import numpy as np

from hwmodel.core.tables import I64, NEVER, table
from hwmodel.jit import part, routine

KINDS = ("fault", "phase", "cpu_fault", "window", "notice", "flush", "ipi", "lock", "wait", "operation", "miss", "join", "retry", "kill")
"""The kinds of events, in the order of their numbers."""
FAULT, PHASE, CPU_FAULT, WINDOW, NOTICE, FLUSH, IPI, LOCK, WAIT, OPERATION, MISS, JOIN, RETRY, KILL = range(len(KINDS))
EVENT = table("kind", "row", "begin", "end", "page", "pages", "detail")
"""An event: its kind, the row that it is about, from when to when, the pages [page, page + pages) (-1: none); `detail` is said at its kind
in `measure/details.py`."""
DEEPEST = 4
"""Windows of one row that can be open at a time: an operation's, and the one of a huge page that it splits; two more are room."""


def no_tables() -> dict[str, np.ndarray]:
    """Return the tables of a machine that keeps no log."""
    return {
        "log": np.zeros(1, EVENT), "omitted": np.zeros(len(KINDS), I64), "stretches": np.zeros((1, 2), I64), "moments": np.zeros(1, I64),
        "opened": np.zeros((1, 1), I64), "holds": np.zeros((1, 1), I64),
    }  # fmt: skip


@part
def note(m, kind, r, begin, end, page, pages, detail):
    """Keep an event of row r that is over, if its kind is wanted."""
    if m.ctl[0].events >> kind & 1:
        keep(m, kind, r, begin, end, page, pages, detail)


@routine
def keep(m, kind, r, begin, end, page, pages, detail):
    """Write an event into the log if a stretch of time that is recorded meets it; count it where the log is full."""
    ctl, met = m.ctl[0], False
    for k in range(m.stretches.shape[0]):
        met |= begin <= m.stretches[k, 1] and end >= m.stretches[k, 0]
    if not met:
        return
    if ctl.logged == m.log.size:
        m.omitted[kind] += 1
        return
    event = m.log[ctl.logged]
    event.kind, event.row, event.begin, event.end = kind, r, begin, end
    event.page, event.pages, event.detail = page, pages, detail
    ctl.logged += 1


@part
def lock_taken(m, r, lock, at):
    """Remember when row r got a lock."""
    if m.ctl[0].events >> LOCK & 1:
        m.holds[r, lock] = at


@part
def lock_given(m, r, lock, mode, at):
    """Keep the time for which row r had a lock in this mode."""
    if m.ctl[0].events >> LOCK & 1:
        keep(m, LOCK, r, m.holds[r, lock], at, -1, 0, lock << 2 | mode)


@part
def window_opens(m, r, at):
    """Remember when row r began to open a window of invalidation."""
    if m.ctl[0].events >> WINDOW & 1:
        m.opened[r, 0] += 1
        m.opened[r, m.opened[r, 0]] = at


@part
def window_is_closed(m, r, at, first, last):
    """Keep the window that row r opened last."""
    if m.ctl[0].events >> WINDOW & 1:
        depth = m.opened[r, 0]
        m.opened[r, 0] = depth - 1
        keep(m, WINDOW, r, m.opened[r, depth], at, first, last - first, 0)


@routine
def must_pause(m, due):
    """Return whether the loop, whose next step is at `due`, goes back to Python: a sample is due, or a moment was found that is the last.

    A counter that is watched is looked at after each step; the moment is that step's time.
    """
    ctl, count = m.ctl[0], 0
    if ctl.watched >= 0:
        for r in range(m.counts.shape[0]):
            count += m.counts[r, ctl.watched]
        if count > ctl.known:
            m.moments[ctl.found] = ctl.now
            ctl.found += 1
            if ctl.found == m.moments.size:
                ctl.pause, ctl.watched = NEVER, -1
                return True
        ctl.known = count
    return due >= ctl.sampled
