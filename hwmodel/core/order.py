"""The program order of the trace: who waits for an epoch or to open one, the lookahead gate, and who is done (docs/model.md section 3)."""

from hwmodel.core import clock
from hwmodel.core.ledger import account
from hwmodel.core.tables import BIRTH, DONE, EPOCH, GATE, NEVER, NO_REASON, OPENER, VACANT
from hwmodel.jit import part, routine
from hwmodel.op import ATTACH, BRK, DETACH, EXIT, FORK, MMAP, MPROTECT, MREMAP, MUNMAP, SYNC

ORDER_WAIT, GATE_WAIT, IDLE = account("order_wait"), account("gate_wait"), account("idle")


@part
def opens(kind):
    """Does a record of this kind open an epoch?"""
    return (
        kind == MMAP or kind == BRK or kind == MUNMAP or kind == MPROTECT or kind == MREMAP or kind == FORK or kind == EXIT
        or kind == ATTACH or kind == DETACH or kind == SYNC
    )  # fmt: skip


@routine
def floor(m, i):
    """The lowest block in which another agent, or any outstanding request, still is."""
    ctl, lowest = m.ctl[0], NEVER
    for j in range(ctl.agents):
        if j != i and not m.rows[j].unused:
            lowest = min(lowest, m.rows[j].block)
    for j in range(ctl.agents, m.rows.size):
        if m.rows[j].phase != VACANT:
            lowest = min(lowest, m.rows[j].index >> ctl.shift)
    return lowest


@routine
def known(m, i):
    """Is enough of the trace here to say what agent i does next?"""
    ctl = m.ctl[0]
    return m.rows[i].head < m.rows[i].tail or ctl.total < NEVER or (ctl.fed - 1) >> ctl.shift >= floor(m, i) + 2


@routine
def enter(m, i):
    """Agent i moves to the block of its next record, waits at the gate for it, or is done."""
    row, ctl = m.rows[i], m.ctl[0]
    top = floor(m, i) + 1
    if row.head == row.tail and ctl.total < NEVER and top >= (ctl.total - 1) >> ctl.shift:
        row.phase, row.block, row.lazy, row.in_guest = DONE, NEVER, 1, 0
        m.due[i] = NEVER
        return
    want = NEVER if row.head == row.tail else m.queue[row.head].index >> ctl.shift
    row.block = min(want, top)
    if want > top:
        hold_back(m, i, GATE, GATE_WAIT)


@part
def hold_back(m, i, why, account):
    """Agent i waits for what `release_waiting` looks for."""
    m.rows[i].why = why
    m.ctl[0].waiting += 1
    clock.block(m, i, account)


@routine
def may_open(m, i):
    """May the opener at agent i's head begin? Every earlier record of its space must be complete, in time too."""
    row, op = m.rows[i], m.queue[m.rows[i].head]
    space = -1 if op.kind == SYNC else row.space
    if oldest(m, i, space) < op.index:
        hold_back(m, i, OPENER, ORDER_WAIT)
        return False
    end = latest_end(m, i, space)
    if end > row.clock:
        clock.wait(m, i, ORDER_WAIT, end)
        return False
    return True


@routine
def oldest(m, i, space):
    """The index of the oldest record of a space (-1: of any) that is incomplete, but for agent i's head."""
    ctl, index = m.ctl[0], NEVER
    for j in range(m.rows.size):
        row = m.rows[j]
        if j != i and (space < 0 or row.space == space):
            if j >= ctl.agents:
                if row.phase != VACANT:
                    index = min(index, row.index)
            elif row.head < row.tail:
                index = min(index, m.queue[row.head].index)
    return index


@routine
def latest_end(m, i, space):
    """When the latest complete record of the space's other agents ended."""
    end = 0
    for j in range(m.ctl[0].agents):
        if j != i and (space < 0 or m.rows[j].space == space):
            end = max(end, m.rows[j].done_at)
    return end


@routine
def release_waiting(m):
    """Wake the agents whose gate, birth, epoch or turn to open has come with the step just done."""
    ctl = m.ctl[0]
    for j in range(ctl.agents):
        why = m.rows[j].why
        if why != NO_REASON:
            until = time_to_go(m, j, why)
            if until < NEVER:
                m.rows[j].why = NO_REASON
                ctl.waiting -= 1
                clock.wake(m, j, until)


@routine
def time_to_go(m, j, why):
    """When agent j may go on; NEVER: not yet."""
    ctl, row = m.ctl[0], m.rows[j]
    space = m.spaces[row.space]
    if why == GATE:
        return ctl.now if floor(m, j) + 1 > row.block else NEVER
    if why == BIRTH:
        return ctl.now if space.born else NEVER
    op = m.queue[row.head]
    if why == EPOCH:
        return ctl.now if op.epoch <= space.epoch else NEVER
    scope = -1 if op.kind == SYNC else row.space
    return NEVER if oldest(m, j, scope) < op.index else max(ctl.now, latest_end(m, j, scope))
