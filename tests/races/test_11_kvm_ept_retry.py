"""An EPT violation before, inside and after an invalidation: it notes the sequence number, looks, and looks again, twice.

Rule 11.4 of docs/model.md.

CPU 0 calls madvise(DONTNEED) at cycle 200:

    200  system call
    210  notice
    215  OPEN: in_progress is 1; mmu_lock is held for writing
    255  mmu_lock is free (the page had no spte); the pte is cleared
    275  notice
    280  CLOSED: in_progress is 0, the sequence number has moved; mmu_lock is held for writing
    320  mmu_lock is free; flush (its interrupts travel for 5000 cycles: they come too late to matter)

The vCPU reads at cycle `gap`; `kvm_times` has its timeline.
"""

import pytest

from hwmodel import op
from tests.races import kvm_times
from tests.races.kvm_times import (
    AGAIN,
    BACK,
    EXITS,
    FAULT,
    HAND,
    HIT,
    KICKS,
    MAP,
    OPEN,
    OUT,
    RETRIES,
    SPTES,
    STAY,
    WARM,
    ZAPPED,
    C,
    check,
)  # fmt: skip
from tests.races.scenes import CPU, DEVICE, access, advise, compute, kvm, mapped, play, sync

LATE = {"kernel__shootdown__delivery_ns": 5000}


def race(gap, ranges, page=0, **settings):
    """A race without interrupts."""
    return kvm_times.race(gap, ranges, page, **LATE, **settings)


def warm_up(**settings):
    """The first read of such a race."""
    return kvm_times.warm_up(**LATE, **settings)


def test_the_timeline():
    assert (OUT, MAP, HIT, AGAIN, FAULT) == (60, 80, 115, 75, 55)
    assert (OPEN, OPEN + C.zap, OPEN + C.zap + C.clear + C.table_scan + C.notice) == (215, 255, 280)


@pytest.mark.jit_off
@pytest.mark.parametrize("closed", [280, 480])
def test_a_page_that_is_given_up(closed, every):
    """The window is 65 or 265 cycles long; the vCPU spins through retries, an exit each, as long as it is open."""

    def retries(violation):
        return max(0, -(-(closed - violation) // AGAIN))

    def inside(gap):
        return retries(gap + OUT)

    def killed(gap):
        return 1 + retries(gap + MAP + AGAIN)

    cases = [
        # mapped and walked before: the spte is zapped, and the vCPU, in its guest, kicked (between: test_11_kvm_ept_zap)
        (1, 110, lambda gap: HIT, lambda gap: {EXITS: 1, SPTES: 1, ZAPPED: 1, KICKS: 1}),
        # begun before, too late to be mapped: MAP is refused at once, though until 255 it could not have mmu_lock
        (135, 155, lambda gap: MAP + killed(gap) * AGAIN + FAULT + BACK,
         lambda gap: {EXITS: 1 + killed(gap), SPTES: 1, RETRIES: killed(gap)}),
        # inside: refused at once
        (155, closed - OUT, lambda gap: OUT + inside(gap) * AGAIN + FAULT + BACK,
         lambda gap: {EXITS: 1 + inside(gap), SPTES: 1, RETRIES: inside(gap)}),
        (closed - OUT, closed + 20, lambda gap: OUT + FAULT + BACK, lambda gap: {EXITS: 1, SPTES: 1}),
    ]  # fmt: skip
    settings = {"kernel__table_scan_ns": closed - 270}
    first_read = warm_up(**settings)
    for first, last, latency, events in cases:
        for gap in every(first, last):
            run = race(gap, advise(op.DONTNEED), **settings)
            check(run, first_read, [latency(gap)], events(gap))
            assert run.booked("lock_wait") == 0, gap
            exits = WARM + events(gap)[EXITS]
            assert (run.booked("exit"), run.booked("violation")) == (exits * C.exit, exits * C.violation + HAND), gap


def test_zapped_before_the_guest_has_seen_it(every):
    """The spte is set while the invalidation waits for mmu_lock, and zapped at once; the vCPU, still outside, flushes and misses.

    gap +  90  mmu_lock changes hands; the vCPU flushes (25) and enters (15)
    gap + 130  a walk with empty caches: 18 references; it leaves the guest
    gap + 270  VIOLATION: the window was closed at gap + 245 (one spte zapped, the vCPU asked to flush: 10 and 80 more)
    gap + 360  the access
    """
    for gap in every(125, 135):
        run = race(gap, advise(op.DONTNEED))
        check(run, warm_up(), [360], {EXITS: 2, SPTES: 2, ZAPPED: 1})
        assert run.booked("lock_wait", "cpu") == gap + MAP + C.map_spte - OPEN
        assert run.booked("entry") == (WARM + 2) * C.entry + C.invept
        assert run.booked("kick") == 0


def test_a_page_that_stays(every):
    """MADV_FREE leaves the page: the look-up takes 20 cycles throughout, and MAP may have to wait for the end's mmu_lock (280 to 320)."""
    cases = [
        (1, 110, lambda gap: HIT, {EXITS: 1, SPTES: 1, ZAPPED: 1, KICKS: 1}),
        # MAP is refused at gap + 80; the second one, at gap + 175, waits or not
        (135, 145, lambda gap: 320 - gap + BACK, {EXITS: 2, SPTES: 1, RETRIES: 1}),
        (145, 155, lambda gap: MAP + AGAIN + C.gup_fast + BACK, {EXITS: 2, SPTES: 1, RETRIES: 1}),
        # VIOLATION is refused at gap + 60; MAP is at gap + 155
        (155, 165, lambda gap: 320 - gap + BACK, {EXITS: 2, SPTES: 1, RETRIES: 1}),
        (165, 220, lambda gap: AGAIN + HIT, {EXITS: 2, SPTES: 1, RETRIES: 1}),
        (220, 240, lambda gap: 320 - gap + BACK, {EXITS: 1, SPTES: 1}),
        (240, 300, lambda gap: HIT, {EXITS: 1, SPTES: 1}),
    ]
    first_read = warm_up()
    for first, last, latency, events in cases:
        for gap in every(first, last):
            check(race(gap, advise(op.FREE)), first_read, [latency(gap)], events)


def test_the_sequence_number_moves_during_a_long_look_up(every):
    """The look-up takes 150 cycles, longer than the window: MAP is at gap + 210, and what it found may be gone though no window is open.

    The window refuses it from 215 to 280, after that the number; whether mmu_lock is taken (to 255, from 280 to 320) makes no difference.
    """
    refused = OUT + 150
    settings = {"kernel__gup_fast_ns": 150}
    first_read = warm_up(**settings)
    for first, last in ((5, 45), (45, 70), (70, 110), (110, 155)):
        for gap in every(first, last):
            run = race(gap, advise(op.DONTNEED), **settings)
            check(run, first_read, [refused + AGAIN + FAULT + BACK], {EXITS: 2, SPTES: 1, RETRIES: 1})
            assert run.booked("lock_wait") == 0, gap
            assert run.pte() == run.spte() == run.guest_entry() == (0, False)  # the zero page


def test_a_page_outside_the_envelope(every):
    """The window is on page 0, the vCPU reads page 5: an open window is no reason to retry, a number that moved is one for all pages."""
    one, two = {EXITS: 1, SPTES: 1}, {EXITS: 2, SPTES: 1, RETRIES: 1}
    cases = [
        (1, 135, lambda gap: HIT, one),
        (135, 175, lambda gap: 255 - gap + BACK, one),  # waits for mmu_lock; mapped inside the window
        (175, 200, lambda gap: HIT, one),
        (200, 220, lambda gap: MAP + AGAIN + C.gup_fast + BACK, two),  # begun inside, the number moved at 280: refused at once
        (220, 240, lambda gap: 320 - gap + BACK, one),
        (240, 300, lambda gap: HIT, one),
    ]
    first_read = warm_up()
    for first, last, latency, events in cases:
        for gap in every(first, last):
            check(race(gap, advise(op.DONTNEED), 5), first_read, [latency(gap)], events)


def test_two_windows_make_one_envelope(every):
    """CPU 0 gives up page 0, CPU 1 page 7; the vCPU reads page 4, which neither does.

    215  CPU 0's window opens; it has mmu_lock
    255  CPU 1's opens: from here on the envelope is pages 0 to 7; it has mmu_lock
    295  CPU 0's closes (its end has waited since 280); the envelope stays; it has mmu_lock
    335  CPU 1's closes (its end has waited since 320); it has mmu_lock until 375
    """
    one, two, three = ({EXITS: exits, SPTES: 1} | ({RETRIES: exits - 1} if exits > 1 else {}) for exits in (1, 2, 3))
    cases = [
        (1, 135, lambda gap: HIT, one),
        (135, 175, lambda gap: 255 - gap + BACK, one),  # the lock is granted in order: before CPU 1 has it
        # looked at before the envelope grew: refused at MAP; and at the second VIOLATION, gap + 155, or not
        (175, 180, lambda gap: MAP + 2 * AGAIN + C.gup_fast + BACK, three),
        (180, 195, lambda gap: 375 - gap + BACK, two),
        # refused at VIOLATION, gap + 60; and at the second, gap + 135, or not
        (195, 200, lambda gap: 2 * AGAIN + HIT, three),
        (200, 220, lambda gap: 375 - gap + BACK, two),
        (220, 275, lambda gap: AGAIN + HIT, two),  # from 235 on with CPU 1's window alone open
        (275, 295, lambda gap: 375 - gap + BACK, one),
        (295, 340, lambda gap: HIT, one),
    ]
    ranges = [*advise(op.DONTNEED, 0, 0, agent=0), *advise(op.DONTNEED, 0, 7, agent=1)]
    first_read = warm_up()
    for first, last, latency, events in cases:
        for gap in every(first, last):
            check(race(gap, ranges, 4), first_read, [latency(gap)], events)


@pytest.mark.jit_off
def test_refused_before_the_lock_or_under_it(every):
    """What is stale at MAP does not wait for mmu_lock; what becomes stale while it waits is refused when it has the lock.

    A second vCPU holds mmu_lock, for reading, when CPU 0 wants it, so that the window on page 0 opens later than it is asked for:

    210  the second vCPU's MAP, of page 5
    215  CPU 0 asks for mmu_lock: from here on readers wait behind it, but no window is open
    220  the window opens
    260  mmu_lock is free; the pte is cleared
    285  the window closes
    """
    first_read, other = warm_up(), 210 - MAP
    refused = {EXITS: 1 + 1 + 2, SPTES: 1 + 1 + 1, RETRIES: 1}  # the second vCPU's two, and the first one's
    cases = [
        (135, 140, lambda gap: 260 - gap + AGAIN + FAULT + BACK, lambda gap: 260 - gap - MAP),  # MAP before 220: waits, for nothing
        (140, 160, lambda gap: MAP + AGAIN + FAULT + BACK, lambda gap: 0),
        (160, 210, lambda gap: OUT + AGAIN + FAULT + BACK, lambda gap: 0),  # refused at VIOLATION
    ]
    start = [access(op.READ, 1, 0, 6), sync(1), access(op.READ, 2, 0, 7), sync(2), compute(200, 0), *advise(op.DONTNEED)]
    for first, last, latency, waits in cases:
        for gap in every(first, last):
            devices = [compute(gap, 2), access(op.READ, 2), compute(STAY, 2), compute(other, 1), access(op.READ, 1, 0, 5), compute(STAY, 1)]
            run = play(kvm(**LATE), [CPU, DEVICE, DEVICE], [*start, *devices], mapped(8))
            check(run, first_read, [*first_read, HIT, latency(gap)], refused)
            assert run.result.ledger.by_agent("lock_wait") == {"agent 0": 220 - 215, "agent 1": 0, "agent 2": waits(gap)}, gap


def test_a_window_outlives_its_own_end(every):
    """As before, but the vCPU reads page 0: CPU 0's window on it is closed at 295, yet CPU 1's keeps the envelope until 335."""
    ranges = [*advise(op.DONTNEED, 0, 0, agent=0), *advise(op.DONTNEED, 0, 7, agent=1)]
    first_read = warm_up()
    for gap in every(295 - OUT, 335 - OUT):
        check(race(gap, ranges, 0), first_read, [OUT + AGAIN + FAULT + BACK], {EXITS: 2, SPTES: 1, RETRIES: 1})
    for gap in every(335 - OUT, 400):
        check(race(gap, ranges, 0), first_read, [OUT + FAULT + BACK], {EXITS: 1, SPTES: 1})


def test_only_the_slow_look_up_wants_the_mmap_lock(every):
    """CPU 0 has the mmap lock for writing from 210 to 270: looking up a page that is there takes no lock, the other way waits."""
    ranges = advise(op.HUGEPAGE, 0, 0, 8)
    first_read = warm_up()
    for gap in every(1, 300):
        check(race(gap, ranges, 5), first_read, [HIT], {EXITS: 1, SPTES: 1})
    asks = OUT + C.gup
    for first, last in ((1, 210 - asks), (210 - asks, 270 - asks), (270 - asks, 300)):
        for gap in every(first, last):
            run = race(gap, ranges, 9)
            wait = 270 - gap - asks if first == 210 - asks else 0
            check(run, first_read, [OUT + FAULT + BACK + wait], {EXITS: 1, SPTES: 1})
            assert run.booked("lock_wait", "device") == wait, gap
