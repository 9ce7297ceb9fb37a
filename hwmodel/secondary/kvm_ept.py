"""KVM with EPT (virt/kvm, arch/x86/kvm/mmu): hardware walks guest and host tables, only a missing host entry causes an exit."""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.core import clock, locks
from hwmodel.core.ledger import account, counter, latency, record
from hwmodel.core.queue import complete_access
from hwmodel.core.tables import DESIGN, HUGE, NEVER, PFN, READY, WRITES, A, D, P, W
from hwmodel.engine import drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import radix, tlb
from hwmodel.parts.paging_caches import DTLB, STLB, VCPU_BANKS, cpu_banks
from hwmodel.primary import access, fault
from hwmodel.secondary._kvm_notifier import VM, empty_guest, is_invalidating, mmu_lock, receive
from hwmodel.secondary._kvm_spec import Spec
from hwmodel.secondary._kvm_tables import GUEST_TABLES, LEVEL_PAGES, set_spte
from hwmodel.secondary._kvm_walk import walk_guest

__all__ = ["Spec", "build", "extra_vma", "geometry", "outstanding", "reach", "run"]
VIOLATION, SLOW, SLOW_LOCK, SLOW2, NO_RIGHT, SLOW_UNLOCK, MAP, MAPPED, MAP_UNLOCK, ENTER = range(DESIGN, DESIGN + 10)
WALKING, EXITING, VIOLATING = account("walk"), account("exit"), account("violation")
GUPS, MAPPING, ENTERING = account("gup"), account("map"), account("entry")
ACCESSES, HITS, MISSES = counter("device.accesses"), counter("device.tlb.hits"), counter("device.tlb.misses")
STLB_HITS, STLB_MISSES = counter("device.stlb.hits"), counter("device.stlb.misses")
WALKS = counter("device.walks")
EXITS, RETRIES, SPTES = counter("kvm.exits"), counter("kvm.retries"), counter("kvm.sptes")
SEGVS = counter("segv")
FAULT_TIME, VIOLATION_TIME = latency("fault"), latency("fault.violation")


class State(NamedTuple):
    """KVM's state."""

    vms: np.ndarray  # VM[space]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding: none, since a vCPU's faults are synchronous."""
    return 0


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the banks of the vCPUs: those of a CPU, and those for nested translations."""
    nested = [(machine.get(f"nested.{n}_entries"), machine.get(f"nested.{n}_ways")) for n in ("tlb", "pde", "pdpte", "pml4e")]
    return (cpu_banks(machine) + nested) * engines


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Make the vCPUs of each space a VM; return the design's own tables."""
    ctl = m.ctl[0]
    ctl.mask_engines, ctl.guest_huge = 1, machine.get("guest.page_size") == "2M"
    vms = np.zeros(ctl.spaces, VM)
    for unit, row in enumerate(m.rows[ctl.cpus : ctl.agents]):
        row.banks, row.in_guest, row.access_cost = first_bank + unit * VCPU_BANKS, 1, m.costs[0].access
        m.spaces[row.space].subscribers = 1
    for space in sorted({int(row.space) for row in m.rows[ctl.cpus : ctl.agents]}):
        vms[space].ept, vms[space].guest = ctl.node_top, ctl.node_top + 1
        ctl.node_top += 2
    return State(vms)


def reach(costs: Any) -> tuple[int, int]:
    """Return the fewest cycles until a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design.

    An invalidation kicks vCPUs by interrupts, also where flushes go by BAU messages.
    """
    return costs.ipi_send + costs.ipi_delivery, NEVER


def extra_vma() -> tuple[int, int]:
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
        row.retried = 1
        counts[ACCESSES] += 1
        counts[HITS] += hit
        counts[MISSES] += not hit
    if not hit:
        s = tlb.look_joint(m, row.banks + STLB, 0, vpn)
        if first:
            counts[STLB_HITS] += s >= 0
            counts[STLB_MISSES] += s < 0
        return access.refill(m, i, small, vpn, s, False)
    if kind == WRITE and not m.ways[k].rights & WRITES:
        return access.ORDERED
    if row.open:
        row.open = 0
        record(m.hists, FAULT_TIME, now - row.issued)
        record(m.hists, VIOLATION_TIME, now - row.issued)
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """WALK2D: walk the guest's tables, finding each one's page by a nested walk, and then the page itself."""
    row = m.rows[i]
    now = row.clock
    m.counts[i, WALKS] += 1
    row.walked = 0
    held = kind == WRITE and access.find_first_level(m, row.banks + DTLB, vpn) >= 0
    leaf = walk_guest(m, dev, i, kind, vpn, held)
    clock.spend(m, i, WALKING, row.walked)
    if leaf >= 0:
        huge = 1 if m.ctl[0].guest_huge and leaf & HUGE else 0
        page = leaf >> PFN
        access.fill_levels(m, i, row.banks + DTLB, vpn, huge, page - (vpn & 511) * huge, WRITES if leaf & W else 0)
        return
    if not row.open:
        row.open, row.issued = 1, now
    row.in_guest, row.phase = 0, VIOLATION
    m.counts[i, EXITS] += 1
    clock.spend(m, i, EXITING, m.costs[0].exit)
    clock.spend(m, i, VIOLATING, m.costs[0].violation)


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
        clock.spend(m, i, GUPS, costs.gup)
    elif phase == SLOW_LOCK:
        if locks.acquire(m, i, row.space, locks.READ):
            row.phase = SLOW2
    elif phase == SLOW2 or phase == NO_RIGHT:
        look(m, i)
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
        enter(m, i)


@part
def begin(m, dev, i):
    """VIOLATION: take the snapshot, make the unlocked check, and look at the CPU's page table on the fast path."""
    row, root, vm = m.rows[i], m.spaces[m.rows[i].space].root, dev.vms[m.rows[i].space]
    row.snapshot, row.no_right = vm.seq, 0
    if is_invalidating(vm, row.gfn):
        m.counts[i, RETRIES] += 1
        row.phase = ENTER
        return
    pte = radix.get(m, root, row.gfn)
    row.phase = SLOW
    if pte & P and pte & W:
        radix.put(m, root, row.gfn, 2 if pte & HUGE else 1, pte | A | D)
        row.gfn_pte, row.phase = pte, MAP
        clock.spend(m, i, GUPS, m.costs[0].gup_fast)


@part
def look(m, i):
    """SLOW2: take the page from the CPU's page table, after a fault if need be."""
    row, root = m.rows[i], m.spaces[m.rows[i].space].root
    pte = radix.get(m, root, row.gfn)
    if row.phase == NO_RIGHT:
        m.counts[i, SEGVS] += 1
        fault.note_segv(m, m.queue[row.head].index)
        locks.release(m, i, row.space)
        row.no_right, row.phase = 1, ENTER
    elif pte & P and (not row.gfn_write or pte & W):
        if row.gfn_write:
            radix.put(m, root, row.gfn, 2 if pte & HUGE else 1, pte | A | D)
        row.gfn_pte, row.phase = pte, SLOW_UNLOCK
    else:
        fault.call(m, i, row.gfn, row.gfn_write, SLOW2, NO_RIGHT)


@part
def is_stale(row, vm):
    """Return whether an invalidation has come since the snapshot (mmu_invalidate_retry_gfn)."""
    return vm.seq != row.snapshot or is_invalidating(vm, row.gfn)


@part
def take_lock(m, dev, i):
    """MAP: take the mmu lock, or retry without it if the page is stale already; MAPPED checks again with the lock held."""
    row = m.rows[i]
    if not row.granted and is_stale(row, dev.vms[row.space]):
        m.counts[i, RETRIES] += 1
        row.phase = ENTER
    elif locks.acquire(m, i, mmu_lock(m, row.space), locks.READ):
        row.phase = MAPPED


@part
def map_page(m, dev, i):
    """MAPPED: install the spte, unless an invalidation has come since the snapshot."""
    row, vm, costs = m.rows[i], dev.vms[m.rows[i].space], m.costs[0]
    if is_stale(row, vm):
        m.counts[i, RETRIES] += 1
        locks.release(m, i, mmu_lock(m, row.space))
        row.phase = ENTER
        return
    made = set_spte(m, vm.ept, row.gfn, row.gfn_pte)
    m.counts[i, SPTES] += 1
    row.phase = MAP_UNLOCK
    clock.spend(m, i, MAPPING, costs.map_spte + made * costs.table)


@part
def enter(m, i):
    """ENTER: go back to the guest, with the TLB flush that was requested meanwhile."""
    row, costs = m.rows[i], m.costs[0]
    row.in_guest, row.phase = 1, READY
    if row.flush_pending:
        row.flush_pending = 0
        empty_guest(m, i)
        clock.spend(m, i, ENTERING, costs.invept)
    clock.spend(m, i, ENTERING, costs.entry)
    if row.no_right:
        row.no_right = row.open = 0
        complete_access(m, i)


@part
def deliver(m, dev, r):
    """Do one step of the notice in row r."""
    receive(m, dev, r)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, advance, deliver)
