"""What readers put recordings together with: whose calls join, what existed before, what was used though nothing had mapped it."""

import numpy as np

from hwmodel import op as t
from workloads.formats.assembly import Assembly
from workloads.formats.initial import Layout

RW, ANONYMOUS, NO_FILE = 3, 0x22, 0xFFFFFFFF
MMAP, MUNMAP, BRK, MREMAP, GETPID = 9, 11, 12, 25, 39
A = 0x10000000


def begin(**options):
    run = Assembly("x", "a format", **options)
    return run, run.process("prog")


def use(run, agent, *pages, kind=t.READ):
    for page in pages:
        run.batch.append([(A + (page << 12), 1, 0, kind, agent)])


def finished(run):
    chunks = [*run.flush(), *run.finish()]
    return [tuple(record) for chunk in chunks for record in chunk.tolist()]


def inferred(run):
    """(first page from A on, pages) of the mappings that were inferred."""
    finished(run)
    ops = run.prelude()
    return [((op["address"] - A) >> 12, op["count"]) for op in ops[ops["kind"] == t.MMAP]]


def mmap(run, agent, page, pages):
    run.call(agent, MMAP, (0, pages << 12, RW, ANONYMOUS, NO_FILE, 0), A + (page << 12))


def test_calls_of_one_agent_in_a_row_are_one_record():
    run, main = begin()
    other = run.thread(main, "prog/1")
    for agent in (main, main, other, main):
        run.call(agent, GETPID, (), 7)
    use(run, main, 1)
    run.call(main, GETPID, (), 7)
    calls = [(1, 2, 0), (1, 1, 1), (1, 1, 0)]
    assert finished(run) == [
        *((0, n, 0, t.SYSCALL, agent) for _, n, agent in calls), (A + 0x1000, 1, 0, t.READ, 0), (0, 1, 0, t.SYSCALL, 0)
    ]  # fmt: skip
    assert run.about()["operations"] == {"syscall": 5}


def test_what_a_mapping_covers_is_not_inferred():
    run, main = begin()
    mmap(run, main, 10, 10)
    use(run, main, 9, 10, 19, 20)
    assert inferred(run) == [(9, 12)]  # pages 9 and 20, and what lies between them: so near pages are one mapping


def far(page):
    """A page that is not joined with its neighbours in this list."""
    return 100 * page


def test_what_is_unmapped_is_used_as_if_nothing_had_been_there():
    run, main = begin()
    mmap(run, main, 0, far(9))
    run.call(main, MUNMAP, (A + (far(3) << 12), 0x1000), 0)
    use(run, main, far(1), far(3), far(5))
    assert inferred(run) == [(far(3), 1)]


def test_a_mapping_in_the_middle_of_another_leaves_both_ends():
    run, main = begin()
    mmap(run, main, 0, far(9))
    mmap(run, main, far(3), far(2))
    use(run, main, 0, far(3), far(5) - 1, far(5), far(9) - 1, far(9) + 200)
    assert inferred(run) == [(far(9) + 200, 1)]


def test_mremap_moves_what_is_covered():
    run, main = begin()
    mmap(run, main, 0, 4)
    run.call(main, MREMAP, (A, 0x4000, 0x8000, 1), A + (far(5) << 12))
    use(run, main, 3, far(5), far(5) + 7, far(8))
    assert inferred(run) == [(3, 1), (far(8), 1)]


def test_the_break_covers_what_it_passes():
    run, main = begin()
    run.call(main, BRK, (0,), A + 0x800)  # where it is: its page is not its own yet
    run.call(main, BRK, (0,), A + (far(2) << 12))
    run.call(main, BRK, (0,), A + (far(1) << 12))
    use(run, main, 0, 1, far(1) - 1, far(1) + 70)
    assert inferred(run) == [(0, 1), (far(1) + 70, 1)]
    assert (A + 0x800, 0, 0, t.BRK, 0) in [tuple(record) for record in run.prelude().tolist()]


def test_a_batch_that_is_flushed_is_noted_once_and_whole():
    run, main = begin()
    use(run, main, far(1))
    list(run.flush())
    use(run, main, far(2), far(3))
    mmap(run, main, 0, far(9))
    use(run, main, far(4))
    assert inferred(run) == [(far(1), 1), (far(2), 1), (far(3), 1)]


def test_a_child_has_what_its_parent_had_and_what_it_uses_was_the_parent_s():
    run, main = begin()
    mmap(run, main, 0, 4)
    child = run.fork(main, "child")
    run.call(main, MUNMAP, (A, 0x4000), 0)
    use(run, child, 1, far(3))
    use(run, main, far(5))
    assert inferred(run) == [(far(3), 1), (far(5), 1)]
    assert [agent.space for agent in run.agents] == [0, 1]


def test_a_child_s_break_is_its_parent_s():
    run, main = begin()
    run.call(main, BRK, (0,), A)
    run.call(main, BRK, (0,), A + 0x3000)
    child = run.fork(main, "child")
    run.call(child, BRK, (0,), A + 0x3000)
    run.call(child, BRK, (0,), A + 0x4000)
    assert [record[:4] for record in finished(run) if record[4] == child] == [(0, 1, 0, t.SYSCALL), (A + 0x4000, 0, 0, t.BRK)]


def test_a_process_exits_once():
    run, main = begin()
    run.call(main, 231, (0,), 0)
    run.exit(main)
    assert finished(run) == [(0, 0, 0, t.EXIT, 0)] and run.about()["operations"] == {"exit": 1}


def test_listed_memory_is_not_inferred_and_comes_first():
    run, main = begin()
    listed = Layout([t.mmap_unit(A, 2, RW, agent=main)], [(A >> 12, (A >> 12) + 2)], A + (far(2) << 12))
    run.start(main, listed)
    use(run, main, 1, far(4), kind=t.WRITE)
    finished(run)
    ops = run.prelude()
    assert ops["kind"].tolist() == [t.MMAP, t.ARG, t.MMAP, t.ARG, t.BRK]
    assert ops["address"][[0, 2, 4]].tolist() == [A, A + (far(4) << 12), A + (far(2) << 12)]
    assert run.about()["initial_vmas"] == {"listed": 1, "inferred_from_use": 1}


def test_the_uses_of_pages_say_what_they_are():
    """Only read: a file's. Fetched from: code. Written: memory of its own; the first page that is written is the stack's."""
    run, main = begin()
    use(run, main, far(1))
    use(run, main, far(2), kind=t.FETCH)
    use(run, main, far(3), far(4), kind=t.WRITE)
    use(run, main, far(5))
    use(run, main, far(5), kind=t.WRITE)
    finished(run)
    ops = run.prelude()
    flags = ops["count"][np.flatnonzero(ops["kind"] == t.MMAP) + 1].tolist()
    file = [1 | t.PRIVATE_FILE << 3 | 1 << t.FILE_SHIFT, 5 | t.PRIVATE_FILE << 3 | 2 << t.FILE_SHIFT]
    assert flags == [*file, RW | t.GROWS_DOWN, RW, RW]
