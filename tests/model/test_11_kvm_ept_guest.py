"""The page tables of a guest: they are there before the run, and their entries have A and D of their own (docs/model.md 11.1, 11.3)."""

import numpy as np
import pytest

from hwmodel import op
from hwmodel.core.tables import FLAG_MASK, PFN, A, D, P, W
from tests.model.hand import CPU, DEVICE, PAGE, R, advise, flags, fork, leave, memory, protect, read, references, run_of, sync, write
from tests.races.scenes import leaf

LEVEL_1 = (1 << 35) + (1 << 27)
GUEST = [LEVEL_1 + (PAGE >> 9), LEVEL_1 + (1 << 26), LEVEL_1 + (1 << 26) + (1 << 17), LEVEL_1 + (1 << 26) + (1 << 17) + (1 << 8)]
"""The guest's pages with its tables of levels 1 to 4 that translate PAGE."""
THERE = memory(populate=True)


def guest(prelude, *records, roles=(CPU, DEVICE), **settings):
    """The run of some records; the device is agent 1."""
    return run_of(prelude, *records, roles=roles, design="kvm_ept", **settings)


def guest_bits(run, page=PAGE, space=0):
    """A and D of the guest's leaf of a page."""
    entry, _ = leaf(run.m, int(run.dev.vms["guest"][space]), page)
    return ("A" if entry & A else "") + ("D" if entry & D else "")


@pytest.mark.parametrize("records, bits, writable, assists", [
    ([read(agent=1)], "A", False, 0),
    ([write(agent=1)], "AD", True, 0),
    ([read(agent=1), write(agent=1)], "AD", True, 1),
    ([read(agent=1), write(agent=1), write(agent=1)], "AD", True, 1),
    ([write(agent=1), read(agent=1)], "AD", True, 0),
    ([read(agent=1), write(agent=1), sync(), advise(op.DONTNEED), sync(), read(agent=1)], "AD", False, 1),  # D stays; the zero page
])  # fmt: skip
def test_a_guest_s_dirty_bit(records, bits, writable, assists):
    run = guest(THERE, *records)
    assert (guest_bits(run), guest_bits(run, PAGE + 1)) == (bits, "")
    assert run.result.counters["device.dirty_assists"] == assists
    assert run.guest_entry()[1] == writable


def test_a_dirty_page_of_the_guest_may_be_written_after_a_read():
    """The first vCPU sets the bit, the second one's read finds it: its entry may write, and its write needs no walk."""
    accesses = [read(agent=1), write(agent=1), sync(), read(agent=2), write(agent=2)]
    run = guest(THERE, *accesses, roles=(CPU, DEVICE, DEVICE), device__window=1)
    assert run.result.counters["device.dirty_assists"] == 1
    assert run.result.counters.by_agent("device.walks") == {"agent 0": 0, "agent 1": 3, "agent 2": 1}  # the first one's read exits


def test_the_guest_s_bit_is_set_before_the_violation():
    """A write that the host refuses has set the guest's bit all the same."""
    run = guest(memory(prot=R, populate=True), write(agent=1))
    assert guest_bits(run) == "AD" and run.counted("segv", "device.dirty") == {"segv": 1}


def test_the_guest_s_tables_are_there_and_cost_nothing():
    run = guest(THERE, read(agent=1))
    assert run.counted("kvm.exits", "kvm.sptes", "faults.") == {"kvm.exits": 1, "kvm.sptes": 1}
    for page in GUEST:
        assert flags(run, page) == "PWAD" and references(run, page) == 1
        entry, _ = leaf(run.m, int(run.dev.vms["ept"][0]), page)
        assert entry & FLAG_MASK == P | W and entry >> PFN == leaf(run.m, int(run.m.spaces["root"][0]), page)[0] >> PFN
    assert flags(run, GUEST[0] + 1) == flags(run, GUEST[0] - 1) == ""


def test_a_fork_copies_no_table_of_the_guest():
    """The child's vCPU has tables of its own, in memory of its own; the parent's are as they were."""
    run = guest(THERE, read(agent=1), sync(), fork(), sync(), read(agent=1), read(agent=2), sync(), roles=(CPU, DEVICE, (DEVICE, 1)))
    frames = [[leaf(run.m, int(run.m.spaces["root"][space]), page)[0] >> PFN for page in GUEST] for space in (0, 1)]
    assert len({*frames[0], *frames[1]}) == 8 and run.counted("faults.") == {}
    assert flags(run, GUEST[0]) == flags(run, GUEST[0], 1) == "PWAD" and references(run, GUEST[0]) == 1


def test_nothing_but_the_exit_unmaps_them():
    gone = [*advise(op.DONTNEED, 8), *protect(R, 8)]
    run = guest(THERE, read(agent=1), sync(), gone, sync(), read(agent=1), sync(), leave())
    assert run.counted("kvm.zapped") == {"kvm.zapped": 1 + 5}, "the page's spte, and at the end that of the zero page and the tables'"
    assert not np.any(run.m.frames["refs"]) and run.m.ctl["vma_count"][0] == 0
