"""Operations that traces carry and the engine does not model yet: refused by name, whatever their operands (docs/model.md 9.8)."""

import numpy as np
import pytest

import hwmodel
from hwmodel import op
from hwmodel.modelled import check_modelled

A = 0x10_0000_0000
TRACE = hwmodel.Trace.from_records([hwmodel.Agent("cpu", 0, "cpu")], [], name="x.hwtrace")
REFUSED = {
    "punch": op.paged_unit(op.PUNCH, 0, 1, [(0, 1)]),
    "swap_free": op.paged_unit(op.SWAP_FREE, A, 1),
    "migrate": op.paged_unit(op.MIGRATE, A, 1 << 32, [(0, 1)]),
    "ksm_merge": op.paged_unit(op.KSM_MERGE, A, 1, [(A, 0)]),
    "attach": [(0, 0, 0, op.ATTACH, 0)],
    "detach": [(0, 0, 0, op.DETACH, 0)],
    "guest": op.paged_unit(op.GUEST, A, 1, [(0, op.MUNMAP << op.GUEST_SHIFT)]),
    "dirty_log": op.paged_unit(op.DIRTY_LOG, A, 1),
    "madvise PAGEOUT": op.paged_unit(op.MADVISE, A, 1, [(0, op.PAGEOUT)]),
    "madvise COLLAPSE": op.paged_unit(op.MADVISE, A, 1, [(0, op.COLLAPSE)]),
    "a mapping of XPMEM": op.mmap_unit(A, 1, 3, op.XPMEM, file=1),
}


def check(records):
    ops = op.as_records(records)
    check_modelled(TRACE, ops, np.flatnonzero(ops["kind"] > op.COMPUTE), 100)


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_by_name(what):
    before = [(A, 1, 0, op.READ, 0), *op.paged_unit(op.MUNMAP, A, 1 << 31), (0, 1, 0, op.SYSCALL, 0)]
    with pytest.raises(hwmodel.TraceError, match=f"^x.hwtrace: record 104: {what} is not modelled yet$"):
        check([*before, *REFUSED[what]])


def test_what_is_modelled_passes():
    check([*op.mmap_unit(A, 1, 3, op.PRIVATE_FILE, file=7), *op.paged_unit(op.MADVISE, A, 1, [(0, op.COLD)]), (0, 0, 0, op.EXIT, 0)])
