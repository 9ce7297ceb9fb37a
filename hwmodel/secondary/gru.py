"""SGI GRU (drivers/misc/sgi-gru): a TLB per chiplet and nothing behind it, so every miss is served by a CPU."""

from typing import Any, NamedTuple

import numpy as np

from hwmodel import clock, locks
from hwmodel.byref import by_reference
from hwmodel.config import (
    ConfigError,
    DesignSpec,
    Nanoseconds,
    Section,
    SettingError,
    associativity,
    cost_ns,
    setting,
    size,
)
from hwmodel.engine import drive, kernel_step
from hwmodel.jit import entry, part, routine
from hwmodel.ledger import account, counter, latency, record
from hwmodel.op import HUGETLB, WRITE
from hwmodel.parts import bank, radix, tlb
from hwmodel.parts.walker import entry_line, refer
from hwmodel.primary import access, fault, notify, shootdown, vmas
from hwmodel.records import next_record
from hwmodel.tables import DESIGN, HUGE, I64, NEVER, NOTICE_ARRIVES, PFN, PROCESS, READY, TABLE, VACANT, WALK, A, D, P, W, table

CONTEXTS = 16
"""Contexts of a chiplet (gruhandles.h, GRU_NUM_CCH)."""
CBRS = 128
"""CBRs of a chiplet, shared out among its contexts (gruhandles.h, GRU_NUM_CBE)."""
INDEX_AND_WAY = 1 << 12
"""Entries that the 12 bits of `indexway` in a TFH can name (gruhandles.h): the TLB has no more."""


MOST_PAGES = 1024
"""Pages of one TGH operation; more purge everything (gruhandles.h, GRUMAXINVAL)."""


class Tlb(Section):
    """The TLB of a chiplet and what a context may have in flight."""

    entries: int = size(
        1024, "entries", "entries of a chiplet's TLB", "E", le=INDEX_AND_WAY, low=256, high=INDEX_AND_WAY
    )
    ways: int = associativity(4, "E")
    cbrs: int = setting(
        8, "count", "instructions that a context can have in flight (CBRs)", "E", ge=1, le=CBRS, low=2, high=CBRS
    )


class Gru(Section):
    """How many GRUs there are."""

    chiplets: int = setting(2, "count", "GRU chiplets, each with its own TLB and invalidations", "V", ge=1, le=1024)


class Driver(Section):
    """What a TLB miss costs: the interrupt and each step of the driver."""

    interrupt_cpu: int = setting(
        -1, "CPU", "the CPU that takes the interrupts; -1: that of the context's owner", "E", ge=-1
    )
    interrupt_ns: Nanoseconds = cost_ns(
        900, "irq_delivery", "from a miss to the first instruction of the interrupt handler", "E", low=800, high=1500
    )
    irq_entry_ns: Nanoseconds = cost_ns(
        500, "irq_entry", "interrupt entry and reading the fault map (TFM)", "E", low=300, high=1000
    )
    irq_exit_ns: Nanoseconds = cost_ns(400, "irq_exit", "end of interrupt and return", "E", low=100, high=600)
    tfh_read_ns: Nanoseconds = cost_ns(250, "tfh_read", "reading a TLB fault handle (TFH)", "E", low=130, high=350)
    upm_switch_ns: Nanoseconds = cost_ns(
        500, "upm_switch", "switching a fault from interrupt to user polling", "E", low=250, high=1000
    )
    poll_ns: Nanoseconds = cost_ns(
        800, "poll", "until the polling user sees that it must call the driver", "E", low=100, high=2000
    )
    dropin_ns: Nanoseconds = cost_ns(
        150, "dropin", "writing and flushing a TFH: an entry is dropped into the TLB", "E", low=100, high=300
    )
    restart_ns: Nanoseconds = cost_ns(
        500, "restart", "from the drop-in until the instruction goes on", "E", low=250, high=1000
    )
    cch_update_ns: Nanoseconds = cost_ns(
        1000, "cch_update", "adding a page size to a loaded context (CCH)", "E", low=500, high=3000
    )


class Tgh(Section):
    """What an invalidation costs."""

    invalidate_ns: Nanoseconds = cost_ns(
        3000, "tgh", "one TGH invalidate operation on one chiplet", "E", low=1000, high=10_000
    )
    page_ns: Nanoseconds = cost_ns("free", "tgh_page", "more for every page of the range", "E", low=0, high=10)


class Instruction(Section):
    """What an access costs that needs no driver."""

    access_ns: Nanoseconds = cost_ns(
        88, "access_gru", "one access of an instruction stream, in its turn", "E", low=50, high=700
    )


class Spec(DesignSpec):
    """The settings of the GRU design.

    Attributes
    ----------
    tlb, gru, driver, tgh, instruction : Section
        See the sections.
    """

    tlb: Tlb = Tlb()
    gru: Gru = Gru()
    driver: Driver = Driver()
    tgh: Tgh = Tgh()
    instruction: Instruction = Instruction()

    def check(self, common: Any) -> None:
        """Raise `SettingError` if the interrupts would go to a CPU that isn't there."""
        if self.driver.interrupt_cpu >= common.cpu.count:
            raise SettingError(
                "driver.interrupt_cpu", f"there is no CPU {self.driver.interrupt_cpu}: cpu.count is {common.cpu.count}"
            )

    def check_engines(self, engines: int) -> None:
        """Raise `ConfigError` if the chiplets don't have the contexts or the CBRs for so many engines.

        Parameters
        ----------
        engines : int
            Device agents of the trace; engine k is a context of chiplet k % gru.chiplets.
        """
        contexts = -(-engines // self.gru.chiplets)
        if contexts > CONTEXTS:
            raise ConfigError(
                f"gru.chiplets: {self.gru.chiplets} have {CONTEXTS * self.gru.chiplets} contexts "
                f"({CONTEXTS} each), but there are {engines} engines"
            )
        if contexts * self.tlb.cbrs > CBRS:
            raise ConfigError(
                f"tlb.cbrs: {self.tlb.cbrs} for each of {contexts} contexts of a chiplet are more than its {CBRS}"
            )


IRQ, TFH, CHECK, SWITCH, DROPIN, RESTART, ACCESS = range(DESIGN, DESIGN + 7)
CALL, CALL_LOCK, CALL_CTX, WINDOW, UCHECK, GUP, UDROP, UEXIT, NO_RIGHT = range(PROCESS, PROCESS + 9)
ISSUE, IRQS, DRIVER, GUPS, INVALIDATE = (
    account("access"), account("irq"), account("driver"), account("gup"), account("invalidate")
)  # fmt: skip
STALL_TRAP, STALL_DRIVER = account("stall_trap"), account("stall_driver")
STALL_GUP, STALL_WINDOW = account("stall_gup"), account("stall_window")
ACCESSES, HITS, MISSES = counter("device.accesses"), counter("device.tlb.hits"), counter("device.tlb.misses")
MOD_MISSES, INTR, INTR_TFH = counter("gru.mod_misses"), counter("gru.intr"), counter("gru.intr_tfh")
LOCK_FAILED, FAIL_ACTIVE = counter("gru.intr_mm_lock_failed"), counter("gru.fail_range_active")
FAIL_UPM, SWITCHES, CALLS = counter("gru.fail_upm"), counter("gru.upm_switches"), counter("gru.call_os")
WAIT_QUEUE, DROPINS, KILLS = counter("gru.call_os_wait_queue"), counter("gru.dropins"), counter("gru.kills")
REPLAYS, TGHS, SEGVS = counter("gru.replays"), counter("gru.tgh"), counter("segv")
FAULT_TIME, FMM_TIME, UPM_TIME = latency("fault"), latency("fault.fmm"), latency("fault.upm")
GMS = table("active")
"""Of an address space: ms_range_active, the windows that are open."""


class State(NamedTuple):
    """The chiplets, and what the driver keeps for each address space."""

    banks: np.ndarray  # int64[chiplet]  the bank of its TLB
    members: np.ndarray  # int64[chiplet, space]  engines of the space on the chiplet
    gms: np.ndarray  # GMS[space]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding."""
    return machine.get("tlb.cbrs")


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the banks that the design adds: a TLB for each chiplet."""
    return [(machine.get("tlb.entries"), machine.get("tlb.ways"))] * machine.get("gru.chiplets")


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Give engines and requests their chiplets, servers and groups; return the design's own tables."""
    ctl, chiplets = m.ctl[0], machine.get("gru.chiplets")
    members = np.zeros((chiplets, ctl.spaces), I64)
    for row in m.rows[ctl.cpus :]:
        unit = row.agent - ctl.cpus
        row.chiplet = unit % chiplets
        row.group = ctl.agents + row.chiplet
        if row.role == 1:
            row.access_cost = m.costs[0].access_gru
            members[row.chiplet, row.space] += 1
            m.spaces[row.space].subscribers = 1
        else:
            row.effect, row.cpu = 1, server_of(machine, m, row.space)
    return State(first_bank + np.arange(chiplets, dtype=I64), members, np.zeros(ctl.spaces, GMS))


def server_of(machine: Any, m: Any, space: int) -> int:
    """Return the CPU that takes the interrupts of a space's contexts."""
    chosen = machine.get("driver.interrupt_cpu")
    if chosen >= 0:
        return chosen
    owners = [c for c in range(m.ctl[0].cpus) if m.rows[c].space == space and not m.rows[c].unused]
    return owners[0] if owners else 0


@part
def asid_lock(m, space):
    """The lock that serialises the invalidations of a space (ms_asid_lock)."""
    return m.ctl[0].spaces + space


@part
def context_lock(m, engine):
    """The lock of a context (ts_ctxlock)."""
    return 2 * m.ctl[0].spaces + engine - m.ctl[0].cpus


@part
def find(m, dev, row, vpn, write):
    """The way that lets `row` access `vpn`, or -1: a write needs an entry that was dropped in for writing."""
    k = tlb.look_joint(m, dev.banks[row.chiplet], row.space, vpn)
    return -1 if k >= 0 and write and not m.ways[k].w else k


@part
def translate(m, dev, i, kind, vpn, now):
    """A look-up for engine i's head access."""
    row = m.rows[i]
    if find(m, dev, row, vpn, kind == WRITE) < 0:
        row.want = WALK
        return access.ORDERED
    m.counts[i, ACCESSES] += 1
    m.counts[i, HITS] += 1
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Engine i misses: a free CBR takes the rest of the record and the context issues on, or it stalls."""
    row, costs, counts = m.rows[i], m.costs[0], m.counts[i]
    row.want = 0
    first = m.ctl[0].agents + (i - m.ctl[0].cpus) * m.ctl[0].outstanding
    for r in range(first, first + m.ctl[0].outstanding):
        q = m.rows[r]
        if q.phase == VACANT:
            n = m.queue[row.head].count - row.taken
            counts[ACCESSES] += n
            counts[MISSES] += 1
            counts[HITS] += n - 1
            counts[MOD_MISSES] += tlb.look_joint(m, dev.banks[row.chiplet], row.space, vpn) >= 0
            q.phase, q.issued, q.vpn, q.write, q.index = IRQ, row.clock, vpn, kind == WRITE, m.queue[row.head].index
            q.killed = q.reading = q.upm = q.huge = 0
            clock.spend(m, i, ISSUE, n * costs.access_gru)
            m.due[r] = row.clock + costs.irq_delivery
            next_record(m, i)
            return
    row.stalled = 1
    clock.block(m, i, STALL_TRAP)


@part
def advance(m, dev, r):
    """One step of request r; process context must wait while an interrupt handler has its server CPU."""
    q, now = m.rows[r], m.due[r]
    settle(m, q.agent, now)
    if (q.phase < DESIGN or q.phase >= PROCESS or q.phase == IRQ) and m.rows[q.cpu].owned:
        q.waiting, q.since, m.due[r] = 1, now, NEVER
        return
    q.waiting = 0
    if q.phase >= DESIGN:
        step(m, dev, r)
    elif q.phase == NOTICE_ARRIVES:
        deliver(m, dev, r)
    else:
        kernel_step(m, r, q.phase)


@routine
def settle(m, e, now):
    """Book a stalled engine's time up to now to the phase of its oldest outstanding request."""
    row, ctl = m.rows[e], m.ctl[0]
    if not row.stalled or now <= row.clock:
        return
    first = ctl.agents + (e - ctl.cpus) * ctl.outstanding
    oldest = first
    for r in range(first, first + ctl.outstanding):
        if m.rows[r].phase != VACANT and m.rows[r].issued < m.rows[oldest].issued:
            oldest = r
    m.ledger[e, stall_of(m.rows[oldest])] += now - row.clock
    row.clock = now


@part
def stall_of(q):
    """The account of a stall on this request."""
    if q.sleeping:
        return STALL_WINDOW
    if q.waiting or q.phase == IRQ or q.phase == RESTART or q.phase == ACCESS:
        return STALL_TRAP
    return STALL_GUP if q.phase < DESIGN or q.phase == GUP else STALL_DRIVER


@routine
def step(m, dev, r):
    """One step of the hardware or of the driver."""
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
    """The handler works on the CPU that it owns."""
    m.ledger[q.cpu, account] += cycles


@routine
def start_handler(m, r, arrived):
    """IRQ: the handler takes the CPU and every fault of the chiplet that waits there; gru_intr."""
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
    """The next fault of the handler's batch is read at `at`; returns whether there is one."""
    for j in range(m.ctl[0].agents, m.rows.size):
        q = m.rows[j]
        if q.member and q.cpu == s:
            q.member, q.phase, m.due[j] = 0, TFH, at
            return True
    return False


@routine
def next_fault(m, r, at):
    """The handler goes on with its next fault, or gives the CPU back."""
    s = m.rows[r].cpu
    if take_member(m, s, at):
        return
    charge(m, m.rows[r], IRQS, m.costs[0].irq_exit)
    clock.disown(m, s, at + m.costs[0].irq_exit)
    serve_pending(m, s)


@routine
def serve_pending(m, s):
    """What waited for the handler's end is served in order of arrival; the next GRU interrupt takes the CPU again."""
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
    """TFH: from here on an invalidate kills the drop-in."""
    q, costs = m.rows[r], m.costs[0]
    m.counts[q.agent, INTR_TFH] += 1
    q.killed, q.reading, q.huge, q.phase = 0, 1, 0, CHECK
    charge(m, q, DRIVER, costs.tfh_read)
    m.due[r] += costs.tfh_read


@part
def check(m, dev, r):
    """CHECK: gru_try_dropin in interrupt context: mmap lock, ms_range_active, the page table without a lock."""
    q, now = m.rows[r], m.due[r]
    counts = m.counts[q.agent]
    if not locks.available(m, q.space, locks.READ):
        counts[LOCK_FAILED] += 1
        switch(m, r)
        return
    if dev.gms[q.space].active > 0:
        counts[FAIL_ACTIVE] += 1
        switch(m, r)
        return
    now += walk(m, q)
    found = q.pte & P and (not q.write or (q.pte & W and q.pte & D))
    if not found or needs_big(m, r):
        counts[FAIL_UPM] += 1
        q.phase, m.due[r] = SWITCH, now
        return
    q.phase, m.due[r] = DROPIN, now


@part
def walk(m, q):
    """The handler's look at the page table, through its CPU's caches; returns its cycles."""
    node, level, cycles = m.spaces[q.space].root, 4, 0
    while True:
        at = radix.index(q.vpn, level)
        cycles += refer(m, m.rows[q.cpu].banks, entry_line(node, at), 0)
        q.pte = m.nodes[node, at]
        if not q.pte & TABLE:
            break
        node = q.pte >> PFN
        level -= 1
    charge(m, q, DRIVER, cycles)
    return cycles


@part
def needs_big(m, r):
    """Is this a page of a hugetlb VMA, dropped in whole, and its size not yet in the context's mask?"""
    q = m.rows[r]
    k = vmas.find(m, q.space, q.vpn)
    q.huge = 1 if k >= 0 and m.vmas[k].mapping == HUGETLB and q.pte & HUGE else 0
    return q.huge and not m.rows[q.agent].big


@part
def switch(m, r):
    """SWITCH: the fault is left to the user, who polls; the handler goes on."""
    q, costs, now = m.rows[r], m.costs[0], m.due[r]
    m.counts[q.agent, SWITCHES] += 1
    q.reading, q.phase = 0, CALL
    charge(m, q, DRIVER, costs.upm_switch)
    m.due[r] = now + costs.upm_switch + costs.poll
    next_fault(m, r, now + costs.upm_switch)


@part
def drop_in(m, dev, r):
    """DROPIN: tfh_write_restart, without waiting for the hardware; the handler goes on."""
    q, costs, now = m.rows[r], m.costs[0], m.due[r]
    m.counts[q.agent, DROPINS] += 1
    charge(m, q, DRIVER, costs.dropin)
    q.phase, m.due[r] = RESTART, now + costs.dropin + costs.restart
    next_fault(m, r, now + costs.dropin)


@part
def miss_again(m, r, name):
    """The instruction faults once more."""
    q = m.rows[r]
    m.counts[q.agent, name] += 1
    q.phase = IRQ
    m.due[r] += m.costs[0].irq_delivery


@part
def restart(m, dev, r):
    """RESTART: the hardware takes the entry, unless the kill bit is set."""
    q = m.rows[r]
    q.reading = 0
    if q.killed:
        miss_again(m, r, KILLS)
        return
    page = (q.pte >> PFN) + (q.vpn & 511 if q.pte & HUGE and not q.huge and not q.pte & 32 else 0)
    tag = tlb.tag_of(q.space, q.vpn, q.huge)
    bank.fill(m, dev.banks[q.chiplet], tlb.set_of(q.vpn, q.huge), tag, page, q.write)
    q.phase = ACCESS
    m.due[r] += m.costs[0].access_gru


@part
def replay(m, dev, r):
    """ACCESS: the restarted instruction looks up again."""
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
    """The request's record is complete; a stalled context goes on."""
    q, now = m.rows[r], m.due[r]
    e = m.rows[q.agent]
    e.done_at = max(e.done_at, now)
    q.phase, m.due[r] = VACANT, NEVER
    if e.stalled:
        e.stalled = 0
        clock.wake(m, q.agent, now)


@routine
def call_os(m, dev, r, phase):
    """The user's ioctl: gru_handle_user_call_os and gru_try_dropin in process context."""
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
            sleep(m, r)
        else:
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
def sleep(m, r):
    """wait_event on ms_wait_queue: until a window of the space ends."""
    q = m.rows[r]
    m.counts[q.agent, WAIT_QUEUE] += 1
    q.reading, q.phase, q.sleeping, m.due[r] = 0, WINDOW, 1, NEVER


@part
def get_user_page(m, r):
    """GUP: the page as the CPU's page table has it, after a fault if need be; it is not pinned."""
    q, root = m.rows[r], m.spaces[m.rows[r].space].root
    q.pte = radix.get(m, root, q.vpn)
    if not q.pte & P or (q.write and not q.pte & W):
        fault.call(m, r, q.vpn, q.write, GUP, NO_RIGHT)
    else:
        if q.write and not q.pte & D:
            q.pte |= A | D
            radix.put(m, root, q.vpn, 2 if q.pte & HUGE else 1, q.pte)
        q.phase = UDROP
        if needs_big(m, r):
            m.rows[q.agent].big = 1
            clock.spend(m, r, DRIVER, m.costs[0].cch_update)


@part
def leave_call(m, r):
    """UEXIT: locks are given up; the hardware restarts the instruction, or the access had no right."""
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


@part
def deliver(m, dev, r):
    """A notice arrives in row r: gru_mmu_invalidate_range_start, _end, or release."""
    row = m.rows[r]
    gms = dev.gms[row.space]
    if row.note_end == notify.START:
        if row.note_stage == 0:
            gms.active += 1
            row.note_stage, row.note_at = 1, -1
        elif row.note_stage == 1:
            if locks.acquire(m, r, asid_lock(m, row.space), locks.WRITE):
                row.note_stage = 2
                invalidate(m, dev, r)
        elif row.note_stage == 2:
            invalidate(m, dev, r)
        else:
            locks.release(m, r, asid_lock(m, row.space))
            notify.returned(m, r)
    else:
        if row.note_end == notify.STOP:
            gms.active -= 1
            wake_sleepers(m, row.space, m.due[r])
        else:
            forget(m, dev, row.space)
        notify.returned(m, r)


@routine
def invalidate(m, dev, r):
    """One TGH operation on the next chiplet where the space has a context."""
    row, costs = m.rows[r], m.costs[0]
    c = next_chiplet(dev, row.space, row.note_at)
    pages = row.note_last - row.note_first
    b = dev.banks[c]
    if pages > MOST_PAGES:
        tlb.drop_asid(m, b, row.space)
    else:
        tlb.drop_range(m, b, row.space, row.note_first, row.note_last)
    kill(m, c, row)
    m.counts[row.agent, TGHS] += 1
    row.note_at = c
    if next_chiplet(dev, row.space, c) < 0:
        row.note_stage = 3
        row.effect = 1 if row.role == 2 else 0
    clock.spend(m, r, INVALIDATE, costs.tgh + min(pages, MOST_PAGES) * costs.tgh_page)


@part
def next_chiplet(dev, space, c):
    """The first chiplet after c with a context of the space, or -1."""
    for k in range(c + 1, dev.members.shape[0]):
        if dev.members[k, space] > 0:
            return k
    return -1


@part
def kill(m, c, notice):
    """Drop-ins in flight for the range are cancelled by the hardware."""
    first, last = notice.note_first, notice.note_last
    for j in range(m.ctl[0].agents, m.rows.size):
        q = m.rows[j]
        if q.reading and q.chiplet == c and q.space == notice.space:
            page = q.vpn & -512 if q.huge else q.vpn
            if page < last and page + (512 if q.huge else 1) > first:
                q.killed = 1


@part
def wake_sleepers(m, space, now):
    """wake_up_all, whatever the count of open windows is."""
    for j in range(m.ctl[0].agents, m.rows.size):
        q = m.rows[j]
        if q.sleeping and q.space == space and m.due[j] == NEVER and not q.waiting:
            m.due[j] = now + m.costs[0].wakeup


@part
def forget(m, dev, space):
    """The address space is gone."""
    for c in range(dev.banks.size):
        tlb.drop_asid(m, dev.banks[c], space)


@entry
def run(m, dev):
    """Drive the machine with this design; returns why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, advance, deliver)
