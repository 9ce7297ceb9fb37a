"""Crowds: two windows open at once, and each time that a step of theirs changes something, two more agents look it up a cycle later.

Who runs ahead too far has taken that look before the change, and counts a hit where in strict order there is a miss. So they take small
steps before it, each within the row's reach of the next: from one of them the look is in reach of a step that comes before it. Each page
is looked up once only: the total would be the same if the next look missed instead. When the changes come is not guessed: a calm run, in
which nobody looks, tells the steps after which page tables, TLBs, or the two agents' clocks are other ones (with the JIT off: a hook
sees the steps).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from unittest import mock

from hwmodel import engine, op
from hwmodel.build import build
from hwmodel.machine import Machine
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests.contract.traces import PAGE, Case, access, compute, run, sync
from tests.support.designs import Design

APART = 16
"""Pages from a round's to the next one's."""
FIRST, SECOND = (0, 1), (8, 9)
"""A round's pages: those that CPU 1 gives up, and those of CPU 0."""
LOOKING, STARTER = (2, 3), 4
"""Agents: each of two looks at either CPU's pages in turn, and one begins a round."""
LATE = 100
"""Cycles by which CPU 0 is later: its notice arrives while CPU 1's is being delivered."""
AFTER = 10**7
"""Cycles after which a calm round is over."""
STEPS = 12
"""Steps before a look, over three times the reach."""


def crowds(design: Design) -> Iterator[Case]:
    """On the machine as it is; where notices and the kernel's broadcasts take long, so that only the design's reach keeps agents back."""
    usual = design.machine.with_(**{"cpu.instruction_cycles": 1, "cpu.count": 4})
    slow = usual.with_(**{"kernel.notice_ns": 50_000, "kernel.shootdown.kind": "bau", "kernel.shootdown.bau_ns": 50_000})
    for machine, advice, kind in ((usual, op.DONTNEED, op.READ), (usual, op.FREE, op.WRITE), (slow, op.DONTNEED, op.READ)):
        times = changes(design, machine, advice, kind)
        yield machine, trace(design, machine, advice, kind, times)


def changes(design: Design, machine: Machine, advice: int, kind: int) -> list[int]:
    """When a step of a round changes something, from the round's beginning on."""
    seen: list[tuple[int, int, tuple[Any, ...]]] = []
    earliest = engine.earliest

    def logged(m: Any) -> int:
        i = earliest(m)
        if i >= 0:
            clocks = m.rows["clock"][looking].tolist()
            seen.append((i, int(m.due[i]), (m.nodes.tobytes(), m.ways["tag"].tobytes(), *clocks)))
        return i

    calm = trace(design, machine, advice, kind, [])
    _, _, row_of = build(machine, design.module, calm.agents)
    looking = [int(row_of[agent]) for agent in LOOKING]
    with mock.patch.object(engine, "earliest", logged):
        run(machine, calm, runahead=False)
    begin = max(due for i, due, _ in seen if i == int(row_of[STARTER]))
    changed = ((i, due - begin) for (i, due, before), (_, _, after) in pairwise(seen) if before != after)
    return sorted({time for i, time in changed if i not in looking and 0 <= time < AFTER})


def trace(design: Design, machine: Machine, advice: int, kind: int, times: list[int]) -> Trace:
    """Two rounds for each of these times, at which the two agents look; or a calm one."""
    agents = [Agent("cpu", 0, "cpu 0"), Agent("cpu", 0, "cpu 1")]
    agents += [Agent(design.second_role, 0, f"looks {agent}") for agent in LOOKING] + [Agent("cpu", 0, "starter")]
    m, _, row_of = build(machine, design.module, tuple(agents))
    reach = int(m.rows["reach"][row_of[2]])
    records: list[tuple[int, ...]] = []
    rounds = [(time, *pages) for time in times or [AFTER] for pages in ((FIRST, SECOND), (SECOND, FIRST))]
    for k, (time, *seen) in enumerate(rounds if times else rounds[:1]):
        first = PAGE + k * APART
        records += [access(kind, agent, first + page) for agent, pages in zip(LOOKING, seen, strict=True) for page in pages]
        records += [sync(STARTER), *advise(advice, first + FIRST[0], 1), compute(LATE, 0), *advise(advice, first + SECOND[0], 0)]
        for agent, pages in zip(LOOKING, seen, strict=True):
            records += [compute(cycles, agent) for cycles in steps_to(time + 1, reach) if cycles > 0]
            records += [access(kind, agent, first + page) for page in pages]
        records += [sync(STARTER)] if times else []
    return Trace.from_records(agents, records, mmap_unit(PAGE << op.PAGE_SHIFT, APART * len(rounds), 3, populate=True))


def steps_to(time: int, reach: int) -> list[int]:
    """Cycles of computation that end at `time`: small steps at the end."""
    each = min(time, 3 * reach) // STEPS
    return [time - each * STEPS, *[each] * STEPS]


def advise(advice: int, page: int, agent: int) -> list[tuple[int, ...]]:
    """Advice on two pages."""
    return paged_unit(op.MADVISE, page << op.PAGE_SHIFT, 2, [(0, advice)], agent)
