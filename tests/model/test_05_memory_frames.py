"""Who maps a frame: the reverse map behind faults, forks, moves and splits, by hand (docs/model.md 5.3)."""

from hwmodel import op
from tests.audit.tables import free_frames, reverse_map
from tests.model.hand import CPU, HUGE_PAGE, PAGE, THP, fork, frame, memory, protect, read, remap, run_of, sync, unmap, write


def owners(run, page=PAGE, space=0):
    """(space, page) of all that the reverse map has for the frame of a page."""
    free = set(free_frames(run.m))
    return {(o >> 40, o & (1 << 40) - 1) for pfn, o in reverse_map(run.m, free) if pfn == frame(run, page, space)}


def test_the_reverse_map_of_a_page():
    assert owners(run_of(memory(), write())) == {(0, PAGE)}
    forked = dict(roles=(CPU, (CPU, 1)))
    assert owners(run_of(memory(), write(), fork(), **forked)) == {(0, PAGE), (1, PAGE)}
    run = run_of(memory(), write(), fork(), write(), **forked)
    assert (owners(run), owners(run, space=1)) == ({(0, PAGE)}, {(1, PAGE)})
    run = run_of(memory(), write(), fork(), remap(PAGE + 100), **forked)
    assert owners(run, PAGE + 100) == {(0, PAGE + 100), (1, PAGE)}
    run = run_of(memory(), write(), fork(), sync(), remap(PAGE + 100, agent=1), **forked)  # the further mapping moves
    assert owners(run) == {(0, PAGE), (1, PAGE + 100)}
    run = run_of(memory(), write(), fork(), unmap(), **forked)
    assert owners(run, space=1) == {(1, PAGE)}


def test_the_reverse_map_of_a_file_s_page():
    mapped = [record for k in range(4) for record in memory(1, 1, op.SHARED_FILE, PAGE + 100 * k)]
    touched = [read(PAGE + 100 * k) for k in range(4)]
    everyone = {(0, PAGE + 100 * k) for k in range(4)}
    assert owners(run_of(mapped, touched)) == everyone
    for gone in range(3):  # the first one mapped, and two of the list behind it
        run = run_of(mapped, touched, unmap(page=PAGE + 100 * gone))
        assert owners(run, PAGE + 300) == everyone - {(0, PAGE + 100 * gone)}
        assert run.m.frames[run.file_frame()].refs == 4


def test_the_reverse_map_of_a_huge_page():
    run = run_of(memory(512, page=HUGE_PAGE), write(HUGE_PAGE), fork(), *protect(1, 9, HUGE_PAGE), roles=(CPU, (CPU, 1)), **THP)
    for k in (0, 9, 511):
        assert owners(run, HUGE_PAGE + k) == {(0, HUGE_PAGE + k), (1, HUGE_PAGE + k)}


def test_the_reverse_map_of_a_huge_page_that_moved():
    run = run_of(memory(512, page=HUGE_PAGE), write(HUGE_PAGE), remap(HUGE_PAGE + 1024, 512, HUGE_PAGE), **THP)
    for k in (0, 9, 511):
        assert owners(run, HUGE_PAGE + 1024 + k) == {(0, HUGE_PAGE + 1024 + k)}


def test_a_block_of_which_another_space_has_a_page_is_not_free():
    """The child keeps one page of the huge page that both had; the parent unmaps all of it, as one leaf."""
    gone = [*unmap(511, HUGE_PAGE + 1, agent=1), sync(), *unmap(512, HUGE_PAGE)]
    run = run_of(memory(512, page=HUGE_PAGE), write(HUGE_PAGE), fork(), sync(), gone, roles=(CPU, (CPU, 1)), **THP)
    left = frame(run, HUGE_PAGE, 1)
    free = set(free_frames(run.m))
    assert left not in free and {left + k for k in range(1, 512)} <= free
