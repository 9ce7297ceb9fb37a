"""MUNMAP in the oracle, by hand: tables, splits and full gathers (docs/model.md 9.0, 9.1, 6.2)."""

from hwmodel import op
from hwmodel.op import mmap_unit, paged_unit
from tests.model.cases import ADDRESS, CPU, MAPPED, access, booked, counted, run


def test_munmap_frees_tables():
    records = [access(op.WRITE), *paged_unit(op.MUNMAP, ADDRESS, 8)]
    outcome, c = run("cpu-only", [CPU], records, MAPPED)
    assert outcome.state["tables"] == 1 and not outcome.state["ptes"] and not outcome.state["refs"]
    assert outcome.histograms["op.munmap"]["sum"] == (
        c.syscall + c.vma + c.clear + c.table_scan + 3 * c.table + c.flush_full + c.free
    )


def test_a_huge_page_is_split_by_a_partial_unmap():
    huge = mmap_unit(ADDRESS, 1024, 3)
    records = [access(op.WRITE), *paged_unit(op.MUNMAP, ADDRESS + (100 << 12), 1024 - 100)]
    outcome, c = run("cpu-only", [CPU], records, huge, kernel__thp="always")
    assert {"faults.huge": 1, "huge_splits": 1}.items() <= counted(outcome, 0).items()
    assert len(outcome.state["ptes"]) == len(outcome.state["refs"]) == 100
    assert outcome.histograms["op.munmap"]["sum"] == (
        c.syscall + c.table + c.flush_full + c.vma + 412 * c.clear + c.table_scan + c.flush_full + 412 * c.free
    )


def test_a_full_gather_is_flushed_and_freed():
    huge = mmap_unit(ADDRESS, 1536, 3)
    writes = [access(op.WRITE, page=512 * i) for i in range(3)]
    unmap = paged_unit(op.MUNMAP, ADDRESS + (100 << 12), 1300)
    outcome, c = run("cpu-only", [CPU], [*writes, *unmap], huge, kernel__thp="always", kernel__gather_pages=512)
    freed = 412 + 1 + 376
    counters = counted(outcome, 0)
    assert counters["huge_splits"] == 2 and counters["flushes.full"] == 4
    assert booked(outcome, 0)["clear"] == 2 * c.table + freed * c.clear + 4 * c.table_scan
    assert booked(outcome, 0)["free"] == freed * c.free
