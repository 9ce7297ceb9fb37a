"""A frame that changes hands while a vCPU uses it: neither an spte nor a TLB entry may name the old one when it is free.

Rules 11.4 and 6 (COW_SET) of docs/model.md.
"""

import pytest

from hwmodel import op
from tests.races.kvm_times import (
    AGAIN,
    BACK,
    COLD,
    COLD_OUT,
    EXITS,
    FLUSH,
    HIT,
    IN_GUEST,
    KICK,
    KICKS,
    MAP,
    OUT,
    RETRIES,
    SPTES,
    STAY,
    WALK,
    WARM,
    ZAPPED,
    C,
)  # fmt: skip
from tests.races.scenes import CPU, DEVICE, LATER, access, advise, compute, empty, file_page, kvm, mapped, play, sync

# A frame is given up by a process with a vCPU and taken by another process in the cycle in which it is free:
#
#     CPU 0                                    CPU 1, another address space
#     200  gives up page 1
#     215  the window opens: spte zapped
#     360  the vCPU is kicked
#     395  it has answered
#     420  the window closes
#     475  the vCPU flushes: 40 cycles, and 15 to enter its guest
#                                              485  writes to a page that it has not touched
#     520  it has answered: the frame is free  520  page fault: takes a frame, the one freed last


@pytest.mark.jit_off
def test_a_reused_frame_is_out_of_ept_and_tlb(every):
    """The vCPU writes page 1, and once more at `gap`: through its TLB until it is kicked, never after."""
    for first, last, hits in ((1, 360, 1), (360, 580, 0)):
        for gap in every(first, last):
            late = max(0, gap + C.device_latency - 360) if hits else 0  # the kick waits for the data in flight
            victim = [compute(200, 0), *advise(op.DONTNEED, 0, 1), compute(485 + late, 1), access(op.WRITE, 1)]
            device = [access(op.WRITE, 2, 0, 1), sync(2), compute(gap, 2), access(op.WRITE, 2, 0, 1), compute(STAY, 2)]
            run = play(kvm(), [CPU, (CPU, 1), DEVICE], [*device, *victim], [*mapped(3), *empty(agent=1)])
            assert run.counted(ZAPPED, KICKS, "device.tlb.hits") == {ZAPPED: 1, KICKS: 1} | ({"device.tlb.hits": 1} if hits else {})
            assert run.pte(space=1) == (1, True), "the second process has what was frame 1 of the first"
            assert run.spte(1) == run.guest_entry(1) == run.pte(1), gap
            assert (run.pte(1) is None) if hits else (run.pte(1)[0] > 1), gap


def test_a_frame_looked_up_before_it_was_freed_is_refused(every):
    """The look-up takes 2000 cycles: MAP comes when the page has gone; the number that moved is all that tells.

    CPU 0's window opens at 215 and closes at 280; its flush of 335 is answered, and the frame free, when the look-up is over.
    """
    for gap in every(1, 215 - OUT):
        device = [access(op.READ, 1, 0, 0), sync(1), compute(gap, 1), access(op.WRITE, 1, 0, 1)]
        run = play(kvm(kernel__gup_fast_ns=2000), [CPU, DEVICE], [*device, compute(200, 0), *advise(op.DONTNEED, 0, 1)], mapped(3))
        assert run.counted(RETRIES, ZAPPED) == {RETRIES: 1}, gap
        assert run.spte(1) == run.guest_entry(1) == run.pte(1) == (1, True), "the frame that was freed last"
        # the refused MAP, the flush, then get_user_pages and a zeroed page
        assert OUT + 2000 + FLUSH + AGAIN + C.gup + C.fault + C.zero_page + BACK in run.latencies(), gap


# A copy on write by a CPU. It has read a page of a file, mapped private, and now writes to it:
#
#     200  the write finds an entry that may not write: exception
#     230  page fault: a page is copied
#     290  notice
#     295  the window opens: the spte is zapped
#     440  the vCPU is kicked (70)
#     475  it has answered: the pte has the new frame; flush
#     490  the interrupt: the vCPU, in its guest or on its way into it, flushes when it is there (55)
#     510  it is there, and flushes
#     555  it has answered; notice
#     560  the window closes


def test_a_cpu_copies_the_page_that_the_guest_reads(every):
    start = [access(op.READ, 0), sync(0), access(op.READ, 1), sync(1), compute(200, 0), access(op.WRITE, 0)]
    for first, last in ((1, 440), (440, 540)):  # the old frame, until the kick; then kicked and flushed until gap + 125
        for gap in every(first, last):
            device = [compute(gap, 1), access(op.READ, 1), compute(LATER, 1), access(op.READ, 1), compute(STAY, 1)]
            run = play(kvm(), [CPU, DEVICE], [*start, *device], file_page())
            assert run.counted(ZAPPED, KICKS, RETRIES) == {ZAPPED: 1, KICKS: 1}, gap
            assert run.counted("faults.cow") == {"faults.cow": 1}
            assert run.counted("device.tlb.") == {"device.tlb.misses": 2, "device.tlb.hits": 1}, gap
            # read again when all is over, if the first read came before the kick
            assert COLD_OUT + C.gup_fast + BACK in run.latencies(), gap
            assert (run.booked("kick"), run.booked("ipi_respond", "device")) == (KICK, FLUSH + IN_GUEST), gap
            new, may_write = run.pte()
            assert may_write and new != run.file_frame() and run.spte() == (new, True) and run.guest_entry() == (new, False), gap


@pytest.mark.parametrize("has_spte", [False, True])
def test_the_guest_copies_the_page_that_a_cpu_reads(has_spte, every):
    """The vCPU writes to a page that CPU 0 has read: its own notice moves the number that it has noted, so it retries once.

    If it has read the page itself, its write finds the entry of that, and the walk takes 20 cycles more: it sets the dirty bit of the
    guest's entry.

    gap +  60  VIOLATION: notes the number; the page is read-only: get_user_pages
    gap +  90  page fault
    gap + 150  copied; notice
    gap + 155  the window opens: mmu_lock for writing; an spte of the page, set for reading, is zapped, and the vCPU
               asks itself to flush (10 and 80 more from here on)
    gap + 195  the pte has the new frame; flush
    gap + 210  CPU 0 is interrupted: it drops its entry of the old frame
    gap + 235  it has answered (20 cycles, and 5 to tell); notice
    gap + 240  the window closes; mmu_lock for writing
    gap + 280  MAP: the number has moved. Back to the guest, with a flush if the spte was zapped
    gap + 355  VIOLATION: the page may be written: spte
    """
    gap, more = 10, C.assist + C.zap_spte + C.request if has_spte else 0
    flushed = gap + 210 + more
    plain = OUT + C.gup + C.fault + C.copy_page + C.notice + C.zap + C.ipi_send + C.ipi_delivery
    assert gap + plain + more == flushed
    latency = 280 + AGAIN + C.gup_fast + BACK
    if has_spte:
        latency += more + C.invept + COLD - WALK
    page = 0 if has_spte else 6
    start = [access(op.READ, 0), sync(0), access(op.READ, 1, 0, page), sync(1)]
    device = [compute(gap, 1), access(op.WRITE, 1), compute(STAY, 1)]
    for first, last, misses in ((1, flushed + 1, 1), (flushed + 1, 500, 2)):  # at the same cycle the CPU reads first
        for now in every(first, last):
            reads = [compute(now, 0), access(op.READ, 0), compute(STAY, 0)]
            run = play(kvm(), [CPU, DEVICE], [*start, *reads, *device], [*file_page(), *mapped(1, 6)])
            assert latency in run.latencies(), now
            events = {RETRIES: 1, EXITS: WARM + 2, SPTES: WARM + 1} | ({ZAPPED: 1} if has_spte else {})
            assert run.counted(RETRIES, EXITS, SPTES, ZAPPED, KICKS) == events, now
            assert run.result.counters["cpu.dtlb.misses"] == misses, now
            new, _ = run.pte()
            assert new != run.file_frame() and run.spte() == run.guest_entry() == (new, True), now
            assert run.cpu_entry() == (None if misses == 1 else (new, True)), now


def test_the_timeline():
    assert (HIT, MAP, AGAIN, COLD_OUT, KICK) == (115, 80, 75, 140, 70)
    assert 280 + AGAIN == 355
