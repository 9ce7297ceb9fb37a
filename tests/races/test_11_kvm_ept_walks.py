"""Several accesses of a vCPU under way: walkers, joined misses, a violation that waits for data, accesses without a right among others.

Rules 11.2 to 11.4 and 15.7 of docs/model.md.

A first vCPU has read pages, so that the VM has sptes of them; the second one has read page 6, so that it knows its guest's tables: its walk
of a page that has an spte takes two references, 10 cycles. All begins at cycle 0 after that; issues are a cycle apart, data come 5 after.
"""

import pytest

from hwmodel import op
from hwmodel.op import mmap_unit
from tests.races.kvm_times import HAND, WALK, C
from tests.races.scenes import CPU, DEVICE, PAGE, REFERENCE, access, kvm, mapped, play, sync

ROLES = [CPU, DEVICE, DEVICE]
DATA = C.device_latency
APART = {"device__interval_ns": 1}


def start(*pages):
    """The first vCPU reads these pages and page 6, the second one page 6."""
    reads = [access(op.READ, 1, 0, page) for page in (*pages, 6)]
    return [*reads, sync(1), access(op.READ, 2, 0, 6), sync(2)]


def cycles(before, records, prelude=(), **settings):
    """The run, and how long it takes from `before` on."""
    runs = [play(kvm(**APART, **settings), ROLES, trace, [*mapped(16), *prelude]) for trace in (before, [*before, *records])]
    return runs[1], runs[1].result.cycles - runs[0].result.cycles


def of(run, name):
    """A counter or an account of the second vCPU."""
    tally = run.result.counters if name in run.result.counters else run.result.ledger
    return tally.by_agent(name)["agent 2"]


@pytest.mark.parametrize(
    ("walkers", "window", "end", "stalled"),
    [
        # one after the other: 10 for the walk and 5 for the data each. The next could have been issued a cycle after the one before
        (1, 1, 4 * (WALK + DATA), 4 * (WALK - 1)),
        # issued at 0 and 1, and when the data of the first two are there, at 15 and 25; walks end at 10, 20, 30 and 40. Of the oldest miss
        # that waits for its walk: 2 to 10, 16 to 20, 26 to 30, and 35 to 40; else data are on their way
        (1, 2, 40 + DATA, 8 + 4 + 4 + 5),
        # issued at 0 to 3: the oldest waits until 10, and from 15, 25 and 35 on for 5 cycles
        (1, 8, 40 + DATA, 6 + 3 * 5),
        # two walks at a time: 0 to 10 and 1 to 11, 10 to 20 and 11 to 21
        (2, 8, 21 + DATA, 6 + 4),
        # one for each: 0 to 10, ... 3 to 13
        (4, 8, 13 + DATA, 6),
    ],
)
def test_four_misses(walkers, window, end, stalled):
    records = [access(op.READ, 2, 0, page) for page in range(4)]
    run, took = cycles(start(0, 1, 2, 3), records, vm__walkers=walkers, device__window=window)
    assert (took, of(run, "stall_walk"), of(run, "device.walks")) == (end, stalled, 2 - 1 + 4)


def test_misses_of_a_page_join():
    """Issued at 0, 1 and 2; one walk, and all have their data at 15."""
    run, took = cycles(start(0), [access(op.READ, 2, 0, 0, count=3)], device__window=8)
    assert took == WALK + DATA and of(run, "device.walks") == 1 + 1
    assert [of(run, f"device.tlb.{name}") for name in ("hits", "misses", "duplicates")] == [0, 1 + 3, 2]


def test_a_write_that_lacks_the_right_is_counted_as_the_hit_it_is():
    """Page 6 is in the first level, from a read. The first write asks for a walk, with an assist; the second joins it: no miss.

    The walk takes one reference, for the nested TLB has the page.
    """
    run, took = cycles(start(), [access(op.WRITE, 2, 0, 6, count=2)], device__window=8)
    assert took == REFERENCE + C.assist + DATA and of(run, "device.dirty_assists") == 1
    assert [of(run, f"device.tlb.{name}") for name in ("hits", "misses", "duplicates")] == [2, 1, 0]


def test_a_violation_waits_for_the_data_in_flight():
    """Data take 100 cycles; page 9 has no spte.

      0  page 6: a hit, its data come at 100
      1  page 9: walks until 11, and finds no spte: from here on nothing is issued
     52  the gap of a third access is over: it waits
    100  the data are there: exit. 650 cycles later, with the page tables that it takes for its hand, it looks up the page (20), sets the
         spte (10), enters (15); then the third access is issued, and the walk begins anew
    """
    data = 100
    records = [access(op.READ, 2, 0, 6), access(op.READ, 2, 0, 9), access(op.READ, 2, 50, 6)]
    out = C.exit + C.violation + HAND + C.gup_fast + C.map_spte + C.entry
    run, took = cycles(start(), records, device__window=8, device__latency_ns=data)
    assert took == data + out + WALK + data
    assert data - 1 + out + WALK in run.latencies("fault.violation")
    assert [of(run, name) for name in ("exit", "violation", "gup", "map", "entry")] == [
        C.exit, C.violation + HAND, C.gup_fast, C.map_spte, C.entry,
    ]  # fmt: skip
    # until the exit, but for the gap, the time is that of the data in flight; then what the walk takes that began with the third access
    assert of(run, "access") == data - 50 + 1 + data and of(run, "stall_walk") == WALK - 1


def test_a_violation_squashes_the_other_walks():
    """Pages 9 and 10 have no spte; two walkers. The walk of page 9 ends at 10, that of page 10, which would end at 11, is squashed.

    Both begin anew after the entry; then page 10 exits.
    """
    run, took = cycles(start(), [access(op.READ, 2, 0, page) for page in (9, 10)], device__window=8, vm__walkers=2)
    out = C.exit + C.violation + C.gup_fast + C.map_spte + C.entry
    first = WALK + out + HAND + WALK
    # page 9 has its data while page 10's exit waits for them
    assert took == first + DATA + out + WALK + DATA
    assert of(run, "device.walks") == 1 + 2 + 2 + 1 and of(run, "kvm.exits") == 2


def test_reads_that_joined_a_write_without_right():
    """Page 20 may only be read. Two writes and a read miss it; the writes are refused, and the read goes on by itself."""
    only_read = mmap_unit(PAGE + 20 << 12, 1, op.PROT_READ, populate=True)
    records = [access(op.WRITE, 2, 0, 20, count=2), access(op.READ, 2, 0, 20)]
    run, took = cycles(start(20), records, only_read, device__window=8)
    assert of(run, "segv") == 2 and of(run, "device.walks") == 1 + 2 and of(run, "kvm.exits") == 1
    assert [of(run, f"device.tlb.{name}") for name in ("hits", "misses", "duplicates")] == [0, 1 + 3, 2]
    assert took == WALK + C.exit + C.violation + HAND + C.gup + C.fault + C.entry + WALK + DATA
