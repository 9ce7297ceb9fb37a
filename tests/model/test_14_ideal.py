"""An engine whose translation costs nothing, by hand (docs/model.md 14.1 to 14.4).

A nanosecond is a cycle, and nothing takes time but what a test names. An access takes 7 cycles, a fault 100 and the zeroing of a page 30,
unless said otherwise.
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
ACCESS, FAULT, ZERO = 7, 100, 30
TIMES = dict(device__access_ns=ACCESS, kernel__fault_ns=FAULT, kernel__zero_page_ns=ZERO)
COSTS = [
    case("access_device", {"device.access": 5}, THERE, read(agent=1, count=4), write(agent=1), latencies={"fault": 0}, **IDEAL),
    case("access_device", {"device.access": 4}, memory(), read(agent=1, count=4), latencies={"fault": 2}, **IDEAL),  # and once more
    case("fault", {"cpu.fault": 1}, memory(), read(agent=1, count=4), latencies={"fault": 1, "cpu_fault": 0}, **IDEAL),
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


def test_what_is_there_costs_its_accesses_and_leaves_no_trace():
    done = run(memory(mapping=SHARED_FILE, populate=True), *advise(op.COLD), sync(), read(agent=1, count=5))
    assert booked(done) == {"device.access": 5 * ACCESS} and counted(done) == (5, 5, 0)
    assert done.latencies() == [] and flags(done) == "PW"


def test_a_miss_is_the_kernels_fault_and_nothing_else():
    """Issue, fault, access again; three tables are made, for the root is there. The record's other accesses are issued meanwhile."""
    done = run(memory(), write(agent=1, count=4), kernel__table_ns=10)
    faulting = FAULT + ZERO + 3 * 10
    assert booked(done) == {"device.access": 4 * ACCESS, "cpu.fault": faulting} and counted(done) == (4, 3, 1)
    assert done.latencies() == [ACCESS + faulting + ACCESS] and done.latencies("cpu_fault") == []
    assert done.result.cycles == ACCESS + faulting + ACCESS and flags(done) == "PWAD"


def test_the_engine_issues_on_and_the_cpu_serves_one_after_the_other():
    done = run(memory(), write(agent=1), write(PAGE + 1, 1))
    first, second = ACCESS + FAULT + ZERO, ACCESS + 2 * (FAULT + ZERO)  # the ends of the faults
    assert done.latencies() == [first + ACCESS, second + ACCESS - ACCESS]  # the second was issued at 7
    assert booked(done) == {"device.access": 2 * ACCESS, "cpu.fault": 2 * (FAULT + ZERO)}


@pytest.mark.parametrize("window, stalled", [(1, FAULT + ZERO + ACCESS), (2, 0)])
def test_an_engine_stalls_without_a_free_request(window, stalled):
    """Its third record is on a page that is there: whether it stalls at the second shows in its own time alone."""
    records = [write(agent=1), write(PAGE + 1, 1), write(PAGE + 20, 1)]
    done = run([*memory(), *memory(page=PAGE + 20, populate=True)], *records, device__window=window)
    assert booked(done).get("device.stall_fault", 0) == stalled and counted(done) == (3, 1, 2)
    assert (booked(done)["device.access"], booked(done)["cpu.fault"]) == (3 * ACCESS, 2 * (FAULT + ZERO))


def test_misses_of_one_page_are_requests_of_their_own():
    """The second finds the page absent too, and at its COMMIT that another has come before."""
    done = run(memory(), write(agent=1), write(agent=1))
    assert done.counted("faults") == {"faults.anon": 1, "faults.spurious": 1} and counted(done) == (2, 0, 2)
    assert booked(done)["cpu.fault"] == 2 * (FAULT + ZERO)


def test_a_request_looks_before_it_faults():
    """Issued at 200, the second looks at 400; the first's page is there at 330."""
    done = run(memory(), write(agent=1), write(agent=1), device__access_ns=200)
    assert done.counted("faults") == {"faults.anon": 1} and counted(done) == (2, 0, 2)
    assert done.latencies() == [200, 200 + FAULT + ZERO + 200]


def test_a_write_to_a_clean_page_faults():
    """The pte may be written and is not dirty: the kernel has nothing to do but to set the bit."""
    done = run(memory(mapping=SHARED_FILE, populate=True), write(agent=1), write(agent=1, gap=1000), cpu__instruction_cycles=1)
    assert done.counted("faults") == {"faults.spurious": 1} and counted(done) == (2, 1, 1) and flags(done) == "PWAD"
    assert booked(done)["cpu.fault"] == FAULT


def test_a_write_to_a_shared_page_copies_it():
    done = run(memory(), write(), fork(), sync(), write(agent=2), roles=(CPU, (CPU, 1), DEVICE), kernel__copy_page_ns=40)
    assert done.counted("faults") == {"faults.anon": 1, "faults.cow": 1} and flags(done) == "PWAD" and flags(done, space=1) == "PD"
    assert done.latencies() == [ACCESS + FAULT + 40 + ACCESS]


def test_an_access_without_a_right_is_complete():
    """The fault ends it, in no latency; what follows goes on."""
    done = run(memory(prot=R, populate=True), write(agent=1, count=2), read(agent=1))
    assert done.counted("segv") == {"segv": 1} and counted(done) == (3, 2, 1) and done.latencies() == []
    assert booked(done) == {"device.access": 3 * ACCESS, "cpu.fault": FAULT}
    assert done.result.cycles == ACCESS + FAULT


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
    """CPU 0 has the mmap lock of all eight pages from 10 to 510; the request, issued at 100, would fault at 107."""
    slow = dict(kernel__syscall_ns=10, kernel__vma_ns=500, cpu__instruction_cycles=1)
    done = run(memory(), protect(RWX, 8), write(agent=1, gap=100), **slow)
    assert done.latencies() == [510 + FAULT + ZERO + ACCESS - 100] and done.counted("faults") == {"faults.anon": 1}
    assert booked(done) == {"cpu.syscall": 10, "cpu.vma": 500, "cpu.fault": FAULT + ZERO,
                            "device.instruction": 100, "device.access": ACCESS}  # fmt: skip


def test_a_writer_that_has_not_acted_yet_holds_nobody_up():
    """Rule 9.0: CPU 0 waits for the mmap lock from 30 on, and gets it at 510 while a fault keeps it busy until 1,407.

    The second fault, at 607, goes on, and keeps it busy until 2,407. Then it acts, and that fault, which commits in the same cycle, begins
    again at 2,414: it waits for the lock until 2,907.
    """
    slow = dict(kernel__syscall_ns=10, kernel__vma_ns=500, kernel__fault_ns=1000, kernel__zero_page_ns="free", cpu__instruction_cycles=1)
    records = [*advise(op.HUGEPAGE, 8, PAGE + 100, agent=1), compute(20), *advise(op.HUGEPAGE, 8), write(agent=2, gap=400)]
    records += [write(PAGE + 1, 2, gap=193)]
    done = run([*memory(), *memory(page=PAGE + 100)], *records, roles=(CPU, CPU, DEVICE), cpu__count=2, **slow)
    assert done.latencies() == [1407 + ACCESS - 400, 2907 + 1000 + ACCESS - 600]
    assert done.counted("faults") == {"faults.anon": 2, "faults.spurious": 1}


def test_who_is_let_through_the_gate_may_act_before_the_look():
    """The engine enters the second block at 101 (rule 3.3); the CPU, which waited for that to enter the third, first sets the dirty bit."""
    records = [compute(100, 1), compute(1, 1), write(agent=1), compute(1, 1), write()]
    done = run(memory(mapping=SHARED_FILE, populate=True), *records, engine__lookahead_records=4, cpu__instruction_cycles=1)
    assert counted(done) == (1, 1, 0) and done.counted("faults") == {} and flags(done) == "PWAD"
    assert done.booked("gate_wait", CPU) == 101
