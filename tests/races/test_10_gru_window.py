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
    CALL,
    CHECK,
    DATA,
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

CLOSED = OPEN + C.tgh + C.clear + C.table_scan + C.notice
AWAKE = CLOSED + C.wakeup


def test_the_timeline():
    assert (OPEN, CLOSED, AWAKE) == (215, 280, 330)
    assert (CHECK, RESTART, DATA, CALL, PRESENT, ABSENT) == (45, 95, 100, 35, 60, 95)


def race(advice, gap, count=1):
    """The device reads a page, again as soon as it can (it has one CBR, so it stalls until DATA), and once more when all is over."""
    device = [access(op.READ, 1, gap, count=count), access(op.READ, 1), access(op.READ, 1, LATER)]
    return play(gru(), [CPU, DEVICE], [*advise(advice, gap=200), *device], mapped())


# (gaps, the first fault's latency at a gap, events, the latency of a later miss)
DONTNEED = [
    # dropped in and used twice before the window opens: its entry goes, and the page is gone when it is used again
    (0, 115, lambda gap: HIT, {DROPINS: 2, UPM: 1}, CHECK + WALK + CALL + ABSENT),
    # used before, but gone at the second read, which misses inside the window
    (115, 120, lambda gap: HIT, {DROPINS: 2, ACTIVE: 1}, CHECK + CALL + ABSENT),
    # begun before the window: the drop-in is killed; the instruction faults again, inside the window or behind it
    (120, 140, lambda gap: RESTART + CHECK + CALL + ABSENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
    (140, 170, lambda gap: RESTART + CHECK + WALK + CALL + ABSENT, {DROPINS: 2, KILLS: 1, UPM: 1}, None),
    # inside: refused; the user's call sleeps until the window is closed, unless it comes after that
    (170, 200, lambda gap: AWAKE - gap + ABSENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
    (200, 235, lambda gap: CHECK + CALL + ABSENT, {DROPINS: 1, ACTIVE: 1}, None),
    # behind it: no race; the page is gone
    (235, 300, lambda gap: CHECK + WALK + CALL + ABSENT, {DROPINS: 1, UPM: 1}, None),
]
FREE = [  # the page stays, so that it can be dropped in by the handler as soon as the window is closed
    (0, 115, lambda gap: HIT, {DROPINS: 2}, HIT),
    (115, 120, lambda gap: HIT, {DROPINS: 2, ACTIVE: 1}, CHECK + CALL + PRESENT),
    (120, 140, lambda gap: RESTART + CHECK + CALL + PRESENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
    (140, 170, lambda gap: RESTART + HIT, {DROPINS: 2, KILLS: 1}, None),
    (170, 200, lambda gap: AWAKE - gap + PRESENT, {DROPINS: 1, ACTIVE: 1, SLEPT: 1}, None),
    (200, 235, lambda gap: CHECK + CALL + PRESENT, {DROPINS: 1, ACTIVE: 1}, None),
    (235, 300, lambda gap: HIT, {DROPINS: 1}, None),
]


def test_the_intervals_are_the_timelines():
    bounds = [OPEN - DATA, OPEN - RESTART, CLOSED - RESTART - CHECK, OPEN - CHECK, CLOSED - CHECK - CALL, CLOSED - CHECK]
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


# The other seven reads of a record of eight are issued from DATA on, as soon as the last one has its data: the next record's at gap + 135.
# What is issued in the window misses in it.
MANY = [(0, 80, *FREE[0][2:]), (80, 120, *FREE[1][2:]), *FREE[2:]]


@pytest.mark.parametrize("case", range(7))
def test_each_access_of_a_record_looks_up_for_itself(case, every):
    """Only the first waits for the handler; each of the others may be the one that finds its entry gone."""
    assert MANY[1][0] == OPEN - DATA - 7 * C.device_latency
    first, last, latency, events, later = MANY[case]
    for gap in every(first, last):
        run = race(op.FREE, gap, 8)
        assert run.counted(*NAMES) == events, gap
        assert run.latencies() == sorted([latency(gap)] + ([later] if later else [])), gap
        assert run.counted("device.") == {
            "device.accesses": 10, "device.tlb.misses": 1 + bool(later), "device.tlb.hits": 9 - bool(later)
        }, gap  # fmt: skip


@pytest.mark.jit_off
@pytest.mark.parametrize(("slots", "misses"), [(1, 1), (2, 2), (3, 3), (18, 18), (19, 19), (20, 20), (21, 20), (40, 20)])
def test_a_record_issues_its_accesses_while_the_first_is_served(slots, misses):
    """One is issued every 5 cycles while there is a slot: each misses, until the entry is there (at 95; in that cycle the engine is first).

    With all slots taken the engine stalls until HIT, and has the next slot at DATA. Its hits outlast the misses, which a handler
    resolves one after the other.
    """
    reads, pace = 400, C.device_latency
    machine = gru(device__window=slots, device__interval_ns=pace)
    run = play(machine, [CPU, DEVICE], [access(op.READ, 1, 1, count=reads)], mapped())
    assert run.counted(*NAMES) == {DROPINS: misses}
    count, _, least, _ = run.result.latency("fault").row[:4].tolist()
    assert (count, least) == (misses, HIT)
    duplicates = {"device.tlb.duplicates": misses - 1} if misses > 1 else {}
    assert run.counted("device.") == {"device.accesses": reads, "device.tlb.misses": misses, "device.tlb.hits": reads - misses} | duplicates
    assert sum(run.booked(account) for account in ("stall_trap", "stall_driver")) == max(0, HIT - slots * pace)
    assert run.booked("access") == reads * pace + (C.device_latency if slots < 20 else 0)


@pytest.mark.jit_off
def test_misses_that_wait_for_a_handler_are_served_together():
    """Three reads of a page, 5 cycles apart, each with an interrupt of its own; the two that wait for the handler are its next batch.

    1 +  85  the handler has ended, and begins again with both
    1 +  95  it reads the second read's fault handle: CHECK, page table, drop-in
    1 + 135  it reads the third's; the second's restart is 20 later
    1 + 195  the third's restart
    """
    machine = gru(device__window=3, device__interval_ns=5)
    run = play(machine, [CPU, DEVICE], [access(op.READ, 1, 1, count=3)], mapped())
    assert run.latencies() == [HIT, 155 - 5, 195 - 10]
    assert run.counted("gru.intr") == {"gru.intr": 2, "gru.intr_tfh": 3}


@pytest.mark.jit_off
@pytest.mark.parametrize(
    ("first", "last", "takes", "events"),
    [
        (1, 60, lambda gap: C.tgh, {DROPINS: 2}),  # the data are there before the operation is done
        (60, 120, lambda gap: gap + HIT + 100 - OPEN, {DROPINS: 2}),
        (120, 145, lambda gap: C.tgh, {DROPINS: 2, KILLS: 1}),  # killed: no data are on their way
    ],
)
def test_an_invalidate_waits_for_data_on_their_way(first, last, takes, events, every):
    """With data that take 100 cycles, those of the miss are on their way from gap + 95 to gap + 195; the TGH operation begins at 215."""
    for gap in every(first, last):
        device = [access(op.READ, 1, gap), access(op.READ, 1, LATER)]
        run = play(gru(device__latency_ns=100), [CPU, DEVICE], [*advise(op.FREE, gap=200), *device], mapped())
        assert run.latencies("notice") == [C.notice + takes(gap)], gap
        assert run.counted(DROPINS, KILLS) == events, gap


@pytest.mark.jit_off
def test_an_invalidate_waits_for_the_data_of_a_hit(every):
    """The entry is there at 95, the first read complete at 195; a second one hits at cycle `now`, until the window opens."""
    for now in every(195, 215):
        device = [access(op.READ, 1), access(op.READ, 1, now)]
        run = play(gru(device__latency_ns=100), [CPU, DEVICE], [*advise(op.FREE, gap=200), *device], mapped())
        assert run.latencies("notice") == [C.notice + now + 100 - OPEN], now
        assert run.counted("device.tlb") == {"device.tlb.misses": 1, "device.tlb.hits": 1}, now


@pytest.mark.jit_off
def test_a_stall_in_the_window_is_booked_to_it(every):
    for gap in every(170, 200):
        run = race(op.DONTNEED, gap)
        look = gap + CHECK + CALL  # the call finds the window open and sleeps
        assert run.booked("stall_invalidation") == AWAKE - look == 250 - gap
        assert run.booked("stall_trap") == C.irq_delivery + C.restart
        assert run.booked("stall_gup") == C.gup + C.fault
        assert run.booked("stall_driver") == C.irq_entry + C.tfh_read + CALL + C.tfh_read + WALK + C.dropin
    assert race(op.DONTNEED, 169).booked("stall_invalidation") == race(op.DONTNEED, 200).booked("stall_invalidation") == 0


# A window on 1024 pages, of which the device's is not one; none of them was ever touched, so that nothing is cleared:
#
#     215  the window opens; TGH operation: all entries of the address space on the chiplet, and all its drop-ins in flight
#     270  the window closes
WIDE = [
    (0, 120, lambda gap: HIT, {DROPINS: 2}, HIT),  # dropped in and used before; used again it is gone
    # killed at the restart: the next CHECK, at gap + 140, is inside the window or behind it
    (120, 130, lambda gap: RESTART + CHECK + CALL + PRESENT, {DROPINS: 2, KILLS: 1, ACTIVE: 1}, None),
    (130, 170, lambda gap: RESTART + HIT, {DROPINS: 2, KILLS: 1}, None),
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
