"""Whose CPU is told of a flush, by hand (docs/model.md 8.1)."""

from hwmodel import op
from tests.model.hand import CPU, advise, clocked, compute, fork, memory, sync, write


def test_a_cpu_whose_agent_is_done_is_lazy_from_its_space_s_birth_on():
    """Of the child's two agents one has no record: when the fork is over it is done, and nobody tells its CPU of a flush."""
    records, roles = [fork(), write(agent=1), *advise(op.DONTNEED, agent=1)], (CPU, (CPU, 1), (CPU, 1))
    run = clocked(memory(), records, roles=roles, kernel__syscall_ns=100)
    assert run.counted("flushes.ranged", "ipis.sent") == {"flushes.ranged": 1}
    run = clocked(memory(), records, sync(), compute(1, 2), roles=roles, kernel__syscall_ns=100)
    assert run.counted("flushes.ranged", "ipis.sent") == {"flushes.ranged": 1, "ipis.sent": 1}
