"""Putting a recording together: its threads become agents, its accesses and calls records, in the recording's order.

Every reader of a recording that may have threads and system calls works like this::

    run = Assembly(source.name, "qemu", events)
    main = run.process("prog", pid=7)           # an agent in an address space of its own
    other = run.thread(main, "prog/1")          # another agent of that space
    ...                                         # a kernel appends accesses at run.batch.ops[run.batch.filled :]
    yield from run.flush()                      # when the batch is full
    run.call(other, 11, (address, length), 0)   # a system call of an agent, behind the accesses so far
    yield from run.finish()                     # at the end; then run.prelude() and run.about()

What a process uses though no recorded mapping covers it becomes memory that exists from the beginning.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from hwmodel import op
from workloads.coalesce import Coalescer
from workloads.readers.initial import Coverage, Layout, inferred_units, populated_units
from workloads.readers.syscalls import Files, Process, Unit

BATCH = 1 << 19  # records
COALESCED = "consecutive accesses of one kind to one page, by stream (fetches, data)"


class Batch:
    """Records that came in and have not gone on; kernels append to `ops` at `filled`."""

    def __init__(self) -> None:
        self.ops = np.empty(BATCH, op.OP)
        self.filled = 0

    @property
    def records(self) -> np.ndarray:
        """A view of the records so far."""
        return self.ops[: self.filled]

    def room(self) -> int:
        """How many more fit."""
        return self.ops.size - self.filled

    def append(self, unit: Unit) -> None:
        """Add a unit, for which there is room."""
        self.ops[self.filled : self.filled + len(unit)] = unit
        self.filled += len(unit)


class _Member:
    """One process of the recording: the state of its calls, its memory, its first agent."""

    def __init__(self, agent: int, calls: Process, coverage: Coverage, parent: "_Member | None") -> None:
        self.agent, self.calls, self.coverage, self.parent = agent, calls, coverage, parent
        self.exited = False


class Assembly:
    """One pass over a recording.

    Parameters
    ----------
    name : str
        The recording, for errors.
    format : str
        What it is, for `about`.
    events : bool
        Whether calls become records. If not, all pages that are used are in memory, with every right, from the start.
    watch : bool
        Whether to note what no known mapping covers: in the first pass; `prelude` needs it.
    """

    def __init__(self, name: str, format: str, events: bool = True, watch: bool = True) -> None:
        self.agents: list[op.Agent] = []
        self.batch = Batch()
        self.counts: Counter[str] = Counter()  # operations by name
        self.notes: Counter[str] = Counter()  # what else is worth saying
        self.files = Files()
        self._name, self._format, self._events, self._watch = name, format, events, watch
        self._members: list[_Member] = []
        self._member_of: list[_Member] = []
        self._listed: list[Unit] = []
        self._found: list[Unit] | None = None
        self._coalescer = Coalescer()

    def process(self, title: str) -> int:
        """A process that is there from the beginning; the number of its first agent."""
        coverage = Coverage(self._watch)
        return self._enter(title, Process(self.files, self.counts), coverage, None)

    def thread(self, agent: int, title: str) -> int:
        """Another thread of an agent's process; the number of its agent."""
        return self._admit(self._member_of[agent], self.agents[agent].space, title)

    def device(self, agent: int, title: str) -> int:
        """A device that shares an agent's address space; the number of its agent."""
        return self._admit(self._member_of[agent], self.agents[agent].space, title, role="device")

    def rename(self, agent: int, title: str) -> None:
        """An agent's name became known."""
        old = self.agents[agent]
        self.agents[agent] = op.Agent(old.role, old.space, title)

    def is_full(self) -> bool:
        """Whether there is no room for another process or thread."""
        return len(self.agents) == op.AGENTS

    def start(self, agent: int, layout: Layout) -> None:
        """The memory of an agent's process before its first record, as far as the recording lists it."""
        member = self._member_of[agent]
        self._listed += layout.units
        member.calls.start(layout.break_)
        member.coverage.start(layout.covered, layout.break_)

    def calls(self, agent: int) -> Process:
        """The state of the system calls of an agent's process."""
        return self._member_of[agent].calls

    def call(self, agent: int, number: int, args: Sequence[int], result: int, path: str | None = None) -> None:
        """A completed system call, as `Process.call` takes it; raises its ValueError."""
        if self._events:
            unit = self.calls(agent).call(agent, number, args, result, path)
            if unit is not None:
                self.operation(unit)

    def other_call(self, agent: int) -> None:
        """A system call that changes nothing that is modelled."""
        if self._events:
            self.operation(self.calls(agent).other(agent))

    def operation(self, unit: Unit) -> None:
        """Any operation, by its records; a system call right behind another of its agent joins that record."""
        if not self._events:
            return
        agent, batch = unit[0][4], self.batch
        if unit[0][3] == op.SYSCALL and batch.filled:
            last = batch.ops[batch.filled - 1]
            if last["kind"] == op.SYSCALL and last["agent"] == agent:
                last["count"] += 1
                return
        member = self._member_of[agent]
        member.coverage.follow(batch.records, unit, member.calls.initial_break)
        batch.append(unit)

    def fork(self, agent: int, title: str) -> int:
        """A fork by an agent; the number of the child's first agent, -1 if there is no room for it or events are left out."""
        if not self._events:
            return -1
        if self.is_full():
            self.notes["forks_left_out"] += 1
            self.operation([(0, 1, 0, op.SYSCALL, agent)])
            return -1
        parent = self._member_of[agent]
        parent.coverage.follow(self.batch.records)
        child = self._enter(title, parent.calls.child(), parent.coverage.fork(self.batch.filled), parent)
        self.counts["fork"] += 1
        self.batch.append([(0, self.agents[child].space, 0, op.FORK, agent)])
        return child

    def exit(self, agent: int) -> None:
        """The end of an agent's process; none of its records may follow."""
        member = self._member_of[agent]
        if self._events and not member.exited:
            member.exited = True
            member.coverage.follow(self.batch.records)
            self.counts["exit"] += 1
            self.batch.append([(0, 0, 0, op.EXIT, agent)])

    def is_short(self, records: int) -> bool:
        """Whether the batch lacks room for so many records: then `flush`."""
        return self.batch.room() < records

    def flush(self) -> Iterator[np.ndarray]:
        """Let the batch go on: coalesced records, as far as they can no longer change."""
        for member in self._members:
            member.coverage.follow(self.batch.records)
            member.coverage.rewind()
        done = self._coalescer.push(self.batch.records)
        self.batch.filled = 0
        if done.size:
            yield done

    def finish(self) -> Iterator[np.ndarray]:
        """The rest; processes that have ended without their exit being recorded exit."""
        if self.is_short(op.AGENTS):
            yield from self.flush()
        for member in self._members:
            if member.calls.ended:
                self.exit(member.agent)
        yield from self.flush()
        rest = self._coalescer.finish()
        if rest.size:
            yield rest

    def prelude(self) -> np.ndarray:
        """After a whole pass that watched: the memory that existed before the first record."""
        units = [*self._listed, *self._inferred()]
        for member in self._roots():
            if member.calls.initial_break is not None:
                units.append([(member.calls.initial_break, 0, 0, op.BRK, member.agent)])
        return op.as_records(record for unit in units for record in unit)

    def about(self, listed: str = "listed") -> dict[str, Any]:
        """After a whole pass: what a trace's `info` says of it."""
        return {
            "format": self._format,
            "coalesced": COALESCED,
            "initial_vmas": {listed: len(self._listed), "inferred_from_use": len(self._inferred())},
            **self.notes,
            "operations": dict(sorted(self.counts.items())) if self._events else "left out",
        }

    def _inferred(self) -> list[Unit]:
        if self._found is None:
            self._found = []
            for member in self._roots():
                uses, agent = member.coverage.uses, member.agent
                self._found += inferred_units(uses, self.files, agent) if self._events else populated_units(uses, agent)
        return self._found

    def _roots(self) -> Iterable[_Member]:
        """The processes that were not forked within the recording: what a child uses its parent had."""
        return [member for member in self._members if member.parent is None]

    def _enter(self, title: str, calls: Process, coverage: Coverage, parent: _Member | None) -> int:
        member = _Member(len(self.agents), calls, coverage, parent)
        agent = self._admit(member, len(self._members), title)
        self._members.append(member)
        return agent

    def _admit(self, member: _Member, space: int, title: str, role: Any = "cpu") -> int:
        agent = len(self.agents)
        if self.is_full():
            raise op.TraceError(f"{self._name}: more than {op.AGENTS} threads and processes")
        self.agents.append(op.Agent(role, space, title))
        self._member_of.append(member)
        member.coverage.admit(agent)
        self._coalescer.admit(agent, space)
        return agent
