"""SGI GRU (drivers/misc/sgi-gru): a TLB per chiplet, with no second level and no walker, so a CPU serves every miss.

The driver is that of Linux 2.6.33 to 6.x, variant A: drop-in by the interrupt handler (docs/model.md section 10).
"""

from typing import Any

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.core import clock, locks
from hwmodel.core.queue import next_record, vacant_request
from hwmodel.core.tables import DESIGN, ENGINE, I64, NEVER, PROCESS, VACANT, cost_row
from hwmodel.engine import ACCESS as ISSUE
from hwmodel.engine import DEVICE_ACCESSES, DEVICE_HITS, DEVICE_MISSES, drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import tlb
from hwmodel.primary import access, notify
from hwmodel.secondary._gru_driver import ACCESS, GUP, IRQ, RESTART, step
from hwmodel.secondary._gru_spec import CBRS, CONTEXTS, INDEX_AND_WAY, MOST_PAGES, Spec
from hwmodel.secondary._gru_state import (
    BOOK,
    CONTEXT,
    COSTS,
    GMS,
    MOD_MISSES,
    REQUESTED,
    STALL_DRIVER,
    STALL_GUP,
    STALL_TRAP,
    STALL_WINDOW,
    TGHS,
    State,
    asid_lock,
    find,
)  # fmt: skip
from hwmodel.secondary.protocol import engine_rows, first_cpu

__all__ = [
    "ACCESS_COST", "BOOK", "CBRS", "CONTEXTS", "INDEX_AND_WAY", "Spec", "build", "geometry", "lock_count", "outstanding", "reach", "run",
]  # fmt: skip

ACCESS_COST = "access_gru"
"""The cost of an engine's access."""


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding."""
    return machine.get("tlb.cbrs")


def lock_count(spaces: int, engines: int) -> int:
    """Return the number of locks: one for the invalidations of each space, one for each context."""
    return spaces + engines


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the banks that the design adds: a TLB for each chiplet."""
    return [(machine.get("tlb.entries"), machine.get("tlb.ways"))] * machine.get("gru.chiplets")


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Give engines and requests their chiplets, servers and groups; return the design's own tables."""
    ctl, chiplets, costs = m.ctl[0], machine.get("gru.chiplets"), cost_row(COSTS, machine.costs())
    members = np.zeros((chiplets, ctl.spaces), I64)
    requests, contexts = np.zeros(m.rows.size, REQUESTED), np.zeros(m.rows.size, CONTEXT)
    for r, row in engine_rows(m):
        chiplet = requests[r].chiplet = contexts[r].chiplet = (row.agent - ctl.cpus) % chiplets
        row.group = ctl.agents + chiplet
        if row.role == ENGINE:
            row.access_cost = costs["access_gru"][0]
            members[chiplet, row.space] += 1
            m.spaces[row.space].subscribers = 1
        else:
            row.effect, row.cpu = 1, server_of(machine, m, row.space)
    return State(first_bank + np.arange(chiplets, dtype=I64), members, np.zeros(ctl.spaces, GMS), requests, contexts, costs)


def reach(m: Any, dev: State) -> tuple[int, int]:
    """Return the fewest cycles until a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design.

    A miss interrupts a CPU. A row that changes a chiplet's TLB is in the chiplet's group, or has `effect`.
    """
    return NEVER, dev.costs[0].irq_delivery


def server_of(machine: Any, m: Any, space: int) -> int:
    """Return the CPU that takes the interrupts of a space's contexts."""
    chosen = machine.get("driver.interrupt_cpu")
    return chosen if chosen >= 0 else first_cpu(m, space)


@part
def translate(m, dev, i, kind, vpn, now):
    """Look up engine i's current access in its chiplet's TLB."""
    if find(m, dev, dev.contexts[i].chiplet, m.rows[i].space, vpn, kind == WRITE) < 0:
        return access.ORDERED
    m.counts[i, DEVICE_ACCESSES] += 1
    m.counts[i, DEVICE_HITS] += 1
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Give the rest of engine i's record, whose access missed, to a free CBR and issue on; stall if no CBR is free."""
    row, own, counts, r = m.rows[i], dev.costs[0], m.counts[i], vacant_request(m, i)
    if r < 0:
        dev.contexts[i].stalled = 1
        clock.block(m, i, STALL_TRAP)
        return
    q, its = dev.requests[r], m.rows[r]
    n = m.queue[row.head].count - row.taken
    counts[DEVICE_ACCESSES] += n
    counts[DEVICE_MISSES] += 1
    counts[DEVICE_HITS] += n - 1
    counts[MOD_MISSES] += tlb.look_joint(m, dev.banks[q.chiplet], row.space, vpn) >= 0
    its.phase, q.issued, q.vpn, q.write, its.index = IRQ, row.clock, vpn, kind == WRITE, m.queue[row.head].index
    q.killed = q.reading = q.upm = q.huge = 0
    m.due[r] = row.clock + own.access_gru + own.irq_delivery  # the first access misses; the context issues the others meanwhile
    clock.spend(m, i, ISSUE, n * own.access_gru)
    next_record(m, i)
    row.done_at = max(row.done_at, row.clock)


@part
def may_act(m, dev, r):
    """Return whether request r may take its step: process context must wait while an interrupt handler has its server CPU."""
    row, q, now = m.rows[r], dev.requests[r], m.due[r]
    settle(m, dev, row.agent, now)
    if (row.phase < DESIGN or row.phase >= PROCESS or row.phase == IRQ) and m.rows[row.cpu].owned:
        q.waiting, q.since, m.due[r] = 1, now, NEVER
        return False
    q.waiting = 0
    return True


@part
def advance(m, dev, r):
    """Do one step of request r, of the hardware or of the driver."""
    step(m, dev, r)


@routine
def settle(m, dev, e, now):
    """Book a stalled engine's time up to now by the phase of its oldest outstanding request."""
    row, ctl = m.rows[e], m.ctl[0]
    if not dev.contexts[e].stalled or now <= row.clock:
        return
    first = ctl.agents + (e - ctl.cpus) * ctl.outstanding
    oldest = first
    for r in range(first, first + ctl.outstanding):
        if m.rows[r].phase != VACANT and dev.requests[r].issued < dev.requests[oldest].issued:
            oldest = r
    m.ledger[e, stall_of(m.rows[oldest].phase, dev.requests[oldest])] += now - row.clock
    row.clock = now


@part
def stall_of(phase, q):
    """Return the account of a stall on this request."""
    if q.sleeping and not q.waiting:
        return STALL_WINDOW
    if q.waiting or phase == IRQ or phase == RESTART or phase == ACCESS:
        return STALL_TRAP
    return STALL_GUP if phase < DESIGN or phase == GUP else STALL_DRIVER


@part
def deliver(m, dev, r):
    """Do one step of the notice in row r: gru_mmu_invalidate_range_start, _end, or release; gru_mmuops answers no question."""
    row, notice = m.rows[r], m.notices[r]
    gms = dev.gms[row.space]
    if notice.kind == notify.START:
        if notice.stage == 0:
            gms.active += 1
            notice.stage, notice.at = 1, -1
        elif notice.stage == 1:
            if locks.acquire(m, r, asid_lock(m, row.space), locks.WRITE):
                notice.stage = 2
                invalidate(m, dev, r)
        elif notice.stage == 2:
            invalidate(m, dev, r)
        else:
            locks.release(m, r, asid_lock(m, row.space))
            notify.returned(m, r)
    else:
        if notice.kind == notify.STOP:
            gms.active -= 1
            wake_sleepers(m, dev, row.space, m.due[r])
        elif notice.kind == notify.RELEASE:
            forget(m, dev, row.space)
        notify.returned(m, r)


@routine
def invalidate(m, dev, r):
    """Do one TGH operation on the next chiplet where the space has a context."""
    row, notice, own = m.rows[r], m.notices[r], dev.costs[0]
    c = next_chiplet(dev, row.space, notice.at)
    pages = notice.last - notice.first
    b = dev.banks[c]
    if pages >= MOST_PAGES:
        tlb.drop_asid(m, b, row.space)
    else:
        tlb.drop_range(m, b, row.space, notice.first, notice.last)
    kill(m, dev, c, row.space, notice)
    m.counts[row.agent, TGHS] += 1
    notice.at = c
    if next_chiplet(dev, row.space, c) < 0:
        notice.stage = 3
        notify.end_effect(m, r)
    clock.spend(m, r, notify.INVALIDATE, own.tgh + min(pages, MOST_PAGES) * own.tgh_page)


@part
def next_chiplet(dev, space, c):
    """Return the first chiplet after c with a context of the space, or -1."""
    for k in range(c + 1, dev.members.shape[0]):
        if dev.members[k, space] > 0:
            return k
    return -1


@part
def kill(m, dev, c, space, notice):
    """Cancel the drop-ins in flight for the range on chiplet c, as the hardware does."""
    first, last = notice.first, notice.last
    for j in range(m.ctl[0].agents, m.rows.size):
        q = dev.requests[j]
        if q.reading and q.chiplet == c and m.rows[j].space == space:
            page = q.vpn & -512 if q.huge else q.vpn
            if last - first >= MOST_PAGES or (page < last and page + (512 if q.huge else 1) > first):
                q.killed = 1


@part
def wake_sleepers(m, dev, space, now):
    """Wake all sleepers of the space (wake_up_all), whatever its count of open windows."""
    for j in range(m.ctl[0].agents, m.rows.size):
        q = dev.requests[j]
        if q.sleeping and m.rows[j].space == space and m.due[j] == NEVER and not q.waiting:
            m.due[j] = now + m.costs[0].wakeup


@part
def forget(m, dev, space):
    """Drop the TLB entries of an address space that is gone."""
    for c in range(dev.banks.size):
        tlb.drop_asid(m, dev.banks[c], space)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, may_act, advance, deliver)
