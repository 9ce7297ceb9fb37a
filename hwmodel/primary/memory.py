"""Memory that may be short: a step asks for the frames that it will take, and waits for them (docs/model.md 5.3).

Linux 6.18 mm/page_alloc.c __alloc_pages_slowpath: the allocation sleeps with its caller's locks held, and is tried again. A step asks
before it has changed anything, so that it can begin again when it is woken.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import KERNEL, account, counter
from hwmodel.core.tables import table
from hwmodel.jit import part, routine
from hwmodel.primary import frames

MEMORY_WAIT = account("memory_wait", KERNEL, "waiting for memory to become free")
WAITS = counter("memory.waits", "allocations that had to wait for memory")
WANT = table("frames", "block", "waits")
"""The memory for which a row waits: frames, whether 512 of them must be a block; whether the row waits."""
BEFORE_TIME = -1
"""`exhausted` when it is memory before time 0 that has no room; else it is the row that can't go on, plus 1."""


@part
def is_there(m, pages, block):
    """Return whether `pages` frames are free, and, if `block` is set, 512 of them as a block."""
    return m.ctl[0].free >= pages and (not block or frames.has_block(m))


@routine
def ask(m, r, pages, block):
    """Return whether the step of row r may take so much memory; if not, the row waits and repeats the step, or memory is exhausted.

    Memory is exhausted where no kernel row can reclaim any.
    """
    if is_there(m, pages, block):
        return True
    ctl, want = m.ctl[0], m.wants[r]
    want.frames, want.block, want.waits = pages, block, 1
    if ctl.reclaimer < 0:
        ctl.exhausted = r + 1
        return False
    m.counts[m.rows[r].agent, WAITS] += 1
    ctl.starving += 1
    now = clock.time(m, r)
    clock.block_on_step(m, r, MEMORY_WAIT)
    if m.rows[ctl.reclaimer].blocked:
        clock.wake(m, ctl.reclaimer, now)
    return False


@routine
def serve(m):
    """Wake the rows that wait for memory which is there now; each repeats its step, in order of rows, and may have to wait again."""
    ctl = m.ctl[0]
    for r in range(m.rows.size):
        want = m.wants[r]
        if want.waits and is_there(m, want.frames, want.block):
            want.waits = 0
            ctl.starving -= 1
            clock.wake_by_step(m, r, ctl.now)


@routine
def give_up(m):
    """Note that nothing more can be reclaimed: memory is exhausted if a row still waits."""
    for r in range(m.rows.size):
        if m.wants[r].waits:
            m.ctl[0].exhausted = r + 1
