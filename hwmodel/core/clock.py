"""Clocks move in three ways only, and each books the time by which it moves one: spend, wait, steal (docs/model.md section 2)."""

from hwmodel.core import device
from hwmodel.core.tables import DONE, ENGINE, NEVER, REQUEST
from hwmodel.jit import part, routine


@part
def spend(m, r, account, cycles):
    """Let row r work for `cycles`, booked to `account`; a request's work is done by its server CPU."""
    row = m.rows[r]
    if row.role == REQUEST:
        if cycles > 0:
            if row.cpu != row.agent:
                m.serving[row.cpu, account] += cycles
            m.due[r] = steal(m, row.cpu, account, m.due[r], cycles)
    else:
        row.clock += cycles
        m.ledger[r, account] += cycles
        m.due[r] = row.clock


@part
def lower(row):
    """Give a row the `effect` that it has between two messages: a request acts on the CPU that serves it, if that is not its engine."""
    row.effect = 1 if row.role == REQUEST and row.cpu != row.agent else 0


@part
def time(m, r):
    """Return the time that row r has reached in its step."""
    row = m.rows[r]
    return m.due[r] if row.role == REQUEST else row.clock


@part
def wait(m, r, account, until):
    """Let row r wait until `until`, which may lie in its past."""
    row = m.rows[r]
    if row.role == REQUEST:
        m.due[r], m.misses[r].awaits = max(m.due[r], until), account
    else:
        row.wait_from, row.wait_until, row.wait_account = row.clock, max(until, row.clock), account
        m.ledger[r, account] += row.wait_until - row.clock
        row.clock = row.wait_until
        m.due[r] = row.clock


@part
def block(m, r, account):
    """Block row r until an event whose time is not known yet."""
    row = m.rows[r]
    m.due[r] = NEVER
    if row.role == REQUEST:
        m.misses[r].awaits = account
    else:
        row.blocked, row.wait_account, row.served = 1, account, 0
        row.wait_from, row.wait_until = row.clock, NEVER


@routine
def wake(m, r, until):
    """Unblock row r at `until`, or when a service that is still running ends; the ledger has the services during the wait already."""
    row = m.rows[r]
    if row.role == REQUEST:
        m.due[r] = until
        return
    if row.owned:
        row.woken, row.wake_at = 1, until
        return
    end = max(until, row.clock)
    if row.served > 0:
        end = max(end, row.busy_until)
    m.ledger[r, row.wait_account] += end - row.clock - row.served
    row.wait_until, row.blocked, row.served = end, 0, 0
    row.clock = end
    m.due[r] = end


@part
def block_on_step(m, r, account):
    """Block row r until a step of another row wakes it, with `wake_by_step`, at that step's own time.

    A row with `effect` then acts on others at once: while one is blocked so, nobody may run ahead (`poised`).
    """
    m.ctl[0].poised += m.rows[r].effect
    block(m, r, account)


@part
def wake_by_step(m, r, at):
    """Unblock row r in a step of another row."""
    m.ctl[0].poised -= m.rows[r].effect
    wake(m, r, at)


@routine
def shift(m, c, start, cycles):
    """Take `cycles` of agent c's time from `start` on, for a service; inside a wait it costs the agent only the overhang."""
    row = m.rows[c]
    if start < row.done_at:
        row.done_at += cycles  # the record in progress ends later
    if row.blocked:
        if start >= row.wait_from:
            row.served += cycles
        else:  # the service interrupts the work before the wait
            row.clock += cycles
            row.wait_from = row.clock
        return
    if start < row.wait_from:
        overlap = min(cycles, row.wait_until - row.wait_from)
        row.wait_from += overlap
    else:
        overlap = max(0, min(start + cycles, row.wait_until) - start)
    m.ledger[c, row.wait_account] -= overlap
    row.clock += cycles - overlap
    if row.phase != DONE and not row.owned:
        m.due[c] = max(m.due[c], row.clock) if m.devices[c].waits else row.clock


@routine
def steal(m, c, account, at, cycles):
    """Serve on agent c from `at` on, or once its latest service ends; return the end of this service."""
    row = m.rows[c]
    start = max(at, row.busy_until)
    if row.role == ENGINE:
        start = make_way(m, c, start)
    row.busy_until = start + cycles
    m.ledger[c, account] += cycles
    shift(m, c, start, cycles)
    return start + cycles


@routine
def make_way(m, e, at):
    """Return when a service of engine e can begin: once its data in flight are there. A request that has its CPU has waited until then."""
    device_row, since = m.devices[e], m.rows[e].busy_until
    if device_row.taker == 0:
        return device.drain(m, e, at)
    m.ledger[e, m.misses[device_row.taker - 1].awaits] += at - since
    shift(m, e, since, at - since)
    return at


@part
def catch_up(m, r):
    """Book, before a step of request r, what it has waited until now, if it has its engine's CPU."""
    if m.devices[m.rows[r].agent].taker:
        steal(m, m.rows[r].agent, m.misses[r].awaits, m.due[r], 0)


@part
def charge(m, c, account, cycles):
    """Book a piece of the handler that owns CPU c, which serves requests."""
    m.ledger[c, account] += cycles
    m.serving[c, account] += cycles


@part
def own(m, c, since):
    """Give CPU c to a handler that runs with interrupts masked, from `since` or the end of its latest service on."""
    row = m.rows[c]
    row.own_from, row.owned = max(since, row.busy_until), 1
    if not row.effect:
        m.due[c] = NEVER


@routine
def disown(m, c, end):
    """Give CPU c back to its own work: the handler's last cycle was before `end`."""
    row = m.rows[c]
    row.busy_until, row.owned = end, 0
    shift(m, c, row.own_from, end - row.own_from)
    if row.woken:
        row.woken = 0
        wake(m, c, row.wake_at)
