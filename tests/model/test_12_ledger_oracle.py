"""The oracle itself: what must hold in every run, and small cases worked out by hand from docs/model.md."""

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace, validate
from tests.model.cases import (
    ADDRESS,
    CPU,
    DEVICE,
    MAPPED,
    PAGE,
    access,
    advise,
    booked,
    check_conservation,
    check_frames,
    compute,
    counted,
    run,
    sync,
)
from tests.reference import DeadlockError, OutOfMemoryError, simulate
from tests.reference.machine import World
from tests.reference.memory import A, D, P, W
from tests.support.designs import those_with_a_twin
from tests.support.random_traces import random_case

# what must hold in every run


@pytest.mark.parametrize("design", those_with_a_twin())
@pytest.mark.parametrize("block", range(4))
def test_random_cases_conserve(design, block):
    for seed in range(20 * block, 20 * block + 20):
        machine, trace = random_case(seed, design, 90)
        validate(trace)
        outcome = simulate(machine, trace, limit=400_000)
        check_conservation(outcome)
        check_frames(outcome.state)
        check_accesses(trace, outcome)


@pytest.mark.long
@pytest.mark.parametrize("design", those_with_a_twin())
def test_many_random_cases_conserve(design):
    for seed in range(5000, 5600):
        machine, trace = random_case(seed, design, 60 + seed % 240)
        outcome = simulate(machine, trace, limit=2_000_000)
        check_conservation(outcome)
        check_frames(outcome.state)
        check_accesses(trace, outcome)


def check_accesses(trace, outcome):
    """Every access was counted once, by its agent."""
    counted = {}
    for chunk in trace.chunks():
        for record in chunk:
            kind, agent = int(record["kind"]), int(record["agent"])
            device = trace.agents[agent].role == DEVICE
            if kind & ~op.CONTINUES <= op.FETCH and not (kind & op.CONTINUES and not device):
                counted[agent] = counted.get(agent, 0) + int(record["count"])
    rows = [i for role in (CPU, DEVICE) for i, agent in enumerate(trace.agents) if agent.role == role]
    cpus = sum(agent.role == CPU for agent in trace.agents)
    spare = len(outcome.clocks) - len(rows)
    for place, agent in enumerate(rows):
        counters = outcome.counters[place if place < cpus else place + spare]
        assert counters["cpu.accesses"] + counters["device.accesses"] == counted.get(agent, 0)


# by hand


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
    assert outcome.histograms["cpu_fault"]["sum"] == c.fault + c.zero_page


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


def test_a_shootdown_with_one_target():
    records = [access(op.WRITE), sync(), access(op.READ, 1), compute(10**6, 1), *advise(op.DONTNEED, 0)]
    outcome, c = run("cpu-only", [CPU, CPU], records, MAPPED)
    local = c.flush_fixed + c.flush_page
    respond = c.ipi_respond + c.flush_page  # the fixed part is the initiator's
    assert c.ipi_delivery < local < c.ipi_delivery + respond  # the initiator's own is done before the target has answered
    total = c.ipi_send + c.ipi_delivery + respond + c.ipi_ack
    assert abs((total - local) * 1000 / 3000 - 558) <= 1  # what a first target adds in 2024, in ns
    assert outcome.histograms["shootdown"]["sum"] == total
    ledger = booked(outcome, 0)
    assert ledger["flush"] == local
    assert ledger["ipi_send"] == c.ipi_send
    assert ledger["ipi_wait"] == total - c.ipi_send - local
    assert booked(outcome, 1)["ipi_respond"] == respond
    assert outcome.histograms["op.madvise"]["sum"] == c.syscall + c.clear + c.table_scan + total + c.free
    assert counted(outcome, 0)["ipis.acked"] == 1


def test_a_far_target_answers_later():
    records = [access(op.WRITE), sync(), access(op.READ, 1), compute(10**6, 1), *advise(op.DONTNEED, 0)]
    outcome, c = run("cpu-only", [CPU, CPU], records, MAPPED, cpu__per_socket=1)
    respond = c.ipi_respond + c.flush_page
    total = c.ipi_send + c.ipi_delivery + c.ipi_far + respond + c.ipi_ack
    assert outcome.histograms["shootdown"]["sum"] == total


def test_a_lazy_cpu_is_spared_unless_tables_go():
    records = [access(op.WRITE), *advise(op.DONTNEED, 0), *paged_unit(op.MUNMAP, ADDRESS, 8)]
    outcome, c = run("cpu-only", [CPU], records, MAPPED, cpu__count=2, kernel__lazy_cpus=1)
    assert counted(outcome, 0)["ipis.sent"] == 1
    assert booked(outcome, 1)["ipi_respond"] == c.ipi_respond + c.flush_full
    assert outcome.state["mask"][0] == {0: (True, 2)}


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


def test_segv_is_not_retried():
    outcome, c = run("cpu-only", [CPU], [access(op.WRITE, page=100)], MAPPED)
    assert booked(outcome, 0) == {"walk": c.dram, "fault": c.exception + c.fault}
    assert counted(outcome, 0)["segv"] == 1


def test_a_stack_grows_down():
    stack = mmap_unit(ADDRESS, 8, 3, grows_down=True)
    outcome, _ = run("cpu-only", [CPU], [access(op.WRITE, page=-2040), access(op.WRITE, page=-2041)], stack)
    assert counted(outcome, 0)["segv"] == 1
    assert outcome.state["vmas"][0][0][:2] == (PAGE - 2040, PAGE + 8)  # 8 MiB


def test_crossing_accesses_miss_once():
    half = [(ADDRESS + 4090, 1, 0, op.READ, 0), (ADDRESS + 4096, 1, 0, op.READ | op.CONTINUES, 0)]
    outcome, c = run("cpu-only", [CPU], half, MAPPED)
    got = counted(outcome, 0)
    assert (got["cpu.accesses"], got["cpu.dtlb.misses"], got["cpu.stlb.misses"]) == (1, 1, 1)
    assert booked(outcome, 0)["access"] == 2 * c.access


def test_the_gate_holds_back_who_runs_ahead():
    slow = [compute(10**5, 0) for _ in range(4)]
    fast = [compute(1, 1) for _ in range(8)]
    outcome, _ = run("cpu-only", [CPU, CPU], slow + fast, engine__lookahead_records=4)
    # blocks of 2 records: agent 1 enters block 2 when agent 0 enters block 1, and block 3 when agent 0 is done
    assert booked(outcome, 1) == {"gate_wait": 4 * 10**5 - 2, "instruction": 8}


def test_prelude_can_populate():
    machine = machines.preset("cpu-only").with_(**{"cpu.count": 1})
    (address, count, gap, kind, agent), (offset, flags, *rest) = mmap_unit(ADDRESS, 4, 3)
    prelude = [(address, count, gap, kind, agent), (offset, flags | 1 << 7, *rest)]
    prelude += mmap_unit(ADDRESS + (4 << 12), 4, 1)  # beside it, in the same table
    outcome = simulate(machine, Trace.from_records([Agent(CPU, 0, "")], [access(op.WRITE)], prelude))
    c = machine.costs()
    assert outcome.clocks == [4 * c["dram"] + c["access"]]
    check_frames(outcome.state)


def test_memory_runs_out():
    with pytest.raises(OutOfMemoryError, match=r"memory\.size_mib"):
        run("cpu-only", [CPU], [access(op.WRITE, page=512 * i) for i in range(3)], mmap_unit(ADDRESS, 2048, 3),
            kernel__thp="always", memory__size_mib=4)  # fmt: skip


def test_a_fork_that_never_comes_is_a_deadlock():
    records = [access(op.READ, 1)]
    with pytest.raises(DeadlockError):
        machine = machines.preset("cpu-only")
        trace = Trace.from_records([Agent(CPU, 0, "a"), Agent(CPU, 1, "b")], records, MAPPED)
        world = World(machine, trace, 0, False)
        world.spaces[1].born = False
        world.run()
