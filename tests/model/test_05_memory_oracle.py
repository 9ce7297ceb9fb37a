"""The oracle's memory, by hand: what a prelude populates, and when memory runs out (docs/model.md 5.3, 5.5)."""

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent, mmap_unit
from hwmodel.trace import Trace
from tests.model.cases import ADDRESS, CPU, access, check_frames, run
from tests.reference import OutOfMemoryError, simulate


def test_prelude_can_populate():
    machine = machines.preset("cpu-only").with_(**{"cpu.count": 1})
    (address, count, gap, kind, agent), (offset, flags, *rest) = mmap_unit(ADDRESS, 4, 3)
    prelude = [(address, count, gap, kind, agent), (offset, flags | 1 << 7, *rest)]
    prelude += mmap_unit(ADDRESS + (4 << 12), 4, 1)  # beside it, in the same table
    outcome = simulate(machine, Trace.from_records([Agent(CPU, 0, "")], [access(op.WRITE)], prelude))
    c = machine.costs()
    assert outcome.clocks == [4 * c["dram"] + c["access"]]
    check_frames(outcome.state)


def test_memory_runs_out():
    """Of 1,024 frames the root, two upper tables, a table laid by and a block of hugetlb leave 508."""
    with pytest.raises(OutOfMemoryError) as error:
        run("cpu-only", [CPU], [access(op.WRITE, page=512 * i) for i in range(2)], mmap_unit(ADDRESS, 2048, 3, 4), memory__size_mib=4)
    assert error.value.args[:3] == ("agent 0", 513, True) and error.value.args[4] == 1024 - 1 - 2 - 513
