"""What mprotect makes of the flags of leaves, and what it flushes, by hand (docs/model.md 9.4); their letters: see test_06_faults.py."""

import pytest

from tests.model.hand import (
    CPU,
    FILE,
    HUGE_PAGE,
    NO,
    RW,
    RWX,
    SHARED_FILE,
    THP,
    R,
    X,
    big,
    compute,
    fetch,
    flags,
    fork,
    memory,
    protect,
    read,
    run_of,
    sync,
    write,
)  # fmt: skip


@pytest.mark.parametrize("prelude, before, rights, expected", [
    (memory(), write(), [R], "PAD"), (memory(), write(), [NO], "WADN"), (memory(), write(), [R, NO], "ADN"),
    (memory(), write(), [NO, RW], "PWAD"), (memory(), write(), [NO, R], "PAD"), (memory(), write(), [R, RW], "PWAD"),
    (memory(), read(), [R], "PAZ"), (memory(), read(), [NO], "AZN"), (memory(prot=R), read(), [RW], "PAZ"),
    (memory(mapping=SHARED_FILE), write(), [R], "PAD"), (memory(mapping=SHARED_FILE), read(), [R, RW], "PWA"),
    (memory(prot=R, mapping=FILE), read(), [RW], "PA"), (memory(mapping=FILE), write(), [R, RW], "PWAD"),
])  # fmt: skip
def test_rights(prelude, before, rights, expected):
    assert flags(run_of(prelude, before, *[protect(prot) for prot in rights])) == expected


def test_rights_to_write_wait_for_a_fault_where_others_share_the_page():
    run = run_of(memory(), write(), fork(), protect(R), protect(RW), roles=(CPU, (CPU, 1)))
    assert (flags(run), flags(run, space=1)) == ("PAD", "PD")


@pytest.mark.parametrize("rights, pages, expected", [
    ([R], 512, ["PADH", "PADH"]), ([NO], 512, ["WADHN", "WADHN"]), ([R, RW], 512, ["PWADH", "PWADH"]), ([R], 9, ["PAD", "PWAD"]),
    ([NO], 9, ["WADN", "PWAD"]), ([NO, RW], 9, ["PWAD", "PWAD"]),
])  # fmt: skip
def test_rights_of_huge_pages(rights, pages, expected):
    run = run_of(big(), write(HUGE_PAGE), *[protect(prot, pages, HUGE_PAGE) for prot in rights], **THP)
    assert [flags(run, HUGE_PAGE + k) for k in (8, 9)] == expected


@pytest.mark.parametrize("prot, touch, rights, expected, flushes", [
    (R, read(), [X], "PAZX", 1), (X, read(), [R], "PAZ", 1), (X, read(), [RWX], "PAZX", 0), (RW, write(), [X], "PADX", 1),
    (RW, write(), [RWX], "PWADX", 1), (RWX, write(), [RW], "PWAD", 1), (RWX, write(), [X, RWX], "PWADX", 2), (X, fetch(), [NO], "AZNX", 1),
    (X, fetch(), [NO, X], "PAZX", 1), (X, fetch(), [NO, R], "PAZ", 1), (R, read(), [NO, X], "PAZX", 1), (X, fetch(), [X], "PAZX", 0),
    (X, fetch(), [4], "PAZX", 0),  # a page that may be fetched from may be read: x86 has no bit for that
])  # fmt: skip
def test_rights_to_fetch(prot, touch, rights, expected, flushes):
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
    run = run_of(memory(prot=R), read(), sync(), read(agent=1), sync(), *protect(X), compute(1, 1), roles=(CPU, CPU), cpu__count=2)
    assert run.counted("ipis.sent") == {"ipis.sent": 1}
