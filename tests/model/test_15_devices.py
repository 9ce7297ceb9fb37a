"""How an engine issues its accesses, by hand (docs/model.md, section 15), with the design whose translation costs nothing.

A nanosecond is a cycle, and nothing takes time but what a test names: data come 100 cycles after the issue, issues are at least 10 apart, a
fault takes 1,000.
"""

import random

import pytest

from tests.model.books import booked
from tests.model.cpu_costs import THERE
from tests.model.hand import CPU, DEVICE, PAGE, compute, memory, read, run_of, sync, write

DATA, APART, FAULT = 100, 10, 1000
BOTH = [*THERE, *memory(page=PAGE + 20)]
"""Eight pages that are there, and eight from PAGE + 20 on that are not."""


def run(prelude, *records, window=8, **more):
    """A run with the costs of these tests."""
    costs = dict(device__latency_ns=DATA, device__interval_ns=APART, kernel__fault_ns=FAULT, cpu__instruction_cycles=1)
    return run_of(prelude, *records, **{"roles": (CPU, DEVICE), "design": "ideal", "device__window": window, **costs, **more})


def counted(run):
    """(accesses, hits, misses, duplicates) of the engine."""
    return tuple(run.result.counters[f"device.{name}"] for name in ("accesses", "tlb.hits", "tlb.misses", "tlb.duplicates"))


@pytest.mark.parametrize(
    "window, accesses, end",
    [
        (1, 3, 300),  # issued at 0, 100, 200
        (2, 5, 300),  # 0, 10, 100, 110, 200
        (8, 10, 210),  # 0, 10 ... 70, 100, 110
        (10, 12, 210),  # 0, 10 ... 110: the interval alone
        (128, 1000, 10_090),
        (3, 1000, 33_400),  # three in 100 cycles, and the 1,000th at 33,300
    ],
)
def test_hits_only(window, accesses, end):
    done = run(THERE, read(agent=1, count=accesses), window=window)
    assert done.result.cycles == end and booked(done) == {"device.access": end} and counted(done) == (accesses, accesses, 0, 0)


def test_a_gap_comes_before_the_issue():
    # the second record's instructions end at 35, the third's at 42: 10 after 35 the third is issued
    done = run(THERE, read(agent=1), read(agent=1, gap=35), read(agent=1, gap=7))
    assert done.result.cycles == 45 + DATA and booked(done) == {"device.instruction": 42, "device.access": 3 + DATA}


@pytest.mark.parametrize(
    "window, access, stall, end",
    [
        # hits at 0, 100, 200; the miss at 300, its page at 1,300, its data at 1,400, when the next is issued. The interval would have let
        # it be issued at 310
        (1, 300 + 10 + DATA + 20 * 100, 990, 3400),
        # hits at 0, 10, 100; the miss at 110 until 1,210. Hits at 200 ... 1,200 wait 80 cycles, then 90 each, up to the page at 1,110,
        # for the other slot; then at 1,210, 1,300, 1,310 ... 1,610
        (2, 1710 - 890, 80 + 9 * 90, 1710),
        # hits at 0, 10, 20; the miss at 30 until 1,130. Of the seven slots left four keep hits waiting for 20, 10, 20, 10 and 20 cycles;
        # the last one is issued at 310; without the miss another could be at 320, from where on the engine waits for the miss, until 1,030
        (8, 1130 - 80 - 710, 80 + 710, 1130),
    ],
)
def test_one_miss_in_a_stream_of_hits(window, access, stall, end):
    done = run(BOTH, read(agent=1, count=3), write(PAGE + 20, 1), read(agent=1, count=20), window=window)
    assert booked(done) == {"device.access": access, "device.stall_fault": stall, "cpu.fault": FAULT}
    assert done.result.cycles == end and counted(done) == (24, 23, 1, 0) and done.latencies() == [FAULT]


def test_each_access_of_a_record_looks_up_for_itself():
    # all four miss, and three join the first; the page comes at 1,000
    done = run(BOTH, write(PAGE + 20, 1, count=4), window=4)
    assert counted(done) == (4, 0, 4, 3) and done.counted("faults") == {"faults.anon": 1}
    done = run(BOTH, write(PAGE + 20, 1, count=6), window=4)
    assert counted(done) == (6, 2, 4, 3)


def test_misses_of_other_pages_are_no_duplicates():
    assert counted(run(BOTH, write(PAGE + 20, 1), write(PAGE + 21, 1), window=4)) == (2, 0, 2, 0)


@pytest.mark.parametrize("gap, duplicates", [(1050, 0), (950, 1)])
def test_a_page_that_has_come_is_in_flight_no_more(gap, duplicates):
    # the read has the zero page at 1,000, and its data at 1,100: a write at 1,050 misses for want of a right, one at 950 for the page, too
    done = run(BOTH, read(PAGE + 20, 1), write(PAGE + 20, 1, gap=gap), window=2)
    assert counted(done) == (2, 0, 2, duplicates)


def test_a_stall_is_that_of_the_oldest_miss():
    # three misses at 0, 10, 20, whose pages come at 1,000, 2,000, 3,000: the first stalls the engine from 30 on, when it could issue
    # another if it had one; the others do from the data of the one before on
    done = run(BOTH, *(write(PAGE + page, 1) for page in (20, 21, 22)), window=3)
    assert booked(done) == {"device.access": 30 + 3 * DATA, "device.stall_fault": 970 + 900 + 900, "cpu.fault": 3 * FAULT}
    # hits in the slot of the first, at 1,100 ... 1,400, each 90 later than without the second miss; a fifth could be at 1,410 without it,
    # whose page comes at 2,000
    done = run(BOTH, write(PAGE + 20, 1), write(PAGE + 21, 1), read(agent=1, count=4), window=2)
    assert booked(done) == {"device.access": 2100 - 1840, "device.stall_fault": 980 + 3 * 90 + 590, "cpu.fault": 2 * FAULT}


def test_an_opener_waits_for_data_in_flight():
    # the engine's hit is issued at 0; the sync of the CPU, later in the trace, begins when the data are there
    done = run(THERE, read(agent=1), sync(), compute(5))
    assert done.booked("order_wait", CPU) == DATA and done.result.cycles == DATA + 5


def test_an_engine_that_waits_for_an_epoch_has_its_data_meanwhile():
    # its hit's data come at 100, and the sync ends at 400, with the CPU's instructions
    done = run(THERE, read(agent=1), compute(400), sync(), read(agent=1))
    assert done.booked("order_wait", DEVICE) == 300 and booked(done) == {"cpu.instruction": 400, "device.access": 2 * DATA}


def test_an_openers_own_data_come_first():
    done = run(THERE, read(agent=1), sync(1), read(agent=1))
    assert done.booked("order_wait", DEVICE) == 0 and booked(done) == {"device.access": 2 * DATA} and done.result.cycles == 2 * DATA


def naive_end(window, latency, interval, runs):
    """The end of some runs of hits, (gap, count), each access for itself."""
    issues, now = [], 0
    for gap, count in runs:
        now += gap
        for _ in range(count):
            slot = issues[-window] + latency if len(issues) >= window else 0
            now = max(now, slot, issues[-1] + interval if issues else 0)
            issues.append(now)
    return now + latency


@pytest.mark.parametrize("block", range(4))
def test_runs_of_hits_end_as_if_each_were_issued_for_itself(block):
    rng = random.Random(block)
    for _ in range(60):
        window = rng.choice((1, 2, 3, 7, 8, 16, 128))
        latency, interval = rng.choice((1, 5, 100, 701)), rng.choice((1, 3, 10, 88, 700))
        runs = [(rng.choice((0, 0, 1, 50, 3000)), rng.choice((1, 2, 3, 10, 100, 1000, 5000))) for _ in range(rng.randint(1, 6))]
        records = [read(agent=1, count=count, gap=gap) for gap, count in runs]
        done = run(THERE, *records, window=window, device__latency_ns=latency, device__interval_ns=interval)
        assert done.result.cycles == naive_end(window, latency, interval, runs), (window, latency, interval, runs)
