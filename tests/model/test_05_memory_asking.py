"""How much memory is free, who asks for it, and what becomes of a run without enough, by hand (docs/model.md 5.3; 6, Memory of a fault)."""

import re

import pytest

from hwmodel import ConfigError, op
from tests.model.hand import (
    CPU,
    DEVICE,
    HUGE_PAGE,
    HUGETLB,
    PAGE,
    SHARED_FILE,
    THP,
    big,
    flags,
    fork,
    frame,
    memory,
    protect,
    read,
    remap,
    run_of,
    sync,
    unmap,
    write,
)

MIB = dict(memory__size_mib=1)
"""256 frames; the root of the only address space has one."""


def used(run):
    """Frames that are not free at the end."""
    return int(run.m.ctl[0].frame_limit - run.m.ctl[0].free)


def writes(pages, page=PAGE):
    return [write(page + k) for k in range(pages)]


def refused(*case, **settings):
    """Who has no memory, and how many frames are free then."""
    with pytest.raises(ConfigError, match=r"memory\.size_mib: ") as error:
        run_of(*case, **settings)
    needs, free = re.search(r": (.*), and (\d+) of \d+ are free", str(error.value)).groups()
    return needs.split(": ", 1)[1], int(free)


@pytest.mark.parametrize("mapping, touch, more, pages", [
    (memory(), write(), {}, 1 + 3 + 1),
    (memory(), read(), {}, 1 + 3),  # the zero page is no frame of the machine's
    (memory(mapping=SHARED_FILE), read(), {}, 1 + 3 + 1),  # the page cache's tree is none either
    (memory(mapping=op.PRIVATE_FILE), write(), {}, 1 + 3 + 2),
    (big(), write(HUGE_PAGE), THP, 1 + 2 + 1 + 512),  # a table is laid by
    (big(), read(HUGE_PAGE), THP, 1 + 2 + 1),
    (big(), [read(HUGE_PAGE), write(HUGE_PAGE)], THP, 1 + 2 + 1 + 512),
    (big(), [write(HUGE_PAGE), *protect(1, 9, HUGE_PAGE)], THP, 1 + 2 + 1 + 512),  # the table that was laid by is in use
    (big(), [write(HUGE_PAGE), unmap(512, HUGE_PAGE)], THP, 1),
    (big(mapping=HUGETLB, populate=True), [], {}, 1 + 2 + 1 + 512),
    (memory(populate=True), [], {}, 1 + 3 + 8),
    (memory(), [write(), *remap(HUGE_PAGE)], {}, 1 + 1 + 2 * 2 + 1),  # one page moves; both places have the table of level 3
])  # fmt: skip
def test_what_memory_is_used(mapping, touch, more, pages):
    assert used(run_of(mapping, *(touch if isinstance(touch, list) else [touch]), **more)) == pages


def test_a_fork_s_tables_and_the_ones_laid_by():
    run = run_of(big(), write(HUGE_PAGE), fork(), roles=(CPU, (CPU, 1)), **THP)
    assert used(run) == 2 * (1 + 2 + 1) + 512


def test_an_address_space_gives_everything_back():
    run = run_of(big(), write(HUGE_PAGE), fork(), sync(), (0, 0, 0, op.EXIT, 1), roles=(CPU, (CPU, 1)), **THP)
    assert used(run) == 1 + 2 + 1 + 512


def test_a_vcpu_has_tables_in_its_hand():
    """Three of 40 are the first page's; the next page shares its own tables; one 2 MiB apart needs one more."""
    pages, tables = (PAGE, PAGE + 1, PAGE + 512), (37, 37, 36)
    for n in range(1, 4):
        touched = [touch(page, agent=agent) for touch, agent in ((write, 0), (read, 1)) for page in pages[:n]]
        run = run_of(memory(513), *touched, roles=(CPU, DEVICE), design="kvm_ept")
        assert run.dev.vcpus[1].tables == tables[n - 1]


def test_a_hand_is_filled_again_when_few_tables_are_left():
    """Each page has a page table of its own: the first takes three, the others one each. With four in the hand it is filled up."""
    pages = [PAGE + 512 * k for k in range(36)]
    for n, left in ((34, 4), (35, 39), (36, 38)):
        touched = [touch(page, agent=agent) for touch, agent in ((write, 0), (read, 1)) for page in pages[:n]]
        run = run_of(memory(512 * 36), *touched, roles=(CPU, DEVICE), design="kvm_ept")
        assert run.dev.vcpus[1].tables == left, n


def test_the_last_frame_is_used_and_the_next_one_missed():
    assert used(run_of(memory(252), writes(252), **MIB)) == 256
    assert refused(memory(253), writes(253), **MIB) == ("agent 0 needs 1 more frames at cycle 0", 0)


@pytest.mark.parametrize("mapping, touch, asked", [
    (memory(252), [*writes(251), read(PAGE + 600)], "1"),  # a mapping of its own, whose page table is missing
])  # fmt: skip
def test_page_tables_are_asked_for(mapping, touch, asked):
    mapping = [*mapping, *memory(1, page=PAGE + 600)]
    assert used(run_of(mapping, touch, **MIB)) == 256
    assert refused(mapping, [write(PAGE + 251), *touch], **MIB) == (f"agent 0 needs {asked} more frames at cycle 0", 0)


def test_memory_before_the_first_record():
    assert refused(memory(253, populate=True), **MIB) == ("the memory before the first record needs more frames", 0)


@pytest.mark.parametrize("records, roles", [(fork(), (CPU, (CPU, 1))), (remap(HUGE_PAGE << 10), (CPU,))])
def test_operations_ask_for_three_tables(records, roles):
    spare = 256 - len(roles) - 3 - 250
    assert refused(memory(252), writes(250), records, roles=roles, **MIB) == ("agent 0 needs 3 more frames at cycle 0", spare)


def test_an_error_says_who_holds_memory():
    with pytest.raises(ConfigError, match=r"\(held: the page cache 130, address space 0 122, page tables and pages on their way 4\)"):
        run_of([*memory(130, mapping=SHARED_FILE), *memory(200, page=PAGE + 130)], writes(260), **MIB)


def test_small_pages_where_no_block_is_left():
    """1,024 frames: one block, then the rest is too few for another."""
    run = run_of(memory(1024, page=HUGE_PAGE), write(HUGE_PAGE), write(HUGE_PAGE + 512), memory__size_mib=4, **THP)
    assert [flags(run, HUGE_PAGE + 512 * k) for k in (0, 1)] == ["PWADH", "PWAD"]
    assert run.counted("faults.", "huge_") == {"faults.huge": 1, "faults.anon": 1, "faults.fallback": 1}
    run = run_of(big(), read(HUGE_PAGE), write(HUGE_PAGE + 1), **THP, **MIB)
    assert [flags(run, HUGE_PAGE + k) for k in (0, 1)] == ["PAZ", "PWAD"]
    assert run.counted("faults.", "huge_") == {"faults.huge": 1, "faults.cow": 1, "faults.fallback": 1, "huge_splits": 1}


def test_huge_pages_of_hugetlb_have_no_substitute():
    assert refused(big(mapping=HUGETLB), write(HUGE_PAGE), **MIB) == (
        "agent 0 needs 515 more frames, 512 of them in a block, at cycle 0", 255)  # fmt: skip


def test_a_free_block_is_broken_when_nothing_else_is_left():
    """The block is frames 0 to 511; then 508 pages have the numbers above, and the next ones are the block's, from the highest down."""
    mapping = [*big(mapping=HUGETLB), *memory(600)]
    run = run_of(mapping, write(HUGE_PAGE), unmap(512, HUGE_PAGE), writes(516), memory__size_mib=4)
    assert [frame(run, PAGE + k) for k in (0, 511, 512, 515)] == [512, 1023, 511, 508]


def test_a_fault_that_comes_too_late_gives_its_memory_back():
    """Two threads fault on one page; the second finds it, and has a page and three tables too many."""
    run = run_of(memory(), write(), write(agent=1), roles=(CPU, CPU), kernel__fault_ns=100, kernel__zero_page_ns=100)
    assert run.counted("faults.") == {"faults.anon": 1, "faults.spurious": 1}
    assert used(run) == 1 + 3 + 1
