"""Which notices the cuts of VMAs send, by hand (docs/model.md 9.0 SPLITS, 6.3, 9.3, 9.5); the kernels must agree."""

from hwmodel import op
from hwmodel.op import mmap_unit, paged_unit
from tests.model.flushed import AT, advise, notices, protect, unmap, write


def test_a_cut_announces_the_2_mib_around_it():
    """Those in a VMA, where a level-2 table is; the end of a range that begins in the same 2 MiB is no longer in one."""
    whole = mmap_unit(AT, 2048, 3)
    touched = [write(0)]
    assert notices([*touched, *protect(1, 8, 8)], whole) == [(0, 512), (8, 16)]
    assert notices([*touched, *protect(1, 700, 600)], whole) == [(512, 1024), (1024, 1536), (700, 1300)]
    assert notices([*touched, *protect(1, 512, 512)], whole) == [(512, 1024)]  # no cut inside 2 MiB
    assert notices([*touched, *protect(1, 0, 8)], whole) == [(0, 512), (0, 8)]
    assert notices([*touched, *unmap(8, 8)], whole) == [(0, 512), (8, 16)]
    assert notices(unmap(8, 8), whole) == [(8, 16)]  # no table
    assert notices([*touched, *unmap(8, 8)], mmap_unit(AT, 500, 3)) == [(8, 16)]  # the VMA ends within the 2 MiB
    moved = [*touched, *paged_unit(op.MREMAP, AT + (8 << 12), 8, [(AT + (4096 << 12), 8)])]
    assert notices(moved, whole) == [(8, 16), (0, 512), (8, 16)]  # the window of the move, then those of the unmapping


def test_advice_cuts_only_what_it_changes():
    whole = mmap_unit(AT, 2048, 3)
    cut = [write(0), *advise(op.NOHUGEPAGE, 8, 8)]
    assert notices(cut, whole) == [(0, 512)]
    assert notices([*cut, *advise(op.NOHUGEPAGE, 10, 4)], whole) == [(0, 512)]  # all of it is so already
    both = [write(0), *advise(op.NOHUGEPAGE, 512, 1536), *advise(op.NOHUGEPAGE, 8, 600)]
    assert notices(both, whole) == [(0, 512)]  # its end lies in a VMA that does not change


def test_a_move_that_shrinks_gives_up_its_tail_first():
    moved = [write(0), *paged_unit(op.MREMAP, AT, 8, [(AT + (4096 << 12), 3)])]
    assert notices(moved, mmap_unit(AT, 8, 3)) == [(3, 8), (0, 3), (0, 3)]
