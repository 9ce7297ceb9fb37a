"""Traces run one after the other."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.compose.mappings import CHANGING, Memory, units
from workloads.compose.numbering import Numbers, ends, finished, joined, renamed, side_by_side, spaces_apart
from workloads.compose.seam import Records, seam_units

FOLLOWED = (*CHANGING, op.FORK, op.EXIT)


def concatenate(
    traces: Sequence[Trace], spaces: Literal["same", "new"] = "same", fresh: bool = False, same_files: bool = False
) -> Trace:
    """Let several traces run one after the other.

    A SYNC at the seam separates all records before it from all after it. With the same address spaces, operations
    after the SYNC change each space of the later trace to that trace's initial memory: other mappings are
    unmapped, missing ones are mapped, and mappings that both have stay, with their pages in memory: a repeated trace
    goes on warm. The space's first CPU agent issues these operations. POPULATE only exists in initial memory: pages
    mapped at the seam are not in memory but fault at their first use. The program break moves to the later trace's initial
    one, or back to the space's first one.

    Parameters
    ----------
    traces : sequence of Trace
        At least one.
    spaces : "same" or "new"
        "same": the later trace goes on in the spaces of the same numbers: its k-th agent of a role and space is the k-th agent
        of that role and space of those before; further agents are new. "new": it has agents and spaces of its
        own, whose initial memory exists from the very beginning.
    fresh : bool
        Unmap everything at the seam, so that nothing stays warm.
    same_files : bool
        Merge files with the same number; by default no trace maps a file of another's.

    Returns
    -------
    Trace
        Lazy. A trace without records, except the first, leaves no seam.

    Raises
    ------
    TraceError
        If there are too many agents; from the iteration, if an address space has exited or was forked and a later
        trace continues in it or forks into it, or if a seam needs operations in a space that has no CPU agent.
    """
    traces = tuple(traces)
    if not traces:
        raise op.TraceError("concatenate: no trace")
    info = ends(traces) | {"concatenate": {"spaces": spaces, "fresh": fresh, "traces": [trace.info for trace in traces]}}
    return _sequence("concatenate", traces, spaces, fresh, same_files, info)


def repeat(trace: Trace, times: int, spaces: Literal["same", "new"] = "same", fresh: bool = False) -> Trace:
    """Let a trace run several times, like `concatenate`; its files are the same each time.

    Raises
    ------
    TraceError
        If `times` is below 1, or as for `concatenate`.
    """
    if times < 1:
        raise op.TraceError(f"repeat: times must be at least 1, not {times}")
    info = trace.info | {"repeat": {"times": times, "spaces": spaces, "fresh": fresh}}
    return _sequence("repeat", (trace,) * times, spaces, fresh, True, info)


def _sequence(what: str, traces: Sequence[Trace], spaces: str, fresh: bool, same_files: bool, info: dict) -> Trace:
    if spaces not in ("same", "new"):
        raise op.TraceError(f"{what}: spaces must be 'same' or 'new', not {spaces!r}")
    sizes = [trace.known_size for trace in traces]
    known: Sequence[int | None] = (None, None)
    if all(sizes) and (spaces == "new" or len(traces) == 1):
        seams = sum(size[0] > 0 for size in sizes[1:] if size)
        known = sum(size[0] for size in sizes if size) + seams, sum(size[1] for size in sizes if size)
    name = traces[0].name if len(set(traces)) == 1 else f"{what}({', '.join(trace.name or '?' for trace in traces)})"
    if spaces == "new":
        numbers = side_by_side(what, traces, spaces_apart(traces), same_files)
        prelude = joined(own.prelude() for own in numbers)
        return finished(Trace(renamed(numbers), functools.partial(_behind, numbers), prelude, info, name, *known))
    agents, numbers = _matched(what, traces, same_files)
    source = functools.partial(_chained, what, agents, numbers, fresh)
    return finished(Trace(agents, source, joined(_first_memory(agents, numbers)), info, name, *known))


def _matched(what: str, traces: Sequence[Trace], same_files: bool) -> tuple[list[op.Agent], list[Numbers]]:
    """Return the agents of traces that share them, and each trace's numbers for them."""
    agents: list[op.Agent] = []
    numbers: list[Numbers] = []
    known: dict[int, Numbers] = {}
    for place, trace in enumerate(traces):
        if same_files and id(trace) in known:
            numbers.append(known[id(trace)])
            continue
        free, mine = list(range(len(agents))), []
        for agent in trace.agents:
            fits = (i for i in free if (agents[i].role, agents[i].space) == (agent.role, agent.space))
            number = next(fits, len(agents))
            if number == len(agents):
                agents.append(agent)
            else:
                free.remove(number)
            mine.append(number)
        if len(agents) > op.AGENTS:
            raise op.TraceError(f"{what}: {len(agents)} agents; a trace has at most {op.AGENTS}")
        known[id(trace)] = Numbers(trace, mine, {}, (1, 0) if same_files else (len(traces), place))
        numbers.append(known[id(trace)])
    return agents, numbers


def _first_memory(agents: Sequence[op.Agent], numbers: Sequence[Numbers]) -> Iterator[np.ndarray]:
    """Yield the initial memory of each space, from the first trace that has the space."""
    space_of = np.array([agent.space for agent in agents])
    seen: set[int] = set()
    for own in dict.fromkeys(numbers):
        prelude = own.prelude()
        yield prelude[~np.isin(space_of[prelude["agent"]], list(seen))]
        seen |= {agent.space for agent in own.trace.agents}


def _behind(numbers: Sequence[Numbers]) -> Iterator[np.ndarray]:
    """Yield the traces' records one after the other, with spaces of their own."""
    for place, own in enumerate(numbers):
        chunks = own.chunks()
        first = next(chunks, None)
        if first is not None:
            if place:
                yield op.as_records([(0, 0, 0, op.SYNC, int(first["agent"][0]))])
            yield from itertools.chain([first], chunks)


def _chained(what: str, agents: Sequence[op.Agent], numbers: Sequence[Numbers], fresh: bool) -> Iterator[np.ndarray]:
    """Yield the traces' records one after the other, in the same spaces."""
    state = _State(what, agents)
    for prelude in _first_memory(agents, numbers):
        state.follow(prelude)
    for place, own in enumerate(numbers):
        chunks = own.chunks()
        first = next(chunks, None)
        if first is None:
            continue
        if place:
            seam = state.seam(own, first, place, fresh)
            state.follow(seam)
            yield seam
        for chunk in itertools.chain([first], chunks):
            state.check(own, chunk, place)
            state.follow(chunk)
            yield chunk


class _State:
    """The address spaces so far: their mappings, those in use, those that have exited."""

    def __init__(self, what: str, agents: Sequence[op.Agent]) -> None:
        self._what, self._agents = what, agents
        self._space_of = np.zeros(op.AGENTS, np.int64)
        self._space_of[: len(agents)] = [agent.space for agent in agents]
        self._memory: dict[int, Memory] = {}
        self._exited: set[int] = set()
        self._barred: set[int] = set()  # exited before this trace
        self._begun: set[int] = set()  # in use before this trace: no agent may fork into them

    def follow(self, ops: np.ndarray) -> None:
        """Apply the operations among checked records."""
        for agent in np.flatnonzero(np.bincount(ops["agent"], minlength=1)).tolist():
            self._memory.setdefault(self._agents[agent].space, Memory())
        for _, unit in units(ops, FOLLOWED):
            space = int(self._space_of[unit["agent"][0]])
            if unit["kind"][0] == op.FORK:
                self._memory[int(unit["count"][0])] = self._memory[space].copy()
            elif unit["kind"][0] == op.EXIT:
                self._exited.add(space)
                self._memory[space] = Memory()
            else:
                self._memory[space].apply(unit)

    def check(self, own: Numbers, ops: np.ndarray, place: int) -> None:
        """Refuse records of a later trace that run in or fork into spaces that can't be used."""
        if place and self._barred and np.isin(self._space_of[ops["agent"]], list(self._barred)).any():
            used = set(self._space_of[ops["agent"]].tolist())
            self._refuse(own, min(used & self._barred), place, "has exited and can't go on")
        if place:
            for child in set(ops["count"][ops["kind"] == op.FORK].tolist()) & self._begun:
                self._refuse(own, child, place, "was in use, so nobody can fork into it")

    def seam(self, own: Numbers, first: np.ndarray, place: int, fresh: bool) -> np.ndarray:
        """Return the records between the traces so far and the next one, which begins with `first`."""
        self._barred, self._begun = set(self._exited), set(self._memory)
        self.check(own, first, place)
        wanted: dict[int, Memory] = {}
        prelude = own.prelude()
        for _, unit in units(prelude, CHANGING):
            wanted.setdefault(int(self._space_of[unit["agent"][0]]), Memory()).apply(unit)
        if self._barred & wanted.keys():
            self._refuse(own, min(self._barred & wanted.keys()), place, "has exited and can't go on")
        records = [(0, 0, 0, op.SYNC, int(first["agent"][0]))]
        for space in dict.fromkeys(agent.space for agent in own.trace.agents):
            if (space in self._memory and space not in self._exited) or space in wanted:
                records += self._change(own, space, wanted.get(space, Memory()), place, fresh)
        return op.as_records(records)

    def _change(self, own: Numbers, space: int, wanted: Memory, place: int, fresh: bool) -> Records:
        cpus = (i for i, agent in enumerate(self._agents) if agent.space == space and agent.role == "cpu")
        agent = next(cpus, -1)
        records = seam_units(self._memory.get(space, Memory()), wanted, max(agent, 0), fresh)
        if records and agent < 0:
            self._refuse(own, space, place, "has no CPU agent to change what is mapped")
        return records

    def _refuse(self, own: Numbers, space: int, place: int, why: str) -> None:
        names = ", ".join(agent.name for agent in self._agents if agent.space == space)
        trace = f"trace {place}{f' ({own.trace.name})' if own.trace.name else ''}"
        raise op.TraceError(
            f"{self._what}: at {trace}, address space {space} ({names}) {why}: "
            "give the traces spaces='new', or leave the exits out with select()"
        )
