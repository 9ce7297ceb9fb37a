"""An engine whose translation costs nothing, by hand (docs/model.md 14.1 to 14.4).

A nanosecond is a cycle, and nothing takes time but what a test names. Data are there after 7 cycles, a fault takes 100 and the zeroing of
a page 30, unless said otherwise.
"""

import pytest

from hwmodel import op
from tests.model.books import booked, case
from tests.model.cpu_costs import THERE
from tests.model.hand import (
    CPU,
    DEVICE,
    PAGE,
    RWX,
    SHARED_FILE,
    R,
    advise,
    compute,
    flags,
    fork,
    memory,
    protect,
    read,
    run_of,
    sync,
    write,
)  # fmt: skip

IDEAL = dict(roles=(CPU, DEVICE), design="ideal")
DATA, FAULT, ZERO = 7, 100, 30
TIMES = dict(device__latency_ns=DATA, kernel__fault_ns=FAULT, kernel__zero_page_ns=ZERO)
COSTS = [
    case("device_latency", {"device.access": 1}, memory(), read(agent=1, count=4), latencies={"fault": 0}, **IDEAL),
    case("device_interval", {"device.access": 4}, THERE, read(agent=1, count=4), write(agent=1), latencies={"fault": 0}, **IDEAL),
    case("fault", {"cpu.fault": 1, "device.stall_fault": 1}, memory(), read(agent=1), latencies={"fault": 1, "cpu_fault": 0}, **IDEAL),
    case("exception", {}, memory(), write(agent=1), **IDEAL),
    case("gup", {}, memory(), write(agent=1), **IDEAL),
    case("notice", {}, THERE, read(agent=1), sync(), *advise(op.DONTNEED), **IDEAL),
    case("dram", {}, memory(), write(agent=1), **IDEAL),  # nobody walks
]


def run(prelude, *records, **more):
    """A run with the costs of these tests."""
    return run_of(prelude, *records, **{**IDEAL, **TIMES, **more})


def counted(run):
    """(accesses, hits, misses) of the engine."""
    return tuple(run.result.counters[name] for name in ("device.accesses", "device.tlb.hits", "device.tlb.misses"))


def test_what_is_there_costs_its_data_and_leaves_no_trace():
    done = run(memory(mapping=SHARED_FILE, populate=True), *advise(op.COLD), sync(), read(agent=1, count=5))
    assert booked(done) == {"device.access": DATA} and counted(done) == (5, 5, 0)
    assert done.latencies() == [] and flags(done) == "PW"


def test_a_miss_is_the_kernels_fault_and_nothing_else():
    """Issue, fault, data; three tables are made, for the root is there. The latency ends when the page is there."""
    done = run(memory(), write(agent=1), kernel__table_ns=10)
    faulting = FAULT + ZERO + 3 * 10
    assert booked(done) == {"device.access": DATA, "device.stall_fault": faulting, "cpu.fault": faulting} and counted(done) == (1, 0, 1)
    assert done.latencies() == [faulting] and done.latencies("cpu_fault") == []
    assert done.result.cycles == faulting + DATA and flags(done) == "PWAD"


def test_the_engine_issues_on_and_the_cpu_serves_one_after_the_other():
    done = run(memory(), write(agent=1), write(PAGE + 1, 1))
    first = FAULT + ZERO
    assert done.latencies() == [first, 2 * first] and done.result.cycles == 2 * first + DATA
    # it issues both at 0; the data of the first are on their way from 130 to 137, those of the second from 260 on
    assert booked(done) == {"device.access": 2 * DATA, "device.stall_fault": 2 * first - DATA, "cpu.fault": 2 * first}


@pytest.mark.parametrize("window", [1, 2])
def test_misses_of_one_page_join(window):
    """With two slots the second write misses too, and waits for the one request; with one it comes when the page is there."""
    done = run(memory(), write(agent=1), write(agent=1), device__window=window)
    assert done.counted("faults") == {"faults.anon": 1} and done.latencies() == [FAULT + ZERO]
    assert counted(done) == ((2, 0, 2) if window == 2 else (2, 1, 1))
    assert done.result.counters["device.tlb.duplicates"] == window - 1
    assert booked(done)["cpu.fault"] == FAULT + ZERO and done.result.cycles == FAULT + ZERO + DATA * (3 - window)


def test_reads_that_joined_a_write_without_right():
    """Two writes and a read miss; the kernel refuses the writes, and has another fault for the read, which finds the zero page."""
    done = run(memory(prot=R), write(agent=1, count=2), read(agent=1), device__window=3)
    assert done.counted("segv", "faults") == {"segv": 2, "faults.zero": 1} and counted(done) == (3, 0, 3)
    assert done.latencies() == [2 * FAULT] and done.result.cycles == 2 * FAULT + DATA


def test_a_write_to_a_clean_page_faults():
    """The pte may be written and is not dirty: the kernel has nothing to do but to set the bit."""
    done = run(memory(mapping=SHARED_FILE, populate=True), write(agent=1), write(agent=1, gap=1000), cpu__instruction_cycles=1)
    assert done.counted("faults") == {"faults.spurious": 1} and counted(done) == (2, 1, 1) and flags(done) == "PWAD"
    assert booked(done)["cpu.fault"] == FAULT


def test_a_write_to_a_shared_page_copies_it():
    done = run(memory(), write(), fork(), sync(), write(agent=2), roles=(CPU, (CPU, 1), DEVICE), kernel__copy_page_ns=40)
    assert done.counted("faults") == {"faults.anon": 1, "faults.cow": 1} and flags(done) == "PWAD" and flags(done, space=1) == "PD"
    assert done.latencies() == [FAULT + 40]


def test_an_access_without_a_right_is_complete():
    """The fault ends it, in no latency; what follows goes on."""
    done = run(memory(prot=R, populate=True), write(agent=1), read(agent=1), device__window=1)
    assert done.counted("segv") == {"segv": 1} and counted(done) == (2, 1, 1) and done.latencies() == []
    assert booked(done) == {"device.access": DATA, "device.stall_fault": FAULT, "cpu.fault": FAULT}
    assert done.result.cycles == FAULT + DATA


@pytest.mark.parametrize("gap, misses", [(9, 0), (10, 1)])
def test_it_sees_a_page_go_in_the_very_cycle(gap, misses):
    """The madvise clears the pte at 10; CPUs act before engines. Nobody is told."""
    done = run(THERE, advise(op.DONTNEED), read(agent=1, gap=gap), kernel__syscall_ns=10, cpu__instruction_cycles=1)
    assert counted(done) == (1, 1 - misses, misses)
    assert done.counted("notices", "ipis") == {} and done.counted("faults") == ({"faults.zero": 1} if misses else {})


@pytest.mark.parametrize(
    "roles, server",
    [
        ((CPU, CPU, DEVICE), 0), ((CPU, (CPU, 1), (CPU, 1), (DEVICE, 1)), 1), ((DEVICE, CPU), 0),
        ((CPU, CPU, (DEVICE, 1)), 0),  # no thread of its space: CPU 0
    ],
)  # fmt: skip
def test_the_cpu_of_the_first_thread_serves(roles, server):
    """Its own work comes later by the fault; the other CPUs' does not."""
    device = next(at for at, role in enumerate(roles) if DEVICE in role)
    cpus = [at for at in range(len(roles)) if at != device]
    done = run(memory(agent=device), write(agent=device), *(compute(1000, at) for at in cpus), roles=roles, cpu__instruction_cycles=1)
    faulted = list(done.result.ledger.by_agent("fault").values())
    assert [at for at, cycles in enumerate(faulted) if cycles] == [server] and faulted[server] == FAULT + ZERO
    assert done.result.cycles == 1000 + FAULT + ZERO


def test_a_fault_waits_for_the_lock_of_an_operation():
    """CPU 0 has the mmap lock of all eight pages from 10 to 510; the request is issued at 100."""
    slow = dict(kernel__syscall_ns=10, kernel__vma_ns=500, cpu__instruction_cycles=1)
    done = run(memory(), protect(RWX, 8), write(agent=1, gap=100), **slow)
    assert done.latencies() == [510 + FAULT + ZERO - 100] and done.counted("faults") == {"faults.anon": 1}
    assert booked(done) == {"cpu.syscall": 10, "cpu.vma": 500, "cpu.fault": FAULT + ZERO, "device.instruction": 100,
                            "device.access": DATA, "device.stall_fault": 510 + FAULT + ZERO - 100}  # fmt: skip


def test_a_writer_that_has_not_acted_yet_holds_nobody_up():
    """Rule 9.0: CPU 0 waits for the mmap lock from 30 on, and gets it at 510 while a fault keeps it busy until 1,400.

    The second fault, at 600, goes on, and keeps it busy until 2,400. Then it acts, and that fault, which commits in the same cycle, begins
    again: it waits for the lock until 2,900.
    """
    slow = dict(kernel__syscall_ns=10, kernel__vma_ns=500, kernel__fault_ns=1000, kernel__zero_page_ns="free", cpu__instruction_cycles=1)
    records = [*advise(op.HUGEPAGE, 8, PAGE + 100, agent=1), compute(20), *advise(op.HUGEPAGE, 8), write(agent=2, gap=400)]
    records += [write(PAGE + 1, 2, gap=200)]
    done = run([*memory(), *memory(page=PAGE + 100)], *records, roles=(CPU, CPU, DEVICE), cpu__count=2, **slow)
    assert done.latencies() == [1400 - 400, 2900 + 1000 - 600]
    assert done.counted("faults") == {"faults.anon": 2, "faults.spurious": 1}


def test_who_is_let_through_the_gate_may_act_before_the_look():
    """The engine enters the second block at 101 (rule 3.3); the CPU, which waited for that to enter the third, first sets the dirty bit."""
    records = [compute(100, 1), compute(1, 1), write(agent=1), compute(1, 1), write()]
    done = run(memory(mapping=SHARED_FILE, populate=True), *records, engine__lookahead_records=4, cpu__instruction_cycles=1)
    assert counted(done) == (1, 1, 0) and done.counted("faults") == {} and flags(done) == "PWAD"
    assert done.booked("gate_wait", CPU) == 101
