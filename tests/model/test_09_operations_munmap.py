"""What is unmapped is gone, with its frames and tables, by hand (docs/model.md 9.1, 9.7)."""

import numpy as np

from hwmodel import op
from tests.model.hand import (
    CPU,
    HUGE_PAGE,
    PAGE,
    THP,
    advise,
    big,
    clocked,
    compute,
    flags,
    fork,
    leave,
    memory,
    read,
    run_of,
    sync,
    tables_in_use,
    unmap,
    waited,
    write,
)


def test_every_table_and_frame_of_a_space_that_ends_is_free():
    records = [write(), write(PAGE + (1 << 18)), read(PAGE + 3), fork(), (0, 0, 0, op.EXIT, 1), sync(), (0, 0, 0, op.EXIT, 0)]
    run = run_of([*memory(), *memory(page=PAGE + (1 << 18))], records, roles=(CPU, (CPU, 1)))
    assert tables_in_use(run) == 0 and not np.any(run.m.frames["refs"])


def test_what_is_unmapped_is_gone():
    run = run_of(memory(), write(), write(PAGE + 1), *unmap())
    assert (flags(run), flags(run, PAGE + 1)) == ("", "PWAD")
    run = run_of(memory(), write(), leave())
    assert run.m.spaces["root"][0] == -1 and not (run.m.frames["refs"] > 0).any()


def test_the_rows_of_a_gather_are_used_again():
    run = run_of(memory(populate=True), *unmap(4), *unmap(4, PAGE + 4))
    assert run.m.ctl[0].entry_top == 4


def test_readers_enter_when_a_munmap_has_cut_its_vmas():
    """The lock is held for writing while a huge page is split, 500 cycles; then 256 ptes are cleared, with readers let in."""
    records = [write(HUGE_PAGE), sync(), *unmap(256, HUGE_PAGE + 256), compute(100, 1), *advise(op.DONTNEED, agent=1)]
    run = clocked([*big(), *memory(populate=True)], records, kernel__table_ns=500, kernel__clear_ns=10, **THP)
    assert waited(run, "lock_wait") == [0, 400]
