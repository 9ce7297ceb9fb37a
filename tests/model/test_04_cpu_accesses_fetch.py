"""The right to fetch, by hand: which leaves have it, what its change flushes, what a fetch without it does (docs/model.md 4 to 6, 9.4)."""

import pytest

from hwmodel import op
from tests.model.hand import (
    CPU,
    FILE,
    HUGE_PAGE,
    HUGETLB,
    NO,
    PAGE,
    RW,
    RWX,
    SHARED,
    SHARED_FILE,
    THP,
    R,
    X,
    advise,
    compute,
    fetch,
    flags,
    fork,
    leave,
    memory,
    protect,
    read,
    remap,
    run_of,
    sync,
    unmap,
    write,
)  # fmt: skip

TWO = dict(roles=(CPU, CPU), cpu__count=2)
WRITE_ONLY, WX = 2, 6


def big(prot=RWX, mapping=op.PRIVATE, **more):
    return memory(512, prot, mapping, HUGE_PAGE, **more)


# who has it


@pytest.mark.parametrize("prelude, touches, expected", [
    (memory(prot=X), [read()], "PAZX"), (memory(prot=X), [fetch()], "PAZX"), (memory(prot=RWX), [write()], "PWADX"),
    (memory(prot=RWX), [fetch(), write()], "PWADX"),  # a copy on write of the zero page
    (memory(prot=X, mapping=FILE), [fetch()], "PAX"), (memory(prot=RWX, mapping=FILE), [write()], "PWADX"),
    (memory(prot=RWX, mapping=FILE), [fetch(), write()], "PWADX"),  # and of a file's page
    (memory(prot=X, mapping=SHARED_FILE), [read()], "PAX"), (memory(prot=RWX, mapping=SHARED), [fetch()], "PWAX"),
    (memory(prot=RWX, mapping=SHARED_FILE), [write()], "PWADX"),
    (memory(prot=WX), [write()], "PWADX"), (memory(prot=WRITE_ONLY), [write()], "PWAD"),
    (memory(prot=RWX, populate=True), [], "PWADX"), (memory(prot=X, populate=True), [], "PAZX"),
    (memory(prot=X, mapping=FILE, populate=True), [], "PAX"), (memory(prot=RWX, mapping=SHARED, populate=True), [], "PWAX"),
])  # fmt: skip
def test_the_vma_s_right_is_the_pte_s(prelude, touches, expected):
    assert flags(run_of(prelude, *touches)) == expected


@pytest.mark.parametrize("prelude, touches, expected", [
    (big(), [fetch(HUGE_PAGE)], "PAHZX"), (big(), [write(HUGE_PAGE)], "PWADHX"), (big(), [fetch(HUGE_PAGE), write(HUGE_PAGE)], "PWADHX"),
    (big(X, HUGETLB), [fetch(HUGE_PAGE)], "PAHX"), (big(RWX, HUGETLB, populate=True), [], "PWADHX"), (big(RW), [write(HUGE_PAGE)], "PWADH"),
])  # fmt: skip
def test_huge_pages(prelude, touches, expected):
    assert flags(run_of(prelude, *touches, **THP), HUGE_PAGE) == expected


def test_fault_around_maps_with_the_right_of_its_own_vma():
    """The page cache was filled through a mapping without it."""
    cached = memory(4, R, FILE, PAGE + 100, populate=True)
    run = run_of([*memory(4, X, FILE), *cached], fetch(PAGE + 1), kernel__fault_around_pages=4)
    assert [flags(run, PAGE + k) for k in (0, 1, 3, 100)] == ["PAX", "PAX", "PAX", "PA"]


def test_what_keeps_it():
    run = run_of(memory(prot=RWX), write(), fork(), roles=(CPU, (CPU, 1)))
    assert (flags(run), flags(run, space=1)) == ("PADX", "PDX")
    run = run_of(memory(prot=RWX), write(), fork(), leave(1), sync(), write(), roles=(CPU, (CPU, 1)))
    assert flags(run) == "PWADX"  # used again
    run = run_of(memory(prot=RWX), write(), fork(), write(), roles=(CPU, (CPU, 1)))
    assert flags(run) == "PWADX"  # copied
    assert flags(run_of(memory(prot=RWX), write(), *remap(PAGE + 100)), PAGE + 100) == "PWADX"
    assert flags(run_of(memory(prot=RWX), write(), *advise(op.FREE)), PAGE) == "PWLX"
    assert flags(run_of(memory(prot=RWX), write(), *advise(op.COLD)), PAGE) == "PWDX"
    assert flags(run_of(big(), write(HUGE_PAGE), *unmap(1, HUGE_PAGE), **THP), HUGE_PAGE + 1) == "PWADX"  # split
    run = run_of(big(mapping=HUGETLB), write(HUGE_PAGE), fork(), write(HUGE_PAGE + 1), roles=(CPU, (CPU, 1)))
    assert (flags(run, HUGE_PAGE), flags(run, HUGE_PAGE, 1)) == ("PWADHX", "PDHX")


# mprotect


@pytest.mark.parametrize("prot, touch, rights, expected, flushes", [
    (R, read(), [X], "PAZX", 1), (X, read(), [R], "PAZ", 1), (X, read(), [RWX], "PAZX", 0), (RW, write(), [X], "PADX", 1),
    (RW, write(), [RWX], "PWADX", 1), (RWX, write(), [RW], "PWAD", 1), (RWX, write(), [X, RWX], "PWADX", 2), (X, fetch(), [NO], "AZNX", 1),
    (X, fetch(), [NO, X], "PAZX", 1), (X, fetch(), [NO, R], "PAZ", 1), (R, read(), [NO, X], "PAZX", 1), (X, fetch(), [X], "PAZX", 0),
    (X, fetch(), [4], "PAZX", 0),  # a page that may be fetched from may be read: x86 has no bit for that
])  # fmt: skip
def test_rights(prot, touch, rights, expected, flushes):
    """A change flushes either way, but not of a page that was not present: the TLB can't hold that (pte_needs_flush)."""
    run = run_of(memory(prot=prot), touch, *[protect(right) for right in rights])
    assert flags(run) == expected and run.counted("flushes.ranged").get("flushes.ranged", 0) == flushes


def test_a_change_of_huge_pages():
    """Whole: one flush of one huge page; in part: it is split, which is a full flush, and nine small pages are flushed."""
    run = run_of(big(R), read(HUGE_PAGE), *protect(X, 512, HUGE_PAGE), **THP)
    assert flags(run, HUGE_PAGE) == "PAHZX" and run.counted("flushes.") == {"flushes.ranged": 1, "flushes.pages": 1}
    run = run_of(big(RW), write(HUGE_PAGE), *protect(X, 9, HUGE_PAGE), **THP)
    assert [flags(run, HUGE_PAGE + k) for k in (8, 9)] == ["PADX", "PWAD"]
    assert run.counted("flushes.") == {"flushes.full": 1, "flushes.ranged": 1, "flushes.pages": 9}


def test_others_are_interrupted_for_it():
    """Agent 1's CPU has the page for reading; what it lacks is a reason, too."""
    run = run_of(memory(prot=R), read(), sync(), read(agent=1), sync(), *protect(X), compute(1, 1), **TWO)
    assert run.counted("ipis.sent") == {"ipis.sent": 1}


# fetches


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
