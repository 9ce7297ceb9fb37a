"""Races: a range goes away, or a page is copied, between any two steps of a miss of the second agent.

When to begin is not guessed: a calm run tells the steps of a miss and their times, whatever the design (with the JIT off: a hook in the
engine's loop sees them). Rounds of a race put the arrival of the notice between each two of them.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any
from unittest import mock

from hwmodel import engine, op
from hwmodel.config.section import FREE
from hwmodel.machine import Machine
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests.contract.traces import PAGE, Case, access, compute, run, sync
from tests.support.designs import Design

PAGES = 4
"""Pages of the range that goes away; a miss in its last one finds what is a page short."""
FILE = PAGE + 0x40
HUGE = PAGE + 0x200 * 4
SLOW = 32
"""By how much costs are multiplied to make one side of a race the slower one."""
COMMON = ("clock.", "engine.", "cpu.", "memory.", "kernel.")
COPIES = 4


def races(design: Design, machine: Machine) -> Iterator[Case]:
    """On the machine as it is; with slow misses, into a step of which whole windows fit; with slow windows."""
    machine = machine.with_(**{"cpu.instruction_cycles": 1})
    yield with_huge_pages(machine), growing(design)
    for slow in (machine, slowed(machine, costs_of_misses(design, machine)), slowed(machine, costs_of_windows(machine))):
        yield slow, vanishing(design, slow)
        yield slow, copying(design, slow)


def slowed(machine: Machine, names: Iterable[str]) -> Machine:
    """The machine with some costs multiplied."""
    return machine.with_(**{name: int(machine.get(name) * SLOW) for name in names})


def costs_of_windows(machine: Machine) -> list[str]:
    """What the kernel takes longer for in a window."""
    return [name for name in costs(machine) if name.startswith(("kernel.clear", "kernel.table_scan", "kernel.notice", "kernel.shootdown"))]


def costs_of_misses(design: Design, machine: Machine) -> list[str]:
    """What the design, and the kernel for it, take longer for in a miss: of their costs those that lengthen no invalidation."""
    candidates = [name for name in costs(machine) if not name.startswith(COMMON) or name.startswith(("kernel.gup", "kernel.fault_ns"))]
    usual = time_of_advice(design, machine)
    return [name for name in candidates if time_of_advice(design, slowed(machine, [name])) == usual]


def costs(machine: Machine) -> list[str]:
    """The settings that are costs, and not free."""
    return [name for name, about in machine.provenance().items() if name.endswith(("_ns", "_cycles")) and about.value != FREE]


def time_of_advice(design: Design, machine: Machine) -> float:
    """Cycles of a madvise on pages that the second agent has in its tables."""
    records = [access(op.WRITE, 0, PAGE), sync(), access(op.READ, 2, PAGE), sync(), *vanish(PAGE)]
    return run(machine, Trace.from_records(agents(design), records, prelude())).latency("op.madvise").max


def agents(design: Design, *spaces: int) -> list[Agent]:
    """CPU 0 prepares and serves the device's interrupts, CPU 1 invalidates, the second agent misses; then further CPUs."""
    fixed = [Agent("cpu", 0, "cpu 0"), Agent("cpu", 0, "cpu 1"), Agent(design.second_role, 0, "second")]
    return fixed + [Agent("cpu", space, f"cpu of space {space}") for space in spaces]


def prelude() -> list[tuple[int, ...]]:
    """Anonymous memory, and behind it a shared file."""
    return mmap_unit(PAGE << op.PAGE_SHIFT, FILE - PAGE, 3) + mmap_unit(FILE << op.PAGE_SHIFT, PAGES, 3, op.SHARED_FILE, 1)


def miss_steps(design: Design, machine: Machine, written: bool) -> list[int]:
    """When the steps of a miss of the second agent are, from the moment on that all agents go on at once.

    It has missed nearby before: page tables of a guest, for instance, are mapped.
    """
    records = [access(op.WRITE, 0, PAGE + k) for k in range(PAGES)] if written else []
    records += [access(op.WRITE, 0, PAGE + PAGES), sync(), access(op.READ, 2, PAGE + PAGES), sync(1), access(op.READ, 2, PAGE)]
    steps: list[tuple[int, int]] = []
    earliest = engine.earliest

    def logged(m: Any) -> int:
        i = earliest(m)
        if i >= 0:
            steps.append((int(m.rows[i].agent), int(m.due[i])))
        return i

    with mock.patch.object(engine, "earliest", logged):
        run(machine, Trace.from_records(agents(design), records, prelude()), runahead=False)
    second = max(agent for agent, _ in steps)
    if design.second_role == "cpu":
        second = 2
    start = max(at for at, (agent, _) in enumerate(steps) if agent == 1)
    return sorted({due - steps[start][1] for agent, due in steps[start:] if agent == second})


def delays(design: Design, machine: Machine, written: bool) -> list[int]:
    """Instructions of CPU 1 before its madvise, so that the notice arrives between each two steps of the miss."""
    before = machine.costs()["syscall"] + machine.costs()["notice"]
    wanted = [first + (then - first) // 4 - before for first, then in pairwise(miss_steps(design, machine, written))]
    return sorted({max(1, cycles) for cycles in wanted})


def vanishing(design: Design, machine: Machine) -> Trace:
    """A range goes away while the second agent misses in its last page: a page that was mapped, one that was not, a file's.

    CPU 0 rests after it has prepared the pages: whom its notices interrupted is back when all go on at once.
    """
    records, rest = [], miss_steps(design, machine, True)[-1]
    for written in (True, False):
        for k, delay in enumerate(delays(design, machine, written)):
            first = FILE if k % 4 == 3 else PAGE
            last = first + PAGES - 1
            if written:
                records += [access(op.WRITE, 0, first), access(op.WRITE, 0, last), compute(rest, 0)]
            records += [sync(1), access(op.READ, 0, first), compute(delay, 0), access(op.READ, 0, last, 5)]
            records += [access(op.WRITE if k & 1 else op.READ, 2, last), access(op.READ, 2, first)]
            records += [compute(delay, 1), *vanish(first), sync(1)]
    return Trace.from_records(agents(design), records, prelude())


def vanish(first: int) -> list[tuple[int, ...]]:
    """CPU 1 has the range go away."""
    return paged_unit(op.MADVISE, first << op.PAGE_SHIFT, PAGES, [(0, op.DONTNEED)], 1)


def copying(design: Design, machine: Machine) -> Trace:
    """After a fork CPU 1 copies a page at its first write, while CPU 0 and the second agent read it, and then write to it too."""
    span = miss_steps(design, machine, True)[-1]
    records = [access(op.WRITE, 0, PAGE + k) for k in range(COPIES)]
    records += [(0, 1, 0, op.FORK, 0), sync()]
    for k in range(COPIES):
        page = PAGE + k
        records += [access(op.READ, 0, page), access(op.READ, 1, page), sync()]
        records += [compute(span * k // COPIES, 1), access(op.WRITE, 1, page)]
        records += [access(op.READ, 2, page, 2), access(op.WRITE, 2, page)]
        records += [compute(span * k // COPIES + 40 * k, 0), access(op.WRITE, 0, page, 3), sync(3)]
    return Trace.from_records(agents(design, 1), records, prelude())


def with_huge_pages(machine: Machine) -> Machine:
    """The machine with huge pages where they are advised, of a guest too."""
    guest = {"guest.page_size": "2M"} if "guest.page_size" in machine.flat() else {}
    return machine.with_(**{"kernel.thp": "madvise"}, **guest)


def changing(design: Design) -> Trace:
    """Without a race: the second agent goes back to the page that it accessed last, which is another one now, or none, or read-only."""
    where = PAGE << op.PAGE_SHIFT, 1
    changes = {
        "given up": vanish(PAGE), "replaced": [*paged_unit(op.MUNMAP, *where), *mmap_unit(*where, 3)],
        "not to be written": paged_unit(op.MPROTECT, *where, [(0, 1)]), "to be written": paged_unit(op.MPROTECT, *where, [(0, 3)]),
        "no longer dirty": paged_unit(op.MADVISE, *where, [(0, op.FREE)], 1), "shared": [(0, 1, 0, op.FORK, 0)],
        "copied": [access(op.READ, 0, PAGE), access(op.WRITE, 0, PAGE)],
    }  # fmt: skip
    records = []
    for change in changes.values():
        for kind in (op.READ, op.WRITE):
            if change[0][3] != op.FORK or kind == op.WRITE:
                records += [access(op.WRITE, 0, PAGE), access(kind, 2, PAGE), sync(), *change, sync(), access(kind, 2, PAGE), sync()]
    return Trace.from_records(agents(design, 1), records, mmap_unit(PAGE << op.PAGE_SHIFT, PAGES, 3))


def growing(design: Design) -> Trace:
    """What was a page of a table becomes part of a huge page, under the second agent, and then a page of a table again."""
    whole = HUGE << op.PAGE_SHIFT, 512
    records = [access(op.WRITE, 0, HUGE), sync(), access(op.READ, 2, HUGE), sync()]
    records += [*paged_unit(op.MUNMAP, *whole), *mmap_unit(*whole, 3), *paged_unit(op.MADVISE, *whole, [(0, op.HUGEPAGE)])]
    records += [access(op.WRITE, 0, HUGE), sync(), access(op.WRITE, 2, HUGE), access(op.READ, 2, HUGE + 5, 3), sync()]
    records += [access(op.READ, 2, HUGE + 5, 500), *vanish(HUGE + 8), access(op.READ, 1, HUGE + 8), access(op.WRITE, 2, HUGE + 7), sync()]
    return Trace.from_records(agents(design), records, mmap_unit(*whole, 3))
