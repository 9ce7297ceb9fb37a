"""Small cases for the tests of the oracle, and what must hold of every outcome."""

from collections import Counter
from types import SimpleNamespace

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests.reference.machine import simulate
from tests.reference.memory import HUGE, ZERO

PAGE = 0x10000
ADDRESS = PAGE << 12
CPU, DEVICE = "cpu", "device"
MAPPED = mmap_unit(ADDRESS, 8, 3)
"""A prelude: eight pages of anonymous memory."""


def check_conservation(outcome):
    end = max(outcome.clocks)
    total = Counter()
    for clock, counters, ledger in zip(outcome.clocks, outcome.counters, outcome.ledger, strict=True):
        assert clock == end == sum(ledger.values())
        assert min(ledger.values(), default=0) >= 0
        assert min(counters.values(), default=0) >= 0
        total.update(counters)
        first = {level: counters[f"cpu.{level}.hits"] + counters[f"cpu.{level}.misses"] for level in ("itlb", "dtlb")}
        assert counters["cpu.accesses"] == sum(first.values())
        misses = counters["cpu.itlb.misses"] + counters["cpu.dtlb.misses"]
        assert counters["cpu.stlb.hits"] + counters["cpu.stlb.misses"] == misses
        assert counters["device.accesses"] == counters["device.tlb.hits"] + counters["device.tlb.misses"]
        assert counters["notices.start"] == counters["notices.end"]
        assert counters["ipis.sent"] == counters["ipis.acked"]
    for kind, histogram in outcome.histograms.items():
        assert histogram["count"] == sum(histogram["buckets"].values()) > 0
        assert 0 <= histogram["min"] <= histogram["max"]
        if kind.startswith("op."):
            assert histogram["count"] == total[f"ops.{kind[3:]}"]
    notices, started = outcome.histograms.get("notice"), total["notices.start"]
    assert (notices["count"] if notices else 0) == started


def check_frames(state):
    """References are the ptes that map a frame, and one of the page cache."""
    expected = dict.fromkeys(state["cache"].values(), 1)
    for pfn, flags in state["ptes"].values():
        if not flags & ZERO:
            for frame in range(pfn, pfn + (512 if flags & HUGE else 1)):
                expected[frame] = expected.get(frame, 0) + 1
    assert state["refs"] == expected


def run(preset, roles, records, prelude=(), log=False, **settings):
    """(outcome, costs) of a small trace; roles are roles or (role, space)."""
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    machine = machines.preset(preset).with_(**{"cpu.count": 1, **changes})
    agents = [Agent(*(role if isinstance(role, tuple) else (role, 0)), f"agent {i}") for i, role in enumerate(roles)]
    trace = Trace.from_records(agents, list(records), list(prelude))
    outcome = simulate(machine, trace, limit=100_000, log=log)
    check_conservation(outcome)
    check_frames(outcome.state)
    return outcome, SimpleNamespace(**machine.costs())


def access(kind, agent=0, page=0, count=1, gap=0):
    return ADDRESS + (page << 12), count, gap, kind, agent


def sync(agent=0):
    return 0, 0, 0, op.SYNC, agent


def compute(n, agent):
    return 0, n, 0, op.COMPUTE, agent


def advise(advice, agent, pages=1):
    return paged_unit(op.MADVISE, ADDRESS, pages, [(0, advice)], agent)


def counted(outcome, row):
    return {name: n for name, n in outcome.counters[row].items() if n}


def booked(outcome, row):
    return {name: n for name, n in outcome.ledger[row].items() if n}
