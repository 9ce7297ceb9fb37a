"""Who hears of a flush, and by which stride, by hand (docs/model.md 8.1, 8.2, 6 COW_SET, 9.5); the kernels must agree."""

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests import reference
from tests.model.cases import counted
from tests.model.flushed import AT, ELSEWHERE, advise, flushed, flushes, write
from tests.support.equality import differences


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
