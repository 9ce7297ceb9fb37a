"""Which leaves may be fetched from, by hand: X from the VMA's right, kept by whatever makes a leaf of a leaf (docs/model.md 5.2).

The flags by their letters: see test_06_faults.py.
"""

import pytest

from hwmodel import op
from tests.model.hand import (
    CPU,
    FILE,
    HUGE_PAGE,
    HUGETLB,
    PAGE,
    RW,
    RWX,
    SHARED,
    SHARED_FILE,
    THP,
    R,
    X,
    advise,
    fetch,
    flags,
    fork,
    leave,
    memory,
    read,
    remap,
    run_of,
    sync,
    unmap,
    write,
)  # fmt: skip

WRITE_ONLY, WX = 2, 6


def big(prot=RWX, mapping=op.PRIVATE, **more):
    return memory(512, prot, mapping, HUGE_PAGE, **more)


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
