"""Which neighbouring VMAs become one, by hand: rights, accounting, page offsets and anon_vmas (docs/model.md 5.1; Linux 6.18 mm/vma.c).

A VMA is (first page, last page) from PAGE on. What is one VMA decides what a fork or an mprotect announces.
"""

import pytest

from hwmodel import op
from tests.model.hand import (
    CPU,
    DEVICE,
    FILE,
    HUGE_PAGE,
    HUGETLB,
    NO,
    PAGE,
    RW,
    SHARED_FILE,
    THP,
    R,
    advise,
    fork,
    memory,
    protect,
    read,
    remap,
    run_of,
    sync,
    unmap,
    write,
)  # fmt: skip

A, B, C = PAGE, PAGE + 4, PAGE + 8
"""The first pages of three mappings of four pages each, side by side."""
CHILD = (CPU, 1)


def four(page, prot=RW, mapping=op.PRIVATE, **more):
    return memory(4, prot, mapping, page, **more)


def vmas(run, space=0, base=PAGE):
    """(first, last) of the VMAs of a space near a page."""
    rows = run.m.vmas[: int(run.m.ctl[0].vma_count)]
    return [(int(v.first) - base, int(v.last) - base) for v in rows if v.space == space and abs(int(v.first) - base) < 1 << 16]


ONE, TWO = [(0, 8)], [(0, 4), (4, 8)]


@pytest.mark.parametrize("touched, expected", [
    ([], ONE),  # nothing was ever in either
    ([read(A), read(B)], ONE),  # the zero page is no anonymous page
    ([write(A)], ONE), ([write(B)], ONE), ([write(A), write(B)], ONE),  # the second takes the anon_vma of the first
])  # fmt: skip
def test_two_mappings_of_different_rights_get_the_same(touched, expected):
    """Both writable: accounted, and a neighbour's anon_vma may be had whatever its rights (here RW and RWX)."""
    assert vmas(run_of([], four(A), four(B, 7), *touched, protect(RW, 4, B))) == expected


def test_they_were_two_before():
    assert vmas(run_of([], four(A), four(B, 7))) == TWO


@pytest.mark.parametrize("then", [[], [protect(R, 5, A), protect(RW, 5, A)], [advise(op.DONTNEED, 8, A), protect(R, 8, A)]])
def test_two_anon_vmas_are_never_one_vma(then):
    """The page between them is mapped after both are written: it joins the left one. Whatever comes later, and if all pages are gone."""
    run = run_of([], four(A), memory(3, 7, page=B + 1), write(A), write(B + 2), memory(1, page=B), protect(RW, 3, B + 1), *then)
    assert vmas(run) == [(0, 5), (5, 8)]


def test_the_right_neighbour_s_anon_vma_is_taken_first():
    """Left and right have one each; the middle takes the right one's, and is one with that when their rights agree, not with the left."""
    records = [four(A), four(C), write(A), write(C), four(B, 7), write(B)]
    assert vmas(run_of([], *records, protect(RW, 4, B))) == [(0, 4), (4, 12)]


def test_a_new_mapping_joins_one_neighbour_of_two():
    """It has no anon_vma and fits both; they don't fit each other. The left one is tried first."""
    assert vmas(run_of([], four(A), four(C), write(A), write(C), four(B))) == [(0, 8), (8, 12)]
    assert vmas(run_of([], four(A), four(C), write(A), four(B))) == [(0, 12)]


# accounting


@pytest.mark.parametrize("touch, expected", [([], ONE), (read(A), ONE), (write(A), TWO)])
def test_only_written_memory_stays_accounted(touch, expected):
    """It is made read-only, like its neighbour that was mapped so and never charged for."""
    assert vmas(run_of([], four(A), four(B, R), touch, protect(R, 4, A))) == expected


def test_what_becomes_writable_is_accounted():
    assert vmas(run_of([], four(A), four(B, R), protect(RW, 4, B))) == ONE
    assert vmas(run_of([], four(A), four(B, NO), protect(RW, 4, B))) == ONE


def test_memory_of_another_accounting_gives_no_anon_vma():
    """What was mapped read-only is not accounted when it gets a huge zero page, and with that an anon_vma of its own; later it is both."""
    mapped = [memory(512, page=HUGE_PAGE), memory(512, R, page=HUGE_PAGE + 512), write(HUGE_PAGE)]
    for touch, expected in (([], [(0, 1024)]), (read(HUGE_PAGE + 512), [(0, 512), (512, 1024)])):
        assert vmas(run_of([], *mapped, touch, protect(RW, 512, HUGE_PAGE + 512), **THP), base=HUGE_PAGE) == expected


def test_a_private_file_keeps_what_it_was_charged():
    """Only anonymous memory that was never touched is given back (mprotect_fixup)."""
    mapped = [four(A, mapping=FILE), four(B, R, FILE, offset=4)]
    assert vmas(run_of([], *mapped, protect(R, 4, A))) == TWO
    shared = [four(A, mapping=SHARED_FILE), four(B, R, SHARED_FILE, offset=4)]
    assert vmas(run_of([], *shared, protect(R, 4, A))) == ONE  # shared memory is not accounted


# page offsets


@pytest.mark.parametrize("touched, expected", [([], [(0, 8)]), ([read(PAGE + 100)], [(0, 8)]), ([write(PAGE + 100)], TWO)])
def test_memory_that_moved_to_a_neighbour(touched, expected):
    """Written memory keeps the offset of where it was mapped; other memory gets that of where it is."""
    assert vmas(run_of([], four(A), four(PAGE + 100), *touched, remap(B, 4, PAGE + 100))) == expected


@pytest.mark.parametrize("mapping", [FILE, SHARED_FILE])
@pytest.mark.parametrize("file, offset, expected", [(1, 4, ONE), (1, 3, TWO), (1, 5, TWO), (2, 4, TWO)])
def test_pages_of_files_run_on(mapping, file, offset, expected):
    assert vmas(run_of([], four(A, R, mapping, file=1), four(B, R, mapping, file=file, offset=offset))) == expected
    assert vmas(run_of([*four(A, R, mapping, file=1), *four(B, R, mapping, file=file, offset=offset)])) == expected


def test_memory_from_below_keeps_its_offset_too():
    assert vmas(run_of([], four(A), four(PAGE - 100), write(PAGE - 100), remap(B, 4, PAGE - 100))) == TWO


def test_memory_that_comes_back_is_one_again():
    """Away, with its anon_vma, and home: the offset fits, the anon_vma is the same."""
    home = [memory(8), write(A), write(B), remap(PAGE + 100, 4, B), remap(B, 4, PAGE + 100)]
    assert vmas(run_of([], *home)) == [(0, 8)]


def test_memory_that_moved_beside_its_own_rest():
    """A hole of four pages: what was behind it moves down. Written, it may not be one with what is there."""
    for touched, expected in (([], [(0, 8)]), ([write(A)], TWO)):
        assert vmas(run_of([], memory(12), touched, unmap(4, B), remap(B, 4, C))) == expected


def test_a_stack_grows_with_its_offset():
    """It grew by two pages and got an anon_vma; cut in two and given back its rights it is one VMA."""
    stack = op.GROWS_DOWN
    mapped = [(PAGE << 12, 4, 0, op.MMAP, 0), (0, RW | stack, 0, op.ARG, 0)]
    run = run_of([], mapped, read(PAGE - 2), protect(R, 1, PAGE), protect(RW, 1, PAGE))
    assert vmas(run) == [(-2, 4)]


# forks


def test_a_child_s_vmas_stay_apart():
    """One VMA is cut in two and forked: the parent's become one again, the child's have an anon_vma each."""
    records = [memory(8), write(A), protect(7, 4, B), fork(), sync(), protect(RW, 4, B), protect(RW, 4, B, agent=1)]
    run = run_of([], *records, roles=(CPU, CHILD))
    assert vmas(run) == ONE and vmas(run, 1) == TWO


def test_a_child_s_vma_takes_in_no_neighbour():
    """New memory beside what was inherited is another VMA, in the child; a fault in it takes none of the inherited anon_vmas."""
    new = [four(B, agent=agent) for agent in (0, 1)]
    run = run_of([], four(A), write(A), fork(), sync(), *new, write(B, agent=1), write(B), roles=(CPU, CHILD))
    assert vmas(run) == ONE and vmas(run, 1) == TWO


def test_a_child_s_memory_in_front_takes_no_inherited_anon_vma_either():
    """Written before their rights agree, they would have been one."""
    records = [four(B), write(B), fork(), sync(), four(A, 7, agent=1), write(A, agent=1), protect(RW, 4, A, agent=1)]
    assert vmas(run_of([], *records, roles=(CPU, CHILD)), 1) == TWO


def test_a_child_s_untouched_memory_is_as_any():
    run = run_of([], four(A), fork(), sync(), four(B, agent=1), roles=(CPU, CHILD))
    assert vmas(run, 1) == ONE


def test_memory_that_is_lengthened_takes_in_what_comes_next():
    """Also if it was inherited, where a mapping would not be: vma_merge_extend does not ask for that."""
    records = [four(A), write(A), fork(), sync(), four(C, agent=1), remap(A, 4, A, agent=1, size=8)]
    assert vmas(run_of([], *records, roles=(CPU, CHILD)), 1) == [(0, 12)]


@pytest.mark.parametrize("prelude, touched, notices", [
    ([four(A), four(B, 7)], [write(A), write(B)], 2),
    ([four(A), four(B, 7)], [write(A), write(B), protect(RW, 4, B)], 2),  # one of mprotect, one of fork
    ([four(A), four(B, R)], [write(A), read(B)], 1),  # no anonymous page in the second
    ([four(A), four(B, R)], [read(A), write(A), read(B)], 2),  # one of the copy on write of the zero page, one of the fork
    ([four(A, mapping=FILE), four(B, R)], [write(A)], 1), ([four(A, mapping=FILE), four(B, R)], [read(A)], 0),
    ([four(A), four(B, R)], [write(A), read(B), protect(RW, 4, B)], 2),  # mprotect; the fork announces eight pages at once
])  # fmt: skip
def test_notices_of_a_fork(prelude, touched, notices):
    run = run_of([record for records in prelude for record in records], *touched, fork(), design="kvm_ept", roles=(CPU, DEVICE, CHILD))
    assert run.counted("notices.start") == ({"notices.start": notices} if notices else {})


# the heap, huge pages


def test_a_break_joins_only_what_is_below_it():
    brk = [(C << 12, 0, 0, op.BRK, 0), (C + 4 << 12, 0, 0, op.BRK, 0)]
    assert vmas(run_of([], brk[0], four(B), brk[1])) == [(4, 12)]
    assert vmas(run_of([], brk[0], four(C + 4), brk[1])) == [(8, 12), (12, 16)]


def test_huge_zero_pages_make_an_anon_vma():
    """A fork copies their VMA (do_huge_pmd_anonymous_page prepares before it chooses the zero page); that of small ones it does not."""
    for settings, expected in ((THP, 1), ({}, 0)):
        records = [memory(512, page=HUGE_PAGE), read(HUGE_PAGE), fork()]
        run = run_of([], *records, design="kvm_ept", roles=(CPU, DEVICE, CHILD), **settings)
        assert run.counted("notices.start") == ({"notices.start": expected} if expected else {})


def test_hugetlb_mappings_are_never_one():
    records = [memory(512, mapping=HUGETLB, page=HUGE_PAGE), memory(512, mapping=HUGETLB, page=HUGE_PAGE + 512)]
    assert vmas(run_of([], *records), base=HUGE_PAGE) == [(0, 512), (512, 1024)]


@pytest.mark.parametrize("touched, expected", [([], ONE), ([write(A), write(B)], TWO)])
def test_other_advice_gives_no_anon_vma(touched, expected):
    """Of one mapping half is advised first, then the rest; written in between, the halves have an anon_vma each."""
    assert vmas(run_of([], memory(8), advise(op.NOHUGEPAGE, 4, B), *touched)) == TWO
    assert vmas(run_of([], memory(8), advise(op.NOHUGEPAGE, 4, B), *touched, advise(op.NOHUGEPAGE, 4, A))) == expected
