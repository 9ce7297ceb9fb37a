"""Rules whose breach no count of cycles shows: what is mapped by whom, in which frame, by how many tables, and until which cycle."""

import numpy as np
import pytest

from hwmodel import op as o
from hwmodel.core.tables import ENGINE
from hwmodel.parts.paging_caches import DTLB, DTLB_HUGE, NTLB, STLB
from tests.audit.tables import chain, free_frames, reverse_map
from tests.model.hand import (
    CPU,
    DEVICE,
    HUGE_PAGE,
    PAGE,
    THP,
    advise,
    compute,
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
)  # fmt: skip
from tests.races.scenes import way

# until which cycle


@pytest.mark.parametrize("first, last_hit", [("initiator", 24), ("accessor", 25)])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("notice", ["free", 1000])
def test_a_run_of_accesses_ends_where_a_flush_arrives(first, last_hit, more, notice):
    """One CPU reads a page every 5 cycles from 0 on; the other takes the page away at 100, and its interrupt arrives at 120.

    The access at 120 comes behind the flush if the initiator's row is the first, and finds the page gone; else the one at 125 does.
    Where notices cost something a row may run ahead of others by the 20 cycles of an interrupt.
    """
    initiator = ("initiator", "accessor").index(first)
    accessor = 1 - initiator
    records = [read(agent=accessor, count=last_hit + more), compute(100, initiator), *advise(o.DONTNEED, agent=initiator),
               compute(1000, accessor)]  # fmt: skip
    times = dict(cpu__access_cycles=5, cpu__instruction_cycles=1, kernel__shootdown__delivery_ns=20, kernel__notice_ns=notice)
    run = run_of(memory(populate=True), records, roles=(CPU, CPU), **times)
    assert run.counted("faults.") == ({"faults.zero": 1} if more else {})
    assert run.counted("cpu.dtlb.misses") == {"cpu.dtlb.misses": 1 + more}
    assert run.booked("access") == 5 * (last_hit + more)


@pytest.mark.parametrize("pages, kept", [(1023, True), (1024, False), (1025, False)])
def test_a_large_invalidation_purges_the_address_space(pages, kept):
    """Page 1,027 lies outside of the range; another address space's entries stay in any case."""
    mapped = [*memory(1030), *memory(agent=2)]
    records = [write(PAGE + 1027), write(PAGE, 2), sync(), read(PAGE + 1027, 1), read(PAGE, 3), sync(), *advise(o.DONTNEED, pages),
               sync(), compute(1, 1), compute(1, 3)]  # fmt: skip
    run = run_of(mapped, records, roles=(CPU, DEVICE, (CPU, 1), (DEVICE, 1)), design="gru")
    assert run.entry(1027) == ((frame(run, PAGE + 1027), False) if kept else None)
    assert run.entry(space=1) == (frame(run, space=1), False)


@pytest.mark.parametrize("prelude, operation, touch, waited", [
    ([], memory(), read(agent=1), 100), (memory(), memory(4), read(PAGE + 2, 1), 110),
    (memory(), remap(PAGE + 100, 8), read(PAGE + 100, 1), 100), (memory(), remap(PAGE, 8, size=9), read(PAGE + 8, 1), 100),
    (memory(), remap(PAGE, 8, size=4), read(agent=1), 0), (memory(prot=1), protect(3, 8), write(agent=1), 100),
    (memory(), protect(1, 8), read(agent=1), 0), (memory(), unmap(4), read(PAGE + 5, 1), 0),
    (memory(), advise(o.DONTNEED), read(agent=1), 0), ([], (PAGE << 12, 0, 0, o.BRK, 0), read(agent=1), 0),
])  # fmt: skip
def test_an_access_waits_for_what_the_operation_before_it_gives(prelude, operation, touch, waited):
    """The call takes 100 cycles, a VMA 10. What only takes rights away is waited for by nobody."""
    run = run_of(prelude, operation, touch, roles=(CPU, CPU), kernel__syscall_ns=100, kernel__vma_ns=10)
    assert run.result.ledger.by_agent("order_wait")["agent 1"] == waited
    assert run.counted("segv") == ({"segv": 1} if touch == read(agent=1) and operation[0] == PAGE << 12 else {})


def test_an_agent_is_done_when_the_others_are_a_block_from_the_end():
    """Six operations are a block each, agent 1 has none. It is done, and its CPU lazy, when agent 0 enters the last block but one."""
    operations = [record for k in range(6) for record in advise(o.DONTNEED, page=PAGE + k)]
    run = run_of(memory(populate=True), operations, roles=(CPU, CPU), kernel__syscall_ns=100, engine__lookahead_records=4)
    assert run.counted("ipis.sent", "flushes.ranged") == {"ipis.sent": 4, "flushes.ranged": 6}


# who maps a frame


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
    mapped = [record for k in range(4) for record in memory(1, 1, o.SHARED_FILE, PAGE + 100 * k)]
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


# which frame


def test_a_huge_entry_names_the_first_frame_of_its_block():
    """The page touched is the sixth; pages of 4 KiB were there before, so that the block does not begin at frame 0."""
    mapped = [*memory(), *memory(512, page=HUGE_PAGE)]
    run = run_of(mapped, write(), write(HUGE_PAGE + 5), read(HUGE_PAGE + 7), cpu__stlb__huge=True, **THP)
    block, tag = frame(run, HUGE_PAGE), HUGE_PAGE >> 9 << 1 | 1
    assert block == 512 and run.counted("cpu.dtlb.misses") == {"cpu.dtlb.misses": 2}
    for bank in (DTLB_HUGE, STLB):
        assert way(run.m, int(run.m.rows["banks"][0]) + bank, tag) == (block, True)


@pytest.mark.parametrize("guest", ["2M", "4K"])
def test_a_guest_s_entry_names_the_frame_that_both_tables_lead_to(guest):
    mapped = [*memory(), *memory(512, page=HUGE_PAGE)]
    records = [write(), write(HUGE_PAGE), sync(), read(HUGE_PAGE + 5, 1), read(HUGE_PAGE + 7, 1)]
    run = run_of(mapped, records, roles=(CPU, DEVICE), design="kvm_ept", guest__page_size=guest, **THP)
    block, page, huge = frame(run, HUGE_PAGE), HUGE_PAGE + 5 * (guest == "4K"), int(guest == "2M")
    banks = int(run.m.rows["banks"][run.m.rows["role"] == ENGINE][0])
    assert way(run.m, banks + (DTLB_HUGE if huge else DTLB), page >> 9 * huge << 1 | huge) == (block + page % 512, False)
    assert way(run.m, banks + NTLB, HUGE_PAGE >> 9 << 1 | 1) == (block, True)  # the guest has only read: its own entry is not dirty
    assert run.counted("device.tlb.misses") == {"device.tlb.misses": 1 if guest == "2M" else 2}
    assert run.spte(HUGE_PAGE - PAGE + 511) == (block + 511, True)


# how many tables


def tables_in_use(run):
    """Page-table pages that are not free."""
    ctl = run.m.ctl[0]
    return int(ctl.node_top) - len(chain(run.m.nodes, 0, ctl.node_free, int(ctl.node_top)))


def test_a_huge_spte_takes_the_place_of_a_table():
    """The EPT keeps a table of level 1 whose pages have been unmapped; where a huge page is then, that table goes.

    CPUs and EPT have 7 each: a root; 3 for the guest's tables of levels 4 and 3, which are small pages at the end of their memory; none
    more for that of level 2 and one for that of level 1, which are huge pages; 2 above the huge page itself. The guest's own bits have 4.
    """
    big = memory(512, page=HUGE_PAGE)
    at_the_end = [*big, write(HUGE_PAGE), sync(), read(HUGE_PAGE, 1)]
    before = [write(HUGE_PAGE), sync(), read(HUGE_PAGE, 1), sync(), *unmap(8, HUGE_PAGE)]
    direct = run_of([], at_the_end, roles=(CPU, DEVICE), design="kvm_ept", **THP)
    assert tables_in_use(direct) == 18
    replaced = run_of(memory(page=HUGE_PAGE), before, at_the_end, roles=(CPU, DEVICE), design="kvm_ept", **THP)
    assert replaced.spte(HUGE_PAGE - PAGE) == (frame(replaced, HUGE_PAGE), True) and flags(replaced, HUGE_PAGE) == "PWADH"
    assert tables_in_use(replaced) == 18


def test_every_table_and_frame_of_a_space_that_ends_is_free():
    records = [write(), write(PAGE + (1 << 18)), read(PAGE + 3), fork(), (0, 0, 0, o.EXIT, 1), sync(), (0, 0, 0, o.EXIT, 0)]
    run = run_of([*memory(), *memory(page=PAGE + (1 << 18))], records, roles=(CPU, (CPU, 1)))
    assert tables_in_use(run) == 0 and not np.any(run.m.frames["refs"])


def test_a_fault_that_would_choose_another_kind_by_now_is_tried_again():
    """While CPU 0 zeroes a huge page, from 0 to 1,000, CPU 1 says that there are to be none: the fault begins again, with a small one."""
    advised = [compute(100, 1), *advise(o.NOHUGEPAGE, 512, HUGE_PAGE, agent=1)]
    settings = dict(kernel__zero_huge_ns=1000, cpu__instruction_cycles=1)
    run = run_of(memory(512, page=HUGE_PAGE), write(HUGE_PAGE), advised, roles=(CPU, CPU), **settings, **THP)
    assert run.counted("faults.huge", "faults.anon", "faults.spurious") == {"faults.anon": 1, "faults.spurious": 1}
    assert flags(run, HUGE_PAGE) == "PWAD" and run.booked("fault") == 1000
