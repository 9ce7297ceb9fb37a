"""KVM with EPT (virt/kvm, arch/x86/kvm/mmu): hardware walks guest and host tables, only a missing host entry causes an exit."""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.core import clock, locks
from hwmodel.core.ledger import RETRY, SERVICE, TRAP, record
from hwmodel.core.queue import complete_access
from hwmodel.core.tables import DESIGN, HUGE, NEVER, PFN, READY, WRITES, A, D, W, cost_row
from hwmodel.engine import DEVICE_ACCESSES, DEVICE_HITS, DEVICE_MISSES, FAULT_TIME, drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import radix, tlb
from hwmodel.parts.paging_caches import DTLB, STLB, cpu_banks
from hwmodel.primary import access, fault, memory
from hwmodel.secondary._kvm_notifier import BOOK, VCPU, VCPU_BANKS, VM, empty_guest, is_invalidating, mmu_lock, receive
from hwmodel.secondary._kvm_spec import COSTS, Spec
from hwmodel.secondary._kvm_tables import FEWEST, GUEST_TABLES, HAND, LEVEL_PAGES, set_spte
from hwmodel.secondary._kvm_walk import WALKS, walk_guest
from hwmodel.secondary.protocol import no_request

__all__ = ["BOOK", "Spec", "build", "extra_memory", "geometry", "lock_count", "reach", "run"]
VIOLATION, SLOW, SLOW_LOCK, SLOW2, NO_RIGHT, SLOW_UNLOCK, MAP, MAPPED, MAP_UNLOCK, ENTER = range(DESIGN, DESIGN + 10)
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
    costs: np.ndarray  # COSTS[1]


def lock_count(spaces: int, engines: int) -> int:
    """Return the number of locks: the mmu lock of each VM."""
    return spaces


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the banks of the vCPUs: those of a CPU, and those for nested translations."""
    nested = [(machine.get(f"nested.{n}_entries"), machine.get(f"nested.{n}_ways")) for n in ("tlb", "pde", "pdpte", "pml4e")]
    return (cpu_banks(machine) + nested) * engines


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Make the vCPUs of each space a VM; return the design's own tables."""
    ctl = m.ctl[0]
    vms, costs = np.zeros(ctl.spaces, VM), cost_row(COSTS, machine.costs())
    vms["large"] = machine.get("guest.page_size") == "2M"
    for unit, row in enumerate(m.rows[ctl.cpus : ctl.engines]):
        row.banks, row.access_cost = first_bank + unit * VCPU_BANKS, m.costs[0].access
        row.loads, row.away, row.leave, row.resume = 1, 1, costs[0].exit + costs[0].kick, costs[0].entry
        m.spaces[row.space].subscribers = 1
    for space in sorted({int(row.space) for row in m.rows[ctl.cpus : ctl.engines]}):
        vms[space].ept, vms[space].guest = ctl.node_top, ctl.node_top + 1
        ctl.node_top += 2
        ctl.free -= 1  # the EPT's root; the guest's tables are pages of the guest
    return State(vms, np.zeros(m.rows.size, VCPU), costs)


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
    row, vcpu, counts = m.rows[i], dev.vcpus[i], m.counts[i]
    small = row.banks + DTLB
    k = tlb.look_split(m, small, 0, vpn)
    first, hit = not row.retried, k >= 0
    if first:
        row.retried = 1
        counts[DEVICE_ACCESSES] += 1
        counts[DEVICE_HITS] += hit
        counts[DEVICE_MISSES] += not hit
    if not hit:
        s = tlb.look_joint(m, row.banks + STLB, 0, vpn)
        if first:
            counts[STLB_HITS] += s >= 0
            counts[STLB_MISSES] += s < 0
        return access.refill(m, i, small, vpn, s, False)
    if kind == WRITE and not m.ways[k].rights & WRITES:
        return access.ORDERED
    if vcpu.open:
        vcpu.open = 0
        record(m.hists, FAULT_TIME, now - vcpu.issued)
        record(m.hists, VIOLATION_TIME, now - vcpu.issued)
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """WALK2D: walk the guest's tables, finding each one's page by a nested walk, and then the page itself."""
    row, vcpu = m.rows[i], dev.vcpus[i]
    now = row.clock
    m.counts[i, WALKS] += 1
    vcpu.walked = 0
    held = kind == WRITE and access.find_first_level(m, row.banks + DTLB, vpn) >= 0
    leaf = walk_guest(m, dev, i, kind, vpn, held)
    clock.spend(m, i, access.WALKING, vcpu.walked)
    if leaf >= 0:
        huge = 1 if dev.vms[row.space].large and leaf & HUGE else 0
        page = leaf >> PFN
        access.fill_levels(m, i, row.banks + DTLB, vpn, huge, page - (vpn & 511) * huge, WRITES if leaf & W else 0)
        return
    if not vcpu.open:
        vcpu.open, vcpu.issued = 1, now
    row.away, row.phase = 0, VIOLATION
    m.counts[i, EXITS] += 1
    clock.spend(m, i, EXITING, dev.costs[0].exit)
    clock.spend(m, i, VIOLATING, dev.costs[0].violation)


@part
def advance(m, dev, i):
    """Do one step of vCPU i's violation."""
    violate(m, dev, i, m.rows[i].phase)


@routine
def violate(m, dev, i, phase):
    """Do one step of vCPU i's violation: kvm_tdp_mmu_page_fault."""
    row, costs = m.rows[i], m.costs[0]
    if phase == VIOLATION:
        begin(m, dev, i)
    elif phase == SLOW:
        row.phase = SLOW_LOCK
        clock.spend(m, i, fault.GUPS, costs.gup)
    elif phase == SLOW_LOCK:
        if locks.acquire(m, i, row.space, locks.READ):
            row.phase = SLOW2
    elif phase == SLOW2 or phase == NO_RIGHT:
        look(m, dev, i)
    elif phase == SLOW_UNLOCK:
        locks.release(m, i, row.space)
        row.phase = MAP
        take_lock(m, dev, i)
    elif phase == MAP:
        take_lock(m, dev, i)
    elif phase == MAPPED:
        map_page(m, dev, i)
    elif phase == MAP_UNLOCK:
        locks.release(m, i, mmu_lock(m, row.space))
        row.phase = ENTER
    else:
        enter(m, dev, i)


@part
def begin(m, dev, i):
    """VIOLATION: take the snapshot, make the unlocked check, and look at the CPU's page table on the fast path.

    Before that the hand is filled with page tables if few are left in it (mmu_topup_memory_caches): none is allocated under the mmu lock.
    """
    row, vcpu, vm = m.rows[i], dev.vcpus[i], dev.vms[m.rows[i].space]
    if vcpu.tables < FEWEST:
        lacking = HAND - vcpu.tables
        if memory.ask(m, i, lacking, 0):
            vcpu.tables += lacking
            radix.set_aside(m, lacking)
            clock.spend(m, i, VIOLATING, lacking * m.costs[0].table)
        return
    root = m.spaces[row.space].root
    vcpu.snapshot, vcpu.no_right = vm.seq, 0
    if is_invalidating(vm, vcpu.gfn):
        m.counts[i, RETRIES] += 1
        row.phase = ENTER
        return
    pte = radix.get(m, root, vcpu.gfn)
    row.phase = SLOW
    if radix.allows(pte, True):
        radix.update(m, root, vcpu.gfn, pte | A | D)
        vcpu.gfn_pte, row.phase = pte, MAP
        clock.spend(m, i, fault.GUPS, m.costs[0].gup_fast)


@part
def look(m, dev, i):
    """SLOW2: take the page from the CPU's page table, after a fault if need be."""
    row, vcpu, root = m.rows[i], dev.vcpus[i], m.spaces[m.rows[i].space].root
    pte = radix.get(m, root, vcpu.gfn)
    if row.phase == NO_RIGHT:
        m.counts[i, fault.COUNT_SEGV] += 1
        fault.note_segv(m, m.queue[row.head].index)
        locks.release(m, i, row.space)
        vcpu.no_right, row.phase = 1, ENTER
    elif radix.allows(pte, vcpu.gfn_write):
        if vcpu.gfn_write:
            radix.update(m, root, vcpu.gfn, pte | A | D)
        vcpu.gfn_pte, row.phase = pte, SLOW_UNLOCK
    else:
        fault.call(m, i, vcpu.gfn, vcpu.gfn_write, 0, 1, SLOW2, NO_RIGHT)


@part
def is_stale(vcpu, vm):
    """Return whether an invalidation has come since the snapshot (mmu_invalidate_retry_gfn)."""
    return vm.seq != vcpu.snapshot or is_invalidating(vm, vcpu.gfn)


@part
def take_lock(m, dev, i):
    """MAP: take the mmu lock, or retry without it if the page is stale already; MAPPED checks again with the lock held."""
    row = m.rows[i]
    if not row.granted and is_stale(dev.vcpus[i], dev.vms[row.space]):
        m.counts[i, RETRIES] += 1
        row.phase = ENTER
    elif locks.acquire(m, i, mmu_lock(m, row.space), locks.READ):
        row.phase = MAPPED


@part
def map_page(m, dev, i):
    """MAPPED: install the spte, unless an invalidation has come since the snapshot."""
    row, vcpu, vm, own = m.rows[i], dev.vcpus[i], dev.vms[m.rows[i].space], dev.costs[0]
    if is_stale(vcpu, vm):
        m.counts[i, RETRIES] += 1
        locks.release(m, i, mmu_lock(m, row.space))
        row.phase = ENTER
        return
    made = set_spte(m, vm.ept, vcpu.gfn, vcpu.gfn_pte)
    vcpu.tables -= made
    radix.give_back(m, made)
    m.counts[i, SPTES] += 1
    row.phase = MAP_UNLOCK
    clock.spend(m, i, MAPPING, own.map_spte)


@part
def enter(m, dev, i):
    """ENTER: go back to the guest, with the TLB flush that was requested meanwhile."""
    row, vcpu, own = m.rows[i], dev.vcpus[i], dev.costs[0]
    row.away, row.phase = 1, READY
    if vcpu.flush_pending:
        vcpu.flush_pending = 0
        empty_guest(m, i)
        clock.spend(m, i, ENTERING, own.invept)
    clock.spend(m, i, ENTERING, own.entry)
    if vcpu.no_right:
        vcpu.no_right = vcpu.open = 0
        complete_access(m, i)


@part
def deliver(m, dev, r):
    """Do one step of the notice in row r."""
    receive(m, dev, r)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, advance, deliver)
