"""A GRU's miss that its user's call resolves, while a window opens: get_user_pages pins nothing, and only the kill bit saves it.

Rules 10.3 and 10.4 of docs/model.md.

The device reads page 1, which has never been touched: CHECK (gap + 45) finds no page, so the call looks at the window at gap + 100 and
again, having read the fault handle, at gap + 110; the zero page is mapped at gap + 165 and the restart (ALL) is at gap + 195.
"""

import pytest

from hwmodel import op
from tests.races.gru_times import (
    ABSENT,
    ACTIVE,
    AGAIN_OPEN,
    CALL,
    CHECK,
    DROPINS,
    HIT,
    KILLS,
    NAMES,
    OPEN,
    PRESENT,
    RESTART,
    SLEPT,
    UPM,
    WALK,
    C,
)  # fmt: skip
from tests.races.scenes import CPU, DEVICE, LATER, access, advise, empty, gru, mapped, play

LOOK = CHECK + WALK + CALL
ALL = LOOK + ABSENT


def race(gap, page):
    """CPU 0 gives up a page while the device reads page 1, and reads it again when all is over."""
    device = [access(op.READ, 1, gap, 1), access(op.READ, 1, LATER, 1)]
    return play(gru(), [CPU, DEVICE], [*advise(op.DONTNEED, 200, page), *device], [*mapped(), *empty(3, 1)])


# The window on page 0 is open from 215 to 280: any window of the address space stops drop-ins, but only one on the page kills them
OTHER = [
    # past the second look: nothing stops it, though most of it happens inside the window
    (0, 105, lambda gap: ALL, {DROPINS: 1, UPM: 1}, None),
    # opened between the two looks: the second one finds it
    (105, 115, lambda gap: 330 - gap + ABSENT, {DROPINS: 1, UPM: 1, ACTIVE: 1, AGAIN_OPEN: 1, SLEPT: 1}, None),
    # opened before the first: the call sleeps at once
    (115, 170, lambda gap: 330 - gap + ABSENT, {DROPINS: 1, UPM: 1, SLEPT: 1}, None),
    # the handler finds it: as for a page that is there
    (170, 200, lambda gap: 330 - gap + ABSENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
    (200, 235, lambda gap: CHECK + CALL + ABSENT, {DROPINS: 1, ACTIVE: 1}, None),
    (235, 300, lambda gap: ALL, {DROPINS: 1, UPM: 1}, None),
]
# The same on page 1 itself. If the device has mapped the zero page by 255, that goes, and the window ends at 280. If not, nothing is
# there to clear: it ends at 270 and wakes the sleeper at 320.
OWN = [
    (0, 20, lambda gap: ALL, {DROPINS: 2, UPM: 2}, ALL),  # dropped in and used before; used again it is gone
    # past the second look, killed at the restart: the next CHECK is inside the window ...
    (20, 40, lambda gap: ALL + CHECK + CALL + ABSENT, {DROPINS: 2, UPM: 1, KILLS: 1, ACTIVE: 1}, None),
    # ... behind it, the page being gone again ...
    (40, 90, lambda gap: ALL + ALL, {DROPINS: 2, UPM: 2, KILLS: 1}, None),
    # ... or still there, since get_user_pages mapped it when the ptes had been cleared: a kill that was not needed
    (90, 105, lambda gap: ALL + HIT, {DROPINS: 2, UPM: 1, KILLS: 1}, None),
    (105, 115, lambda gap: 320 - gap + ABSENT, {DROPINS: 1, UPM: 1, ACTIVE: 1, AGAIN_OPEN: 1, SLEPT: 1}, None),
    (115, 170, lambda gap: 320 - gap + ABSENT, {DROPINS: 1, UPM: 1, SLEPT: 1}, None),
    (170, 190, lambda gap: 320 - gap + ABSENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
    (190, 225, lambda gap: CHECK + CALL + ABSENT, {DROPINS: 1, ACTIVE: 1}, None),
    (225, 300, lambda gap: ALL, {DROPINS: 1, UPM: 1}, None),
]


def test_the_timeline():
    assert (LOOK, LOOK + C.tfh_read, ALL) == (100, 110, 195)
    assert OPEN + C.tgh + C.table_scan + C.notice == 270
    looks = [OPEN - LOOK - C.tfh_read, OPEN - LOOK, OPEN - CHECK]
    assert [first for first, *_ in OTHER] == [0, *looks, 280 - CHECK - CALL, 280 - CHECK]
    mapped_at = ALL - C.restart - C.dropin
    kills = [OPEN - ALL, 280 - ALL - CHECK, OPEN + C.tgh - mapped_at]
    assert [first for first, *_ in OWN] == [0, *kills, *looks, 270 - CHECK - CALL, 270 - CHECK]


@pytest.mark.parametrize(
    ("page", "case"), [(0, case) for case in OTHER] + [(1, case) for case in OWN],
    ids=lambda value: f"{value[0]}-{value[1]}" if isinstance(value, tuple) else "other own".split()[value],
)  # fmt: skip
def test_every_interval(page, case, every):
    first, last, latency, events, later = case
    for gap in every(first, last):
        run = race(gap, page)
        assert run.counted(*NAMES) == events, gap
        assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
        assert run.latencies("fault.upm") == run.latencies(), gap
        assert run.entry(1) == run.pte(1) == (0, False), gap  # the zero page


@pytest.mark.jit_off
def test_windows_of_two_cpus_wake_a_sleeper_twice(every):
    """All sleepers are woken at the end of each window, whether another one is open or not; the ASID lock lets one TGH work at a time.

    200  CPU 0 gives up page 0, CPU 1 page 1
    215  both windows open; CPU 0 has the ASID lock
    255  CPU 1 has it; CPU 0 clears its pte
    280  CPU 0 closes its window, and sends a flush that takes CPU 1 from 295 to 315
    315  CPU 1 clears its pte: its TGH operation was done at 295
    330  the sleeper is awake, finds CPU 1's window open and sleeps again
    340  CPU 1 closes its window
    390  the sleeper is awake
    """
    cases = [
        (0, 170, lambda gap: HIT, {DROPINS: 1}),
        (170, 200, lambda gap: 390 - gap + PRESENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 2}),
        (200, 260, lambda gap: 390 - gap + PRESENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}),
        (260, 295, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, ACTIVE: 1}),
        (295, 400, lambda gap: HIT, {DROPINS: 1}),
    ]
    machine = gru(cpu__count=3, driver__interrupt_cpu=2)
    ranges = [*advise(op.DONTNEED, 200, 0, agent=0), *advise(op.DONTNEED, 200, 1, agent=1)]
    for first, last, latency, events in cases:
        for gap in every(first, last):
            run = play(machine, [CPU, CPU, DEVICE], [*ranges, access(op.READ, 2, gap, 2)], mapped(3))
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == [latency(gap)], gap
            assert run.result.ledger.by_agent("lock_wait") == {"agent 0": 0, "agent 1": 40, "cpu2 (no agent)": 0, "agent 2": 0}
            assert run.latencies("notice") == [C.notice + C.tgh, 315 - 210]


def test_two_chiplets_are_invalidated_one_after_the_other(every):
    """The device is on chiplet 1, which its space's other context does not share.

    215  the window opens; TGH operation on chiplet 0
    255  TGH operation on chiplet 1: only now is an entry dropped and a drop-in killed there
    320  the window closes: two operations make it as much longer
    """
    cases = [
        (0, 160, lambda gap: HIT, {DROPINS: 2, UPM: 1}, ALL),  # from 120 on inside the window, yet before the second operation
        (160, 170, lambda gap: RESTART + CHECK + CALL + ABSENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
        (170, 240, lambda gap: 370 - gap + ABSENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
        (240, 275, lambda gap: CHECK + CALL + ABSENT, {DROPINS: 1, ACTIVE: 1}, None),
        (275, 340, lambda gap: ALL, {DROPINS: 1, UPM: 1}, None),
    ]
    machine = gru(gru__chiplets=2)
    for first, last, latency, events, later in cases:
        for gap in every(first, last):
            device = [access(op.READ, 2, gap), access(op.READ, 2, LATER)]
            run = play(machine, [CPU, DEVICE, DEVICE], [*advise(op.DONTNEED, 200), *device], mapped())
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
            assert run.latencies("notice") == [C.notice + 2 * C.tgh]
            assert run.counted("gru.tgh") == {"gru.tgh": 2}
            assert run.entry(chiplet=1) == run.pte() and run.entry(chiplet=0) is None
