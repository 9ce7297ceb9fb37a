"""When one agent's time is another's: services within a record and behind it, and how far one runs ahead (docs/model.md 2.2, 2.8)."""

import pytest

from hwmodel import op
from tests.model.hand import CPU, DEVICE, PAGE, advise, clocked, compute, memory, read, run_of, sync, unmap, waited


def test_a_service_behind_an_agent_s_last_record_does_not_prolong_it():
    """CPU 1 computes until 100 and takes another space's interrupt at 500, for 10,000 cycles: nothing to CPU 0's munmap at 600."""
    records = [compute(100, 1), compute(600), *unmap(8), sync(1), read(agent=3)]
    settings = dict(driver__interrupt_cpu=1, driver__interrupt_ns=500, driver__irq_entry_ns=10_000, cpu__count=3)
    mapped = [*memory(), *memory(agent=2, populate=True)]
    run = clocked(mapped, records, roles=(CPU, CPU, (CPU, 1), (DEVICE, 1)), design="gru", **settings)
    assert run.booked("irq") == 10_000 and waited(run)[0] == 0


def test_a_service_within_an_agent_s_last_record_prolongs_it():
    """CPU 1 computes until 1,000, but for the 400 cycles of an interrupt at 500: it ends at 1,400, and CPU 0's munmap begins then."""
    records = [compute(1000, 1), compute(600), *unmap(8), read(agent=3)]
    settings = dict(driver__interrupt_cpu=1, driver__interrupt_ns=500, driver__irq_entry_ns=400, cpu__count=3)
    mapped = [*memory(), *memory(agent=2, populate=True)]
    run = clocked(mapped, records, roles=(CPU, CPU, (CPU, 1), (DEVICE, 1)), design="gru", **settings)
    assert waited(run)[0] == 800


@pytest.mark.parametrize("first, last_hit", [("initiator", 24), ("accessor", 25)])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("notice", ["free", 1000])
def test_a_run_of_accesses_ends_where_a_flush_arrives(first, last_hit, more, notice):
    """One CPU reads a page every 5 cycles from 0 on; the other takes the page away at 100, and its interrupt arrives at 120.

    The access at 120 comes behind the flush if the initiator's row is the first, and finds the page gone; else the one at 125 does.
    Where notices cost something a row may run ahead of others by the 20 cycles of an interrupt.
    """
    initiator = ("initiator", "accessor").index(first)
    accessor = 1 - initiator
    records = [read(agent=accessor, count=last_hit + more), compute(100, initiator), *advise(op.DONTNEED, agent=initiator),
               compute(1000, accessor)]  # fmt: skip
    times = dict(cpu__access_cycles=5, cpu__instruction_cycles=1, kernel__shootdown__delivery_ns=20, kernel__notice_ns=notice)
    run = run_of(memory(populate=True), records, roles=(CPU, CPU), **times)
    assert run.counted("faults.") == ({"faults.zero": 1} if more else {})
    assert run.counted("cpu.dtlb.misses") == {"cpu.dtlb.misses": 1 + more}
    assert run.booked("access") == 5 * (last_hit + more)


@pytest.mark.parametrize("exit_time", [1000, 1100])
def test_a_run_ends_when_its_last_service_does(exit_time):
    """2.6: the handler goes on after the entry is dropped in, on a CPU whose own records have ended."""
    costs = {"driver__interrupt_ns": 50, "driver__irq_exit_ns": exit_time}
    run = run_of(memory(populate=True), read(agent=1), roles=(CPU, DEVICE), design="gru", **costs)
    assert run.result.cycles == 50 + exit_time


def test_interrupts_to_far_cpus_arrive_though_a_handler_has_their_sender_s_cpu():
    """2.5: the handler comes 50 cycles after the interrupts were sent, which take 100 and 400, and lasts for 1,000."""
    costs = {"kernel__shootdown__delivery_ns": 100, "kernel__shootdown__far_ns": 300}
    costs |= {"driver__interrupt_ns": 50, "driver__irq_entry_ns": 1000}
    records = [compute(100), *unmap(), compute(5000, 1), compute(5000, 2), read(PAGE + 4, 3)]
    run = clocked(memory(populate=True), *records, roles=(CPU, CPU, CPU, DEVICE), design="gru", cpu__count=3, cpu__per_socket=2, **costs)
    assert int(run.result.latency("shootdown").row[1]) == 400
