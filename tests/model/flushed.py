"""Small traces whose flushes and notices are counted: the oracle says how many, and the kernels must agree."""

from types import SimpleNamespace
from unittest import mock

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests import reference
from tests.model.cases import CPU, PAGE, check_conservation, check_frames, counted
from tests.reference.kvm import Kvm
from tests.support.equality import differences

AT = PAGE << 12
ELSEWHERE = mmap_unit(AT + (1 << 28), 1, 3)
"""A page of the same GiB: the tables above level 1 stay."""
GONE = (0, 0, 0, op.EXIT, 0)


def flushed(records, prelude, roles=(CPU,), preset="cpu-only", **settings):
    """(outcome, costs) of a small trace, on which the kernels agree."""
    machine = machines.preset(preset).with_(**{"cpu.count": 1, **{name.replace("__", "."): v for name, v in settings.items()}})
    trace = Trace.from_records([Agent(role, 0, f"agent {i}") for i, role in enumerate(roles)], list(records), list(prelude))
    outcome = reference.simulate(machine, trace, limit=200_000)
    check_conservation(outcome)
    check_frames(outcome.state)
    assert differences(machine, trace) == []
    return outcome, SimpleNamespace(**machine.costs())


def notices(records, prelude, **settings):
    """The ranges of start notices in order, in pages from PAGE, of one CPU with a vCPU that does nothing."""
    machine = machines.preset("kvm-ept-2024").with_(**{"cpu.count": 1, **{name.replace("__", "."): v for name, v in settings.items()}})
    trace = Trace.from_records([Agent("cpu", 0, "cpu"), Agent("device", 0, "vm")], list(records), list(prelude))
    told = []
    with mock.patch.object(Kvm, "invalidate_start", noting(told, Kvm.invalidate_start)):
        outcome = reference.simulate(machine, trace, limit=200_000)
    assert differences(machine, trace) == []
    assert outcome.counters[0]["notices.start"] == len(told)
    return told


def noting(told, original):
    def hook(design, row, space, first, last):
        told.append((first - PAGE, last - PAGE))
        yield from original(design, row, space, first, last)

    return hook


def flushes(outcome, row=0):
    got = counted(outcome, row)
    return {name.removeprefix("flushes."): got[name] for name in ("flushes.full", "flushes.ranged", "flushes.pages") if name in got}


def write(page, agent=0):
    return AT + (page << 12), 1, 0, op.WRITE, agent


def sync(agent=0):
    return 0, 0, 0, op.SYNC, agent


def advise(advice, page, pages, agent=0):
    return paged_unit(op.MADVISE, AT + (page << 12), pages, [(0, advice)], agent)


def unmap(page, pages, agent=0):
    return paged_unit(op.MUNMAP, AT + (page << 12), pages, (), agent)


def protect(prot, page, pages):
    return paged_unit(op.MPROTECT, AT + (page << 12), pages, [(0, prot)])
