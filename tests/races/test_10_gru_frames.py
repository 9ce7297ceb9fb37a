"""A frame that changes hands while the GRU uses it: the device must never reach the old one through its entry or its drop-in.

Rules 10.3, 10.4 and 6 (COW_SET) of docs/model.md.
"""

import pytest

from hwmodel import op
from tests.races.gru_times import (
    ACTIVE,
    CALL,
    CHECK,
    DROPINS,
    HIT,
    KILLS,
    NAMES,
    PRESENT,
    RESTART,
    SLEPT,
    UPM,
    WALK,
    C,
)  # fmt: skip
from tests.races.scenes import (
    CPU,
    DEVICE,
    LATER,
    access,
    advise,
    compute,
    empty,
    file_page,
    gru,
    mapped,
    play,
    sync,
)  # fmt: skip

# A frame is given up in one process and taken by another in the cycle in which it is free:
#
#     CPU 0                                CPU 1, another address space
#     200  gives up page 1
#     215  the window opens
#     280  it closes                       275  writes to a page that it has not touched: walk (one reference), exception
#     310  flushed: the frame is free      310  page fault: takes a frame, the one freed last

FREED = 310
VICTIM = [*advise(op.DONTNEED, 200, 1), access(op.WRITE, 1, 275)]


def reuse(device, **settings):
    """The device writes page 1 of space 0; CPU 2 serves its interrupts."""
    machine = gru(cpu__count=3, driver__interrupt_cpu=2, **settings)
    run = play(machine, [CPU, (CPU, 1), DEVICE], [*VICTIM, *device], [*mapped(3), *empty(agent=1)])
    assert run.pte(space=1) == (1, True), "the second process has what was frame 1 of the first"
    return run


@pytest.mark.jit_off
def test_a_reused_frame_is_out_of_the_tlb(every):
    """The device has its entry at 95 and writes again at cycle `now`: through the entry until the window opens, never after."""
    for first, last, hits in ((105, 215, 1), (215, 500, 0)):
        for now in every(first, last):
            run = reuse([access(op.WRITE, 2, 0, 1), access(op.WRITE, 2, now, 1)])
            assert run.result.counters["device.tlb.hits"] == hits, now
            assert run.result.counters["device.tlb.misses"] == 2 - hits, now
            assert run.entry(1) == run.pte(1), now
            assert run.entry(1) is None if hits else run.entry(1) == (3, True), now


@pytest.mark.jit_off
def test_a_drop_in_that_outlives_the_frame_is_killed(every):
    """The hub is slow to restart: the entry of the old frame arrives at gap + 275, when that has a new owner."""
    restart = CHECK + WALK + C.dropin + 200
    assert (FREED - restart, 215 - CHECK) == (35, 170)
    for gap in every(FREED - restart + 1, 215 - CHECK):
        run = reuse([access(op.WRITE, 2, gap, 1)], driver__restart_ns=200)
        assert run.counted(*NAMES) == {DROPINS: 2, KILLS: 1, UPM: 1}, gap
        slow = C.tfh_read + WALK + C.gup + C.fault + C.zero_page + C.dropin + 200
        assert run.latencies() == [restart + CHECK + WALK + CALL + slow], gap
        assert run.entry(1) == run.pte(1) == (3, True), gap


# A copy on write by a CPU. It has read a page of a file, mapped private, and now writes to it:
#
#     200  the write finds an entry that may not write: exception
#     230  page fault: a page is copied
#     290  notice
#     295  the window opens: TGH operation
#     335  the pte has the new frame; flush
#     365  notice
#     370  the window closes


def test_a_cpu_copies_the_page_that_the_device_reads(every):
    cases = [
        (1, 200, lambda gap: HIT, {DROPINS: 2}, HIT),  # the old page; read again it is the new one, dropped in by the handler
        (200, 230, lambda gap: RESTART + CHECK + CALL + PRESENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
        (230, 250, lambda gap: RESTART + HIT, {DROPINS: 2, KILLS: 1}, None),
        (250, 290, lambda gap: 420 - gap + PRESENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
        (290, 325, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, ACTIVE: 1}, None),
        (325, 400, lambda gap: HIT, {DROPINS: 1}, None),
    ]
    start = [access(op.READ, 0), sync(0), compute(200, 0), access(op.WRITE, 0)]
    for first, last, latency, events, later in cases:
        for gap in every(first, last):
            device = [compute(gap, 1), access(op.READ, 1), access(op.READ, 1, LATER)]
            run = play(gru(), [CPU, DEVICE], [*start, *device], file_page())
            assert run.counted("faults.") == {"faults.file": 1, "faults.cow": 1}
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
            new, may_write = run.pte()
            assert may_write and new != run.file_frame() and run.entry() == (new, False), gap


def test_the_device_copies_the_page_that_a_cpu_reads(every):
    """The device writes; get_user_pages copies the page, and the notice of that kills the very drop-in that it is for.

    gap + 140  get_user_pages: the page is read-only: page fault
    gap + 200  copied; notice
    gap + 205  the window opens; the TGH operation kills the miss that the driver is resolving
    gap + 245  the pte has the new frame; flush
    gap + 260  CPU 0 is interrupted: it drops its entry of the old frame
    gap + 285  it has answered (20 cycles, and 5 to tell); notice
    gap + 290  the window closes; drop-in
    gap + 320  killed; interrupt
    gap + 415  the handler finds a page that may be written: the entry is in the TLB and used
    """
    gap, flushed = 10, 270
    copied = gap + CHECK + WALK + CALL + C.tfh_read + WALK + C.gup + C.fault + C.copy_page
    assert copied + C.notice + C.tgh + C.ipi_send + C.ipi_delivery == flushed
    start = [access(op.READ, 0), sync(0)]
    device = [compute(gap, 1), access(op.WRITE, 1)]
    for first, last, misses in ((1, flushed + 1, 1), (flushed + 1, 400, 2)):  # at the same cycle the CPU reads first
        for now in every(first, last):
            reads = [compute(now, 0), access(op.READ, 0), compute(LATER, 0)]
            run = play(gru(), [CPU, DEVICE], [*start, *reads, *device], file_page())
            assert run.counted(*NAMES) == {DROPINS: 2, UPM: 1, KILLS: 1}, now
            assert run.latencies() == [415], now
            assert run.result.counters["cpu.dtlb.misses"] == misses, now
            new, _ = run.pte()
            assert new != run.file_frame() and run.entry() == (new, True), now
            assert run.cpu_entry() == (None if misses == 1 else (new, True)), now
