"""Fetches and the right to them, by hand: TLB entries that lack it, that are older or that it outlives (docs/model.md 4.2 to 4.5, 4.7)."""

import pytest

from hwmodel import op
from tests.model.hand import (
    CPU,
    HUGE_PAGE,
    PAGE,
    RW,
    RWX,
    SHARED_FILE,
    THP,
    R,
    X,
    advise,
    big,
    compute,
    fetch,
    flags,
    memory,
    protect,
    read,
    run_of,
    sync,
    write,
)  # fmt: skip

TWO = dict(roles=(CPU, CPU), cpu__count=2)


def test_what_was_read_may_be_fetched_from():
    """The second level has the page, with its right: no walk."""
    run = run_of(memory(prot=X), read(), fetch(), fetch())
    assert run.counted("segv", "cpu.itlb", "cpu.stlb", "cpu.walks") == {
        "cpu.itlb.hits": 1, "cpu.itlb.misses": 1, "cpu.stlb.hits": 1, "cpu.stlb.misses": 1, "cpu.walks": 2}  # fmt: skip


def test_a_fetch_without_the_right():
    """It finds the page in the second level, is refused without a walk, and has dropped it there and in the first: the read walks.

    The walks: of the first read before and after its fault, of the second read.
    """
    run = run_of(memory(prot=R), read(), fetch(), read(), cpu__exception_cycles=7)
    assert run.counted("segv", "cpu.itlb", "cpu.stlb", "cpu.dtlb", "cpu.walks", "faults.") == {
        "segv": 1, "cpu.itlb.misses": 1, "cpu.stlb.hits": 1, "cpu.stlb.misses": 2, "cpu.dtlb.misses": 2, "cpu.walks": 3,
        "faults.zero": 1}  # fmt: skip
    assert run.booked("fault") == 2 * 7


def test_a_walk_for_a_fetch_without_the_right():
    """The flush by COLD has emptied the TLB: the walk finds the leaf without the right, and leaves its accessed bit alone."""
    run = run_of(memory(), write(), *advise(op.COLD), fetch())
    assert flags(run) == "PWD" and run.counted("segv", "cpu.walks") == {"segv": 1, "cpu.walks": 3}


def test_the_dirty_bit_neither_gives_nor_takes_it():
    """A write asks, and its entries take what the pte has: no fault but the first."""
    for prot, segv in ((RW, {"segv": 1}), (RWX, {})):
        run = run_of(memory(prot=prot, mapping=SHARED_FILE), read(), write(), fetch())
        assert run.counted("segv", "cpu.dirty", "faults.") == {"cpu.dirty_assists": 1, "faults.file": 1} | segv


@pytest.mark.parametrize("prot, huge", [(R, False), (X, False), (R, True), (X, True)])
def test_halves_of_a_fetch(prot, huge):
    """The pages were read. The fetch misses both in the first level; each half is refused by itself."""
    at = HUGE_PAGE if huge else PAGE
    mapped = big(prot) if huge else memory(prot=prot)
    halves = [((at << 12) + 4090, 1, 0, op.FETCH, 0), (at + 1 << 12, 1, 0, op.FETCH | op.CONTINUES, 0)]
    run = run_of(mapped, read(at), read(at + 1), halves, cpu__stlb__huge=True, **(THP if huge else {}))
    assert run.counted("segv") == ({"segv": 2} if prot == R else {})
    assert run.counted("cpu.itlb") == {"cpu.itlb.misses": 1}


def test_a_fetch_through_what_is_older_than_the_right():
    """Agent 1 has read the page. It may fetch as soon as the VMA has the right: its entry has not, so it faults and waits for the lock.

    At 0 the call; at 10 it holds the lock; the VMA takes until 20, the page until 120. The flush is free, and agent 1 goes on behind it:
    the fault finds nothing to do, and the walk the right.
    """
    run = run_of(memory(prot=R), read(), sync(), read(agent=1), sync(), protect(X), fetch(agent=1), kernel__syscall_ns=10,
                 kernel__vma_ns=10, kernel__clear_ns=100, **TWO)  # fmt: skip
    assert run.counted("segv", "faults.", "cpu.itlb") == {"faults.zero": 1, "faults.spurious": 1, "cpu.itlb.misses": 1}
    assert run.result.ledger.by_agent("lock_wait")["agent 1"] == 110


@pytest.mark.parametrize("later, refused", [(40, 0), (51, 1)])
def test_a_right_that_goes_is_used_until_the_flush(later, refused):
    """The pte loses it at 0, the interrupt comes at 50; until then the entry lets a fetch through."""
    records = [fetch(), sync(), fetch(agent=1), sync(), *protect(R), compute(later, 1), fetch(agent=1)]
    run = run_of(memory(prot=X), records, kernel__shootdown__delivery_ns=50, cpu__instruction_cycles=1, **TWO)
    assert run.counted("segv").get("segv", 0) == refused
