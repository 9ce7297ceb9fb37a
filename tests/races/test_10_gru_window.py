"""A GRU's miss before, inside and after the window of a madvise, the interrupt handler's CPU being another than the one that unmaps.

Rules 10.3, 10.4 and 10.6 of docs/model.md.

CPU 0 advises the device's page from cycle 200 on; CPU 1 serves the interrupts:

    200  system call
    210  notice
    215  OPEN: ms_range_active is 1; the TGH operation drops the page's entry and sets kill bits
    255  the pte is cleared (FREE: loses its accessed and dirty bits)
    275  notice
    280  CLOSED: ms_range_active is 0, sleepers are woken
    310  flushed, and the frame is free

The device's read misses at cycle `gap`; `gru_times` has its timeline.
"""

import pytest

from hwmodel import op
from tests.races.gru_times import (
    ABSENT,
    ACTIVE,
    AGAIN,
    CALL,
    CHECK,
    DROPINS,
    HIT,
    KILLS,
    NAMES,
    OPEN,
    PRESENT,
    REPLAYS,
    RESTART,
    SLEPT,
    UPM,
    WALK,
    C,
)  # fmt: skip
from tests.races.scenes import CPU, DEVICE, LATER, access, advise, empty, gru, mapped, play

CLOSED = OPEN + C.tgh + C.clear + C.table_scan + C.notice
AWAKE = CLOSED + C.wakeup


def test_the_timeline():
    assert (OPEN, CLOSED, AWAKE) == (215, 280, 330)
    assert (CHECK, RESTART, HIT, AGAIN, CALL, PRESENT, ABSENT) == (45, 95, 100, 40, 35, 65, 100)


def race(advice, gap, count=1):
    """The device reads a page, at once again (it has one CBR, so it stalls), and once more when all is over."""
    device = [access(op.READ, 1, gap, count=count), access(op.READ, 1), access(op.READ, 1, LATER)]
    return play(gru(), [CPU, DEVICE], [*advise(advice, gap=200), *device], mapped())


# (gaps, the fault's latency at a gap, events, the latency of a later miss)
DONTNEED = [
    # dropped in and used before the window opens: its entry goes, and the page is gone when it is used again
    (0, 115, lambda gap: HIT, {DROPINS: 2, UPM: 1}, CHECK + WALK + CALL + ABSENT),
    # in the TLB, but gone when the restarted instruction looks: it faults again, inside the window
    (115, 120, lambda gap: HIT + AGAIN + CALL + ABSENT, {DROPINS: 2, REPLAYS: 1, ACTIVE: 1}, None),
    # begun before the window: the drop-in is killed; the instruction faults again, inside the window or behind it
    (120, 145, lambda gap: RESTART + AGAIN + CALL + ABSENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
    (145, 170, lambda gap: RESTART + AGAIN + WALK + CALL + ABSENT, {DROPINS: 2, KILLS: 1, UPM: 1}, None),
    # inside: refused; the user's call sleeps until the window is closed, unless it comes after that
    (170, 200, lambda gap: AWAKE - gap + ABSENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
    (200, 235, lambda gap: CHECK + CALL + ABSENT, {DROPINS: 1, ACTIVE: 1}, None),
    # behind it: no race; the page is gone
    (235, 300, lambda gap: CHECK + WALK + CALL + ABSENT, {DROPINS: 1, UPM: 1}, None),
]
FREE = [  # the page stays, so that it can be dropped in by the handler as soon as the window is closed
    (0, 115, lambda gap: HIT, {DROPINS: 2}, HIT),
    (115, 120, lambda gap: HIT + AGAIN + CALL + PRESENT, {DROPINS: 2, REPLAYS: 1, ACTIVE: 1}, None),
    (120, 145, lambda gap: RESTART + AGAIN + CALL + PRESENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
    (145, 170, lambda gap: RESTART + AGAIN + HIT - CHECK, {DROPINS: 2, KILLS: 1}, None),
    (170, 200, lambda gap: AWAKE - gap + PRESENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
    (200, 235, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, ACTIVE: 1}, None),
    (235, 300, lambda gap: HIT, {DROPINS: 1}, None),
]


def test_the_intervals_are_the_timelines():
    bounds = [OPEN - HIT, OPEN - RESTART, CLOSED - RESTART - AGAIN, OPEN - CHECK, CLOSED - CHECK - CALL, CLOSED - CHECK]
    for cases in (DONTNEED, FREE):
        assert [first for first, *_ in cases] == [0, *bounds]
        assert [last for _, last, *_ in cases] == [*bounds, 300]


@pytest.mark.jit_off
@pytest.mark.parametrize(("advice", "cases"), [(op.DONTNEED, DONTNEED), (op.FREE, FREE)], ids=["dontneed", "free"])
@pytest.mark.parametrize("case", range(7))
def test_every_interval(advice, cases, case, every):
    first, last, latency, events, later = cases[case]
    for gap in every(first, last):
        run = race(advice, gap)
        assert run.counted(*NAMES) == events, gap
        assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
        assert run.counted("device.") == {
            "device.accesses": 3, "device.tlb.misses": 1 + bool(later), "device.tlb.hits": 2 - bool(later)
        }, gap  # fmt: skip
        assert run.entry()[0] == run.pte()[0], gap
        assert run.latencies("notice") == [C.notice + C.tgh], gap
        assert run.result.counters["gru.tgh"] == 1, gap


@pytest.mark.parametrize("case", range(7))
def test_many_accesses_of_a_record_meet_the_window_as_one_does(case):
    """The interrupt, and all that follows, does not wait for the 35 cycles in which the other 7 of 8 accesses are issued."""
    first, last, latency, events, later = FREE[case]
    for gap in (first, last - 1):
        run = race(op.FREE, gap, 8)
        assert run.counted(*NAMES) == events, gap
        assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
        assert run.counted("device.") == {
            "device.accesses": 10, "device.tlb.misses": 1 + bool(later), "device.tlb.hits": 9 - bool(later)
        }, gap  # fmt: skip


@pytest.mark.jit_off
def test_a_record_issues_its_accesses_while_the_first_is_served():
    """The next record begins when all are issued: it stalls until HIT, unless the entry is there before it (at 95).

    Nobody unmaps: the latency is that of one access, however long the issue takes.
    """
    for count, stall in ((1, 95), (8, 60), (18, 10), (19, 5), (20, 0), (100, 0)):
        run = play(gru(), [CPU, DEVICE], [access(op.READ, 1, 1, count=count), access(op.READ, 1)], mapped())
        assert stall == (HIT - count * C.access_gru if count * C.access_gru <= RESTART else 0)
        assert run.latencies() == [HIT] and run.counted(*NAMES) == {DROPINS: 1}, count
        assert run.booked("access") == (count + 1) * C.access_gru, count
        assert sum(run.booked(account) for account in ("stall_trap", "stall_driver")) == stall, count
        assert run.counted("device.") == {"device.accesses": count + 1, "device.tlb.misses": 1, "device.tlb.hits": count}, count


@pytest.mark.jit_off
def test_a_stall_in_the_window_is_booked_to_it(every):
    for gap in every(170, 200):
        run = race(op.DONTNEED, gap)
        look = gap + CHECK + CALL  # the call finds the window open and sleeps
        assert run.booked("stall_window") == AWAKE - look == 250 - gap
        assert run.booked("stall_trap") == C.irq_delivery + C.restart + C.access_gru
        assert run.booked("stall_gup") == C.gup + C.fault
        assert run.booked("stall_driver") == C.irq_entry + C.tfh_read + CALL + C.tfh_read + WALK + C.dropin
    assert race(op.DONTNEED, 169).booked("stall_window") == race(op.DONTNEED, 200).booked("stall_window") == 0


# A window on 1024 pages, of which the device's is not one; none of them was ever touched, so that nothing is cleared:
#
#     215  the window opens; TGH operation: all entries of the address space on the chiplet, and all its drop-ins in flight
#     270  the window closes
WIDE = [
    (0, 115, lambda gap: HIT, {DROPINS: 2}, HIT),  # dropped in and used before; used again it is gone
    (115, 120, lambda gap: HIT + AGAIN + CALL + PRESENT, {DROPINS: 2, REPLAYS: 1, ACTIVE: 1}, None),  # used at gap + 100: it is gone
    # killed at the restart: the next CHECK, at gap + 135, is inside the window or behind it
    (120, 135, lambda gap: RESTART + AGAIN + CALL + PRESENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
    (135, 170, lambda gap: RESTART + AGAIN + HIT - CHECK, {DROPINS: 2, KILLS: 1}, None),
]
SPARED = [(0, 170, lambda gap: HIT, {DROPINS: 1}, None)]


@pytest.mark.jit_off
@pytest.mark.parametrize(
    ("pages", "space", "cases"), [(1023, 0, SPARED), (1024, 0, WIDE), (1025, 0, WIDE), (1024, 1, SPARED)],
    ids=["1023", "1024", "1025", "another space"],
)
def test_a_wide_window_kills_every_drop_in_of_its_space(pages, space, cases, every):
    """CPU 0 gives up `pages` pages from page 8 on; a device of this or of another address space reads page 0, on the same chiplet.

    With up to 1023 pages a TGH operation is on these and no others; with more it is on the whole address space.
    """
    machine = gru(cpu__count=3, driver__interrupt_cpu=2)
    roles = [CPU, (CPU, 1), DEVICE, (DEVICE, 1)]
    prelude = [*mapped(), *empty(1040, 1), *mapped(agent=1)]
    for first, last, latency, events, later in cases:
        for gap in every(first, last):
            device = [access(op.READ, 2 + space, gap), access(op.READ, 2 + space, LATER)]
            run = play(machine, roles, [*advise(op.DONTNEED, 200, 8, pages), *device], prelude)
            assert run.counted(*NAMES) == events, gap
            assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
            assert run.counted("gru.tgh") == {"gru.tgh": 1} and run.latencies("notice") == [C.notice + C.tgh]
            assert run.entry(space=space)[0] == run.pte(space=space)[0], gap
