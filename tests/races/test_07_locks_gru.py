"""A GRU's miss while the mmap lock is taken for writing: the interrupt handler only tries it, the user's call waits for it.

madvise(HUGEPAGE) is the operation: it writes VMAs, but opens no epoch of the trace, so that it can race.
"""

import pytest

from hwmodel import op
from tests.races.gru_times import (
    ABSENT,
    ACTIVE,
    CALL,
    CHECK,
    DROPINS,
    HIT,
    KILLS,
    LOCKED,
    NAMES,
    PRESENT,
    REPLAYS,
    SLEPT,
    WALK,
    C,
)  # fmt: skip
from tests.races.scenes import (
    CPU,
    DEVICE,
    LATER,
    REFERENCE,
    access,
    advise,
    compute,
    empty,
    gru,
    mapped,
    play,
    sync,
)  # fmt: skip


@pytest.mark.jit_off
def test_the_handler_only_tries_the_lock(every):
    """CPU 0 has the lock from 210 to 270.

    CHECK is at gap + 45; the call that follows a failed one wants the lock at gap + 80.
    """
    cases = [
        (0, 165, lambda gap: HIT, {DROPINS: 1}),  # the lock is not held until the restart
        (165, 190, lambda gap: 270 - gap + PRESENT, {DROPINS: 1, LOCKED: 1}),
        (190, 225, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, LOCKED: 1}),
        (225, 300, lambda gap: HIT, {DROPINS: 1}),
    ]
    for first, last, latency, events in cases:
        for gap in every(first, last):
            device = [access(op.READ, 1, gap), access(op.READ, 1)]
            run = play(gru(), [CPU, DEVICE], [*advise(op.HUGEPAGE, 200), *device], mapped())
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == [latency(gap)], gap
            if first == 165:
                wait = 270 - (gap + CHECK + CALL)
                own = C.irq_entry + C.tfh_read + CALL + C.tfh_read + WALK + C.dropin
                assert run.booked("stall_driver") == own + wait, gap
            assert run.booked("stall_window") == run.booked("gup") == 0  # the page is there: the walk is enough in the call, too


def test_a_writer_in_line_is_enough(every):
    """Readers may not pass a writer that waits, and the handler's attempt fails as well (rwsem).

    210  CPU 0, giving up page 7, has the lock for reading
    215  its window opens
    250  CPU 1 asks for the lock for writing, and waits
    280  the window closes; CPU 0 sends CPU 1 a flush (from 295 to 315), hears of its end at 320, frees the page
    330  CPU 0 gives up the lock, CPU 1 has it
    390  CPU 1 gives it up
    """
    cases = [
        (0, 170, lambda gap: HIT, {DROPINS: 1}),
        # in the window, before there is a writer: when the call comes it waits behind that
        (170, 205, lambda gap: 390 - gap + PRESENT, {DROPINS: 1, ACTIVE: 1}),
        (205, 310, lambda gap: 390 - gap + PRESENT, {DROPINS: 1, LOCKED: 1}),
        (310, 345, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, LOCKED: 1}),
        (345, 420, lambda gap: HIT, {DROPINS: 1}),
    ]
    machine = gru(cpu__count=3, driver__interrupt_cpu=2)
    ranges = [*advise(op.DONTNEED, 200, 7, agent=0), *advise(op.HUGEPAGE, 240, 0, 8, agent=1)]
    for first, last, latency, events in cases:
        for gap in every(first, last):
            run = play(machine, [CPU, CPU, DEVICE], [*ranges, access(op.READ, 2, gap, 1)], mapped(8))
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == [latency(gap)], gap
            assert run.booked("lock_wait", "cpu") == 330 - 250 - 20  # less the flush that it answered meanwhile


@pytest.mark.jit_off
@pytest.mark.parametrize("late", range(5))
def test_a_window_that_waits_for_another_ends_the_running_ahead(late):
    """The device reads page 6 every five cycles; who may run ahead has no effect on which read is the first to miss.

    215  CPU 0's window on page 7 opens: it has ms_asid_lock for its TGH operation
    225  CPU 1's on page 6 arrives, and waits for that lock
    255  CPU 0's next step gives the lock up; in the same cycle page 6 is dropped
    """
    machine = gru(cpu__count=3, driver__interrupt_cpu=2, kernel__shootdown__delivery_ns=100, driver__interrupt_ns=100)
    ranges = [*advise(op.DONTNEED, 200, 7, agent=0), *advise(op.DONTNEED, 205, 6, agent=1)]
    reads = [access(op.READ, 2, 0, 6), access(op.READ, 2, 190 + late, 6, 20), access(op.READ, 2, 0, 6)]
    run = play(machine, [CPU, CPU, DEVICE], [*reads, *ranges], mapped(8))
    slower = 100 - C.irq_delivery
    latency = CHECK + slower + WALK + CALL + ABSENT  # of the read at 255 + late, the 13th of its record
    assert run.latencies() == [HIT + slower, latency]
    assert sum(run.booked(f"stall_{why}") for why in ("trap", "driver", "gup")) == latency - (20 - 12) * C.access_gru


def test_a_sleeping_call_holds_the_lock(every):
    """The user's call waits for the window with the mmap lock held for reading: a writer waits for the device.

    215  the window on page 7 opens
    gap + 80  the call for page 1 has the lock and sleeps
    260  CPU 1 asks for the lock for writing
    280  the window closes; CPU 0 sends CPU 1 a flush (from 295 to 315)
    330  the call goes on; CPU 0 gives up the lock
    370  the call has dropped the entry in and gives up the lock; CPU 1 has it
    """
    machine = gru(cpu__count=3, driver__interrupt_cpu=2)
    ranges = [*advise(op.DONTNEED, 200, 7, agent=0), *advise(op.HUGEPAGE, 250, 0, 8, agent=1)]
    for first, last, granted in ((1, 170, 330), (170, 180, 370)):
        for gap in every(first, last):
            run = play(machine, [CPU, CPU, DEVICE], [*ranges, access(op.READ, 2, gap, 1)], mapped(8))
            assert run.counted(*NAMES) == {DROPINS: 1} | ({ACTIVE: 1, SLEPT: 1} if granted == 370 else {}), gap
            assert run.result.ledger.by_agent("lock_wait")["agent 1"] == granted - 260 - 20, gap  # less the flush that it answered


# A huge page, splitting which opens a window, too: walks are three references long before, four after

SMALLER = REFERENCE
HUGE = 512


def split(records, wakeup=50):
    """CPU 0 makes a huge page, and all begin at the same cycle."""
    machine = gru(kernel__thp="always", kernel__zero_huge_ns=100, kernel__wakeup_ns=wakeup)
    start = [access(op.WRITE, 0), sync(0), compute(200, 0)]
    run = play(machine, [CPU, DEVICE], [*start, *records], empty(HUGE))
    assert run.counted("huge_splits", "faults.huge") == {"huge_splits": 1, "faults.huge": 1}
    return run


def test_splitting_a_huge_page_under_the_write_lock(every):
    """CPU 0 advises pages 3 to 511 of a huge page, which is split at page 3; the device reads page 100 of it.

    210  the lock is held for writing
    215  the window of the split opens, on all 512 pages: TGH operation
    255  512 ptes take the place of the huge one; flush
    325  the window closes
    385  the advice is noted, the lock given up
    """
    hit = HIT - SMALLER
    cases = [
        (1, 120, lambda gap: hit, {DROPINS: 2}, HIT),  # and once more when it is used again: from a small page's pte
        (120, 125, lambda gap: 385 - gap + PRESENT, {DROPINS: 2, REPLAYS: 1, LOCKED: 1}, None),
        (125, 165, lambda gap: 385 - gap + PRESENT, {DROPINS: 2, KILLS: 1, LOCKED: 1}, None),
        (165, 305, lambda gap: 385 - gap + PRESENT, {DROPINS: 1, LOCKED: 1}, None),
        (305, 340, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, LOCKED: 1}, None),
        (340, 420, lambda gap: HIT, {DROPINS: 1}, None),
    ]
    for first, last, latency, events, later in cases:
        for gap in every(first, last):
            device = [compute(gap, 1), access(op.READ, 1, 0, 100), access(op.READ, 1, LATER, 100)]
            run = split([*advise(op.HUGEPAGE, 0, 3, HUGE - 3), *device])
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
            assert run.entry(100)[0] == run.pte(100)[0] == run.pte(0)[0] + 100, gap


@pytest.mark.parametrize("wakeup", [10, 30])
def test_a_split_opens_a_window_within_a_window(wakeup, every):
    """CPU 0 gives up page 3 of a huge page; the device reads page 100.

    215  the window on page 3 opens
    255  the huge page must be split
    260  a second window opens, on all 512 pages
    300  512 ptes; flush
    370  the second window closes and wakes the sleepers, though the first is still open
    395  the first closes
    """
    woken = 370 + wakeup
    again = woken < 395
    awake = 395 + wakeup if again else woken
    cases = [
        (170, 290, lambda gap: awake - gap + PRESENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1 + again}),
        (290, 315, lambda gap: 395 + wakeup - gap + PRESENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}),
        (315, 350, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, ACTIVE: 1}),
        (350, 420, lambda gap: HIT, {DROPINS: 1}),
    ]
    for first, last, latency, events in cases:
        for gap in every(first, last):
            run = split([*advise(op.DONTNEED, 0, 3), compute(gap, 1), access(op.READ, 1, 0, 100)], wakeup)
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == [latency(gap)], gap
            assert run.latencies("notice") == [C.notice + C.tgh, C.notice + C.tgh]
            assert run.pte(3) is None
