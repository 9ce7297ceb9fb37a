"""What mremap makes of leaves and tables, by hand (docs/model.md 9.5); the flags' letters: see test_06_faults.py."""

import pytest

from tests.model.hand import FILE, HUGE_PAGE, PAGE, SHARED_FILE, THP, big, flags, memory, read, remap, run_of, write


@pytest.mark.parametrize("prelude, before, expected", [
    (memory(), write(), "PWAD"), (memory(), read(), "PAZ"), (memory(mapping=SHARED_FILE), read(), "PWA"),
    (memory(mapping=FILE), read(), "PA"),
])  # fmt: skip
def test_a_page_that_moves_stays_as_it_is(prelude, before, expected):
    run = run_of(prelude, before, *remap(PAGE + 100))
    assert (flags(run), flags(run, PAGE + 100)) == ("", expected)


def test_tables_and_huge_pages_move_as_they_are():
    target = HUGE_PAGE + 2048
    run = run_of(big(), write(HUGE_PAGE), *remap(target, 512, HUGE_PAGE), **THP)
    assert (flags(run, HUGE_PAGE), flags(run, target)) == ("", "PWADH")
    run = run_of(big(), write(HUGE_PAGE), read(HUGE_PAGE + 511), *remap(target, 512, HUGE_PAGE))
    assert [flags(run, page) for page in (HUGE_PAGE, target, target + 1, target + 511)] == ["", "PWAD", "", "PAZ"]
    run = run_of(big(), write(HUGE_PAGE), *remap(target + 1, 512, HUGE_PAGE), **THP)  # not aligned: split
    assert [flags(run, page) for page in (HUGE_PAGE, target + 1, target + 512)] == ["", "PWAD", "PWAD"]
