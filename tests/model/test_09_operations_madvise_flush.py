"""Notices and flushes of advice on several VMAs and on whole tables, by hand (docs/model.md 9.3, 9.0 ZAP); the kernels must agree."""

from hwmodel import op
from hwmodel.op import mmap_unit
from tests.model.cases import counted
from tests.model.flushed import AT, ELSEWHERE, advise, flushed, flushes, notices, write


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
