"""What a result counts, by hand (docs/model.md 12.1)."""

from hwmodel import op
from hwmodel.measure.tally import Shares
from tests.model.hand import CPU, DEVICE, PAGE, access, advise, clocked, compute, memory, read, run_of, sync, unmap, write


def test_a_result_says_how_large_its_trace_was():
    result = clocked(memory(prot=5), access(op.FETCH, count=3), read(count=2), compute(9), unmap(8)).result
    assert (result.records, result.references) == (4, 5)
    assert result.cycles == 9 + 3  # a cycle for each instruction, fetches too


def test_a_fault_for_an_engine_is_serving_and_a_cpus_own_is_not():
    """The engine's page is there after 130 cycles; the CPU writes its own 1,000 cycles later, and then drops both."""
    slow = dict(kernel__fault_ns=100, kernel__zero_page_ns=30, kernel__free_ns=7, cpu__instruction_cycles=1)
    records = [write(agent=1), compute(1000), write(PAGE + 1), *advise(op.DONTNEED, 2)]
    result = run_of(memory(), *records, roles=(CPU, DEVICE), design="ideal", **slow).result
    assert dict(result.ledger.by_agent("fault")) == {"agent 0": 260, "agent 1": 0}
    assert {name: n for name, n in result.serving.items() if n} == {"fault": 130}
    assert result.shares["agent 0"] == Shares("cpu", 1000 + 130 + 2 * 7, 130, 0)


def test_a_handler_serves_and_an_invalidation_does_not():
    """Of a GRU's CPU: interrupt, driver and get_user_pages are for the engine, a TGH operation is for the madvise."""
    slow = dict(driver__irq_entry_ns=10, driver__tfh_read_ns=20, driver__dropin_ns=40, driver__irq_exit_ns=80, tgh__invalidate_ns=500)
    result = run_of(memory(populate=True), read(agent=1), sync(), *advise(op.DONTNEED), roles=(CPU, DEVICE), design="gru", **slow).result
    assert {name: n for name, n in result.serving.items() if n} == {"irq": 90, "driver": 60}
    assert result.ledger["invalidate"] == 500 and result.serving.total("irq", "cpu") == 90


def test_a_vcpu_serves_itself():
    result = run_of(memory(), write(agent=1), roles=(CPU, DEVICE), design="kvm_ept", vm__violation_ns=50, kernel__fault_ns=100).result
    assert result.ledger.total("violation", "device") == 50 and not any(result.serving.total(name, "cpu") for name in result.serving)
