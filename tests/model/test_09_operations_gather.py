"""What a gather flushes, by which stride and when, by hand (docs/model.md 9.0 GATHER, ZAP, FREE_TABLES); the kernels must agree."""

from hwmodel import op
from hwmodel.op import mmap_unit, paged_unit
from tests.model.cases import counted
from tests.model.flushed import AT, ELSEWHERE, GONE, advise, flushed, flushes, unmap, write

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
