"""What a result counts, by hand (docs/model.md 12.1)."""

from hwmodel import op
from tests.model.hand import access, clocked, compute, memory, read, unmap


def test_a_result_says_how_large_its_trace_was():
    result = clocked(memory(prot=5), access(op.FETCH, count=3), read(count=2), compute(9), unmap(8)).result
    assert (result.records, result.references) == (4, 5)
    assert result.cycles == 9 + 3  # a cycle for each instruction, fetches too
