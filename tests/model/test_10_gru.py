"""What an invalidation drops from the TLB of a chiplet, by hand (docs/model.md 10.4)."""

import pytest

from hwmodel import op
from tests.model.hand import CPU, DEVICE, HUGE_PAGE, HUGETLB, PAGE, advise, big, compute, frame, memory, read, run_of, sync, write
from tests.races.scenes import way


@pytest.mark.parametrize("pages, kept", [(1023, True), (1024, False), (1025, False)])
def test_a_large_invalidation_purges_the_address_space(pages, kept):
    """Page 1,027 lies outside of the range; another address space's entries stay in any case."""
    mapped = [*memory(1030), *memory(agent=2)]
    records = [write(PAGE + 1027), write(PAGE, 2), sync(), read(PAGE + 1027, 1), read(PAGE, 3), sync(), *advise(op.DONTNEED, pages),
               sync(), compute(1, 1), compute(1, 3)]  # fmt: skip
    run = run_of(mapped, records, roles=(CPU, DEVICE, (CPU, 1), (DEVICE, 1)), design="gru")
    assert run.entry(1027) == ((frame(run, PAGE + 1027), False) if kept else None)
    assert run.entry(space=1) == (frame(run, space=1), False)


@pytest.mark.parametrize("advised, kept", [([], True), (advise(op.DONTNEED, 512, HUGE_PAGE), False)])
def test_an_invalidation_drops_the_entry_of_the_huge_page_in_which_it_ends(advised, kept):
    run = run_of(big(mapping=HUGETLB), write(HUGE_PAGE, 1), sync(), *advised, sync(), compute(1, 1), roles=(CPU, DEVICE), design="gru")
    assert (way(run.m, int(run.dev.banks[0]), HUGE_PAGE >> 9 << 1 | 1) is not None) == kept


@pytest.mark.parametrize("before", [[], [read(agent=1), sync()]])
def test_a_tgh_operation_waits_for_data_in_flight(before):
    """Of a miss that is resolved at 0, or of a hit at 1,000: the madvise comes 100 cycles after its issue."""
    records = [*before, read(agent=1), compute(100), *advise(op.DONTNEED, 1, PAGE + 3)]
    run = run_of(memory(populate=True), records, roles=(CPU, DEVICE), design="gru", device__latency_ns=1000, cpu__instruction_cycles=1)
    assert run.booked("invalidate", CPU) == 900 and run.result.cycles == 1000 * (1 + len(before) // 2)
    assert run.result.counters["device.tlb.hits"] == len(before) // 2


def test_a_tgh_operation_that_takes_longer_has_waited():
    records = [read(agent=1), compute(100), *advise(op.DONTNEED, 1, PAGE + 3)]
    slow = dict(device__latency_ns=1000, tgh__invalidate_ns=2000, cpu__instruction_cycles=1)
    run = run_of(memory(populate=True), records, roles=(CPU, DEVICE), design="gru", **slow)
    assert run.booked("invalidate", CPU) == 2000
