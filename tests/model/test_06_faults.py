"""Which leaves faults install, replace, copy and split, by hand (docs/model.md 6 to 6.3; faults of devices 10.3, 11.4).

P present, W writable, A accessed, D dirty, H huge, Z the zero page, N no right at all, L given up (MADV_FREE); X may be fetched from.
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
    SHARED,
    SHARED_FILE,
    THP,
    R,
    X,
    advise,
    big,
    compute,
    flags,
    fork,
    frame,
    leave,
    memory,
    protect,
    read,
    references,
    run_of,
    sync,
    unmap,
    write,
)  # fmt: skip
from tests.support import designs


@pytest.mark.parametrize("prelude, touch, expected, kind", [
    (memory(), read(), "PAZ", "zero"), (memory(prot=R), read(), "PAZ", "zero"),
    (memory(prot=X), (PAGE << 12, 1, 0, op.FETCH, 0), "PAZX", "zero"), (memory(), write(), "PWAD", "anon"),
    (memory(mapping=SHARED), read(), "PWA", "file"), (memory(mapping=SHARED), write(), "PWAD", "file"),
    (memory(mapping=SHARED_FILE), read(), "PWA", "file"), (memory(prot=R, mapping=SHARED_FILE), read(), "PA", "file"),
    (memory(mapping=SHARED_FILE), write(), "PWAD", "file"), (memory(mapping=FILE), read(), "PA", "file"),
    (memory(mapping=FILE), write(), "PWAD", "file_cow"),
])  # fmt: skip
def test_first_touch(prelude, touch, expected, kind):
    run = run_of(prelude, touch)
    assert flags(run) == expected and run.counted("faults.") == {f"faults.{kind}": 1}


@pytest.mark.parametrize("mapping, prot, touch, expected", [
    (op.PRIVATE, RW, read(HUGE_PAGE + 7), "PAHZ"), (op.PRIVATE, RW, write(HUGE_PAGE + 7), "PWADH"),
    (HUGETLB, RW, read(HUGE_PAGE + 7), "PWAH"), (HUGETLB, RW, write(HUGE_PAGE + 7), "PWADH"), (HUGETLB, R, read(HUGE_PAGE + 7), "PAH"),
])  # fmt: skip
def test_first_touch_of_a_huge_page(mapping, prot, touch, expected):
    run = run_of(big(prot, mapping), touch, **THP)
    assert flags(run, HUGE_PAGE) == flags(run, HUGE_PAGE + 511) == expected and run.counted("faults.") == {"faults.huge": 1}


def test_a_private_copy_of_a_file_is_another_page():
    run = run_of([*memory(mapping=FILE), *memory(prot=R, mapping=FILE, page=PAGE + 100)], write(), read(PAGE + 100))
    assert (flags(run), flags(run, PAGE + 100)) == ("PWAD", "PA")
    assert frame(run, PAGE + 100) == run.file_frame() != frame(run)
    assert (references(run), references(run, PAGE + 100)) == (1, 2)


@pytest.mark.parametrize("mapping, expected", [(FILE, "PA"), (SHARED_FILE, "PWA")])
def test_fault_around_maps_what_is_in_memory(mapping, expected):
    """Pages 2 to 5 are in the page cache; a read of page 4 maps the others of its window of four: 5, but not 6 and 7, nor 2 and 3.

    They are accessed, though nobody used them: so are all rights of x86 (arch/x86/include/asm/pgtable_types.h PAGE_READONLY, PAGE_SHARED).
    """
    cached = memory(4, R, mapping, PAGE + 100, offset=2, populate=True)
    run = run_of([*memory(mapping=mapping), *cached], read(PAGE + 4), kernel__fault_around_pages=4)
    assert [flags(run, PAGE + k) for k in range(8)] == ["", "", "", "", expected, expected, "", ""]


@pytest.mark.parametrize("first, pages, touched, mapped", [
    (14, 9, 14, (14, 23)),  # the mapping's start lies in the window: as many pages from there
    (14, 9, 15, (14, 23)), (14, 9, 16, (16, 23)), (14, 40, 14, (14, 30)), (14, 40, 17, (16, 32)), (3, 10, 12, (3, 13)),
    (500, 40, 501, (500, 512)), (500, 40, 513, (512, 528)),  # a page table ends at 512
    (509, 40, 510, (509, 512)),
])  # fmt: skip
def test_fault_around_begins_with_the_mapping(first, pages, touched, mapped):
    """A window of 16 pages; all are in the page cache."""
    cached = memory(pages, R, FILE, PAGE + 2048, populate=True)
    run = run_of([*memory(pages, R, FILE, PAGE + first), *cached], read(PAGE + touched), kernel__fault_around_pages=16)
    assert [k for k in range(600) if flags(run, PAGE + k)] == list(range(*mapped))


def test_a_write_maps_nothing_around():
    cached = memory(8, R, SHARED_FILE, PAGE + 100, populate=True)
    run = run_of([*memory(mapping=SHARED_FILE), *cached], write(), kernel__fault_around_pages=4)
    assert [flags(run, PAGE + k) for k in range(4)] == ["PWAD", "", "", ""]


def test_the_zero_page_is_replaced_by_a_page():
    run = run_of(memory(), read(), write())
    assert flags(run) == "PWAD" and references(run) == 1 and run.counted("faults.") == {"faults.zero": 1, "faults.cow": 1}


def test_a_file_s_page_is_copied_at_the_first_write():
    run = run_of(memory(mapping=FILE), read(), write())
    assert flags(run) == "PWAD" and run.counted("faults.") == {"faults.file": 1, "faults.cow": 1}
    assert frame(run) != run.file_frame() and run.m.frames[run.file_frame()].refs == 1


@pytest.mark.parametrize("touch, expected", [(read(), "PAD"), (write(), "PWAD")])
def test_a_page_that_fork_shared_and_nobody_shares_any_more(touch, expected):
    """The child has gone: the page need not be copied, but may be written only after a fault."""
    run = run_of(memory(), write(), fork(), leave(1), sync(), touch, roles=(CPU, (CPU, 1)))
    assert flags(run) == expected
    assert run.counted("faults.") == {"faults.anon": 1, **({"faults.reuse": 1} if touch == write() else {})}


def test_a_page_that_is_still_shared_is_copied():
    run = run_of(memory(), write(), fork(), write(), roles=(CPU, (CPU, 1)))
    assert (flags(run), flags(run, space=1)) == ("PWAD", "PD") and frame(run) != frame(run, space=1)
    assert (references(run), references(run, space=1)) == (1, 1)


def test_a_huge_zero_page_is_replaced_whole():
    run = run_of(big(), read(HUGE_PAGE + 3), write(HUGE_PAGE + 4), **THP)
    assert flags(run, HUGE_PAGE) == "PWADH" and run.counted("faults.") == {"faults.huge": 1, "faults.cow": 1}
    assert frame(run, HUGE_PAGE) % 512 == 0 and references(run, HUGE_PAGE + 511) == 1


def test_a_huge_page_of_ones_own_is_used_again():
    run = run_of(big(), write(HUGE_PAGE), fork(), leave(1), sync(), write(HUGE_PAGE + 1), roles=(CPU, (CPU, 1)), **THP)
    assert flags(run, HUGE_PAGE) == "PWADH" and run.counted("faults.") == {"faults.huge": 1, "faults.reuse": 1}


def test_a_shared_page_of_hugetlb_is_copied_whole():
    run = run_of(big(mapping=HUGETLB), write(HUGE_PAGE), fork(), write(HUGE_PAGE + 1), roles=(CPU, (CPU, 1)))
    assert (flags(run, HUGE_PAGE), flags(run, HUGE_PAGE, 1)) == ("PWADH", "PDH")
    assert abs(frame(run, HUGE_PAGE) - frame(run, HUGE_PAGE, 1)) == 512
    assert run.counted("faults.", "huge_") == {"faults.huge": 1, "faults.cow": 1}


def test_a_shared_huge_page_is_split_and_one_page_copied():
    run = run_of(big(), write(HUGE_PAGE), fork(), write(HUGE_PAGE + 1), roles=(CPU, (CPU, 1)), **THP)
    assert [flags(run, HUGE_PAGE + k) for k in (0, 1, 2, 511)] == ["PAD", "PWAD", "PAD", "PAD"]
    assert flags(run, HUGE_PAGE, 1) == "PDH"
    assert frame(run, HUGE_PAGE + 511) == frame(run, HUGE_PAGE + 511, 1) == frame(run, HUGE_PAGE) + 511
    assert run.counted("faults.", "huge_") == {"faults.huge": 1, "faults.cow": 1, "huge_splits": 1}


def test_a_page_is_dirty_before_the_write_is_tried_again():
    """A fork finds the page that a fault has put in, in the place of the zero page, while the fault is not over yet."""
    slow = dict(kernel__syscall_ns=500, kernel__shootdown__ack_ns=3000)
    run = run_of(memory(), read(agent=1), sync(), fork(), write(agent=1), roles=(CPU, CPU, (CPU, 1)), **slow)
    assert (flags(run), flags(run, space=1)) == ("PWAD", "PD")


# of devices


@pytest.mark.parametrize("design, touch, expected", [
    ("gru", read(agent=1), "PW"), ("gru", write(agent=1), "PWAD"), ("kvm_ept", read(agent=1), "PWAD"), ("kvm_ept", write(agent=1), "PWAD"),
])  # fmt: skip
def test_a_device_s_use_of_a_page(design, touch, expected):
    """The driver's look at the page table leaves no trace, get_user_pages for a write makes it dirty; KVM's fast path does for any."""
    run = run_of(memory(mapping=SHARED_FILE, populate=True), *advise(op.COLD), sync(), touch, roles=(CPU, DEVICE), design=design)
    assert flags(run) == expected


@pytest.mark.parametrize("design", designs.with_engines())
@pytest.mark.parametrize("touch, expected", [(read(agent=1), "PAZ"), (write(agent=1), "PWAD")])
def test_a_device_s_fault(design, touch, expected):
    assert flags(run_of(memory(), touch, roles=(CPU, DEVICE), design=design)) == expected


# splits


def test_a_split_keeps_the_flags():
    run = run_of(big(), write(HUGE_PAGE), *unmap(1, HUGE_PAGE), **THP)
    assert [flags(run, HUGE_PAGE + k) for k in (0, 1, 511)] == ["", "PWAD", "PWAD"]
    assert frame(run, HUGE_PAGE + 511) == frame(run, HUGE_PAGE + 1) + 510
    run = run_of(big(), read(HUGE_PAGE), *unmap(1, HUGE_PAGE), **THP)
    assert [(flags(run, HUGE_PAGE + k), frame(run, HUGE_PAGE + k)) for k in (1, 511)] == [("PAZ", 0)] * 2
    run = run_of(big(), write(HUGE_PAGE), *advise(op.FREE, 512, HUGE_PAGE), *unmap(1, HUGE_PAGE), **THP)
    assert flags(run, HUGE_PAGE + 1) == "PWL"
    run = run_of(big(), write(HUGE_PAGE), *protect(NO, 512, HUGE_PAGE), *unmap(1, HUGE_PAGE), **THP)
    assert flags(run, HUGE_PAGE + 1) == "WADN"


def test_a_fault_that_would_choose_another_kind_by_now_is_tried_again():
    """While CPU 0 zeroes a huge page, from 0 to 1,000, CPU 1 says that there are to be none: the fault begins again, with a small one."""
    advised = [compute(100, 1), *advise(op.NOHUGEPAGE, 512, HUGE_PAGE, agent=1)]
    settings = dict(kernel__zero_huge_ns=1000, cpu__instruction_cycles=1)
    run = run_of(memory(512, page=HUGE_PAGE), write(HUGE_PAGE), advised, roles=(CPU, CPU), **settings, **THP)
    assert run.counted("faults.huge", "faults.anon", "faults.spurious") == {"faults.anon": 1, "faults.spurious": 1}
    assert flags(run, HUGE_PAGE) == "PWAD" and run.booked("fault") == 1000
