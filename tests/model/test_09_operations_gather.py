"""Strides, targets and times of TLB flushes, worked out by hand from docs/model.md 8 and 9; the kernels must agree."""

from types import SimpleNamespace
from unittest import mock

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests import reference
from tests.model.cases import CPU, PAGE, check_conservation, check_frames, counted
from tests.reference.kvm import Kvm
from tests.support.equality import differences

AT = PAGE << 12
ELSEWHERE = mmap_unit(AT + (1 << 28), 1, 3)
"""A page of the same GiB: the tables above level 1 stay."""


def flushed(records, prelude, roles=(CPU,), preset="cpu-only", **settings):
    """(outcome, costs) of a small trace, on which the kernels agree."""
    machine = machines.preset(preset).with_(**{"cpu.count": 1, **{name.replace("__", "."): v for name, v in settings.items()}})
    trace = Trace.from_records([Agent(role, 0, f"agent {i}") for i, role in enumerate(roles)], list(records), list(prelude))
    outcome = reference.simulate(machine, trace, limit=200_000)
    check_conservation(outcome)
    check_frames(outcome.state)
    assert differences(machine, trace) == []
    return outcome, SimpleNamespace(**machine.costs())


def write(page, agent=0):
    return AT + (page << 12), 1, 0, op.WRITE, agent


def sync(agent=0):
    return 0, 0, 0, op.SYNC, agent


def advise(advice, page, pages, agent=0):
    return paged_unit(op.MADVISE, AT + (page << 12), pages, [(0, advice)], agent)


def unmap(page, pages, agent=0):
    return paged_unit(op.MUNMAP, AT + (page << 12), pages, (), agent)


def flushes(outcome, row=0):
    got = counted(outcome, row)
    return {name.removeprefix("flushes."): got[name] for name in ("flushes.full", "flushes.ranged", "flushes.pages") if name in got}


# strides


def test_empty_tables_are_flushed_by_2_mib():
    """Two level-1 tables without a pte: their first pages are 513 pages apart, one stride and a bit; two INVLPGs."""
    emptied = [write(0), write(512), *advise(op.DONTNEED, 0, 1), *advise(op.DONTNEED, 512, 1)]
    before, c = flushed(emptied, [*mmap_unit(AT, 1024, 3), *ELSEWHERE])
    after, _ = flushed([*emptied, *unmap(0, 1024)], [*mmap_unit(AT, 1024, 3), *ELSEWHERE])
    assert flushes(before) == {"ranged": 2, "pages": 2}
    assert flushes(after) == {"ranged": 3, "pages": 2 + 1}
    assert after.ledger[0]["flush"] - before.ledger[0]["flush"] == c.flush_fixed + 2 * c.flush_page


def test_a_pte_among_the_tables_makes_the_stride_a_page():
    records = [write(0), write(512), *advise(op.DONTNEED, 0, 1), *unmap(0, 1024)]
    outcome, c = flushed(records, [*mmap_unit(AT, 1024, 3), *ELSEWHERE])
    assert flushes(outcome) == {"ranged": 1, "pages": 1, "full": 1}  # 513 pages, from the empty table's to the pte
    assert outcome.ledger[0]["flush"] == c.flush_fixed + c.flush_page + c.flush_full


def test_a_huge_leaf_and_an_empty_table():
    """2 MiB of a huge page, then a table without ptes: 513 pages by 512."""
    records = [*advise(op.NOHUGEPAGE, 512, 512), write(0), write(512), *advise(op.DONTNEED, 512, 1), *unmap(0, 1024)]
    outcome, c = flushed(records, [*mmap_unit(AT, 1024, 3), *ELSEWHERE], kernel__thp="always")
    assert flushes(outcome) == {"ranged": 2, "pages": 1 + 1}
    assert outcome.ledger[0]["flush"] == 2 * c.flush_fixed + (1 + 2) * c.flush_page


def test_empty_tables_of_higher_levels():
    """Each MUNMAP frees one table alone, of the level below the entry that makes the stride; its first page is no whole stride."""
    gib = 1 << 18
    pages = [AT + (gib << 12), AT + (2 * gib << 12)]
    records = [(address, 1, 0, op.WRITE, 0) for address in pages]
    records += [unit for address in pages for unit in paged_unit(op.MUNMAP, address, 512, ())]
    prelude = [*mmap_unit(AT, 512, 3), *mmap_unit(pages[0], 1024, 3), *mmap_unit(pages[1], 1024, 3)]
    first, c = flushed(records, prelude)
    records += [unit for address in pages for unit in paged_unit(op.MUNMAP, address + (512 << 12), 512, ())]
    second, _ = flushed(records, prelude)
    assert flushes(first)["ranged"] == 2
    assert flushes(second) == {**flushes(first), "ranged": 4}  # two of no page at all
    assert second.ledger[0]["flush"] - first.ledger[0]["flush"] == 2 * (c.flush_fixed + c.flush_page)


def test_the_last_vma_of_an_entry_of_the_root():
    """Nothing was ever mapped, yet the folded level is freed: one page, to lazy CPUs too."""
    lone = mmap_unit(AT, 8, 3)
    outcome, c = flushed(unmap(0, 8), lone, cpu__count=2, kernel__lazy_cpus=1)
    assert flushes(outcome) == {"ranged": 1, "pages": 1}
    assert counted(outcome, 0)["ipis.sent"] == 1 and outcome.ledger[1]["ipi_respond"] == c.ipi_respond + c.flush_full
    kept, _ = flushed(unmap(0, 8), [*lone, *ELSEWHERE], cpu__count=2, kernel__lazy_cpus=1)
    assert flushes(kept) == {}
    beyond, _ = flushed(unmap(0, 8), [*lone, *mmap_unit(1 << 39, 1, 3)], cpu__count=2, kernel__lazy_cpus=1)
    assert flushes(beyond) == {"ranged": 1, "pages": 1}
    across = mmap_unit((1 << 39) - 4096, 2, 3)  # two entries of the root, 2^27 pages apart
    both, _ = flushed(paged_unit(op.MUNMAP, (1 << 39) - 4096, 2, ()), across)
    assert flushes(both) == {"full": 1}


# exit


GONE = (0, 0, 0, op.EXIT, 0)


def test_exit_leaves_the_address_space_with_its_first_flush():
    """Alone in the mask and lazy since the exit began: the CPU goes to the kernel's own tables, in the flush that frees the tables."""
    outcome, c = flushed([*(write(page) for page in range(8)), GONE], mmap_unit(AT, 8, 3))
    assert flushes(outcome) == {"full": 1}
    assert outcome.ledger[0]["flush"] == c.flush_full and "ipis.sent" not in counted(outcome, 0)
    zapped = 8 * c.clear + c.table_scan
    gone = 3 * c.table + c.flush_full + 8 * c.free + c.vma + c.table
    assert outcome.histograms["op.exit"]["sum"] == c.syscall + zapped + gone


def test_exit_flushes_each_full_gather():
    """900 pages by 512: two flushes, and nothing left to do for the second."""
    outcome, c = flushed([*(write(page) for page in range(900)), GONE], mmap_unit(AT, 900, 3), kernel__gather_pages=512)
    assert flushes(outcome) == {"full": 2}
    assert outcome.ledger[0]["flush"] == c.flush_full


def test_exit_interrupts_lazy_cpus_once():
    """While another CPU is in the mask the exiting one stays, lazy, until tables are freed; then both leave."""
    records = [*(write(page) for page in range(900)), GONE]
    outcome, c = flushed(records, mmap_unit(AT, 900, 3), cpu__count=2, kernel__lazy_cpus=1, kernel__gather_pages=512)
    assert flushes(outcome) == {"full": 2}
    assert counted(outcome, 0)["ipis.sent"] == 1
    assert outcome.ledger[0]["flush"] == c.flush_full
    assert outcome.ledger[1]["ipi_respond"] == c.ipi_respond + c.flush_full
    assert outcome.histograms["shootdown"]["sum"] == c.ipi_send + c.ipi_delivery + c.ipi_respond + c.flush_full + c.ipi_ack


def test_exit_of_an_empty_space_flushes_nothing():
    outcome, c = flushed([*unmap(0, 8), GONE], mmap_unit(AT, 8, 3), cpu__count=2, kernel__lazy_cpus=1)
    assert flushes(outcome) == {"ranged": 1, "pages": 1}  # the munmap of the last VMA
    assert outcome.histograms["op.exit"]["sum"] == c.syscall + c.table


# who hears


def test_fork_mremap_and_splits_reach_lazy_cpus():
    """flush_tlb_mm and flush_tlb_range count page tables as freed, flush_tlb_page does not; a lazy CPU that hears leaves the mask."""
    lazy = {"cpu__count": 2, "kernel__lazy_cpus": 1}
    near = [*mmap_unit(AT, 1024, 3), *ELSEWHERE]
    moved = [write(0), *paged_unit(op.MREMAP, AT, 1, [(AT + (1 << 27), 1)])]
    split = [write(0), *advise(op.DONTNEED, 0, 1)]
    copied = [(AT, 1, 0, op.READ, 0), write(0)]
    for records, settings in ((moved, {}), (split, {"kernel__thp": "always"}), (copied, {"kernel__thp": "always"})):
        outcome, c = flushed(records, near, **lazy, **settings)
        assert counted(outcome, 0)["ipis.sent"] == 1
        assert outcome.ledger[1]["ipi_respond"] == c.ipi_respond + c.flush_full
        assert len(outcome.state["mask"][0]) == 1
    spared, _ = flushed(copied, near, **lazy)  # a copy of 4 KiB flushes one page
    assert "ipis.sent" not in counted(spared, 0) and len(spared.state["mask"][0]) == 2
    agents = [Agent("cpu", 0, "parent"), Agent("cpu", 1, "child")]
    machine = machines.preset("cpu-only").with_(**{"cpu.count": 3, "kernel.lazy_cpus": 1})
    trace = Trace.from_records(agents, [write(0), (0, 1, 0, op.FORK, 0), write(0, 1)], near)
    assert reference.simulate(machine, trace, limit=100_000).counters[0]["ipis.sent"] == 1 and differences(machine, trace) == []


def test_hugetlb_is_flushed_by_its_page():
    """Two huge pages moved: one flush of two pages; nothing is left for the unmapping to flush. A copy of one: one page."""
    pages = mmap_unit(AT, 1024, 3, op.HUGETLB)
    outcome, _ = flushed([write(0), write(512), *paged_unit(op.MREMAP, AT, 1024, [(AT + (1 << 27), 1024)])], [*pages, *ELSEWHERE])
    assert flushes(outcome) == {"ranged": 1, "pages": 2}
    agents = [Agent("cpu", 0, "parent"), Agent("cpu", 1, "child")]
    trace = Trace.from_records(agents, [write(0), (0, 1, 0, op.FORK, 0), write(0)], pages)
    machine = machines.preset("cpu-only").with_(**{"cpu.count": 2})
    copied = reference.simulate(machine, trace, limit=100_000)
    assert flushes(copied) == {"full": 1, "ranged": 1, "pages": 1} and differences(machine, trace) == []


# notices where VMAs are cut


def notices(records, prelude, **settings):
    """The ranges of start notices in order, in pages from PAGE, of one CPU with a vCPU that does nothing."""
    machine = machines.preset("kvm-ept-2024").with_(**{"cpu.count": 1, **{name.replace("__", "."): v for name, v in settings.items()}})
    trace = Trace.from_records([Agent("cpu", 0, "cpu"), Agent("device", 0, "vm")], list(records), list(prelude))
    told = []
    with mock.patch.object(Kvm, "invalidate_start", noting(told, Kvm.invalidate_start)):
        outcome = reference.simulate(machine, trace, limit=200_000)
    assert differences(machine, trace) == []
    assert outcome.counters[0]["notices.start"] == len(told)
    return told


def noting(told, original):
    def hook(design, row, space, first, last):
        told.append((first - PAGE, last - PAGE))
        yield from original(design, row, space, first, last)

    return hook


def protect(prot, page, pages):
    return paged_unit(op.MPROTECT, AT + (page << 12), pages, [(0, prot)])


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


# what a ZAP must flush at once


def test_dirty_pages_of_a_file_are_flushed_with_their_table():
    """Two tables, the first with a dirty page, the second with a page only read: the first is flushed by itself, and the tables last."""
    shared = mmap_unit(AT, 1024, 3, op.SHARED, 1)
    around = {"kernel__fault_around_pages": 1}
    outcome, c = flushed([write(0), (AT + (512 << 12), 1, 0, op.READ, 0), *unmap(0, 1024)], [*shared, *ELSEWHERE], **around)
    # one page; then, with two tables, 513 pages from the first table's to the page of the second
    assert flushes(outcome) == {"ranged": 1, "pages": 1, "full": 1}
    assert outcome.ledger[0]["free"] == 2 * c.free + 2 * c.table
    alone, _ = flushed([write(0), *unmap(0, 1024)], [*shared, *ELSEWHERE], **around)
    assert flushes(alone) == {"ranged": 2, "pages": 1}  # then the table alone: no whole stride of 2 MiB
    read, _ = flushed([(AT, 1, 0, op.READ, 0), *unmap(0, 1024)], [*shared, *ELSEWHERE], **around)
    assert flushes(read) == {"ranged": 1, "pages": 1}
    gone, _ = flushed([write(0), write(512), GONE], shared, **around)
    assert flushes(gone) == {"full": 3}


# madvise


def test_advice_on_several_vmas_has_one_flush():
    """Three VMAs of other rights: a notice each, one flush of the union; COLD flushes each."""
    prelude = [*mmap_unit(AT, 8, 3), *mmap_unit(AT + (8 << 12), 8, 7), *mmap_unit(AT + (16 << 12), 8, 3), *ELSEWHERE]
    touched = [write(page) for page in (1, 9, 17)]
    pieces = [(0, 8), (8, 16), (16, 24)]
    for advice, flushed_pages in ((op.DONTNEED, {"ranged": 1, "pages": 17}), (op.FREE, {"ranged": 1, "pages": 17}),
                                  (op.COLD, {"ranged": 3, "pages": 3})):  # fmt: skip
        records = [*touched, *advise(advice, 0, 24)]
        assert notices(records, prelude) == ([] if advice == op.COLD else pieces)
        outcome, _ = flushed(records, prelude)
        assert flushes(outcome) == flushed_pages
    assert counted(outcome, 0)["ops.madvise"] == 1 and "unsupported_ops" not in counted(outcome, 0)


def test_freeing_stops_at_a_file():
    """EINVAL: what lies before it is freed, and flushed, what lies behind is not."""
    prelude = [*mmap_unit(AT, 8, 3), *mmap_unit(AT + (8 << 12), 8, 3, op.PRIVATE_FILE, 1), *mmap_unit(AT + (16 << 12), 8, 3), *ELSEWHERE]
    records = [*(write(page) for page in (1, 17)), *advise(op.FREE, 0, 24)]
    assert notices(records, prelude) == [(0, 8)]
    outcome, _ = flushed(records, prelude)
    assert flushes(outcome) == {"ranged": 1, "pages": 1} and counted(outcome, 0)["unsupported_ops"] == 1


def test_hugetlb_pages_are_flushed_before_the_next_vma():
    prelude = [*mmap_unit(AT, 512, 3, op.HUGETLB), *mmap_unit(AT + (512 << 12), 512, 3), *ELSEWHERE]
    outcome, _ = flushed([write(0), write(512), *advise(op.DONTNEED, 0, 513)], prelude)
    assert flushes(outcome) == {"ranged": 2, "pages": 2}  # together they would be 513 pages by one


def test_discarding_whole_tables_frees_them():
    """Pages 10 and 20 of the first of two tables: flushed from the table's first page on; a lazy CPU hears; page 10 faults anew."""
    records = [write(10), write(20), write(700), *advise(op.DONTNEED, 0, 600), write(10)]
    outcome, c = flushed(records, [*mmap_unit(AT, 1024, 3), *ELSEWHERE], cpu__count=2, kernel__lazy_cpus=1)
    assert flushes(outcome) == {"ranged": 1, "pages": 21} and counted(outcome, 0)["ipis.sent"] == 1
    assert outcome.ledger[0]["free"] == 2 * c.free + c.table
    made = 3 + 1 + 1  # the first page's three, the table of page 700, and the first table again
    assert outcome.ledger[0]["fault"] == 4 * (c.exception + c.fault + c.zero_page) + made * c.table
    some, c = flushed([write(10), *advise(op.DONTNEED, 1, 1023)], [*mmap_unit(AT, 1024, 3), *ELSEWHERE])
    assert flushes(some) == {"ranged": 1, "pages": 1} and some.ledger[0]["free"] == c.free  # not all of the table
    empty, c = flushed([write(10), *advise(op.DONTNEED, 10, 1), *advise(op.DONTNEED, 0, 1024)], [*mmap_unit(AT, 1024, 3), *ELSEWHERE])
    assert flushes(empty) == {"ranged": 2, "pages": 1}  # the empty table alone: no whole stride


def test_a_full_gather_amid_a_table_delays_its_end():
    """900 pages by 512 from page 300 on: 212 of the first table, 300 of the second; the rest of it goes with the second table."""
    records = [*(write(page) for page in range(300, 1200)), *advise(op.DONTNEED, 0, 1536)]
    outcome, c = flushed(records, [*mmap_unit(AT, 1536, 3), *ELSEWHERE], kernel__gather_pages=512)
    assert flushes(outcome) == {"full": 2}
    assert outcome.ledger[0]["free"] == 900 * c.free + 3 * c.table
