"""When one agent's time is another's: who waits for whose records, and what a service in between costs (docs/model.md 2, 3, 8.1)."""

import pytest

from hwmodel import op
from tests.model.hand import CPU, DEVICE, PAGE, access, advise, compute, fork, memory, read, run_of, sync, unmap, write

TICKS = dict(cpu__instruction_cycles=1)


def clocked(prelude, *records, roles=(CPU, CPU), **settings):
    return run_of(prelude, *records, roles=roles, **TICKS, **settings)


def waited(run, account="order_wait"):
    """Cycles of each agent in an account."""
    return list(run.result.ledger.by_agent(account).values())


@pytest.mark.parametrize("mine, others", [(99, 100), (100, 100), (50, 100), (101, 100), (0, 100)])
def test_an_operation_waits_until_what_was_recorded_before_it_has_ended(mine, others):
    computed = [compute(mine)] if mine else []
    run = clocked(memory(), compute(others, 1), computed, unmap(8))
    assert waited(run) == [max(0, others - mine), 0]


def test_an_operation_waits_for_the_misses_of_engines():
    """The engine has issued its access at cycle 0, and does not stall; the page is there at 500."""
    run = clocked(memory(populate=True), read(agent=1), unmap(8), roles=(CPU, DEVICE), design="gru", driver__interrupt_ns=500)
    assert waited(run) == [500, 0]


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


def test_a_cpu_whose_agent_is_done_is_lazy_from_its_space_s_birth_on():
    """Of the child's two agents one has no record: when the fork is over it is done, and nobody tells its CPU of a flush."""
    records, roles = [fork(), write(agent=1), *advise(op.DONTNEED, agent=1)], (CPU, (CPU, 1), (CPU, 1))
    run = clocked(memory(), records, roles=roles, kernel__syscall_ns=100)
    assert run.counted("flushes.ranged", "ipis.sent") == {"flushes.ranged": 1}
    run = clocked(memory(), records, sync(), compute(1, 2), roles=roles, kernel__syscall_ns=100)
    assert run.counted("flushes.ranged", "ipis.sent") == {"flushes.ranged": 1, "ipis.sent": 1}


def test_a_result_says_how_large_its_trace_was():
    result = clocked(memory(prot=5), access(op.FETCH, count=3), read(count=2), compute(9), unmap(8)).result
    assert (result.records, result.references) == (4, 5)
    assert result.cycles == 9 + 3  # a cycle for each instruction, fetches too


def test_each_record_s_gap_is_charged():
    run = clocked(memory(populate=True), read(gap=3), read(gap=5), write(PAGE + 1, gap=7))
    assert run.booked("instruction") == 15
