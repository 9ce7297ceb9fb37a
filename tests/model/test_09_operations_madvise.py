"""What advice makes of the flags of leaves, by hand (docs/model.md 9.3); their letters: see test_06_faults.py."""

import pytest

from hwmodel import op
from tests.model.hand import FILE, HUGE_PAGE, HUGETLB, SHARED_FILE, THP, advise, big, flags, memory, read, run_of, write


@pytest.mark.parametrize("prelude, before, advice, expected", [
    (memory(), write(), op.FREE, "PWL"), (memory(), read(), op.FREE, "PAZ"), (memory(mapping=SHARED_FILE), write(), op.FREE, "PWAD"),
    (memory(mapping=FILE), read(), op.FREE, "PA"), (memory(), write(), op.COLD, "PWD"), (memory(), read(), op.COLD, "PAZ"),
    (memory(mapping=SHARED_FILE), write(), op.COLD, "PWD"), (memory(mapping=FILE), read(), op.COLD, "P"),
    (memory(), write(), op.DONTNEED, ""), (memory(mapping=SHARED_FILE), write(), op.DONTNEED, ""), (memory(), write(), op.HUGEPAGE, "PWAD"),
])  # fmt: skip
def test_advice(prelude, before, advice, expected):
    assert flags(run_of(prelude, before, *advise(advice))) == expected


@pytest.mark.parametrize("advice, pages, expected", [
    (op.FREE, 512, ["PWHL", "PWHL"]), (op.COLD, 512, ["PWDH", "PWDH"]), (op.DONTNEED, 512, ["", ""]),
    (op.FREE, 9, ["PWL", "PWAD"]), (op.COLD, 9, ["PWD", "PWAD"]), (op.DONTNEED, 9, ["", "PWAD"]),
])  # fmt: skip
def test_advice_about_huge_pages(advice, pages, expected):
    run = run_of(big(), write(HUGE_PAGE), *advise(advice, pages, HUGE_PAGE), **THP)
    assert [flags(run, HUGE_PAGE + k) for k in (8, 9)] == expected


@pytest.mark.parametrize("advice", [op.FREE, op.COLD])
def test_hugetlb_is_not_aged(advice):
    assert flags(run_of(big(mapping=HUGETLB), write(HUGE_PAGE), *advise(advice, 512, HUGE_PAGE)), HUGE_PAGE) == "PWADH"
