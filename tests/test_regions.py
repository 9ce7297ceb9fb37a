"""Warm-up and regions: parts of a run that add up to it, whatever does not change a result; what is refused."""

import random
import warnings

import numpy as np
import pytest

import hwmodel
from hwmodel import ConfigError, op, simulate
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests.support import designs
from tests.support.equality import some_edges
from tests.support.random_traces import random_case

PLANES = ("counters", "ledger", "serving")


def quiet(machine, trace, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return simulate(machine, trace, progress=False, **options)


def with_syncs(trace, edges):
    """The trace with a SYNC at each edge, of the agent of the next record that begins a unit or an access."""
    ops, records = np.concatenate(list(trace.chunks())), []
    at = [next(k for k in range(e, ops.size) if ops["kind"][k] != op.ARG and ops["kind"][k] < op.CONTINUES) for e in edges]
    for k in range(ops.size):
        records += [(0, 0, 0, op.SYNC, int(ops["agent"][k]))] * at.count(k) + [ops[k].item()]
    return Trace.from_records(trace.agents, records, trace.prelude)


@pytest.mark.jit_off
@pytest.mark.parametrize("design", designs.names())
def test_the_parts_add_up_to_a_run_with_a_sync_there(design):
    for seed in range(3):
        machine, trace = random_case(seed, design, 60)
        edges = some_edges(random.Random(seed), trace, 2)
        found = quiet(machine, trace, regions={"a": 0, "b": edges[0], "c": edges[1]})
        whole = quiet(machine, with_syncs(trace, edges))
        parts = [found.region(name) for name in "abc"]
        for plane in PLANES:
            sums, wanted = sum(getattr(part, plane).array for part in parts), getattr(whole, plane).array.copy()
            assert np.array_equal(sums, getattr(found, plane).array)
            if plane == "counters":
                assert whole.counters["ops.sync"] - found.counters["ops.sync"] == 2
                column = whole.counters.names.index("ops.sync")
                wanted[:, column] = sums[:, column]
            assert np.array_equal(sums, wanted), f"seed {seed}: {plane}"
        assert np.array_equal(sum(part.clocks for part in parts), whole.clocks)
        for plane in ("histograms", "phase_histograms", "phase_shares"):
            assert np.array_equal(getattr(found, plane), getattr(whole, plane)), "least and largest of all parts, too"
        assert np.array_equal(sum(part.phase_shares for part in parts), whole.phase_shares)
        assert sum(part.records for part in parts) == found.records == len(trace)
        assert sum(part.references for part in parts) == found.references == trace.references


@pytest.mark.parametrize("design", designs.names())
def test_what_changes_no_region(design):
    for seed in range(20, 26):
        machine, trace = random_case(seed, design, 80)
        first, second = some_edges(random.Random(seed), trace, 2)
        asked = dict(warmup=first, regions=[("end", second)])
        plain = quiet(machine, trace, **asked)
        for options in ({"runahead": False}, {"chunk": 1}, {"chunk": 7, "capacity": 1}):
            other = quiet(machine, trace, **asked, **options)
            for mine, its in ((plain, other), *((plain.region(name), other.region(name)) for name in ("warmup", "end"))):
                assert all(np.array_equal(getattr(mine, plane).array, getattr(its, plane).array) for plane in PLANES), (seed, options)
                assert np.array_equal(mine.histograms, its.histograms) and (mine.records, mine.part) == (its.records, its.part)


AGENTS = [Agent("cpu", 0, "main"), Agent("cpu", 0, "other")]
BASE = 1 << 30
MAPPED = mmap_unit(BASE, 64, 3)


def reads(n, agent=0):
    return [(BASE + 4096 * k, 1, 0, op.READ, agent) for k in range(n)]


def test_a_warm_up_is_not_in_the_result():
    """Of twenty pages read twice, the first time faults."""
    trace = Trace.from_records(AGENTS[:1], reads(20) * 2, MAPPED)
    machine = hwmodel.preset("cpu-only").with_(**{"kernel.fault_around_pages": 1})
    for warmup in (20, 0.5, np.int64(20)):
        found = simulate(machine, trace, warmup=warmup, progress=False)
        assert (found.counters["cpu.accesses"], found.latency("cpu_fault").count, found.records) == (20, 0, 20)
        cold = found.region("warmup")
        assert (cold.counters["cpu.accesses"], cold.latency("cpu_fault").count, cold.references) == (20, 20, 20)
        assert found.part == "after the warm-up" and "after the warm-up" in repr(found) and found.cycles < cold.cycles
    assert simulate(machine, trace, progress=False).regions == {}


def test_a_region_has_its_own_least_and_largest_latency():
    trace = Trace.from_records(AGENTS[:1], reads(1) + reads(8), MAPPED)
    machine = hwmodel.preset("cpu-only").with_(**{"kernel.fault_around_pages": 1, "kernel.table_ns": 5000})
    found = simulate(machine, trace, regions={"tables": 0, "pages": 1}, progress=False)
    tables, pages = (found.region(name).latency("cpu_fault") for name in ("tables", "pages"))
    assert tables.count == 1 and pages.count == 7 and pages.max < tables.min
    assert (found.latency("cpu_fault").min, found.latency("cpu_fault").max) == (pages.min, tables.max)


def test_an_operation_and_an_access_are_not_cut():
    """Edges at the operand of an munmap, and at the second half of an access, come behind them; a part may be left without a record."""
    crossing = [(BASE + 4090, 1, 0, op.READ, 0), (BASE + 4096, 1, 0, op.READ | op.CONTINUES, 0)]
    records = [*crossing, *paged_unit(op.MPROTECT, BASE, 1, [(0, 1)], 0), *reads(3)]
    trace = Trace.from_records(AGENTS[:1], records, MAPPED)
    parts = {"half": 0, "operation": 1, "operand": 3, "reads": 4}
    found = simulate("cpu-only", trace, regions=parts, progress=False)
    assert [found.region(name).records for name in parts] == [2, 2, 0, 3]
    assert [found.region(name).counters["ops.mprotect"] for name in parts] == [0, 1, 0, 0]
    assert found.region("operand").cycles == 0
    for chunk in (1, 2, 3):
        again = simulate("cpu-only", trace, regions=parts, progress=False, chunk=chunk)
        assert [again.region(name).records for name in parts] == [2, 2, 0, 3]


def test_who_waits_at_an_edge_waits_for_the_order_and_a_gap_is_cut_there():
    """CPU 0 works 1,000 cycles before the edge; CPU 1 is in a gap of 1,500 of its first record behind it, CPU 2 waits from 1 on."""
    records = [(0, 1000, 0, op.COMPUTE, 0), (0, 1, 0, op.COMPUTE, 2), (0, 5, 0, op.COMPUTE, 2), (0, 7, 1500, op.COMPUTE, 1)]
    trace = Trace.from_records([Agent("cpu", 0, f"cpu {k}") for k in range(3)], records, MAPPED)
    machine = hwmodel.preset("cpu-only").with_(**{"cpu.instruction_cycles": 1, "cpu.count": 4})
    found = simulate(machine, trace, regions={"before": 0, "behind": 2}, progress=False)
    before, behind = found.region("before").ledger, found.region("behind").ledger
    assert list(before.by_agent("instruction").values()) == [1000, 1000, 1, 0]
    assert list(before.by_agent("order_wait").values()) == [0, 0, 999, 0]
    assert list(before.by_agent("idle").values()) == [0, 0, 0, 1000]
    assert list(behind.by_agent("instruction").values()) == [0, 507, 5, 0]
    assert found.region("behind").cycles == 507 and found.cycles == 1507


def test_messages_have_the_numbers_of_the_trace():
    trace = Trace.from_records(AGENTS[:1], [*reads(4), (1 << 40, 1, 0, op.READ, 0)], MAPPED)
    with pytest.warns(UserWarning, match="^record 4: the first access without a right"):
        simulate("cpu-only", trace, regions={"a": 1, "b": 2, "c": 4}, progress=False)


BAD = {
    "negative": (dict(warmup=-1), "warmup: must be at least 0 records, not -1"),
    "a share of all": (dict(warmup=1.0), r"warmup: must be a number of records, or a share of them in \[0, 1\) \(0.5\), not 1.0"),
    "a percentage": (dict(warmup=50.0), "warmup: must be a number of records, or a share .*, not 50.0"),
    "a word": (dict(warmup="half"), "warmup: must be a number .*, not 'half'"),
    "a truth": (dict(warmup=True), "warmup: must be a number .*, not True"),
    "all": (dict(warmup=10), "the warm-up ends at record 10, and no operation .* there or later: the trace has 10 records"),
    "behind the end": (dict(regions={"late": 10}), "region 'late' begins at record 10, and no operation .* the trace has 10 records"),
    "before the beginning": (dict(regions={"early": -1}), "regions: 'early' must begin at a record from 0 on, not -1"),
    "no record": (dict(regions={"half": 0.5}), "regions: 'half' must begin at a record from 0 on, not 0.5"),
    "no name": (dict(regions=[("", 1)]), r"regions: must be a name and its first record each, not \('', 1\)"),
    "no pair": (dict(regions=[3]), "regions: must be a name and its first record each, not 3"),
    "text": (dict(regions="abc"), "regions: must be a name and its first record each, not 'a'"),
    "a name twice": (dict(regions=[("a", 1), ("a", 2)]), "regions: 'a' comes twice"),
    "a reserved name": (dict(regions={"warmup": 1}), "regions: 'warmup' is the name of the warm-up"),
    "one place": (dict(regions={"a": 1, "b": 1}), "regions: two begin at record 1"),
    "in the warm-up": (dict(warmup=5, regions={"a": 4}), "regions: 'a' begins at record 4, within the warm-up of 5 records"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("known", [True, False])
def test_bad_parts_are_refused(case, known):
    options, complaint = BAD[case]
    ops = op.as_records(reads(10))
    sizes = (10, 10) if known else (None, None)
    trace = Trace(AGENTS[:1], lambda: iter([ops]), op.as_records(MAPPED), records=sizes[0], references=sizes[1])
    with pytest.raises(ConfigError, match=f"^{complaint}$"):
        simulate("cpu-only", trace, progress=False, **options)


def test_a_region_that_is_not_there():
    found = simulate("cpu-only", Trace.from_records(AGENTS[:1], reads(4), MAPPED), regions={"a": 2}, progress=False)
    with pytest.raises(KeyError, match="'b' is none of the run's regions"):
        found.region("b")


def test_regions_begin_with_the_warm_up_or_anywhere():
    trace = Trace.from_records(AGENTS[:1], reads(10), MAPPED)
    found = simulate("cpu-only", trace, warmup=4, regions={"b": 7, "a": 4}, progress=False)
    assert [found.region(name).records for name in ("warmup", "a", "b")] == [4, 3, 3] and found.records == 6
    found = simulate("cpu-only", trace, warmup=0.2, regions={"a": 5}, progress=False)
    assert (found.records, found.region("a").records) == (8, 5), "what has no name is in the headline"
