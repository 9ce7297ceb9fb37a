"""SGI GRU (drivers/misc/sgi-gru): a TLB per chiplet, with no second level and no walker, so a CPU serves every miss.

The driver is that of Linux 2.6.33 to 6.x, variant A: drop-in by the interrupt handler (docs/model.md section 10).
"""

from typing import Any

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.core import clock, device, locks
from hwmodel.core.tables import DESIGN, ENGINE, I64, NEVER, PROCESS, RELEASE, cost_row
from hwmodel.engine import drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import tlb
from hwmodel.primary import access, notify
from hwmodel.secondary._gru_driver import step, trap
from hwmodel.secondary._gru_phases import IRQ, note_phase, stages
from hwmodel.secondary._gru_spec import CBRS, CONTEXTS, INDEX_AND_WAY, MOST_PAGES, Spec
from hwmodel.secondary._gru_state import (
    BOOK,
    CONTEXT,
    COSTS,
    GMS,
    KILL_ASID,
    KILL_RANGE,
    MOD_MISSES,
    REQUESTED,
    SCOPES,
    STALL_INVALIDATION,
    TGHS,
    UNKNOWN,
    State,
    asid_lock,
    chiplet_lock,
    find,
)  # fmt: skip
from hwmodel.secondary.protocol import engine_rows, first_cpu

__all__ = [
    "BOOK", "CBRS", "CONTEXTS", "INDEX_AND_WAY", "Spec", "build", "geometry", "lock_count", "lock_names", "outstanding", "reach", "run",
]  # fmt: skip

OPEN, ASID, OPERATE, EFFECT, NEXT, LAST = range(6)
"""Stages of a start notice."""


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding: each is a CBR of its context."""
    return machine.get("device.window")


def lock_count(spaces: int, engines: int) -> int:
    """Return the number of locks: one for the invalidations of each space, one for each context, one for each chiplet with one."""
    return spaces + 2 * engines


def lock_names(spaces: int, engines: int) -> list[str]:
    """Return the names of the locks."""
    asids, contexts = (f"ms_asid_lock of space {space}" for space in range(spaces)), (f"ts_ctxlock {k}" for k in range(engines))
    return [*asids, *contexts, *(f"TGH of chiplet {k}" for k in range(engines))]


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
            members[chiplet, row.space] += 1
            m.spaces[row.space].subscribers = 1
        else:
            row.effect, row.cpu = 1, server_of(machine, m, row.space)
    banks, gms = first_bank + np.arange(chiplets, dtype=I64), np.zeros(ctl.spaces, GMS)
    return State(banks, members, gms, requests, contexts, unknown(machine), stages(), costs)


def unknown(machine: Any) -> np.ndarray:
    """Return what the settings say of what is not known."""
    row = np.zeros(1, UNKNOWN)
    row[0] = (
        SCOPES.index(machine.get("gru.kills")), machine.get("gru.kills_from") == "miss", machine.get("gru.store_miss") == "miss",
        machine.get("gru.merge_misses"), machine.get("tgh.purges") == "sets", machine.get("tgh.takes_effect") == "end",
        machine.get("tgh.serial"),
    )  # fmt: skip
    return row


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
    m.counts[i, device.ACCESSES] += 1
    m.counts[i, device.HITS] += 1
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Interrupt a CPU for engine i's current access, which has missed: a fault of its CBR, unless it joins another miss of the page."""
    is_there = tlb.look_joint(m, dev.banks[dev.contexts[i].chiplet], m.rows[i].space, vpn) >= 0
    m.counts[i, MOD_MISSES] += is_there
    r = device.miss(m, i, vpn, kind == WRITE, dev.unknown[0].merges)
    if r >= 0:
        dev.requests[r].upm = 0
        trap(m, dev, r, is_there)
        note_phase(m, dev, r)


@part
def may_act(m, dev, r):
    """Return whether request r may take its step: process context must wait while an interrupt handler has its server CPU."""
    row, q, now = m.rows[r], dev.requests[r], m.due[r]
    waits = (row.phase < DESIGN or row.phase >= PROCESS or row.phase == IRQ) and row.phase != RELEASE and m.rows[row.cpu].owned
    if waits or q.waiting:
        q.waiting = 1 if waits else 0
        note_phase(m, dev, r)
    if waits:
        q.since, m.due[r] = now, NEVER
    return not waits


@part
def advance(m, dev, r):
    """Do one step of request r, of the hardware or of the driver."""
    step(m, dev, r)
    note_phase(m, dev, r)


@part
def deliver(m, dev, r):
    """Do one step of the notice in row r: gru_mmu_invalidate_range_start, _end, or release; gru_mmuops answers no question."""
    row, notice = m.rows[r], m.notices[r]
    gms = dev.gms[row.space]
    if notice.kind == notify.START:
        if notice.stage == OPEN:
            gms.active += 1
            notice.stage, notice.at = ASID, -1
        else:
            invalidate(m, dev, r)
    else:
        if notice.kind == notify.STOP:
            gms.active -= 1
            wake_sleepers(m, dev, row.space, m.due[r])
        elif notice.kind == notify.RELEASE:
            forget(m, dev, row.space)
        notify.returned(m, r)


@routine
def invalidate(m, dev, r):
    """Do a step of the TGH operations: one on each chiplet where the space has a context, under ms_asid_lock."""
    row, notice = m.rows[r], m.notices[r]
    if notice.stage == ASID:
        if not locks.acquire(m, r, asid_lock(m, row.space), locks.WRITE):
            return
        notice.stage = OPERATE
    elif notice.stage == NEXT or notice.stage == LAST:
        if dev.unknown[0].serial:
            locks.release(m, r, chiplet_lock(m, notice.at))
        if notice.stage == LAST:
            locks.release(m, r, asid_lock(m, row.space))
            notify.returned(m, r)
            return
        notice.stage = OPERATE
    if notice.stage == OPERATE:
        c = next_chiplet(dev, row.space, notice.at)
        if not dev.unknown[0].serial or locks.acquire(m, r, chiplet_lock(m, c), locks.WRITE):
            notice.at = c
            operate(m, dev, r, c)
    else:
        clock.spend(m, r, notify.INVALIDATE, max(0, take_effect(m, dev, r, notice.at) - clock.time(m, r)))


@routine
def operate(m, dev, r, c):
    """Begin a TGH operation on chiplet c: stop the space's contexts there for a while; drop and kill now, or in a step at its end."""
    row, notice, own, now = m.rows[r], m.notices[r], dev.costs[0], clock.time(m, r)
    m.counts[row.agent, TGHS] += 1
    for e in range(m.ctl[0].cpus, m.ctl[0].engines if own.tgh_stall else 0):
        if dev.contexts[e].chiplet == c and m.rows[e].space == row.space:
            device.halt(m, e, now, now + own.tgh_stall, STALL_INVALIDATION)
    cycles = own.tgh + min(notice.last - notice.first, MOST_PAGES) * own.tgh_page
    if dev.unknown[0].at_end:
        notice.stage = EFFECT
    else:
        cycles = max(cycles, take_effect(m, dev, r, c) - now)
    clock.spend(m, r, notify.INVALIDATE, cycles)


@routine
def take_effect(m, dev, r, c):
    """Drop the entries on chiplet c, and kill misses there; return when the last data in flight that used them are there."""
    row, notice, b = m.rows[r], m.notices[r], dev.banks[c]
    if notice.last - notice.first >= MOST_PAGES:
        tlb.drop_asid(m, b, row.space)
    else:
        tlb.drop_range(m, b, row.space, notice.first, notice.last)
        if dev.unknown[0].purges_sets:
            tlb.drop_sets(m, b, row.space, notice.first, notice.last)
    kill(m, dev, c, row.space, notice)
    notice.stage = NEXT
    if next_chiplet(dev, row.space, c) < 0:
        notice.stage = LAST
        notify.end_effect(m, r)
    return data_there(m, dev, c, row.space)


@routine
def data_there(m, dev, c, space):
    """Return when the last data in flight of a space's engines on chiplet c are there (gru_tgh_state WAITDONE)."""
    last = 0
    for e in range(m.ctl[0].cpus, m.ctl[0].engines):
        if dev.contexts[e].chiplet == c and m.rows[e].space == space:
            last = max(last, device.last_use(m, e))
    return last


@part
def next_chiplet(dev, space, c):
    """Return the first chiplet after c with a context of the space, or -1."""
    for k in range(c + 1, dev.members.shape[0]):
        if dev.members[k, space] > 0:
            return k
    return -1


@part
def kill(m, dev, c, space, notice):
    """Cancel drop-ins in flight on chiplet c, as the hardware does: those of its scope."""
    first, last, scope = notice.first, notice.last, dev.unknown[0].kills
    for j in range(m.ctl[0].agents, m.rows.size):
        q = dev.requests[j]
        if q.exposed and q.chiplet == c and (m.rows[j].space == space or scope > KILL_ASID):
            page = m.misses[j].vpn & -512 if q.huge else m.misses[j].vpn
            if scope > KILL_RANGE or last - first >= MOST_PAGES or (page < last and page + (512 if q.huge else 1) > first):
                q.killed_at = q.killed_at if q.killed else m.ctl[0].now
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
