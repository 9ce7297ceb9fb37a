"""KVM as a subscriber of mmu notifiers: an invalidation zaps sptes and kicks vCPUs (docs/model.md 11.4; virt/kvm/kvm_main.c).

The state that both sides of the race share is here too: the mmu lock, the sequence number, the envelope of open invalidations.
"""

from hwmodel.core import clock, device, locks, log
from hwmodel.core.ledger import COHERENCE, SHOOTDOWN
from hwmodel.core.tables import table
from hwmodel.jit import part, routine
from hwmodel.parts import bank, radix
from hwmodel.parts.paging_caches import CPU_BANKS, PML4E
from hwmodel.primary import notify
from hwmodel.primary.shootdown import ACKED, SENDING, SENT, WAITING
from hwmodel.secondary._kvm_phases import BEGIN, BOOK, WALKER, WALKING

NTLB, NPDE, NPDPTE, NPML4E = range(CPU_BANKS, CPU_BANKS + 4)
VCPU_BANKS = CPU_BANKS + 4
"""The arrays of a vCPU: those of a CPU, then those for nested translations."""
KICKING = BOOK.account("kick", COHERENCE, "a vCPU forced out of its guest by a remote TLB flush, until it is back", SHOOTDOWN)
ZAPPED = BOOK.counter("kvm.zapped", "sptes zapped by notices, release included")
KICKS = BOOK.counter("kvm.kicks", "remote flushes that had to kick a running vCPU")
VM = table("ept", "guest", "large", "walkers", "seq", "in_progress", "low", "high")
"""A VM, one for each address space with vCPUs: its EPT, its guest's table, whether the guest's pages have 2 MiB, the page walkers of each
vCPU; mmu_invalidate_seq, the envelope of open invalidations."""
VCPU = table("flush_pending", "kicked", "tables")
"""A vCPU: a flush is to be done before it enters its guest; the row whose kick is on the way to it, plus 1; the page tables in its hand
(mmu_shadow_page_cache)."""
WALKED = table("walked", "leaf", "gfn", "gfn_write", "snapshot", "since", "gfn_pte", "no_right", "exited")
"""A request: cycles of its walk, and the leaf that it found, or -1; the page and right of the violation, if it found none; the sequence
number taken then and when that was, the pte found, no right to it; whether the vCPU has left its guest for this request."""


@part
def mmu_lock(m, space):
    """Return the mmu lock of the VM of a space."""
    return m.ctl[0].spaces + space


@part
def is_invalidating(vm, gfn):
    """Return whether an invalidation is open and the envelope holds `gfn`."""
    return vm.in_progress > 0 and vm.low <= gfn < vm.high


@routine
def empty_guest(m, i):
    """Drop all translations of vCPU i (INVEPT); cached lines of tables stay. Who calls this squashes its walks under way, if it has any."""
    banks = m.rows[i].banks
    for b in range(banks, banks + PML4E + 1):
        bank.empty(m, b)
    for b in range(banks + NTLB, banks + VCPU_BANKS):
        bank.empty(m, b)


@routine
def squash(m, i, phase, due):
    """Let the walks of vCPU i that are under way fill nothing: each begins anew (BEGIN) when due, or waits in line again (IN_LINE)."""
    first = m.ctl[0].agents + (i - m.ctl[0].cpus) * m.ctl[0].outstanding
    for r in range(first, first + m.ctl[0].outstanding):
        if m.rows[r].phase == BEGIN or m.rows[r].phase == WALKING:
            device.enter(m, r, WALKER, m.ctl[0].now)
            m.rows[r].phase, m.due[r] = phase, due


@routine
def receive(m, dev, r):
    """Do one step of kvm_mmu_notifier_invalidate_range_start, _end, release, or of a question: without A bits every page is old."""
    row, notice, vm, own = m.rows[r], m.notices[r], dev.vms[m.rows[r].space], dev.costs[0]
    notify.end_effect(m, r)
    if notice.stage == 0:
        if locks.acquire(m, r, mmu_lock(m, row.space), locks.WRITE):
            notice.stage = 4 if notice.kind > notify.RELEASE else 1
    elif notice.stage == 1 and notice.kind == notify.STOP:
        vm.seq += 1
        vm.in_progress -= 1
        notice.stage = 4
        clock.spend(m, r, notify.INVALIDATE, own.zap)
    elif notice.stage == 1 and notice.kind == notify.RELEASE:
        zap_all(m, dev, vm, r)
    elif notice.stage == 1:
        zap(m, dev, vm, r)
    elif notice.stage == 2:
        kick(m, r)
    elif notice.stage == 3:
        kicked(m, dev, r)
    else:
        locks.release(m, r, mmu_lock(m, row.space))
        notify.returned(m, r)


@part
def zap(m, dev, vm, r):
    """Clear the sptes of the range; vCPUs in their guest must be kicked, the others flush when they enter."""
    row, notice, own = m.rows[r], m.notices[r], dev.costs[0]
    if vm.in_progress == 0:
        vm.low, vm.high = notice.first, notice.last
    else:
        vm.low, vm.high = min(vm.low, notice.first), max(vm.high, notice.last)
    vm.in_progress += 1
    zapped = clear(m, vm.ept, notice.first, notice.last)
    m.counts[row.agent, ZAPPED] += zapped
    notice.stage, notice.at = 4, 0
    requests = request_flush(m, dev, r) if zapped > 0 else 0
    if notice.at > 0:
        notice.stage, row.effect = 2, 1
    clock.spend(m, r, notify.INVALIDATE, own.zap + zapped * own.zap_spte)
    clock.spend(m, r, SENDING, requests * own.request)


@part
def request_flush(m, dev, r):
    """Ask every vCPU of row r's VM to flush before it enters its guest; return how many were asked. Those inside must be kicked."""
    asked = 0
    for c in range(m.ctl[0].cpus, m.ctl[0].engines):
        vcpu = dev.vcpus[c]
        if m.rows[c].space == m.rows[r].space:
            asked += 1
            if m.rows[c].away:
                vcpu.kicked = r + 1
                m.notices[r].at += 1
            else:
                vcpu.flush_pending = 1
    return asked


@routine
def clear(m, ept, first, last):
    """Clear every leaf spte that intersects [first, last); return how many there were."""
    at, zapped = first, 0
    while at < last:
        skip = radix.reach_end(m, ept, at)
        if skip > at:
            at = skip
            continue
        level = radix.leaf_level(m, ept, at)
        if radix.get(m, ept, at) != 0:
            radix.put(m, ept, at, level, 0)
            zapped += 1
        at = at + 1 if level == 1 else ((at >> 9) + 1) << 9
    return zapped


@part
def kick(m, r):
    """KICK: send the interrupts of kvm_flush_remote_tlbs, with the mmu lock held."""
    row, notice, costs = m.rows[r], m.notices[r], m.costs[0]
    m.counts[row.agent, SENT] += notice.at
    m.counts[row.agent, KICKS] += 1
    notice.stage, row.effect = 3, 1
    clock.spend(m, r, SENDING, costs.ipi_send + (notice.at - 1) * costs.ipi_send_more)
    clock.wait(m, r, WAITING, clock.time(m, r) + costs.ipi_delivery)


@part
def kicked(m, dev, r):
    """KICKED: make the vCPUs leave their guest, flush and go back; the last answer ends the wait."""
    row, notice, costs, own, now = m.rows[r], m.notices[r], m.costs[0], dev.costs[0], m.due[r]
    ack = 0
    for c in range(m.ctl[0].cpus, m.ctl[0].engines):
        vcpu = dev.vcpus[c]
        if vcpu.kicked == r + 1:
            vcpu.kicked = 0
            cycles, after, away = costs.ipi_respond, 0, m.rows[c].away
            if away:
                empty_guest(m, c)
                after = own.invept + own.entry  # the flush and the entry come after the answer
                cycles += own.exit + own.kick + after
            else:
                vcpu.flush_pending = 1
            end = clock.steal(m, c, KICKING, now, cycles)
            log.note(m, log.IPI, c, end - cycles, end, notice.first, notice.last - notice.first, r << 1 | 1)
            if away:
                squash(m, c, BEGIN, end)
            ack = max(ack, end - after + costs.ipi_ack)
    m.counts[row.agent, ACKED] += notice.at
    notice.stage, notice.at = 4, 0
    clock.wait(m, r, WAITING, ack)


@part
def zap_all(m, dev, vm, r):
    """Clear every spte (kvm_flush_shadow_all): the address space goes away, and its vCPUs have ended."""
    row, own = m.rows[r], dev.costs[0]
    zapped = clear(m, vm.ept, 0, radix.REACH)
    m.counts[row.agent, ZAPPED] += zapped
    for c in range(m.ctl[0].cpus, m.ctl[0].engines):
        if m.rows[c].space == row.space:
            empty_guest(m, c)
    m.notices[r].stage = 4
    clock.spend(m, r, notify.INVALIDATE, own.zap + zapped * own.zap_spte)
