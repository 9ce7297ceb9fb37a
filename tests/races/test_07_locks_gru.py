"""A GRU's miss while the mmap lock is taken for writing: the interrupt handler only tries it, the user's call waits for it.

Rules 7.1 and 10.3 of docs/model.md.

madvise(HUGEPAGE) is the operation: it writes VMAs, but opens no epoch of the trace, so that it can race.
"""

import pytest

from hwmodel import op
from tests.races.gru_times import ACTIVE, CALL, CHECK, DROPINS, HIT, LOCKED, NAMES, PRESENT, SLEPT, WALK, C
from tests.races.scenes import CPU, DEVICE, access, advise, gru, mapped, play


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
            assert run.booked("stall_invalidation") == run.booked("gup") == 0  # the page is there: the walk is enough in the call, too


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
