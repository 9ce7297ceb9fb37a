"""The GRU driver: the interrupt handler and the user's ioctl, step by step (docs/model.md 10.3; grufault.c)."""

from typing import NamedTuple

import numpy as np

from hwmodel.core import clock, locks
from hwmodel.core.ledger import account, counter, latency, record
from hwmodel.core.tables import DESIGN, HUGE, NEVER, PFN, PROCESS, TABLE, VACANT, WRITES, ZERO, A, D, P, W, table
from hwmodel.jit import part, routine
from hwmodel.op import HUGETLB
from hwmodel.parts import bank, radix, tlb
from hwmodel.parts.paging_caches import entry_line, refer
from hwmodel.primary import fault, shootdown, vmas

IRQ, TFH, CHECK, SWITCH, DROPIN, RESTART, ACCESS = range(DESIGN, DESIGN + 7)
CALL, CALL_LOCK, CALL_CTX, WINDOW, UCHECK, UGUP, GUP, UDROP, UEXIT, NO_RIGHT = range(PROCESS, PROCESS + 10)
ISSUE, IRQS, DRIVER, GUPS, INVALIDATE = (
    account("access"), account("irq"), account("driver"), account("gup"), account("invalidate")
)  # fmt: skip
STALL_TRAP, STALL_DRIVER = account("stall_trap"), account("stall_driver")
STALL_GUP, STALL_WINDOW = account("stall_gup"), account("stall_window")
ACCESSES, HITS, MISSES = counter("device.accesses"), counter("device.tlb.hits"), counter("device.tlb.misses")
MOD_MISSES, INTR, INTR_TFH = counter("gru.mod_misses"), counter("gru.intr"), counter("gru.intr_tfh")
LOCK_FAILED, FAIL_ACTIVE = counter("gru.intr_mm_lock_failed"), counter("gru.fail_range_active")
FAIL_UPM, SWITCHES, CALLS = counter("gru.fail_upm"), counter("gru.upm_switches"), counter("gru.call_os")
WAIT_QUEUE, SLEEPS = counter("gru.call_os_wait_queue"), counter("gru.window_sleeps")
DROPINS, KILLS = counter("gru.dropins"), counter("gru.kills")
REPLAYS, TGHS, SEGVS = counter("gru.replays"), counter("gru.tgh"), counter("segv")
FAULT_TIME, FMM_TIME, UPM_TIME = latency("fault"), latency("fault.fmm"), latency("fault.upm")
GMS = table("active")
"""The driver's count for an address space: ms_range_active, the number of open windows."""


class State(NamedTuple):
    """The chiplets, and the driver's state for each address space."""

    banks: np.ndarray  # int64[chiplet]  the bank of its TLB
    members: np.ndarray  # int64[chiplet, space]  engines of the space on the chiplet
    gms: np.ndarray  # GMS[space]


@part
def asid_lock(m, space):
    """Return the lock that serialises the invalidations of a space (ms_asid_lock)."""
    return m.ctl[0].spaces + space


@part
def context_lock(m, engine):
    """Return the lock of a context (ts_ctxlock)."""
    return 2 * m.ctl[0].spaces + engine - m.ctl[0].cpus


@part
def find(m, dev, row, vpn, write):
    """Return the way that lets `row` access `vpn`, or -1; a write needs an entry that was dropped in for writing."""
    k = tlb.look_joint(m, dev.banks[row.chiplet], row.space, vpn)
    return -1 if k >= 0 and write and not m.ways[k].rights & WRITES else k


@routine
def step(m, dev, r):
    """Do request r's next step, of the hardware or of the driver."""
    phase = m.rows[r].phase
    if phase == IRQ:
        start_handler(m, r, m.due[r])
    elif phase == TFH:
        read_fault(m, r)
    elif phase == CHECK:
        check(m, dev, r)
    elif phase == SWITCH:
        switch(m, r)
    elif phase == DROPIN:
        drop_in(m, dev, r)
    elif phase == RESTART:
        restart(m, dev, r)
    elif phase == ACCESS:
        replay(m, dev, r)
    else:
        call_os(m, dev, r, phase)


@part
def charge(m, q, account, cycles):
    """Book the handler's work to the CPU that the handler owns."""
    m.ledger[q.cpu, account] += cycles


@routine
def start_handler(m, r, arrived):
    """IRQ: start the handler on its CPU, with every fault of the chiplet that waits there (gru_intr)."""
    q, costs = m.rows[r], m.costs[0]
    clock.own(m, q.cpu, arrived)
    m.counts[q.agent, INTR] += 1
    charge(m, q, IRQS, costs.irq_entry)
    for j in range(m.ctl[0].agents, m.rows.size):
        other = m.rows[j]
        if j == r or (other.waiting and m.due[j] == NEVER and other.phase == IRQ and other.cpu == q.cpu and other.chiplet == q.chiplet):
            other.waiting, other.member, m.due[j] = 0, 1, NEVER
    take_member(m, q.cpu, m.rows[q.cpu].own_from + costs.irq_entry)


@part
def take_member(m, s, at):
    """Schedule the read of the next fault of the handler's batch at `at`; return whether there is one."""
    for j in range(m.ctl[0].agents, m.rows.size):
        q = m.rows[j]
        if q.member and q.cpu == s:
            q.member, q.phase, m.due[j] = 0, TFH, at
            return True
    return False


@routine
def next_fault(m, r, at):
    """Continue the handler with its next fault, or give the CPU back."""
    s = m.rows[r].cpu
    if take_member(m, s, at):
        return
    charge(m, m.rows[r], IRQS, m.costs[0].irq_exit)
    clock.disown(m, s, at + m.costs[0].irq_exit)
    serve_pending(m, s)


@routine
def serve_pending(m, s):
    """Serve all that waited for the handler's end, in order of arrival, until the next GRU interrupt takes the CPU again."""
    while True:
        best = shootdown.earliest_pending(m, s)
        since = m.pending[s, best] - 1 if best >= 0 else NEVER
        ipi = True
        for j in range(m.ctl[0].agents, m.rows.size):
            q = m.rows[j]
            if q.waiting and m.due[j] == NEVER and q.cpu == s and (q.since < since or (q.since == since and j < best)):
                best, since, ipi = j, q.since, False
        if best < 0:
            return
        if ipi:
            shootdown.answer_pending(m, s, best)
        elif m.rows[best].phase == IRQ:
            start_handler(m, best, since)
            return
        else:
            m.due[best] = m.rows[s].busy_until


@part
def read_fault(m, r):
    """TFH: read the fault; from here on an invalidation kills the drop-in."""
    q, costs = m.rows[r], m.costs[0]
    m.counts[q.agent, INTR_TFH] += 1
    q.killed, q.reading, q.huge, q.phase = 0, 1, 0, CHECK
    charge(m, q, DRIVER, costs.tfh_read)
    m.due[r] += costs.tfh_read


@part
def check(m, dev, r):
    """CHECK: try the drop-in in interrupt context (gru_try_dropin): mmap lock, ms_range_active, the page table without a lock."""
    q, now = m.rows[r], m.due[r]
    counts = m.counts[q.agent]
    if m.rows[q.agent].reload or not locks.available(m, q.space, locks.READ):
        counts[LOCK_FAILED] += 1
        switch(m, r)
        return
    if dev.gms[q.space].active > 0:
        counts[FAIL_ACTIVE] += 1
        switch(m, r)
        return
    cycles, found = walk(m, q)
    charge(m, q, DRIVER, cycles)
    now += cycles
    if found and needs_big(m, r):
        m.rows[q.agent].big = m.rows[q.agent].reload = 1  # a context can't be updated at interrupt level
        found = False
    if not found:
        counts[FAIL_UPM] += 1
        q.phase, m.due[r] = SWITCH, now
        return
    q.phase, m.due[r] = DROPIN, now


@routine
def walk(m, q):
    """Look the page up without a lock, through the server's caches (atomic_pte_lookup); return the cycles and whether the pte suffices."""
    node, level, cycles = m.spaces[q.space].root, 4, 0
    while True:
        at = radix.index(q.vpn, level)
        cycles += refer(m, m.rows[q.cpu].banks, entry_line(node, at), 0)
        q.pte = m.nodes[node, at]
        if not q.pte & TABLE:
            break
        node = q.pte >> PFN
        level -= 1
    return cycles, q.pte & P != 0 and (not q.write or (q.pte & W != 0 and q.pte & D != 0))


@part
def needs_big(m, r):
    """Return whether this is a page of a hugetlb VMA, which is dropped in whole, and its size is not yet in the context's mask."""
    q = m.rows[r]
    k = vmas.find(m, q.space, q.vpn)
    q.huge = 1 if k >= 0 and m.vmas[k].mapping == HUGETLB and q.pte & HUGE else 0
    return q.huge and not m.rows[q.agent].big


@part
def switch(m, r):
    """SWITCH: leave the fault to the user, who polls; the handler continues."""
    q, costs, now = m.rows[r], m.costs[0], m.due[r]
    m.counts[q.agent, SWITCHES] += 1
    q.reading, q.phase = 0, CALL
    charge(m, q, DRIVER, costs.upm_switch)
    m.due[r] = now + costs.upm_switch + costs.poll
    next_fault(m, r, now + costs.upm_switch)


@part
def drop_in(m, dev, r):
    """DROPIN: write the entry (tfh_write_restart) without waiting for the hardware; the handler continues."""
    q, costs, now = m.rows[r], m.costs[0], m.due[r]
    m.counts[q.agent, DROPINS] += 1
    charge(m, q, DRIVER, costs.dropin)
    q.phase, m.due[r] = RESTART, now + costs.dropin + costs.restart
    next_fault(m, r, now + costs.dropin)


@part
def miss_again(m, r, name):
    """Make the instruction fault once more, counted as `name`."""
    q = m.rows[r]
    m.counts[q.agent, name] += 1
    q.phase = IRQ
    m.due[r] += m.costs[0].irq_delivery


@part
def restart(m, dev, r):
    """RESTART: put the entry into the TLB, unless the kill bit is set."""
    q = m.rows[r]
    q.reading = 0
    if q.killed:
        miss_again(m, r, KILLS)
        return
    page = (q.pte >> PFN) + (q.vpn & 511 if q.pte & HUGE and not q.huge and not q.pte & ZERO else 0)
    tag = tlb.tag_of(q.space, q.vpn, q.huge)
    bank.fill(m, dev.banks[q.chiplet], tlb.set_of(q.vpn, q.huge), tag, page, WRITES if q.write else 0)
    q.phase = ACCESS
    m.due[r] += m.costs[0].access_gru


@part
def replay(m, dev, r):
    """ACCESS: look up again for the restarted instruction."""
    q = m.rows[r]
    if find(m, dev, q, q.vpn, q.write) < 0:
        miss_again(m, r, REPLAYS)
        return
    took = m.due[r] - q.issued
    record(m.hists, FAULT_TIME, took)
    record(m.hists, UPM_TIME if q.upm else FMM_TIME, took)
    complete(m, r)


@part
def complete(m, r):
    """Complete the request's record; a stalled context continues."""
    q, now = m.rows[r], m.due[r]
    e = m.rows[q.agent]
    e.done_at = max(e.done_at, now)
    q.phase, m.due[r] = VACANT, NEVER
    if e.stalled:
        e.stalled = 0
        clock.wake(m, q.agent, now)


@routine
def call_os(m, dev, r, phase):
    """Do one step of the user's ioctl: gru_handle_user_call_os and gru_try_dropin in process context."""
    q, costs, counts = m.rows[r], m.costs[0], m.counts[m.rows[r].agent]
    if phase == CALL:
        counts[CALLS] += 1
        q.upm, q.phase = 1, CALL_LOCK
        clock.spend(m, r, DRIVER, costs.syscall)
    elif phase == CALL_LOCK:
        if locks.acquire(m, r, q.space, locks.READ):
            q.phase = CALL_CTX
    elif phase == CALL_CTX:
        if locks.acquire(m, r, context_lock(m, q.agent), locks.WRITE):
            q.phase = WINDOW
            reload(m, r)
    elif phase == WINDOW:
        q.sleeping = 0
        if dev.gms[q.space].active > 0:
            sleep(m, r)
        else:
            q.killed, q.reading, q.huge, q.phase = 0, 1, 0, UCHECK
            clock.spend(m, r, DRIVER, costs.tfh_read)
    elif phase == UCHECK:
        if dev.gms[q.space].active > 0:
            counts[FAIL_ACTIVE] += 1
            counts[WAIT_QUEUE] += 1
            sleep(m, r)
        else:
            look_up(m, r)
    elif phase == UGUP:
        q.phase = GUP
        clock.spend(m, r, GUPS, costs.gup)
    elif phase == GUP:
        get_user_page(m, r)
    elif phase == UDROP:
        counts[DROPINS] += 1
        q.phase = UEXIT
        clock.spend(m, r, DRIVER, costs.dropin)
    else:
        leave_call(m, r)


@part
def reload(m, r):
    """Give the context the page size that a handler owes it (ts_force_cch_reload)."""
    context = m.rows[m.rows[r].agent]
    if context.reload:
        context.reload = 0
        clock.spend(m, r, DRIVER, m.costs[0].cch_update)


@part
def sleep(m, r):
    """Sleep on ms_wait_queue (wait_event) until a window of the space ends."""
    q = m.rows[r]
    m.counts[q.agent, SLEEPS] += 1
    q.reading, q.phase, q.sleeping, m.due[r] = 0, WINDOW, 1, NEVER


@part
def look_up(m, r):
    """UCHECK: look the page up without a lock first, here too (gru_vtop); use get_user_pages if that does not suffice."""
    q = m.rows[r]
    cycles, found = walk(m, q)
    clock.spend(m, r, DRIVER, cycles)
    q.phase = UGUP
    if found:
        take_page(m, r)


@part
def take_page(m, r):
    """Schedule the drop-in of the page found; first add its size to the context's mask if it is not there."""
    q = m.rows[r]
    q.phase = UDROP
    if needs_big(m, r):
        m.rows[q.agent].big = 1
        clock.spend(m, r, DRIVER, m.costs[0].cch_update)


@part
def get_user_page(m, r):
    """GUP: take the page from the CPU's page table, after a fault if need be; the page is not pinned."""
    q, root = m.rows[r], m.spaces[m.rows[r].space].root
    q.pte = radix.get(m, root, q.vpn)
    if not q.pte & P or (q.write and not q.pte & W):
        fault.call(m, r, q.vpn, q.write, GUP, NO_RIGHT)
    else:
        if q.write and not q.pte & D:
            q.pte |= A | D
            radix.put(m, root, q.vpn, 2 if q.pte & HUGE else 1, q.pte)
        take_page(m, r)


@part
def leave_call(m, r):
    """UEXIT: release the locks; restart the instruction, or complete an access that had no right."""
    q = m.rows[r]
    locks.release(m, r, context_lock(m, q.agent))
    locks.release(m, r, q.space)
    if q.phase == NO_RIGHT:
        m.counts[q.agent, SEGVS] += 1
        q.reading = 0
        fault.note_segv(m, q.index)
        complete(m, r)
    else:
        q.phase = RESTART
        m.due[r] += m.costs[0].restart
