"""How far a stack grows, by hand (docs/model.md, 6): as far as its limit, and not near what is mapped below it."""

import pytest

from hwmodel import op
from hwmodel.op import mmap_unit
from tests.model.hand import CPU, DEVICE, NO, PAGE, RW, R, flags, memory, protect, read, run_of, unmap, write
from tests.support import designs

TOP = PAGE + 8
"""The end of the stack, which begins 2 pages below."""
LIMIT = 256
"""Pages that the stack may have here: 1 MiB."""


def stack(first=TOP - 2, last=TOP):
    """A mapping that grows down."""
    return mmap_unit(first << 12, last - first, RW, grows_down=True)


def end(prelude, *records, roles=(CPU,), design="cpu_only", **settings):
    return run_of(prelude, *records, roles=roles, design=design, **{"kernel__stack_limit_mib": 1, **settings})


def vmas(run):
    """(first, last) page of all VMAs of space 0 in the lower half of memory."""
    rows = run.m.vmas[: int(run.m.ctl[0].vma_count)]
    return [(int(v.first), int(v.last)) for v in rows if v.space == 0 and v.first < 1 << 34]


@pytest.mark.parametrize("pages, grows", [(3, True), (255, True), (256, True), (257, False), (300, False)])
def test_the_limit_is_that_of_the_whole_stack(pages, grows):
    run = end(stack(), write(TOP - pages))
    assert flags(run, TOP - pages) == ("PWAD" if grows else "")
    assert vmas(run) == [(TOP - pages if grows else TOP - 2, TOP)]
    assert run.counted("segv") == ({} if grows else {"segv": 1})


def test_it_is_8_mib():
    for pages, grows in ((2048, True), (2049, False)):
        assert end(stack(), read(TOP - pages), kernel__stack_limit_mib=8).counted("segv") == ({} if grows else {"segv": 1})


@pytest.mark.parametrize("free, grows", [(0, False), (1, False), (255, False), (256, True), (257, True)])
@pytest.mark.parametrize("below, guarded", [(RW, True), (R, True), (NO, False)])
def test_the_gap_above_what_can_be_accessed(below, guarded, free, grows):
    """A mapping of a page ends `free` pages below the access."""
    page = TOP - 20
    run = end([*memory(1, below, page=page - free - 1), *stack()], write(page))
    assert run.counted("segv") == ({} if grows or not guarded else {"segv": 1})


def test_the_gap_is_a_setting():
    for pages, grows in ((9, True), (10, False)):
        run = end([*memory(1, page=TOP - 30), *stack()], write(TOP - 20), kernel__stack_guard_pages=pages)
        assert run.counted("segv") == ({} if grows else {"segv": 1})


def test_stacks_may_meet_and_stay_two():
    run = end([*stack(TOP - 12, TOP - 10), *stack()], write(TOP - 10), write(TOP - 13))
    assert vmas(run) == [(TOP - 13, TOP - 10), (TOP - 10, TOP)] and run.counted("segv") == {}


def test_only_the_mapping_next_below_counts():
    run = end([*memory(1, page=TOP - 22), *memory(1, NO, page=TOP - 21), *stack()], write(TOP - 20))
    assert run.counted("segv") == {}


def test_what_goes_below_it_makes_room():
    """The mapping below is unmapped, or can't be accessed any more: the stack may grow next to it."""
    for operation, first in ((unmap(1, TOP - 30), TOP - 30), (protect(NO, 1, TOP - 30), TOP - 29)):
        run = end([*memory(1, page=TOP - 30), *stack()], operation, write(first))
        assert run.counted("segv") == {} and flags(run, first) == "PWAD"


@pytest.mark.parametrize("design", designs.with_engines())
def test_devices_make_it_grow(design):
    run = end(stack(), write(TOP - 200, 1), roles=(CPU, DEVICE), design=design)
    assert run.counted("segv") == {} and flags(run, TOP - 200) == "PWAD"


def test_it_grows_before_the_right_is_looked_at():
    run = end(stack(), (TOP - 200 << 12, 1, 0, op.FETCH, 0))
    assert vmas(run) == [(TOP - 200, TOP)] and run.counted("segv") == {"segv": 1}
