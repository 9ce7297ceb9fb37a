"""The rules of the contract, a function each: called with a design, it raises `Broken`, with the rule's name, if the design breaks it.

`AUDITED` must run with the JIT off, the others may; what `COMPILED` look at is there only with the JIT on.
"""

import itertools
import pickle
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import numpy as np

from hwmodel import feed, jit, op, simulate
from hwmodel import run as driver
from hwmodel.machine import Machine
from hwmodel.measure.result import AccountingError
from hwmodel.trace import Trace
from tests.audit import kept
from tests.audit.tables import frames_apart
from tests.audit.watch import Audit, Broken
from tests.contract import objects
from tests.contract.alone import digest, run_alone
from tests.contract.crowds import crowds
from tests.contract.races import changing, races
from tests.contract.traces import Case, lone_agent, long_case, random_cases, run
from tests.support.designs import Design

ENTRIES = (feed.feed, feed.load_spaces, feed.declare, feed.populate)
"""The kernels that Python calls beside a design's `run`."""


def demand(holds: bool, rule: str, what: str) -> None:
    """A rule of the contract."""
    if not holds:
        raise Broken(rule, what)


# with the JIT off


def audited(audit: Audit, cases: Iterable[Case]) -> Audit:
    """Run cases under an auditor; it must have seen the runs."""
    build = driver.build

    def build_apart(*arguments: Any) -> tuple[Any, Any, Any]:
        m, dev, row_of = build(*arguments)
        frames_apart(m)
        return m, dev, row_of

    for machine, trace in cases:  # which may take runs to make, that nobody watches
        audit.begin(len(trace) + accesses_of(trace))  # an engine's turn for each access
        with mock.patch.object(driver, "build", build_apart), audit.watching():
            result = kept(machine, trace, audit.at_the_end, runahead=False).result
        accesses = result.counters["cpu.accesses"] + result.counters["device.accesses"]
        hit = accesses > result.counters["device.tlb.misses"]  # a miss of an engine is its request's
        assert audit.steps > 0 and (audit.hits > 0 or not hit), "the auditor saw nothing of the run"
    return audit


def plain_cases(design: Design) -> Iterator[Case]:
    """Each access for itself, also where looking again is free: a run that never ends is found out here."""
    for machine in (design.machine, design.machine.with_(**{"cpu.stlb.hit_cycles": "free"})):
        yield machine, lone_agent(design, 12)
    yield design.machine, changing(design)


def all_races(design: Design) -> Iterator[Case]:
    """The races on every preset."""
    for machine in design.machines:
        yield from races(design, machine)


def step_by_step(design: Design, *wanted: str, at_once: bool = True) -> Audit:
    """Look for breaches of these rules in the plainest cases, in races on every preset, and in random cases."""
    audit = Audit(design, wanted, at_once)
    audited(audit, plain_cases(design))
    if audit.subscribed and not audit.notices:
        audit.report("windows_are_empty", ["no notice was ever delivered"])
    return audited(audit, itertools.chain(all_races(design), random_cases(design, range(8), 60)))


def never_stale(design: Design) -> None:
    """1: a translation is the page table's, or a flush of it is on its way; it never names a frame that was freed."""
    step_by_step(design, "never_stale")


def windows_are_empty(design: Design) -> None:
    """3: once a start notice has returned, the design maps nothing of its range until the end notice comes."""
    step_by_step(design, "windows_are_empty")


def complete_when_allowed(design: Design) -> None:
    """12: an access is complete, wherever that is, only when the page table allows it; without a right, only when no VMA does."""
    step_by_step(design, "complete_when_allowed")


def no_data_in_flight(design: Design) -> None:
    """15: when a start notice has returned, no data of its range are in flight; when a frame is freed, none of it."""
    step_by_step(design, "no_data_in_flight")


def tables_agree(design: Design) -> None:
    """13: page tables, frames, reverse map, VMAs and the design's own tables say the same; no private page in two places is writable."""
    step_by_step(design, "tables_agree")


# in either way


def books_balance(design: Design) -> None:
    """2: hits and misses are accesses at each level, accounts are clocks, starts have ends, IPIs answers; every access was counted."""
    for machine, trace in random_cases(design, range(100, 112 if jit.JIT_OFF else 125), 100):
        try:
            result = run(machine, trace)
            result.check()
        except AccountingError as error:
            raise Broken("books_balance", str(error)) from None
        counted = result.counters["cpu.accesses"] + result.counters["device.accesses"]
        demand(counted == accesses_of(trace), "books_balance", f"{counted} accesses are counted of {accesses_of(trace)}")


def accesses_of(trace: Trace) -> int:
    """The accesses of a trace: one of a CPU that crosses into a second page is a record more, but no access more."""
    device = np.array([agent.role == "device" for agent in trace.agents])
    total = 0
    for ops in trace.chunks():
        is_access = ops["kind"] & ~op.CONTINUES <= op.FETCH
        second_half = (ops["kind"] & op.CONTINUES != 0) & ~device[ops["agent"]]
        total += int(ops["count"][is_access & ~second_half].sum())
    return total


def same_bits(design: Design) -> None:
    """4: the same case gives the same bits: again, and in two threads at once that share the trace."""
    for case in random_cases(design, range(200, 203 if jit.JIT_OFF else 206), 100):
        once = digest(run(*case))
        others = {digest(run(*case)), *in_threads(case)}
        demand(others == {once}, "same_bits", f"{len(others | {once})} outcomes of one case")


def in_threads(case: Case) -> list[str]:
    """A case in two threads (where they run at once, twice in each), digested; filters of warnings are everybody's, and set before."""
    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        warnings.simplefilter("ignore")
        return [digest(result) for result in pool.map(lambda _: simulate(*case, progress=False), range(2 if jit.JIT_OFF else 4))]


def nothing_else_changes_results(design: Design) -> None:
    """14: who runs ahead, how many records are read at a time, and how large tables begin changes no bit.

    With the JIT off also where a look that is taken too early would be another one.
    """
    for case in crowds(design) if jit.JIT_OFF else ():
        same_with(case, {"runahead": False})
    for case in random_cases(design, range(500, 505 if jit.JIT_OFF else 530), 60):
        same_with(case, {"runahead": False}, {"chunk": 1, "capacity": 1}, {"chunk": 7})


def same_with(case: Case, *others: dict[str, Any]) -> None:
    """The outcome is the usual one with other options, too."""
    usual = digest(run(*case))
    for options in others:
        said = ", ".join(f"{name} {value}" for name, value in options.items())
        demand(digest(run(*case, **options)) == usual, "nothing_else_changes_results", f"with {said} it ends otherwise")


def checkpoints(design: Design) -> None:
    """5: the tables are all there is: pickled and unpickled whenever the engine stops, the run goes on as if it had not stopped."""
    original, stops = design.module.run, 0

    def resumed(m: Any, dev: Any) -> int:
        nonlocal stops
        stops += 1
        copies = pickle.loads(pickle.dumps((m, dev)))
        why = original(*copies)
        for mine, theirs in zip((*m, *dev), (*copies[0], *copies[1]), strict=True):
            mine[...] = theirs
        return why

    for machine, trace in random_cases(design, range(300, 306), 100):
        straight = digest(run(machine, trace))
        with mock.patch.object(design.module, "run", resumed):
            stops = 0
            demand(digest(run(machine, trace, chunk=8)) == straight, "checkpoints", "a run that was resumed ends otherwise")
        assert stops > 3, "the engine never stopped"


def large_is_no_worse(design: Design) -> None:
    """10: where nothing is evicted, nothing misses more often than with small TLBs, and no cycle is lost.

    An agent alone, one access at a time; walks go through caches that keep what they read, so that each one saved saves cycles; and the
    dirty bit is free: a small TLB may evict an entry before the first write through it, whose walk then sets the bit by the way.
    """
    trace, role = lone_agent(design, 150 if jit.JIT_OFF else 400), design.second_role
    for machine in design.machines:
        preset = machine.name
        large, names = roomy(machine, 64)
        best = run(large, trace)
        for smaller in (names, *((name,) for name in names)):
            result = run(shrunk(large, smaller), trace)
            misses = {name: (best.counters[name], n) for name, n in result.counters.items() if name.endswith(".misses")}
            worse = {name: pair for name, pair in misses.items() if pair[0] > pair[1]}
            demand(not worse, "large_is_no_worse", f"{preset}: misses (large, small {smaller}): {worse}")
            demand(best.cycles <= result.cycles, "large_is_no_worse",
                   f"{preset}, {role}: {best.cycles} cycles, with small {', '.join(smaller)} {result.cycles}")  # fmt: skip


def roomy(machine: Machine, entries: int) -> tuple[Machine, tuple[str, ...]]:
    """The machine with room for everything, wherever there are entries; and where that is."""
    names = tuple(name for name in machine.flat() if name.endswith("entries"))
    ways = [name.removesuffix("entries") + "ways" for name in names]
    lines = {f"memory.{level}.{of}": 4096 if of == "lines" else 64 for level in ("l1", "l2", "llc") for of in ("lines", "ways")}
    return machine.with_(**dict.fromkeys((*names, *ways), entries), **lines, **{"cpu.assist_cycles": "free"}), names


def shrunk(machine: Machine, names: Iterable[str]) -> Machine:
    """The machine with two entries there."""
    return machine.with_(**{n: 2 for name in names for n in (name, name.removesuffix("entries") + "ways")})


# with the JIT on


def jit_changes_nothing(design: Design) -> None:
    """6: 2,000 records give the same bits with the JIT off."""
    case = long_case(design.name)
    assert len(case[1]) >= 2000
    outcome = run_alone(design.name, jit_off=True)
    assert outcome["jit_off"], "the other process should have had the JIT off"
    demand(outcome["digest"] == digest(run(*case)), "jit_changes_nothing", "2,000 records end otherwise without it")


def numbers_compile_nothing(design: Design) -> None:
    """7: new geometry, new costs, other traces: nothing is compiled for them."""
    kernels = (design.module.run, *ENTRIES)
    run(*next(random_cases(design, range(1), 20)))
    before = [(len(kernel.signatures), sum(kernel.stats.cache_misses.values())) for kernel in kernels]
    for machine in design.machines:
        run(machine, lone_agent(design))
        run(roomy(machine, 32)[0], lone_agent(design))
    for machine, trace in random_cases(design, range(400, 408), 60):
        run(machine, trace, capacity=1, chunk=16)
    after = [(len(kernel.signatures), sum(kernel.stats.cache_misses.values())) for kernel in kernels]
    same = [now[0] == 1 if not then[0] else now == then for then, now in zip(before, after, strict=True) if now[0]]
    demand(all(same), "numbers_compile_nothing", f"(signatures, compiled) of run and feed's kernels: {before}, then {after}")
    demand(after[0][0] == 1, "numbers_compile_nothing", f"run has {after[0][0]} signatures")


def counts_no_references(design: Design) -> None:
    """8: the machine code of `run` counts no references: that made it four to nine times slower."""
    run(*next(random_cases(design, range(1), 20)))
    demand(not objects.counts_references(design.module.run), "counts_no_references", "run calls NRT_incref or NRT_decref")


def second_process_is_warm(design: Design) -> None:
    """9: what one process has compiled the next one loads, and it computes the same."""
    mine = digest(run(*long_case(design.name)))
    outcome = run_alone(design.name, jit_off=jit.JIT_OFF)
    loaded = outcome["hits"], outcome["misses"]
    demand(loaded == (1, 0), "second_process_is_warm", f"(loaded, compiled) is {loaded}")
    demand(outcome["digest"] == mine, "second_process_is_warm", "it ends otherwise")


AUDITED = (never_stale, windows_are_empty, complete_when_allowed, no_data_in_flight, tables_agree)
COMPILED = (jit_changes_nothing, numbers_compile_nothing, counts_no_references, second_process_is_warm)
EITHER = (books_balance, same_bits, nothing_else_changes_results, checkpoints, large_is_no_worse)
