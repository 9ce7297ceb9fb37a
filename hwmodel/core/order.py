"""The program order of the trace: ordering fences (epochs), the lookahead window and its gate, which agents are done (docs/model.md 3)."""

from hwmodel.core import clock, device
from hwmodel.core.ledger import GATE_WAIT, ORDER_WAIT
from hwmodel.core.tables import BIRTH, DONE, ENGINE, EPOCH, GATE, NEVER, NO_REASON, OPENER, VACANT
from hwmodel.jit import part, routine
from hwmodel.op import ATTACH, BRK, DETACH, EXIT, FORK, MMAP, MPROTECT, MREMAP, MUNMAP, SYNC


@part
def opens(kind):
    """Return whether a record of this kind is an ordering fence: it opens an epoch."""
    return (
        kind == MMAP or kind == BRK or kind == MUNMAP or kind == MPROTECT or kind == MREMAP or kind == FORK or kind == EXIT
        or kind == ATTACH or kind == DETACH or kind == SYNC
    )  # fmt: skip


@routine
def floor(m, i):
    """Return the lowest block in which another agent, or any outstanding request, still is."""
    ctl, lowest = m.ctl[0], NEVER
    for j in range(ctl.agents):
        if j != i and not m.rows[j].unused:
            lowest = min(lowest, m.rows[j].block)
    for j in range(ctl.agents, m.rows.size):
        if m.rows[j].phase != VACANT:
            lowest = min(lowest, m.rows[j].index >> ctl.shift)
    return lowest


@routine
def is_ahead(m, i):
    """Return whether another agent, or an outstanding request, still is in a block before agent i's."""
    ctl, block = m.ctl[0], m.rows[i].block
    for j in range(ctl.agents):
        if j != i and m.rows[j].block < block and not m.rows[j].unused:
            return True
    for j in range(ctl.agents, m.rows.size):
        if m.rows[j].phase != VACANT and m.rows[j].index >> ctl.shift < block:
            return True
    return False


@routine
def known(m, i):
    """Return whether enough of the trace has arrived to decide the next step of agent i."""
    ctl = m.ctl[0]
    return m.rows[i].head < m.rows[i].tail or ctl.total < NEVER or (ctl.fed - 1) >> ctl.shift >= floor(m, i) + 2


@routine
def enter(m, i):
    """Move agent i to the block of its next record, let it wait at the gate for that block, or mark it as done.

    An engine is done when its last data are there.
    """
    row, ctl = m.rows[i], m.ctl[0]
    top = floor(m, i) + 1
    if row.head == row.tail and ctl.total < NEVER and top >= (ctl.total - 1) >> ctl.shift:
        if row.role == ENGINE and not device.is_empty(m, i):
            return
        row.phase, row.block, row.lazy, row.away = DONE, NEVER, 1, 0
        m.due[i] = NEVER
        return
    want = NEVER if row.head == row.tail else m.queue[row.head].index >> ctl.shift
    row.block = min(want, top)
    if want > top:
        hold_back(m, i, GATE, GATE_WAIT)


@part
def hold_back(m, i, why, account):
    """Block agent i for the reason `why`, until `release_waiting` finds that the reason is gone."""
    m.rows[i].why = why
    m.ctl[0].waiting += 1
    clock.block(m, i, account)


@routine
def may_open(m, i):
    """Return whether the opener at agent i's head may begin: all earlier records of its space are complete, in time too; else i waits."""
    row, op = m.rows[i], m.queue[m.rows[i].head]
    space = -1 if op.kind == SYNC else row.space
    if not is_first(m, i, space):
        hold_back(m, i, OPENER, ORDER_WAIT)
        return False
    if m.rows[i].role == ENGINE and device.last_data(m, i) > row.clock:
        device.land(m, i, NEVER)
        m.due[i] = row.clock
        return False
    end = latest_end(m, i, space)
    if end > row.clock:
        clock.wait(m, i, ORDER_WAIT, end)
        return False
    return True


@routine
def is_first(m, i, space):
    """Return whether no incomplete record of a space (-1: of any space) lies before agent i's head record."""
    ctl, index = m.ctl[0], m.queue[m.rows[i].head].index
    for j in range(m.rows.size):
        row = m.rows[j]
        if j != i and (space < 0 or row.space == space):
            if j >= ctl.agents:
                if row.phase != VACANT and row.index < index:
                    return False
            elif row.head < row.tail and m.queue[row.head].index < index:
                return False
    return True


@routine
def latest_end(m, i, space):
    """Return the end of the latest complete record of the space's other agents."""
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
                if m.rows[j].role == ENGINE:
                    device.land(m, j, until)
                clock.wake(m, j, until)


@routine
def time_to_go(m, j, why):
    """Return the time at which agent j may go on, or NEVER if it may not go on yet."""
    ctl, row = m.ctl[0], m.rows[j]
    space = m.spaces[row.space]
    if why == GATE:
        return NEVER if is_ahead(m, j) else ctl.now
    if why == BIRTH:
        return ctl.now if space.born else NEVER
    op = m.queue[row.head]
    if why == EPOCH:
        return ctl.now if op.epoch <= space.epoch else NEVER
    scope = -1 if op.kind == SYNC else row.space
    return max(ctl.now, latest_end(m, j, scope)) if is_first(m, j, scope) else NEVER
