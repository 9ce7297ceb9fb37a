"""A recorded program inside a guest: what becomes of each record, by hand, and of random ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_traces import check, group, prelude, records, small_trace

from hwmodel import op as t
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace, validate
from workloads import as_guest, uniform

CPU, GRU = Agent("cpu", 0, "main"), Agent("device", 0, "gru")
BASE = 1 << 32
PROGRAM = (t.READ, t.WRITE, t.FETCH, t.COMPUTE, t.SYNC, t.MMAP, t.BRK, t.MUNMAP, t.MPROTECT, t.MADVISE, t.MREMAP, t.SYSCALL)


def guest(kind, address, pages, operand=0, target=0, gap=0):
    return t.paged_unit(t.GUEST, address, pages, [(target, kind << t.GUEST_SHIFT | operand)], gap=gap)


def inside(*units, before=()):
    return check(as_guest(Trace.from_records([CPU], [op for unit in units for op in unit], list(before))))


MAPPED = t.mmap_unit(BASE, 8, 5)
CASES = {
    "mmap": (t.mmap_unit(BASE, 8, 5, t.SHARED, 3), guest(t.MMAP, BASE, 8, 5)),
    "a large mmap": (t.mmap_unit(0, 1 << 33, 1), guest(t.MMAP, 0, 1 << 33, 1)),
    "munmap": (t.paged_unit(t.MUNMAP, BASE, 8), guest(t.MUNMAP, BASE, 8)),
    "mprotect": (t.paged_unit(t.MPROTECT, BASE, 8, [(0, 1)], gap=7), guest(t.MPROTECT, BASE, 8, 1, gap=7)),
    "a move": (t.paged_unit(t.MREMAP, BASE, 4, [(2 * BASE, 4)]), guest(t.MREMAP, BASE, 4, target=2 * BASE)),
    "shrunk": (t.paged_unit(t.MREMAP, BASE, 4, [(BASE, 1)]), guest(t.MUNMAP, BASE + 0x1000, 3)),
    "grown": (t.paged_unit(t.MREMAP, BASE, 4, [(BASE, 6)]), guest(t.MMAP, BASE + 0x4000, 2, 5)),
    "moved and grown": (
        t.paged_unit(t.MREMAP, BASE, 4, [(2 * BASE, 6)]),
        [*guest(t.MREMAP, BASE, 4, target=2 * BASE), *guest(t.MMAP, 2 * BASE + 0x4000, 2, 5)],
    ),
    "moved and shrunk": (
        t.paged_unit(t.MREMAP, BASE, 4, [(2 * BASE, 1)]),
        [*guest(t.MUNMAP, BASE + 0x1000, 3), *guest(t.MREMAP, BASE, 1, target=2 * BASE)],
    ),
    "given back": (
        t.paged_unit(t.MADVISE, BASE + 0x4000, 8, [(0, t.DONTNEED)]),
        [*guest(t.MUNMAP, BASE + 0x4000, 4), *guest(t.MMAP, BASE + 0x4000, 4, 5)],
    ),
    "other advice": (t.paged_unit(t.MADVISE, BASE, 8, [(0, t.FREE)]), []),
    "a system call": ([(0, 3, 0, t.SYSCALL, 0)], []),
    "compute": ([(0, 3, 0, t.COMPUTE, 0)], [(0, 3, 0, t.COMPUTE, 0)]),
    "a fetch": ([(BASE + 5, 3, 2, t.FETCH, 0)], [(BASE + 5, 3, 2, t.READ, 0)]),
    "the end": ([(0, 0, 0, t.EXIT, 0)], guest(t.MUNMAP, BASE, 8)),
}  # fmt: skip


@pytest.mark.parametrize(("unit", "expected"), CASES.values(), ids=list(CASES))
def test_what_becomes_of(unit, expected):
    assert inside(unit, before=MAPPED) == expected


def test_the_break():
    before = [(BASE, 0, 0, t.BRK, 0)]
    up, down = [(BASE + 0x2001, 0, 0, t.BRK, 0)], [(BASE + 0x1000, 0, 0, t.BRK, 0)]
    assert inside(up, down, down, before=before) == [*guest(t.MMAP, BASE, 3, 3), *guest(t.MUNMAP, BASE + 0x1000, 2)]
    assert inside(up) == []


def test_halves_that_another_access_comes_between():
    crossing = [(BASE + 4090, 1, 0, t.FETCH, 0), (BASE + 4096, 1, 0, t.FETCH | t.CONTINUES, 0)]
    read = (BASE, 1, 0, t.READ, 0)
    assert [op[3] for op in inside(crossing)] == [t.READ, t.READ | t.CONTINUES]
    assert [op[3] for op in inside([crossing[0], read, crossing[1]])] == [t.READ] * 3


def test_the_host():
    trace = as_guest(Trace.from_records([CPU, GRU], [(BASE, 1, 0, t.READ, 1)], MAPPED), memory=(BASE, 1 << 20), vmm="qemu")
    assert [(agent.role, agent.space, agent.name) for agent in trace.agents] == [
        ("device", 0, "main"), ("device", 0, "gru"), ("cpu", 0, "qemu")]  # fmt: skip
    assert prelude(trace) == t.mmap_unit(BASE, 256, 3, agent=2)
    assert check(trace) == [(BASE, 1, 0, t.READ, 1)]
    assert prelude(as_guest(uniform(1))) == t.mmap_unit(0, 1 << 35, 3, agent=1)


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.booleans())
def test_accesses_stay(rng, events):
    trace = small_trace(rng, spaces=1, ends=False, only=PROGRAM)
    got = check(as_guest(trace, events=events))
    read = {t.FETCH: t.READ}
    accesses = [(*op[:3], read.get(op[3] & 63, op[3] & 63), op[4]) for op in records(trace) if op[3] & 63 in (0, 1, 2, 3, t.SYNC)]
    kept = [(*op[:3], op[3] & 63, op[4]) for op in got if op[3] not in (t.GUEST, t.ARG)]
    assert kept == accesses
    assert events or not any(op[3] == t.GUEST for op in got)
    assert {unit[0][3] & 63 for unit in group(got)} <= {t.READ, t.WRITE, t.COMPUTE, t.SYNC, t.GUEST}


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        (t.paged_unit(t.PUNCH, 0, 1, [(0, 1)]), "punch"),
        (t.paged_unit(t.MIGRATE, BASE, 1, [(0, 1)]), "migrate"),
        (guest(t.MUNMAP, BASE, 1), "guest"),
        ([(0, 0, 0, t.ATTACH, 0)], "attach"),
    ],
)
def test_what_has_no_counterpart_is_refused(unit, name):
    trace = Trace.from_records([CPU], [(BASE, 1, 0, t.READ, 0), *unit], name="x")
    with pytest.raises(TraceError, match=f"^x: record 1: as_guest: {name} has no counterpart in a guest$"):
        validate(as_guest(trace))
    assert check(as_guest(trace, events=False)) == [(BASE, 1, 0, t.READ, 0)]


def test_arguments_are_checked():
    with pytest.raises(TraceError, match=r"a guest has one address space here, the trace has 2"):
        as_guest(Trace.from_records([CPU, Agent("cpu", 1, "child")], []))
    with pytest.raises(TraceError, match="leave no room for the VMM"):
        as_guest(uniform(1, cpus=128))
    with pytest.raises(TraceError, match="memory must be whole pages of user memory, not 5 bytes from 0x0"):
        as_guest(uniform(1), memory=(0, 5))
