"""Locks held across steps: a writer or readers, and a queue in order of (request time, row) (docs/model.md section 7).

A step calls `acquire` first; a row that must wait repeats the step when it is woken, and has the lock then.
"""

from hwmodel.core import clock, log
from hwmodel.core.ledger import LOCK_WAIT
from hwmodel.core.tables import NEVER
from hwmodel.jit import part, routine

READ, WRITE = 1, 2


@part
def grantable(m, lock, mode):
    """Return whether the lock is compatible with `mode`, ignoring waiters."""
    held = m.locks[lock]
    return held.writer < 0 and (mode == READ or held.readers == 0)


@part
def available(m, lock, mode):
    """Return whether the lock would be granted at once: nobody waits for it, and it is compatible with `mode`."""
    return m.locks[lock].waiting == 0 and grantable(m, lock, mode)


@part
def hold(m, r, lock, mode, at):
    """Give row r the lock."""
    log.lock_taken(m, r, lock, at)
    if mode == WRITE:
        m.locks[lock].writer = r
    else:
        m.locks[lock].readers += 1


@routine
def acquire(m, r, lock, mode):
    """Take the lock for row r and return True; if the lock is not available, block the row until it is granted and return False."""
    row = m.rows[r]
    if row.granted:
        row.granted = 0
        return True
    if available(m, lock, mode):
        hold(m, r, lock, mode, clock.time(m, r))
        return True
    row.lock, row.lock_mode, row.lock_since = lock, mode, clock.time(m, r)
    m.locks[lock].waiting += 1
    clock.block_on_step(m, r, LOCK_WAIT)
    return False


@routine
def grant(m, lock, at):
    """Grant the lock to one head of its queue after the other, as long as the head's mode is compatible."""
    while m.locks[lock].waiting > 0:
        head, since = -1, NEVER
        for r in range(m.rows.size):
            row = m.rows[r]
            if row.lock_mode > 0 and row.lock == lock and row.lock_since < since:
                head, since = r, row.lock_since
        row = m.rows[head]
        if not grantable(m, lock, row.lock_mode):
            return
        hold(m, head, lock, row.lock_mode, at)
        log.note(m, log.WAIT, head, row.lock_since, at, -1, 0, lock << 2 | row.lock_mode)
        m.locks[lock].waiting -= 1
        row.lock_mode, row.granted = 0, 1
        clock.wake_by_step(m, head, at)


@routine
def release(m, r, lock):
    """Release row r's hold on the lock, now."""
    held = m.locks[lock]
    log.lock_given(m, r, lock, WRITE if held.writer == r else READ, clock.time(m, r))
    if held.writer == r:
        held.writer = -1
    else:
        held.readers -= 1
    grant(m, lock, clock.time(m, r))


@routine
def downgrade(m, r, lock):
    """Turn the writer into a reader, now."""
    held, now = m.locks[lock], clock.time(m, r)
    log.lock_given(m, r, lock, WRITE, now)
    log.lock_taken(m, r, lock, now)
    held.writer = -1
    held.readers += 1
    grant(m, lock, now)
