"""A GRU's miss while a huge page is split, which opens a window of its own (docs/model.md 6.3, 10.3, 10.4).

The walk to a huge page is three references long, that to a small one four.
"""

import pytest

from hwmodel import op
from tests.races.gru_times import ACTIVE, CALL, CHECK, DROPINS, HIT, KILLS, LOCKED, NAMES, PRESENT, SLEPT, C
from tests.races.scenes import CPU, DEVICE, LATER, REFERENCE, access, advise, compute, empty, gru, play, sync

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
        (1, 125, lambda gap: hit, {DROPINS: 2}, HIT),  # and once more when it is used again: from a small page's pte
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
