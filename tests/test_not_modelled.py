"""Operations that traces carry and the engine does not model yet: refused by name, whatever their operands."""

import numpy as np
import pytest

import hwmodel
from hwmodel import op as o
from hwmodel.modelled import check_modelled

A = 0x10_0000_0000
TRACE = hwmodel.Trace.from_records([hwmodel.Agent("cpu", 0, "cpu")], [], name="x.hwtrace")
REFUSED = {
    "punch": o.paged_unit(o.PUNCH, 0, 1, [(0, 1)]),
    "swap_free": o.paged_unit(o.SWAP_FREE, A, 1),
    "migrate": o.paged_unit(o.MIGRATE, A, 1 << 32, [(0, 1)]),
    "ksm_merge": o.paged_unit(o.KSM_MERGE, A, 1, [(A, 0)]),
    "attach": [(0, 0, 0, o.ATTACH, 0)],
    "detach": [(0, 0, 0, o.DETACH, 0)],
    "guest": o.paged_unit(o.GUEST, A, 1, [(0, o.MUNMAP << o.GUEST_SHIFT)]),
    "dirty_log": o.paged_unit(o.DIRTY_LOG, A, 1),
    "madvise PAGEOUT": o.paged_unit(o.MADVISE, A, 1, [(0, o.PAGEOUT)]),
    "madvise COLLAPSE": o.paged_unit(o.MADVISE, A, 1, [(0, o.COLLAPSE)]),
    "a mapping of XPMEM": o.mmap_unit(A, 1, 3, o.XPMEM, file=1),
}


def check(records):
    ops = o.as_records(records)
    check_modelled(TRACE, ops, np.flatnonzero(ops["kind"] > o.COMPUTE), 100)


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_by_name(what):
    before = [(A, 1, 0, o.READ, 0), *o.paged_unit(o.MUNMAP, A, 1 << 31), (0, 1, 0, o.SYSCALL, 0)]
    with pytest.raises(hwmodel.TraceError, match=f"^x.hwtrace: record 104: {what} is not modelled yet$"):
        check([*before, *REFUSED[what]])


def test_what_is_modelled_passes():
    check([*o.mmap_unit(A, 1, 3, o.PRIVATE_FILE, file=7), *o.paged_unit(o.MADVISE, A, 1, [(0, o.COLD)]), (0, 0, 0, o.EXIT, 0)])
