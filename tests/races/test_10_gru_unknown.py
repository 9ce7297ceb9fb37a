"""What is not known of the GRU's hardware, by hand: each setting of rule 10.7 of docs/model.md, at each of its values.

A madvise at cycle 200 opens its window at OPEN = 215, when the TGH operation on page 0 begins; that ends at 255, the window at 280.
`gru_times` has the timeline of a miss.
"""

import pytest

from hwmodel import op
from tests.races.gru_times import AGAIN_OPEN, CALL, CHECK, DROPINS, HIT, KILLS, NAMES, OPEN, PRESENT, RESTART, SLEPT, UPM, WALK, C
from tests.races.scenes import CPU, DEVICE, LATER, PAGE, access, advise, empty, gru, mapped, play

CLOSED = OPEN + C.tgh + C.clear + C.table_scan + C.notice
FAULTS = "gru.intr_tfh"


def advised(device, machine, prelude=None):
    """A madvise of page 0 at cycle 200, which leaves the page; what the device does meanwhile."""
    return play(machine, [CPU, DEVICE], [*advise(op.FREE, gap=200), *device], prelude or mapped(4))


@pytest.mark.parametrize(
    ("scope", "page", "kills"), [("asid", 1, 1), ("asid", 0, 1), ("range", 1, 0), ("range", 0, 1), ("all", 1, 1), ("all", 0, 1)]
)
def test_whose_misses_are_killed(scope, page, kills):
    """The drop-in of a miss at 150 is in flight from 185 to 245; once it is killed it begins anew, and finds the window closed."""
    run = advised([access(op.READ, 1, 150, page)], gru(gru__kills=scope))
    assert 150 + RESTART + C.irq_delivery + C.irq_entry + C.tfh_read > CLOSED
    assert run.counted(*NAMES) == {DROPINS: 1 + kills} | ({KILLS: 1} if kills else {})
    assert run.latencies() == [HIT + RESTART * kills]


@pytest.mark.parametrize(("scope", "kills"), [("range", 0), ("asid", 0), ("all", 1)])
def test_a_kill_of_another_space_s_miss(scope, kills):
    """The engine of space 1 has no part in the window of space 0, and misses on the same chiplet."""
    roles = [CPU, (CPU, 1), DEVICE, (DEVICE, 1)]
    records = [*advise(op.FREE, gap=200), access(op.READ, 3, 150)]
    run = play(gru(gru__kills=scope, driver__interrupt_cpu=2, cpu__count=3), roles, records, [*mapped(), *mapped(agent=1)])
    assert run.counted(*NAMES) == {DROPINS: 1 + kills} | ({KILLS: 1} if kills else {})
    assert run.latencies() == [HIT + RESTART * kills]


@pytest.mark.parametrize(("since", "kills"), [("read", 0), ("miss", 1)])
def test_since_when_a_miss_is_killed(since, kills):
    """At OPEN the miss of 190 is on its way to the handler, which then finds the window open: the call sleeps until it is closed."""
    run = advised([access(op.READ, 1, 190)], gru(gru__kills_from=since))
    assert run.counted("gru.kills", SLEPT, AGAIN_OPEN) == {SLEPT: 1} | ({KILLS: 1} if kills else {})
    assert run.latencies() == [CLOSED + C.wakeup + PRESENT - 190 + RESTART * kills]


@pytest.mark.parametrize(("cause", "traps"), [("mod", 1), ("miss", 2)])
def test_a_store_that_misses(cause, traps):
    """CPU 0 has made the page dirty. An entry that is dropped in for a mere miss does not let the store through."""
    run = play(gru(gru__store_miss=cause), [CPU, DEVICE], [access(op.WRITE, 0), access(op.WRITE, 1, LATER)], mapped())
    assert run.counted(DROPINS, FAULTS, "gru.mod_misses") == {DROPINS: traps, FAULTS: traps} | ({"gru.mod_misses": 1} if traps > 1 else {})
    assert run.latencies() == [HIT * traps] and run.entry()[1]


def test_a_store_to_an_entry_that_may_not_write_traps_once_either_way():
    for cause in ("mod", "miss"):
        device = [access(op.READ, 1, LATER), access(op.WRITE, 1, LATER)]
        run = play(gru(gru__store_miss=cause), [CPU, DEVICE], [access(op.WRITE, 0), *device], mapped())
        assert run.counted(FAULTS, "gru.mod_misses") == {FAULTS: 2, "gru.mod_misses": 1} and run.latencies() == [HIT, HIT]


@pytest.mark.parametrize(("merge", "faults"), [(False, 3), (True, 1)])
def test_misses_of_a_page_in_flight(merge, faults):
    """Three reads at 0, 5 and 10 of one page: those that merge go on when the first is resolved, and are no requests of their own."""
    machine = gru(gru__merge_misses=merge, device__window=3, device__interval_ns=5)
    run = play(machine, [CPU, DEVICE], [access(op.READ, 1, 1, count=3)], mapped())
    assert run.counted(FAULTS, "device.tlb") == {FAULTS: faults, "device.tlb.misses": 3, "device.tlb.duplicates": 2}
    assert len(run.latencies()) == faults and run.latencies()[0] == HIT


def test_a_write_does_not_merge_with_a_read():
    machine = gru(gru__merge_misses=True, device__window=2, device__interval_ns=5)
    run = play(machine, [CPU, DEVICE], [access(op.WRITE, 0), access(op.READ, 1, LATER), access(op.WRITE, 1)], mapped())
    assert run.counted(FAULTS, "device.tlb") == {FAULTS: 2, "device.tlb.misses": 2, "device.tlb.duplicates": 1}


def test_reads_that_joined_a_write_without_right():
    """Page 0 may only be read. The call refuses the two writes, whose slots are free; the read traps again, and its cause is a read's."""
    only_read = op.mmap_unit(PAGE << 12, 1, op.PROT_READ, populate=True)
    machine = gru(gru__merge_misses=True, device__window=3, device__interval_ns=5)
    run = play(machine, [CPU, DEVICE], [access(op.WRITE, 1, 1, count=2), access(op.READ, 1)], only_read)
    assert run.counted("segv", FAULTS, "device.tlb") == {
        "segv": 2, FAULTS: 2, "device.tlb.misses": 3, "device.tlb.duplicates": 2,
    }  # fmt: skip
    refused = CHECK + WALK + CALL + C.tfh_read + WALK + C.gup + C.fault
    assert run.latencies() == [refused + HIT] and run.counted(*NAMES) == {UPM: 1, DROPINS: 1}


@pytest.mark.parametrize(("slots", "read_at"), [(2, 1), (3, 0)])
def test_slots_of_refused_writes_are_free_at_once(slots, read_at):
    """The writes and a read of page 0 have all slots; a read of page 1 waits for one of the writes', and not for the read's."""
    only_read = op.mmap_unit(PAGE << 12, 2, op.PROT_READ, populate=True)
    machine = gru(gru__merge_misses=True, device__window=slots, device__interval_ns="free")
    records = [access(op.WRITE, 1, 1, count=slots - 1), access(op.READ, 1), access(op.READ, 1, page=1)]
    run = play(machine, [CPU, DEVICE], records, only_read)
    refused = CHECK + WALK + CALL + C.tfh_read + WALK + C.gup + C.fault
    assert run.counted("segv") == {"segv": slots - 1} and run.counted(FAULTS) == {FAULTS: 3}
    handled = C.irq_entry + C.tfh_read + WALK + C.dropin + C.irq_exit  # the other trap of that cycle, which comes first
    assert sorted(run.latencies()) == [handled + HIT, refused + HIT]


@pytest.mark.parametrize(("purges", "kept"), [("pages", [1, 2, 3]), ("sets", [1, 3])])
def test_what_a_purge_drops(purges, kept):
    """Four entries in two sets: pages 0 and 2 are in one of them."""
    machine = gru(tgh__purges=purges, tlb__entries=4, tlb__ways=2)
    reads = [access(op.READ, 1, 1 if page == 0 else 0, page) for page in range(4)]
    run = play(machine, [CPU, DEVICE], [*reads, *advise(op.FREE, gap=LATER)], mapped(4))
    assert [page for page in range(4) if run.entry(page)] == kept


def test_a_purge_by_sets_of_all_sets_is_one_of_all_entries():
    machine = gru(tgh__purges="sets", tlb__entries=4, tlb__ways=2)
    reads = [access(op.READ, 1, 1 if page == 0 else 0, page) for page in range(4)]
    run = play(machine, [CPU, DEVICE], [*reads, *advise(op.FREE, gap=LATER, page=4, pages=2)], mapped(6))
    assert not any(run.entry(page) for page in range(4))


@pytest.mark.parametrize(("when", "latency", "booked"), [("begin", 5, 40), ("end", 5, 40), ("end", 100, 115)])
def test_when_an_operation_takes_effect(when, latency, booked):
    """A read at 230: its entry is gone, or goes at 255; then the operation waits for its data."""
    run = advised([access(op.READ, 1, 1), access(op.READ, 1, 229)], gru(tgh__takes_effect=when, device__latency_ns=latency))
    assert run.counted("device.tlb.hits") == ({"device.tlb.hits": 1} if when == "end" else {})
    assert run.booked("invalidate") == booked
    assert run.entry() is None or when == "begin"


def test_an_engine_that_an_operation_stops():
    """The hit on page 1 could be issued at 220, and is at 245: 30 cycles from OPEN on nothing is."""
    reads = [access(op.READ, 1, 1, 1), access(op.READ, 1, 219, 1), access(op.READ, 1, 0, 1, count=3)]
    for stop, waited in ((30, 25), ("free", 0)):
        run = advised(reads, gru(tgh__stall_ns=stop))
        assert run.booked("stall_invalidation") == waited
        assert run.counted("device.tlb") == {"device.tlb.misses": 1, "device.tlb.hits": 4}
        assert run.booked("access", "device") == 4 * C.device_latency  # the first has its data within the gap that follows


def test_a_stop_is_booked_apart_from_a_stall():
    """A miss from 200 to 295 holds the only slot: a trap until a handler has it at 225; stopped from 215 to 245."""
    run = advised([access(op.READ, 1, 200, 1), access(op.READ, 1, 0, 1)], gru(tgh__stall_ns=30, gru__kills="range"))
    calm = advised([access(op.READ, 1, 200, 1), access(op.READ, 1, 0, 1)], gru(gru__kills="range"))
    kinds = ("stall_invalidation", "stall_trap", "stall_driver")
    stopped, before = ([one.booked(kind) for kind in kinds] for one in (run, calm))
    assert stopped[0] == before[0] + 30 and sum(stopped) == sum(before)
    assert stopped[1] == before[1] - 10 and stopped[2] == before[2] - 20


def test_an_operation_stops_only_engines_of_its_space():
    roles = [CPU, (CPU, 1), DEVICE, (DEVICE, 1)]
    records = [access(op.READ, 3, 1), access(op.READ, 3, 219), *advise(op.FREE, gap=200)]
    run = play(gru(tgh__stall_ns=30, driver__interrupt_cpu=2, cpu__count=3), roles, records, [*empty(), *mapped(agent=1)])
    assert run.booked("stall_invalidation") == 0 and run.counted("device.tlb.hits") == {"device.tlb.hits": 1}


@pytest.mark.parametrize(("serial", "chiplets", "waited"), [(False, 1, 0), (True, 1, 40), (True, 2, 0)])
def test_two_operations_at_once(serial, chiplets, waited):
    """Two spaces advise in the same cycle; the second waits for a chiplet that both use."""
    roles = [CPU, (CPU, 1), DEVICE, (DEVICE, 1)]
    records = [*advise(op.FREE, gap=200), *advise(op.FREE, gap=200, agent=1), access(op.READ, 2, LATER), access(op.READ, 3, LATER)]
    machine = gru(tgh__serial=serial, gru__chiplets=chiplets, driver__interrupt_cpu=2, cpu__count=3)
    run = play(machine, roles, records, [*mapped(), *mapped(agent=1)])
    assert run.booked("lock_wait") == waited and run.booked("invalidate") == 80
    assert run.latencies("notice") == sorted([C.notice + C.tgh, C.notice + C.tgh + waited])
