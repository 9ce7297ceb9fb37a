"""How long an EPT violation takes, step by step, and what every race of a vCPU has in common: a part of every KVM timeline.

All agents meet at cycle 0; the vCPU has been in the region before, so that its guest's tables are known and a walk takes two references.
It reads at cycle `gap`:

    gap        walk; it leaves the guest
    gap +  60  VIOLATION: notes the sequence number; retries if the page is being invalidated; else looks the page up
    gap +  80  MAP: retries if the number moved or the page is being invalidated; else takes mmu_lock for reading, for which it may
               have to wait, and looks once more; then the spte is set
    gap +  90  mmu_lock is given up; back to the guest
    gap + 105  in the guest again: one more walk
    gap + 115  HIT: the access

A page that is not there is looked up with get_user_pages and a page fault, in 55 cycles instead of 20. A retry costs an entry, a walk
and an exit: the next VIOLATION is 75 cycles after the one, or the MAP, that was refused. A walk with empty caches has 18 references.

Who zaps an spte asks each vCPU of the VM to flush, 80 cycles for each, and kicks those that are in their guest: 5 to send the interrupt and
10 for its way. The vCPU is busy for 70 cycles: it leaves its guest (15, and 5 until the interrupt's handler) and answers (10); the sender
hears of it 5 later, while the vCPU flushes (25) and enters (15). Outside it only answers. A flush of the host's TLBs costs it 40 cycles
outside; in its guest the same way out, and an entry, more.
"""

from hwmodel import op
from tests.races.scenes import CPU, DEVICE, REFERENCE, access, advise, compute, costs, empty, kvm, mapped, play, sync

C = costs(kvm())
WALK = 2 * REFERENCE
COLD = 18 * REFERENCE
OUT = WALK + C.exit + C.violation
MAP = OUT + C.gup_fast
BACK = C.map_spte + C.entry + WALK
"""From setting the spte to the access."""
HIT = MAP + BACK
AGAIN = C.entry + OUT
HAND = 40 * C.table
"""Page tables for a vCPU's sptes, taken at its first violation."""
FAULT = C.gup + C.fault
COLD_OUT = COLD + C.exit + C.violation
KICK = C.exit + C.kick + C.ipi_respond + C.invept + C.entry
FLUSH = C.ipi_respond + C.flush_page
IN_GUEST = C.exit + C.kick + C.entry
"""What an interrupt costs a vCPU more that is in its guest."""
OPEN = 200 + C.syscall + C.notice
"""When the window of a madvise opens that is called at cycle 200."""
STAY = 10_000
"""The vCPU is in its guest for so long after the race: one that is done is not."""
EXITS, RETRIES, SPTES, ZAPPED, KICKS = "kvm.exits", "kvm.retries", "kvm.sptes", "kvm.zapped", "kvm.kicks"
WARM = 1
"""Exits, and sptes set, until the vCPU has read its first page: the guest's tables were there before."""


def race(gap, ranges, page=0, before=6, **settings):
    """The vCPU has read the page `before`, reads `page` at cycle `gap`, and stays in its guest; CPU 0 acts at 200, CPU 1 at 240.

    The first 8 of 16 pages are there from the beginning.
    """
    cpus = 1 + max(record[-1] for record in ranges)
    device = [access(op.READ, cpus, 0, before), sync(cpus), compute(gap, cpus), access(op.READ, cpus, 0, page), compute(STAY, cpus)]
    starts = [compute(240 if cpu else 200, cpu) for cpu in range(cpus)]
    return play(kvm(**settings), [CPU] * cpus + [DEVICE], [*device, *starts, *ranges], [*mapped(8), *empty(8, 8)])


def warm_up(**settings):
    """How long the vCPU's first read took."""
    return race(1, advise(op.DONTNEED, 0, 7), 6, **settings).latencies()


def check(run, first_read, latencies, events):
    """The race's own latencies and events, without those of the first read."""
    values = sorted([*first_read, *latencies])
    assert run.result.latency("fault.violation").row[:4].tolist() == [len(values), sum(values), values[0], values[-1]]
    counted = run.counted("kvm.")
    for name in (EXITS, SPTES):
        counted[name] -= WARM
    assert {name: n for name, n in counted.items() if n} == events
    assert run.guest_entry() in (None, clean(run.pte())) and run.spte() in (None, run.pte())


def clean(pte):
    """What a vCPU has of this pte that has only read: the dirty bit of its guest's entry is yet to be set."""
    return pte and (pte[0], False)
