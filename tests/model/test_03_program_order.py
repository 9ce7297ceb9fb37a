"""Who waits for whose records, and until when: gates, openers and epochs, by hand (docs/model.md 3.2 to 3.6)."""

import pytest

from hwmodel import op
from tests.model.hand import CPU, DEVICE, PAGE, advise, clocked, compute, memory, protect, read, remap, run_of, unmap, waited, write


@pytest.mark.parametrize("mine, others", [(99, 100), (100, 100), (50, 100), (101, 100), (0, 100)])
def test_an_operation_waits_until_what_was_recorded_before_it_has_ended(mine, others):
    computed = [compute(mine)] if mine else []
    run = clocked(memory(), compute(others, 1), computed, unmap(8))
    assert waited(run) == [max(0, others - mine), 0]


def test_an_operation_waits_for_the_misses_of_engines():
    """The engine has issued its access at cycle 0, and does not stall; the page is there at 500."""
    run = clocked(memory(populate=True), read(agent=1), unmap(8), roles=(CPU, DEVICE), design="gru", driver__interrupt_ns=500)
    assert waited(run) == [500, 0]


def test_each_record_s_gap_is_charged():
    run = clocked(memory(populate=True), read(gap=3), read(gap=5), write(PAGE + 1, gap=7))
    assert run.booked("instruction") == 15


@pytest.mark.parametrize("prelude, operation, touch, waited", [
    ([], memory(), read(agent=1), 100), (memory(), memory(4), read(PAGE + 2, 1), 110),
    (memory(), remap(PAGE + 100, 8), read(PAGE + 100, 1), 100), (memory(), remap(PAGE, 8, size=9), read(PAGE + 8, 1), 100),
    (memory(), remap(PAGE, 8, size=4), read(agent=1), 0), (memory(prot=1), protect(3, 8), write(agent=1), 100),
    (memory(), protect(1, 8), read(agent=1), 0), (memory(), unmap(4), read(PAGE + 5, 1), 0),
    (memory(), advise(op.DONTNEED), read(agent=1), 0), ([], (PAGE << 12, 0, 0, op.BRK, 0), read(agent=1), 0),
])  # fmt: skip
def test_an_access_waits_for_what_the_operation_before_it_gives(prelude, operation, touch, waited):
    """The call takes 100 cycles, a VMA 10. What only takes rights away is waited for by nobody."""
    run = run_of(prelude, operation, touch, roles=(CPU, CPU), kernel__syscall_ns=100, kernel__vma_ns=10)
    assert run.result.ledger.by_agent("order_wait")["agent 1"] == waited
    assert run.counted("segv") == ({"segv": 1} if touch == read(agent=1) and operation[0] == PAGE << 12 else {})


def test_an_agent_is_done_when_the_others_are_a_block_from_the_end():
    """Six operations are a block each, agent 1 has none. It is done, and its CPU lazy, when agent 0 enters the last block but one."""
    operations = [record for k in range(6) for record in advise(op.DONTNEED, page=PAGE + k)]
    run = run_of(memory(populate=True), operations, roles=(CPU, CPU), kernel__syscall_ns=100, engine__lookahead_records=4)
    assert run.counted("ipis.sent", "flushes.ranged") == {"ipis.sent": 4, "flushes.ranged": 6}
