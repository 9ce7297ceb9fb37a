"""What is in memory from the beginning, by hand: populated mappings (docs/model.md 5.5).

The flags of a leaf by their letters: see test_06_faults.py.
"""

import pytest

from tests.model.hand import FILE, HUGE_PAGE, HUGETLB, RW, SHARED, SHARED_FILE, R, big, flags, memory, references, run_of


@pytest.mark.parametrize("prelude, expected", [
    (memory(populate=True), "PWAD"), (memory(prot=R, populate=True), "PAZ"),
    (memory(mapping=SHARED, populate=True), "PWA"), (memory(prot=R, mapping=SHARED, populate=True), "PA"),
    (memory(mapping=SHARED_FILE, populate=True), "PWA"), (memory(mapping=FILE, populate=True), "PWAD"),
    (memory(prot=R, mapping=FILE, populate=True), "PA"), (memory(), ""),
])  # fmt: skip
def test_initial_memory(prelude, expected):
    assert flags(run_of(prelude)) == expected


@pytest.mark.parametrize("prot, expected", [(RW, "PWADH"), (R, "PAH")])
def test_initial_huge_memory(prot, expected):
    run = run_of(big(prot, HUGETLB, populate=True))
    assert flags(run, HUGE_PAGE) == expected and references(run, HUGE_PAGE) == references(run, HUGE_PAGE + 511) == 1
