"""An access recorded after an operation, and the step in which the operation lets it begin (docs/model.md 3.6).

CPU 0 calls the kernel at cycle 200 and has the mmap lock at 500; the other agent comes to its access at cycle `gap`. A right that the call
gives is there in the step that opens the epoch: until then the access waits, and is not refused. It may still have to wait for the lock.
Pages 8 and 9 are mapped throughout.
"""

from dataclasses import dataclass, field

import pytest

from hwmodel import op
from hwmodel.op import mmap_unit, paged_unit
from tests.races.scenes import CPU, DEVICE, PAGE, REFERENCE, access, compute, costs, gru, kvm, mapped, play, sync

SLOW = {"kernel__syscall_ns": 300}
"""So slow that a fault would come before the lock is taken."""
MACHINES = {"cpu": gru(**SLOW), "gru": gru(**SLOW), "kvm": kvm(**SLOW)}
C = {name: costs(machine) for name, machine in MACHINES.items()}
BEGIN, LOCKED = 200, 500
VMA, SCAN = C["cpu"].vma, C["cpu"].table_scan
GRU_WINDOW = (C["gru"].notice + C["gru"].tgh, C["gru"].notice)
KVM_WINDOW = 2 * (C["kvm"].notice + C["kvm"].zap,)
WINDOW = {"cpu": 0, "gru": sum(GRU_WINDOW), "kvm": sum(KVM_WINDOW)}
"""A window in which there is nothing to clear, by who is told of it."""
NEEDS_LOCK = {
    "cpu": 4 * REFERENCE + C["cpu"].exception,
    "gru": C["gru"].irq_delivery + C["gru"].irq_entry + C["gru"].tfh_read,
    "kvm": 2 * REFERENCE + C["kvm"].exit + C["kvm"].violation + C["kvm"].gup,
}
"""From the beginning of an access to a page that is not there, until its fault asks for the mmap lock (GRU: tries it)."""
TOP = mmap_unit(PAGE + 8 << 12, 2, 3, populate=True)


@dataclass(frozen=True)
class Call:
    """An operation, when it opens its epoch and when it unlocks, and the access that follows."""

    records: list
    opens: int
    unlocks: int = 0
    windows: tuple = (0, 0)  # empty windows before the one and the other
    before: list = field(default_factory=list)  # what is mapped, pages 8 and 9 apart
    kind: int = op.WRITE
    page: int = 0


def vma(first, pages, prot, **more):
    """A mapping that nobody has touched."""
    return mmap_unit(PAGE + first << 12, pages, prot, **more)


def on(kind, first, pages, *args):
    """An operation on pages."""
    return paged_unit(kind, PAGE + first << 12, pages, args)


def brk(page):
    """The break moves to a page."""
    return [(PAGE + page << 12, 0, 0, op.BRK, 0)]


FIRST_READ = (18 + 2) * REFERENCE + C["kvm"].device_latency
"""How long a sync of the vCPU's waits for its own read before: two walks and the data; the work between them is in accounts of its own."""
READ_ONLY = vma(0, 2, 1)
CALLS = {
    "mmap": Call(vma(0, 2, 3), LOCKED, LOCKED + VMA),
    # what was there is cut off, its window opens and closes, then the new VMA is inserted
    "mmap of what is mapped": Call(vma(0, 2, 3), LOCKED + VMA + SCAN, LOCKED + 2 * VMA + SCAN, (1, 1), READ_ONLY),
    "mmap that fails": Call(vma(513, 1, 3), LOCKED, before=vma(512, 512, 3, mapping=op.HUGETLB), page=8),
    "brk": Call(brk(2), LOCKED, LOCKED + VMA, before=brk(0)),
    "brk that fails": Call(brk(9), LOCKED, before=brk(0), page=8),
    "brk that sets": Call(brk(0), BEGIN, page=8),
    "brk that shrinks": Call(brk(1), BEGIN, LOCKED, before=[*brk(0), *brk(4)]),
    "mprotect that gives": Call(on(op.MPROTECT, 0, 2, (0, 3)), LOCKED, LOCKED + VMA + SCAN, (0, 1), READ_ONLY),
    # a VMA after the other; the one that only loses a right is the last
    "mprotect of two": Call(
        on(op.MPROTECT, 0, 4, (0, 3)), LOCKED + VMA + SCAN, LOCKED + 2 * (VMA + SCAN), (1, 2), [*READ_ONLY, *vma(2, 2, 7)], page=3
    ),
    "mprotect that takes": Call(on(op.MPROTECT, 0, 2, (0, 1)), BEGIN, LOCKED + VMA + SCAN, (0, 1), vma(0, 2, 3), op.READ),
    "mprotect of nothing": Call(on(op.MPROTECT, 0, 2, (0, 3)), BEGIN, page=8),
    "mremap": Call(on(op.MREMAP, 4, 2, (PAGE << 12, 2)), LOCKED, LOCKED + 2 * VMA + SCAN, (0, 2), vma(4, 2, 3)),
    "mremap that grows": Call(on(op.MREMAP, 0, 2, (PAGE << 12, 4)), LOCKED, LOCKED + VMA, before=vma(0, 2, 3), page=3),
    "mremap that shrinks": Call(on(op.MREMAP, 0, 4, (PAGE << 12, 2)), BEGIN, before=vma(0, 4, 3)),
    "mremap that fails": Call(on(op.MREMAP, 0, 2, (PAGE << 12, 2)), BEGIN, page=8),
    "munmap": Call(on(op.MUNMAP, 0, 2), BEGIN, before=vma(0, 2, 3), page=8),
    # a stack may grow where something read-only was
    "munmap below a stack": Call(on(op.MUNMAP, 0, 2), LOCKED, before=[*READ_ONLY, *vma(2, 2, 3, grows_down=True)], page=1),
}  # fmt: skip


def race(design, call, gap):
    """Agent 1 comes to its access at cycle `gap`; a vCPU has been near before, so that its guest's tables are known."""
    before = [access(op.READ, 1, 0, 9), sync(1)] if design == "kvm" else []
    records = [*before, compute(BEGIN, 0), *call.records, access(call.kind, 1, gap, call.page)]
    return play(MACHINES[design], [CPU, CPU if design == "cpu" else DEVICE], records, [*TOP, *call.before])


@pytest.mark.parametrize("design", MACHINES)
@pytest.mark.parametrize("name", CALLS)
def test_an_access_waits_for_what_it_needs(name, design, every):
    call = CALLS[name]
    opens, unlocks = (time + windows * WINDOW[design] for time, windows in zip((call.opens, call.unlocks), call.windows, strict=True))
    for gap in every(BEGIN - 20, opens + 20):
        run = race(design, call, gap)
        assert run.counted("segv") == {}, gap
        before = FIRST_READ if design == "kvm" else 0
        assert run.result.ledger.by_agent("order_wait")["agent 1"] == before + max(0, opens - gap), gap
        assert run.pte(call.page)[1] or call.kind == op.READ, gap
        if call.unlocks and call.page < 8:
            left = wait_for_lock(design, name, max(gap, opens), opens, unlocks)
            if design == "gru":
                assert run.counted("gru.intr_mm") == ({"gru.intr_mm_lock_failed": 1} if left > 0 else {}), gap
            else:
                assert run.result.ledger.by_agent("lock_wait")["agent 1"] == left, gap


def wait_for_lock(design, name, begins, opens, unlocks):
    """How long the fault of an access that begins then waits for the mmap lock."""
    asks = begins + NEEDS_LOCK[design]
    if asks < LOCKED:
        return 0  # it overtakes the operation
    if design == "kvm" and name.startswith("mprotect"):
        window = range(opens + VMA + C["kvm"].notice, unlocks - C["kvm"].zap)  # from its first callback to the end of its last
        if asks - C["kvm"].gup in window:
            return 0  # a vCPU retries while its page is being invalidated, and finds the lock free
    return max(0, unlocks - asks)


@pytest.mark.parametrize("design", MACHINES)
def test_a_fork_holds_up_the_child_only(design, every):
    """The parent's epoch opens when the fork begins, the child's agents wait until it is born."""
    second = CPU if design == "cpu" else DEVICE
    for gap in every(BEGIN - 20, LOCKED + 20):
        records = [compute(BEGIN, 0), (0, 1, 0, op.FORK, 0), access(op.WRITE, 1, gap, 8), access(op.WRITE, 2, 0, 8)]
        run = play(MACHINES[design], [CPU, second, (CPU, 1)], records, mapped(2, 8))
        assert run.counted("segv") == {} and run.pte(8, space=1)[1], gap
        assert run.result.ledger.by_agent("order_wait")["agent 1"] == max(0, BEGIN - gap), gap
        assert run.result.ledger.by_agent("order_wait")["agent 2"] == 0, gap
