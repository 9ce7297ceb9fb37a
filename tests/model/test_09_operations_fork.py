"""What fork makes of the flags of leaves, by hand (docs/model.md 9.6); their letters: see test_06_faults.py."""

import pytest

from hwmodel import op
from tests.model.hand import (
    CPU,
    FILE,
    HUGE_PAGE,
    HUGETLB,
    NO,
    PAGE,
    SHARED,
    SHARED_FILE,
    THP,
    big,
    flags,
    fork,
    frame,
    memory,
    protect,
    read,
    references,
    run_of,
    write,
)  # fmt: skip


@pytest.mark.parametrize("prelude, before, parent, child", [
    (memory(), [write()], "PAD", "PD"), (memory(), [write(), read(PAGE + 1), *protect(NO)], "ADN", "DN"),
    (memory(mapping=FILE), [write()], "PAD", "PD"), (memory(mapping=FILE), [read()], "PA", ""),
    (memory(mapping=SHARED_FILE), [write()], "PWAD", ""), (memory(mapping=SHARED), [write()], "PWAD", ""), (memory(), [read()], "PAZ", ""),
])  # fmt: skip
def test_fork(prelude, before, parent, child):
    """What a fault can find again is not copied: shared memory, and private memory in which no page was ever written."""
    run = run_of(prelude, *before, fork(), roles=(CPU, (CPU, 1)))
    assert (flags(run), flags(run, space=1)) == (parent, child)
    assert references(run) == 2 if "Z" not in parent else frame(run) == 0


def test_fork_copies_the_zero_page_where_others_are_copied():
    run = run_of(memory(), write(), read(PAGE + 1), fork(), roles=(CPU, (CPU, 1)))
    assert (flags(run, PAGE + 1), flags(run, PAGE + 1, 1)) == ("PAZ", "PZ")


@pytest.mark.parametrize("mapping", [op.PRIVATE, HUGETLB])
def test_fork_shares_huge_pages(mapping):
    run = run_of(big(mapping=mapping), write(HUGE_PAGE), fork(), roles=(CPU, (CPU, 1)), **THP)
    assert (flags(run, HUGE_PAGE), flags(run, HUGE_PAGE, 1)) == ("PADH", "PDH")
    assert frame(run, HUGE_PAGE) == frame(run, HUGE_PAGE, 1) and references(run, HUGE_PAGE + 511) == 2
