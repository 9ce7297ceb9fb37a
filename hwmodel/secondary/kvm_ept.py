"""KVM with EPT (virt/kvm, arch/x86/kvm/mmu): hardware walks guest and host tables, only a missing host entry causes an exit."""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.core import clock, device, locks, log
from hwmodel.core.ledger import RETRY, SERVICE, TRAP, record
from hwmodel.core.tables import ENGINE, NEVER, RELEASE, WRITES, A, D, cost_row
from hwmodel.engine import FAULT_TIME, drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import radix, tlb
from hwmodel.parts.paging_caches import DTLB, STLB, cpu_banks
from hwmodel.primary import access, fault, memory
from hwmodel.secondary._kvm_notifier import VCPU, VCPU_BANKS, VM, WALKED, empty_guest, is_invalidating, mmu_lock, receive, squash
from hwmodel.secondary._kvm_phases import (
    BEGIN,
    BOOK,
    ENTER,
    EXIT,
    HANDLING,
    IN_LINE,
    LEAVE,
    MAP,
    MAP_UNLOCK,
    MAPPED,
    NO_RIGHT,
    SLOW,
    SLOW2,
    SLOW_LOCK,
    SLOW_UNLOCK,
    VIOLATION,
    WALKER,
    WALKING,
    note_phase,
    stages,
)  # fmt: skip
from hwmodel.secondary._kvm_spec import COSTS, Spec
from hwmodel.secondary._kvm_tables import FEWEST, GUEST_TABLES, HAND, LEVEL_PAGES, set_spte
from hwmodel.secondary._kvm_walk import begin_walk, end_walk, queue_walk, walk_anew
from hwmodel.secondary.protocol import engine_rows, no_request

__all__ = ["BOOK", "Spec", "build", "extra_memory", "geometry", "lock_count", "lock_names", "outstanding", "reach", "run"]
EXITING = BOOK.account("exit", SERVICE, "VM exits of EPT violations, the hardware's part")
VIOLATING = BOOK.account("violation", SERVICE, "the handling of EPT violations by software, without get_user_pages and the spte")
MAPPING = BOOK.account("map", SERVICE, "installing sptes")
ENTERING = BOOK.account("entry", SERVICE, "VM entries, with the flush of the guest's translations that was asked for")
STLB_HITS = BOOK.counter("device.stlb.hits", "first-level misses of a vCPU that hit its second level")
STLB_MISSES = BOOK.counter("device.stlb.misses", "first-level misses of a vCPU that missed it")
EXITS = BOOK.counter("kvm.exits", "EPT violations", TRAP)
RETRIES = BOOK.counter("kvm.retries", "violations retried because of an invalidation", RETRY)
SPTES = BOOK.counter("kvm.sptes", "sptes installed")
VIOLATION_TIME = BOOK.latency("fault.violation", "of these, EPT violations", "EPT violation")


class State(NamedTuple):
    """KVM's state."""

    vms: np.ndarray  # VM[space]
    vcpus: np.ndarray  # VCPU[row]
    requests: np.ndarray  # WALKED[row]
    stages: np.ndarray  # int64[step of a request, from DESIGN on]  the phase of its miss
    costs: np.ndarray  # COSTS[1]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding: each is an access that walks, or waits for a walk."""
    return machine.get("device.window")


def lock_count(spaces: int, engines: int) -> int:
    """Return the number of locks: the mmu lock of each VM."""
    return spaces


def lock_names(spaces: int, engines: int) -> list[str]:
    """Return the names of the locks."""
    return [f"mmu_lock of space {space}" for space in range(spaces)]


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the banks of the vCPUs: those of a CPU, and those for nested translations."""
    nested = [(machine.get(f"nested.{n}_entries"), machine.get(f"nested.{n}_ways")) for n in ("tlb", "pde", "pdpte", "pml4e")]
    return (cpu_banks(machine) + nested) * engines


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Make the vCPUs of each space a VM; return the design's own tables."""
    ctl = m.ctl[0]
    vms, costs = np.zeros(ctl.spaces, VM), cost_row(COSTS, machine.costs())
    vms["large"], vms["walkers"] = machine.get("guest.page_size") == "2M", machine.get("vm.walkers")
    for _, row in engine_rows(m):
        row.group = row.cpu = row.agent
        if row.role == ENGINE:
            row.banks = first_bank + (row.agent - ctl.cpus) * VCPU_BANKS
            row.loads, row.away, row.leave, row.resume = 1, 1, costs[0].exit + costs[0].kick, costs[0].entry
            m.spaces[row.space].subscribers = 1
    for space in sorted({int(row.space) for row in m.rows[ctl.cpus : ctl.engines]}):
        vms[space].ept, vms[space].guest = ctl.node_top, ctl.node_top + 1
        ctl.node_top += 2
        ctl.free -= 1  # the EPT's root; the guest's tables are pages of the guest
    return State(vms, np.zeros(m.rows.size, VCPU), np.zeros(m.rows.size, WALKED), stages(), costs)


def reach(m: Any, dev: State) -> tuple[int, int]:
    """Return the fewest cycles until a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design.

    An invalidation kicks vCPUs by interrupts, also where flushes go by BAU messages.
    """
    return m.costs[0].ipi_send + m.costs[0].ipi_delivery, NEVER


def extra_memory() -> tuple[int, int]:
    """Return the pages [first, last) of the memslot that each VM has besides the trace's memory: its guest's page tables."""
    return GUEST_TABLES, GUEST_TABLES + sum(LEVEL_PAGES)


@part
def translate(m, dev, i, kind, vpn, now):
    """Look up vCPU i's current access in its TLBs."""
    row, counts = m.rows[i], m.counts[i]
    small = row.banks + DTLB
    k = tlb.look_split(m, small, 0, vpn)
    first, hit = not row.retried, k >= 0
    if first:
        row.retried = device.COUNTED_HIT if hit else device.COUNTED_MISS
        counts[device.ACCESSES] += 1
        counts[device.HITS] += hit
        counts[device.MISSES] += not hit
    if not hit:
        s = tlb.look_joint(m, row.banks + STLB, 0, vpn)
        if first:
            counts[STLB_HITS] += s >= 0
            counts[STLB_MISSES] += s < 0
        return access.refill(m, i, small, vpn, s, False)
    if kind == WRITE and not m.ways[k].rights & WRITES:
        return access.ORDERED
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Let vCPU i's current access, which has missed both levels or lacks a right, wait for its page's walk, or for a walk of its own."""
    r = device.miss(m, i, vpn, kind == WRITE, True)
    if r >= 0:
        queue_walk(m, dev, r)


@part
def advance(m, dev, r):
    """Do one step of request r: of its walk, or of its violation."""
    step(m, dev, r, m.rows[r].phase)
    note_phase(m, dev, r)


@routine
def step(m, dev, r, phase):
    """Do one step of request r: of its walk, or of its violation."""
    if phase == BEGIN:
        begin_walk(m, dev, r)
    elif phase == WALKING:
        finish_walk(m, dev, r)
    elif phase == LEAVE:
        leave(m, dev, r)
    else:
        violate(m, dev, r, phase)


@part
def finish_walk(m, dev, r):
    """WALKING: fill the TLBs, or let the vCPU, whose other walks are squashed, leave its guest once its data in flight are there."""
    i, q = m.rows[r].agent, dev.requests[r]
    if q.leaf < 0:
        m.rows[r].phase, m.due[r] = LEAVE, max(m.due[r], device.last_use(m, i))
        device.stop(m, i)
        squash(m, i, IN_LINE, NEVER)
        return
    if q.exited:
        record(m.hists, FAULT_TIME, m.due[r] - m.misses[r].issued)
        record(m.hists, VIOLATION_TIME, m.due[r] - m.misses[r].issued)
    end_walk(m, dev, r)


@part
def leave(m, dev, r):
    """LEAVE: exit from the guest; until ENTER the vCPU's CPU is the request's."""
    row, own = m.rows[r], dev.costs[0]
    device.take(m, r)
    m.rows[row.agent].away, dev.requests[r].exited, row.phase = 0, 1, VIOLATION
    m.counts[row.agent, EXITS] += 1
    device.enter(m, r, EXIT, m.due[r])
    clock.spend(m, r, EXITING, own.exit)
    device.enter(m, r, HANDLING, m.due[r])
    clock.spend(m, r, VIOLATING, own.violation)


@routine
def violate(m, dev, r, phase):
    """Do one step of request r's violation: kvm_tdp_mmu_page_fault."""
    row, costs = m.rows[r], m.costs[0]
    if phase == VIOLATION:
        begin(m, dev, r)
    elif phase == SLOW:
        row.phase = SLOW_LOCK
        clock.spend(m, r, fault.GUPS, costs.gup)
    elif phase == SLOW_LOCK:
        if locks.acquire(m, r, row.space, locks.READ):
            row.phase = SLOW2
    elif phase == SLOW2 or phase == NO_RIGHT:
        look(m, dev, r)
    elif phase == SLOW_UNLOCK:
        locks.release(m, r, row.space)
        row.phase = MAP
        take_lock(m, dev, r)
    elif phase == MAP:
        take_lock(m, dev, r)
    elif phase == MAPPED:
        map_page(m, dev, r)
    elif phase == MAP_UNLOCK:
        locks.release(m, r, mmu_lock(m, row.space))
        row.phase = ENTER
    else:
        enter(m, dev, r)


@part
def begin(m, dev, r):
    """VIOLATION: take the snapshot, make the unlocked check, and look at the CPU's page table on the fast path.

    Before that the hand is filled with page tables if few are left in it (mmu_topup_memory_caches): none is allocated under the mmu lock.
    """
    row, q, vm = m.rows[r], dev.requests[r], dev.vms[m.rows[r].space]
    vcpu = dev.vcpus[row.agent]
    if vcpu.tables < FEWEST:
        lacking = HAND - vcpu.tables
        if memory.ask(m, r, lacking, 0):
            vcpu.tables += lacking
            radix.set_aside(m, lacking)
            clock.spend(m, r, VIOLATING, lacking * m.costs[0].table)
        return
    root = m.spaces[row.space].root
    q.snapshot, q.since, q.no_right = vm.seq, m.due[r], 0
    if is_invalidating(vm, q.gfn):
        retry(m, dev, r)
        return
    pte = radix.get(m, root, q.gfn)
    row.phase = SLOW
    if radix.allows(pte, True):
        radix.update(m, root, q.gfn, pte | A | D)
        q.gfn_pte, row.phase = pte, MAP
        clock.spend(m, r, fault.GUPS, m.costs[0].gup_fast)


@part
def look(m, dev, r):
    """SLOW2: take the page from the CPU's page table, after a fault if need be."""
    row, q, root = m.rows[r], dev.requests[r], m.spaces[m.rows[r].space].root
    pte = radix.get(m, root, q.gfn)
    if row.phase == NO_RIGHT:
        fault.count_refused(m, r)
        locks.release(m, r, row.space)
        q.no_right, row.phase = 1, ENTER
    elif radix.allows(pte, q.gfn_write):
        if q.gfn_write:
            radix.update(m, root, q.gfn, pte | A | D)
        q.gfn_pte, row.phase = pte, SLOW_UNLOCK
    else:
        fault.call(m, r, q.gfn, q.gfn_write, 0, 1, SLOW2, NO_RIGHT)


@part
def is_stale(q, vm):
    """Return whether an invalidation has come since the snapshot (mmu_invalidate_retry_gfn)."""
    return vm.seq != q.snapshot or is_invalidating(vm, q.gfn)


@part
def retry(m, dev, r):
    """Give request r's violation up, for what it saw may be gone: the vCPU goes back to its guest, which faults again."""
    q = dev.requests[r]
    m.counts[m.rows[r].agent, RETRIES] += 1
    log.note(m, log.RETRY, r, q.since, m.due[r], q.gfn, 1, 0)
    m.rows[r].phase = ENTER


@part
def take_lock(m, dev, r):
    """MAP: take the mmu lock, or retry without it if the page is stale already; MAPPED checks again with the lock held."""
    row = m.rows[r]
    if not row.granted and is_stale(dev.requests[r], dev.vms[row.space]):
        retry(m, dev, r)
    elif locks.acquire(m, r, mmu_lock(m, row.space), locks.READ):
        row.phase = MAPPED


@part
def map_page(m, dev, r):
    """MAPPED: install the spte, unless an invalidation has come since the snapshot."""
    row, q, vm, own = m.rows[r], dev.requests[r], dev.vms[m.rows[r].space], dev.costs[0]
    if is_stale(q, vm):
        locks.release(m, r, mmu_lock(m, row.space))
        retry(m, dev, r)
        return
    made = set_spte(m, vm.ept, q.gfn, q.gfn_pte)
    dev.vcpus[row.agent].tables -= made
    radix.give_back(m, made)
    m.counts[row.agent, SPTES] += 1
    row.phase = MAP_UNLOCK
    clock.spend(m, r, MAPPING, own.map_spte)


@part
def enter(m, dev, r):
    """ENTER: go back to the guest, with the TLB flush that was requested meanwhile; there all walk anew, but an access without a right."""
    i, own = m.rows[r].agent, dev.costs[0]
    vcpu = dev.vcpus[i]
    m.rows[i].away = 1
    if vcpu.flush_pending:
        vcpu.flush_pending = 0
        empty_guest(m, i)
        clock.spend(m, r, ENTERING, own.invept)
    clock.spend(m, r, ENTERING, own.entry)
    device.give_back(m, r)
    there = m.due[r]
    device.enter(m, r, WALKER, there)
    if dev.requests[r].no_right and device.refuse(m, r) == 0:
        m.rows[r].phase = RELEASE
    else:
        m.rows[r].phase, m.due[r] = IN_LINE, NEVER
    walk_anew(m, dev, i, there)


@part
def deliver(m, dev, r):
    """Do one step of the notice in row r."""
    receive(m, dev, r)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, advance, deliver)
