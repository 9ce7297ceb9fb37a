"""Walks, assists and crossing accesses of the oracle, by hand (docs/model.md 4.2 to 4.7)."""

from hwmodel import op
from hwmodel.op import mmap_unit
from tests.model.cases import ADDRESS, CPU, MAPPED, PAGE, access, booked, counted, run, sync
from tests.reference.memory import A, D, P, W


def test_a_cold_walk_has_four_references():
    outcome, c = run("cpu-only", [CPU, CPU], [access(op.WRITE), sync(), access(op.READ, 1)], MAPPED)
    first = c.dram + c.exception + c.fault + c.zero_page + 3 * c.table + c.l1 + 3 * c.dram + c.access
    assert counted(outcome, 1)["cpu.walk_refs"] == 4
    assert booked(outcome, 1) == {"order_wait": first, "walk": 4 * c.llc, "access": c.access}
    assert outcome.clocks[0] == first + 4 * c.llc + c.access


def test_a_walk_cache_hit_reads_one_entry():
    outcome, _ = run("cpu-only", [CPU], [access(op.WRITE), access(op.WRITE, page=1)], MAPPED)
    before = 5
    assert counted(outcome, 0)["cpu.walk_refs"] == before + 2  # one that finds nothing, one that finds the page


def test_first_write_to_a_clean_page_asks_for_an_assist():
    shared = mmap_unit(ADDRESS, 8, 3, op.SHARED_FILE, file=1)
    outcome, c = run("cpu-only", [CPU], [access(op.READ), access(op.WRITE)], shared, kernel__fault_around_pages=1)
    assert counted(outcome, 0)["cpu.dirty_assists"] == 1
    assert booked(outcome, 0)["fault"] == c.exception + c.fault + c.cache_page + 3 * c.table
    assert booked(outcome, 0)["walk"] == c.dram + c.l1 + 3 * c.dram + c.assist
    assert outcome.state["ptes"] == {(0, PAGE): (0, P | W | A | D)}


def test_crossing_accesses_miss_once():
    half = [(ADDRESS + 4090, 1, 0, op.READ, 0), (ADDRESS + 4096, 1, 0, op.READ | op.CONTINUES, 0)]
    outcome, c = run("cpu-only", [CPU], half, MAPPED)
    got = counted(outcome, 0)
    assert (got["cpu.accesses"], got["cpu.dtlb.misses"], got["cpu.stlb.misses"]) == (1, 1, 1)
    assert booked(outcome, 0)["access"] == 2 * c.access


def test_segv_is_not_retried():
    outcome, c = run("cpu-only", [CPU], [access(op.WRITE, page=100)], MAPPED)
    assert booked(outcome, 0) == {"walk": c.dram, "fault": c.exception + c.fault}
    assert counted(outcome, 0)["segv"] == 1
