"""The lackey reader on what is not valgrind's plain log: lines of superblocks, and logs as courses hand them out."""

import pytest

from hwmodel import op as t
from hwmodel.op import TraceError
from tests.workloads.test_lackey import HEAD, records
from workloads import read


def kinds_of(trace):
    """Accesses of each kind: (reads, writes, fetches)."""
    found = records(trace)
    return tuple(sum(count for _, count, _, kind, _ in found if kind == wanted) for wanted in (t.READ, t.WRITE, t.FETCH))


@pytest.mark.parametrize("head", ["", HEAD])
def test_lines_of_superblocks_are_left_out(file, head):
    """As printed with --trace-superblocks=yes, each before the instructions of its block."""
    blocks = "SB 04001090\nI  04001090,3\n S 1ffefffe78,8\nSB 04001da0\nI  04001da0,4\n"
    trace = read(file(head + blocks))
    assert kinds_of(trace) == (0, 1, 2) and trace.info["lines"] == head.count("\n") + 5
    assert records(read(file(head + blocks.replace("\n", "\r\n")))) == records(trace)
    assert kinds_of(read(file(head + "I  04001090,3\nSB 7fffffffffff\nSB 1\n L 04001090,3\n"))) == (1, 0, 1)


@pytest.mark.parametrize("line", ["SB ", "SB", "SB 0400109g", "SB 04001090,3", "SB 04001090 ", " SB 04001090", "SB 8000000000001"])
def test_what_only_looks_like_a_superblock_is_garbled(file, line):
    with pytest.raises(TraceError, match="line 6 is garbled"):
        read(file(f"{HEAD} S 00001000,8\n{line}\n"))


def test_one_space_behind_an_instruction_is_enough(file):
    """As courses print and hand out such logs."""
    trace = read(file("I 0400d7d4,8\n M 0421c7f0,4\n L 04f6b868,8\n S 7ff0005c8,8\n"))
    assert kinds_of(trace) == (1, 2, 1) and records(trace)[0] == (0x400D7D4, 1, 0, t.FETCH, 0)
    assert records(read(file("I 7fffffffffff,1\n"))) == [(0x7FFFFFFFFFFF, 1, 0, t.FETCH, 0)]
    for line in ("I 1000000000000,1", "I   1000,1", "I ,8", "L 1000,8"):
        with pytest.raises(TraceError, match="line 2 is garbled"):
            read(file(f"I 00001000,8\n{line}\n"))
