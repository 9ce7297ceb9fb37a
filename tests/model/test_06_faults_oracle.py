"""Faults of the oracle, by hand: what they cost and leave (docs/model.md 6)."""

from hwmodel import op
from hwmodel.op import mmap_unit
from tests.model.cases import ADDRESS, CPU, MAPPED, PAGE, access, booked, counted, run, sync
from tests.reference.memory import A, D, P, W


def test_a_page_fault():
    outcome, c = run("cpu-only", [CPU], [access(op.WRITE, count=3, gap=7)], MAPPED)
    walks = c.dram + (c.l1 + 3 * c.dram)  # the root's line is in l1 when the walk is repeated
    assert booked(outcome, 0) == {
        "instruction": 7 * c.instruction, "walk": walks, "access": 3 * c.access,
        "fault": c.exception + c.fault + c.zero_page + 3 * c.table,
    }  # fmt: skip
    assert counted(outcome, 0) == {
        "cpu.accesses": 3, "cpu.dtlb.hits": 2, "cpu.dtlb.misses": 1, "cpu.stlb.misses": 1, "cpu.walks": 2,
        "cpu.walk_refs": 5, "faults.anon": 1,
    }  # fmt: skip
    assert outcome.state["ptes"] == {(0, PAGE): (0, P | W | A | D)}
    assert outcome.histograms["cpu_fault"]["sum"] == c.fault + c.zero_page + 3 * c.table


def test_the_zero_page_is_replaced_at_the_first_write():
    outcome, c = run("cpu-only", [CPU], [access(op.READ), access(op.WRITE)], MAPPED)
    flushed = c.flush_fixed + c.flush_page
    assert booked(outcome, 0)["fault"] == 2 * c.exception + 2 * c.fault + 3 * c.table + c.zero_page
    assert booked(outcome, 0)["flush"] == flushed
    expected = {"faults.zero": 1, "faults.cow": 1, "flushes.ranged": 1, "flushes.pages": 1}
    assert expected.items() <= counted(outcome, 0).items()
    assert outcome.histograms["cpu_fault"]["max"] == c.fault + c.zero_page + flushed


def test_copy_on_write_after_fork():
    fork = (0, 1, 0, op.FORK, 0)
    records = [access(op.WRITE), fork, access(op.WRITE), sync(), access(op.WRITE, 1)]
    outcome, c = run("cpu-only", [CPU, (CPU, 1)], records, MAPPED)
    parent, child = counted(outcome, 0), counted(outcome, 1)
    assert parent["faults.cow"] == 1 and "faults.reuse" not in parent
    assert child["faults.reuse"] == 1 and "faults.cow" not in child
    assert booked(outcome, 1)["fault"] == c.exception + c.fault
    assert outcome.state["ptes"] == {(0, PAGE): (1, P | W | A | D), (1, PAGE): (0, P | W | A | D)}
    assert outcome.histograms["op.fork"]["sum"] == (
        c.syscall + c.fork + c.vma + c.fork_pte + 3 * c.table + c.table_scan + c.flush_full
    )
    assert booked(outcome, 0)["fork"] == c.fork + c.fork_pte + 3 * c.table + c.table_scan
    assert booked(outcome, 1)["idle"] > 0


def test_a_stack_grows_down():
    stack = mmap_unit(ADDRESS, 8, 3, grows_down=True)
    outcome, _ = run("cpu-only", [CPU], [access(op.WRITE, page=-2040), access(op.WRITE, page=-2041)], stack)
    assert counted(outcome, 0)["segv"] == 1
    assert outcome.state["vmas"][0][0][:2] == (PAGE - 2040, PAGE + 8)  # 8 MiB
