"""The GRU driver: the interrupt handler and the user's ioctl, step by step (docs/model.md 10.3; grufault.c)."""

from hwmodel.core import clock, device, locks, log
from hwmodel.core.ledger import record
from hwmodel.core.tables import HUGE, NEVER, PFN, WRITES, ZERO, A, D
from hwmodel.engine import FAULT_TIME
from hwmodel.jit import part, routine
from hwmodel.op import HUGETLB
from hwmodel.parts import bank, paging_caches, radix, tlb
from hwmodel.primary import fault, shootdown, vmas
from hwmodel.secondary._gru_phases import (
    CALL,
    CALL_CTX,
    CALL_LOCK,
    CHECK,
    DROP,
    DROPIN,
    FMM_PATH,
    GUP,
    IRQ,
    NO_RIGHT,
    RESTART,
    RESUME,
    SWITCH,
    TFH,
    UCHECK,
    UDROP,
    UEXIT,
    UGUP,
    UPM_PATH,
    WINDOW,
    note_phase,
)  # fmt: skip
from hwmodel.secondary._gru_state import (
    CALLS,
    DRIVER,
    DROPINS,
    FAIL_ACTIVE,
    FAIL_UPM,
    FMM_TIME,
    INTR,
    INTR_TFH,
    IRQS,
    KILLS,
    LOCK_FAILED,
    MOD_MISSES,
    SLEEPS,
    SWITCHES,
    UPM_TIME,
    WAIT_QUEUE,
    context_lock,
)  # fmt: skip


@routine
def step(m, dev, r):
    """Do request r's next step, of the hardware or of the driver."""
    phase = m.rows[r].phase
    if phase == IRQ:
        start_handler(m, dev, r, m.due[r])
    elif phase == TFH:
        read_fault(m, dev, r)
    elif phase == CHECK:
        check(m, dev, r)
    elif phase == SWITCH:
        switch(m, dev, r)
    elif phase == DROPIN:
        drop_in(m, dev, r)
    elif phase == RESTART:
        restart(m, dev, r)
    else:
        call_os(m, dev, r, phase)


@part
def charge(m, row, account, cycles):
    """Book the handler's work to the CPU that the handler owns."""
    m.ledger[row.cpu, account] += cycles


@routine
def start_handler(m, dev, r, arrived):
    """IRQ: start the handler on its CPU, with every fault of the chiplet that waits there (gru_intr)."""
    row, q, own = m.rows[r], dev.requests[r], dev.costs[0]
    clock.own(m, row.cpu, arrived)
    m.counts[row.agent, INTR] += 1
    clock.charge(m, row.cpu, IRQS, own.irq_entry)
    for j in range(m.ctl[0].agents, m.rows.size):
        other, here = dev.requests[j], m.rows[j].phase == IRQ and m.rows[j].cpu == row.cpu
        if j == r or (other.waiting and m.due[j] == NEVER and here and other.chiplet == q.chiplet):
            other.waiting, other.member, m.due[j] = 0, 1, NEVER
    take_member(m, dev, row.cpu, m.rows[row.cpu].own_from + own.irq_entry)


@part
def take_member(m, dev, s, at):
    """Schedule the read of the next fault of the handler's batch at `at`; return whether there is one."""
    for j in range(m.ctl[0].agents, m.rows.size):
        q = dev.requests[j]
        if q.member and m.rows[j].cpu == s:
            q.member, m.rows[j].phase, m.due[j] = 0, TFH, at
            note_phase(m, dev, j)
            return True
    return False


@routine
def next_fault(m, dev, r, at):
    """Continue the handler with its next fault, or give the CPU back."""
    s = m.rows[r].cpu
    if take_member(m, dev, s, at):
        return
    clock.charge(m, m.rows[r].cpu, IRQS, dev.costs[0].irq_exit)
    clock.disown(m, s, at + dev.costs[0].irq_exit)
    serve_pending(m, dev, s)


@routine
def serve_pending(m, dev, s):
    """Serve all that waited for the handler's end, in order of arrival, until the next GRU interrupt takes the CPU again."""
    while True:
        best = shootdown.earliest_pending(m, s)
        since = m.pending[s, best] - 1 if best >= 0 else NEVER
        ipi = True
        for j in range(m.ctl[0].agents, m.rows.size):
            q = dev.requests[j]
            if q.waiting and m.due[j] == NEVER and m.rows[j].cpu == s and (q.since < since or (q.since == since and j < best)):
                best, since, ipi = j, q.since, False
        if best < 0:
            return
        if ipi:
            shootdown.answer_pending(m, s, best)
        elif m.rows[best].phase == IRQ:
            start_handler(m, dev, best, since)
            return
        else:
            m.due[best] = m.rows[s].busy_until


@part
def read_fault(m, dev, r):
    """TFH: read the fault."""
    row, own = m.rows[r], dev.costs[0]
    m.counts[row.agent, INTR_TFH] += 1
    expose(dev, r, 1)
    row.phase = CHECK
    clock.charge(m, row.cpu, DRIVER, own.tfh_read)
    m.due[r] += own.tfh_read


@part
def check(m, dev, r):
    """CHECK: try the drop-in in interrupt context (gru_try_dropin): mmap lock, ms_range_active, the page table without a lock."""
    row, now = m.rows[r], m.due[r]
    counts = m.counts[row.agent]
    if dev.contexts[row.agent].reload or not locks.available(m, row.space, locks.READ):
        counts[LOCK_FAILED] += 1
        switch(m, dev, r)
        return
    if dev.gms[row.space].active > 0:
        refuse(m, r)
        switch(m, dev, r)
        return
    cycles, found = walk(m, dev, r)
    clock.charge(m, row.cpu, DRIVER, cycles)
    now += cycles
    if found and needs_big(m, dev, r):
        dev.contexts[row.agent].big = dev.contexts[row.agent].reload = 1  # a context can't be updated at interrupt level
        found = False
    if not found:
        counts[FAIL_UPM] += 1
        row.phase, m.due[r] = SWITCH, now
        return
    row.phase, m.due[r] = DROPIN, now


@part
def refuse(m, r):
    """Count a drop-in that request r may not make, for a window is open."""
    m.counts[m.rows[r].agent, FAIL_ACTIVE] += 1
    log.note(m, log.RETRY, r, m.due[r], m.due[r], m.misses[r].vpn, 1, 0)


@part
def expose(dev, r, is_read):
    """Note that a driver has read the fault of request r, or gives it up; unless kills begin with the miss, they begin and end so."""
    q = dev.requests[r]
    if is_read:
        q.huge = 0
    if not dev.unknown[0].from_miss:
        q.killed, q.exposed = 0, is_read


@routine
def walk(m, dev, r):
    """Look the page up without a lock, through the server's caches (atomic_pte_lookup); return the cycles and whether the pte suffices."""
    row, q = m.rows[r], dev.requests[r]
    node, at, _, cycles = paging_caches.walk(m, m.rows[row.cpu].banks, -1, m.spaces[row.space].root, m.misses[r].vpn)
    pte = q.pte = m.nodes[node, at]
    return cycles, radix.allows(pte, q.mod) and (not q.mod or pte & D != 0)


@part
def needs_big(m, dev, r):
    """Return whether this is a page of a hugetlb VMA, which is dropped in whole, and its size is not yet in the context's mask."""
    row, q = m.rows[r], dev.requests[r]
    k = vmas.find(m, row.space, m.misses[r].vpn)
    q.huge = 1 if k >= 0 and m.vmas[k].mapping == HUGETLB and q.pte & HUGE else 0
    return q.huge and not dev.contexts[row.agent].big


@part
def switch(m, dev, r):
    """SWITCH: leave the fault to the user, who polls; the handler continues."""
    row, own, now = m.rows[r], dev.costs[0], m.due[r]
    m.counts[row.agent, SWITCHES] += 1
    expose(dev, r, 0)
    row.phase = CALL
    clock.charge(m, row.cpu, DRIVER, own.upm_switch)
    m.due[r] = now + own.upm_switch + own.poll
    next_fault(m, dev, r, now + own.upm_switch)


@part
def drop_in(m, dev, r):
    """DROPIN: write the entry (tfh_write_restart) without waiting for the hardware; the handler continues."""
    row, own, now = m.rows[r], dev.costs[0], m.due[r]
    m.counts[row.agent, DROPINS] += 1
    clock.charge(m, row.cpu, DRIVER, own.dropin)
    row.phase, m.due[r] = RESTART, now + own.dropin + own.restart
    device.enter(m, r, DROP, now)
    device.enter(m, r, RESUME, now + own.dropin)
    next_fault(m, dev, r, now + own.dropin)


@part
def look_again(m, dev, r):
    """Look up the page of request r, whose instruction is restarted; return whether it hits, or note the cause of its next fault."""
    row, q, miss = m.rows[r], dev.requests[r], m.misses[r]
    k = tlb.look_joint(m, dev.banks[q.chiplet], row.space, miss.vpn)
    if k >= 0 and (not miss.write or m.ways[k].rights & WRITES):
        return True
    m.counts[row.agent, MOD_MISSES] += k >= 0
    trap(m, dev, r, k >= 0)
    return False


@part
def trap(m, dev, r, is_there):
    """Make the instruction of request r fault, for a modification if it is a store whose entry is there, or any that reports one."""
    q, unknown = dev.requests[r], dev.unknown[0]
    m.rows[r].phase = IRQ
    m.due[r] += dev.costs[0].irq_delivery
    q.mod = 1 if m.misses[r].write and (is_there or not unknown.mere_miss) else 0
    q.killed, q.exposed, q.huge = 0, unknown.from_miss, 0


@part
def put_in(m, dev, r):
    """Put the entry of request r into its chiplet's TLB."""
    q, vpn = dev.requests[r], m.misses[r].vpn
    page = (q.pte >> PFN) + (vpn & 511 if q.pte & HUGE and not q.huge and not q.pte & ZERO else 0)
    tag = tlb.tag_of(m.rows[r].space, vpn, q.huge)
    bank.fill(m, dev.banks[q.chiplet], tlb.set_of(vpn, q.huge), tag, page, WRITES if q.mod else 0)


@part
def restart(m, dev, r):
    """RESTART: put the entry into the TLB, unless the kill bit is set; then the instruction looks up again."""
    q, miss = dev.requests[r], m.misses[r]
    if q.killed:
        m.counts[m.rows[r].agent, KILLS] += 1
        log.note(m, log.KILL, r, q.killed_at, m.due[r], miss.vpn, 1, 0)
    else:
        put_in(m, dev, r)
    q.exposed = 0
    if not look_again(m, dev, r):
        return
    took = m.due[r] - miss.issued
    record(m.hists, FAULT_TIME, took)
    record(m.hists, UPM_TIME if q.upm else FMM_TIME, took)
    device.found(m, r, UPM_PATH if q.upm else FMM_PATH)


@routine
def call_os(m, dev, r, phase):
    """Do one step of the user's ioctl: gru_handle_user_call_os and gru_try_dropin in process context."""
    row, q, costs, own, counts = m.rows[r], dev.requests[r], m.costs[0], dev.costs[0], m.counts[m.rows[r].agent]
    if phase == CALL:
        counts[CALLS] += 1
        q.upm, row.phase = 1, CALL_LOCK
        clock.spend(m, r, DRIVER, costs.syscall)
    elif phase == CALL_LOCK:
        if locks.acquire(m, r, row.space, locks.READ):
            row.phase = CALL_CTX
    elif phase == CALL_CTX:
        if locks.acquire(m, r, context_lock(m, row.agent), locks.WRITE):
            row.phase = WINDOW
            reload(m, dev, r)
    elif phase == WINDOW:
        q.sleeping = 0
        if dev.gms[row.space].active > 0:
            sleep(m, dev, r)
        else:
            expose(dev, r, 1)
            row.phase = UCHECK
            clock.spend(m, r, DRIVER, own.tfh_read)
    elif phase == UCHECK:
        if dev.gms[row.space].active > 0:
            refuse(m, r)
            counts[WAIT_QUEUE] += 1
            sleep(m, dev, r)
        else:
            look_up(m, dev, r)
    elif phase == UGUP:
        row.phase = GUP
        clock.spend(m, r, fault.GUPS, costs.gup)
    elif phase == GUP:
        get_user_page(m, dev, r)
    elif phase == UDROP:
        counts[DROPINS] += 1
        row.phase = UEXIT
        clock.spend(m, r, DRIVER, own.dropin)
    else:
        leave_call(m, dev, r)


@part
def reload(m, dev, r):
    """Give the context the page size that a handler owes it (ts_force_cch_reload)."""
    context = dev.contexts[m.rows[r].agent]
    if context.reload:
        context.reload = 0
        clock.spend(m, r, DRIVER, dev.costs[0].cch_update)


@part
def sleep(m, dev, r):
    """Sleep on ms_wait_queue (wait_event) until a window of the space ends."""
    row, q = m.rows[r], dev.requests[r]
    m.counts[row.agent, SLEEPS] += 1
    expose(dev, r, 0)
    row.phase, q.sleeping, m.due[r] = WINDOW, 1, NEVER


@part
def look_up(m, dev, r):
    """UCHECK: look the page up without a lock first, here too (gru_vtop); use get_user_pages if that does not suffice."""
    cycles, found = walk(m, dev, r)
    clock.spend(m, r, DRIVER, cycles)
    m.rows[r].phase = UGUP
    if found:
        take_page(m, dev, r)


@part
def take_page(m, dev, r):
    """Schedule the drop-in of the page found; first add its size to the context's mask if it is not there."""
    m.rows[r].phase = UDROP
    if needs_big(m, dev, r):
        dev.contexts[m.rows[r].agent].big = 1
        clock.spend(m, r, DRIVER, dev.costs[0].cch_update)


@part
def get_user_page(m, dev, r):
    """GUP: take the page from the CPU's page table, after a fault if need be; the page is not pinned."""
    q, miss, root = dev.requests[r], m.misses[r], m.spaces[m.rows[r].space].root
    q.pte = radix.get(m, root, miss.vpn)
    if not radix.allows(q.pte, q.mod):
        fault.call(m, r, miss.vpn, q.mod, 0, 1, GUP, NO_RIGHT)
    else:
        if q.mod and not q.pte & D:
            q.pte |= A | D
            radix.update(m, root, miss.vpn, q.pte)
        take_page(m, dev, r)


@part
def leave_call(m, dev, r):
    """UEXIT: release the locks; restart the instruction, or complete an access that had no right."""
    row, q = m.rows[r], dev.requests[r]
    locks.release(m, r, context_lock(m, row.agent))
    locks.release(m, r, row.space)
    if row.phase == NO_RIGHT:
        fault.count_refused(m, r)
        q.exposed = 0
        if device.refuse(m, r) == 0:
            device.release(m, r)
        else:
            trap(m, dev, r, False)
    else:
        row.phase = RESTART
        m.due[r] += dev.costs[0].restart
