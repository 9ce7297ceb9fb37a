"""Assembly of a recording: its threads become agents, its accesses and calls become records, in the recording's order.

Every reader of a recording that may have threads and system calls works like this::

    run = Assembly(source.name, "qemu", events)
    main = run.process("prog", pid=7)           # an agent in an address space of its own
    other = run.thread(main, "prog/1")          # another agent of that space
    ...                                         # a kernel appends accesses at run.batch.ops[run.batch.filled :]
    yield from run.flush()                      # when the batch is full
    run.call(other, 11, (address, length), 0)   # a system call of an agent, after the accesses so far
    yield from run.finish()                     # at the end; then run.prelude() and run.about()

Memory that a process uses but no recorded mapping covers exists from the beginning.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from hwmodel import op
from workloads.coalesce import Coalescer
from workloads.formats.initial import Coverage, Layout, inferred_units, populated_units
from workloads.formats.syscalls import Files, Process, Unit

BATCH = 1 << 19  # records
LONGEST, SPANS = 15 * op.PAGE, 16
"""The longest access that a recording may have, in bytes, and how many pages it may lie in."""
COALESCED = "consecutive accesses of one kind to one page, by stream (fetches, data)"


class Batch:
    """Records that have come in and not been passed on; kernels append to `ops` at `filled`."""

    def __init__(self) -> None:
        self.ops = np.empty(BATCH, op.OP)
        self.filled = 0

    @property
    def records(self) -> np.ndarray:
        """Return a view of the records so far."""
        return self.ops[: self.filled]

    def room(self) -> int:
        """Return the number of records that still fit."""
        return self.ops.size - self.filled

    def append(self, unit: Unit) -> None:
        """Append a unit; there must be room for it."""
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
        Name of the recording, for error messages.
    format : str
        Name of the format, for `about`.
    events : bool
        Whether calls become records. If not, all used pages are in memory, with every right, from the start.
    watch : bool
        Whether to note used pages that no known mapping covers: for the first pass; `prelude` needs it.
    """

    def __init__(self, name: str, format: str, events: bool = True, watch: bool = True) -> None:
        self.agents: list[op.Agent] = []
        self.batch = Batch()
        self.counts: Counter[str] = Counter()  # operations by name
        self.notes: Counter[str] = Counter()  # other counts worth reporting, by name
        self.files = Files()
        self._user_end, self._highest = op.USER_END, 0
        self._name, self._format, self._events, self._watch = name, format, events, watch
        self._members: list[_Member] = []
        self._member_of: list[_Member] = []
        self._listed: list[Unit] = []
        self._found: list[Unit] | None = None
        self._coalescer = Coalescer()

    def process(self, title: str) -> int:
        """Add a process that exists from the beginning; return the number of its first agent."""
        coverage = Coverage(self._watch)
        calls = Process(self.files, self.counts)
        calls.user_end = self._user_end
        return self._enter(title, calls, coverage, None)

    def reach(self, user_end: int) -> None:
        """Take addresses up to there; `about` says where the user memory ends that is used, if not at 2^47."""
        self._user_end = user_end
        for member in self._members:
            member.calls.user_end = user_end

    def thread(self, agent: int, title: str) -> int:
        """Add another thread of an agent's process; return the number of its agent."""
        return self._admit(self._member_of[agent], self.agents[agent].space, title)

    def device(self, agent: int, title: str) -> int:
        """Add a device that shares an agent's address space; return the number of its agent."""
        return self._admit(self._member_of[agent], self.agents[agent].space, title, role="device")

    def rename(self, agent: int, title: str) -> None:
        """Change an agent's name, when it becomes known."""
        old = self.agents[agent]
        self.agents[agent] = op.Agent(old.role, old.space, title)

    def is_full(self) -> bool:
        """Return whether there is no room for another process or thread."""
        return len(self.agents) == op.AGENTS

    def start(self, agent: int, layout: Layout) -> None:
        """Set the memory of an agent's process before its first record, as far as the recording lists it."""
        member = self._member_of[agent]
        self._listed += layout.units
        member.calls.start(layout.break_)
        member.coverage.start(layout.covered, layout.break_)

    def calls(self, agent: int) -> Process:
        """Return the state of the system calls of an agent's process."""
        return self._member_of[agent].calls

    def call(self, agent: int, number: int, args: Sequence[int], result: int, path: str | None = None) -> None:
        """Add a completed system call, with the arguments of `Process.call`; pass its ValueError on."""
        if self._events:
            unit = self.calls(agent).call(agent, number, args, result, path)
            if unit is not None:
                self.operation(unit)

    def other_call(self, agent: int) -> None:
        """Add a system call that changes no modelled state."""
        if self._events:
            self.operation(self.calls(agent).other(agent))

    def operation(self, unit: Unit) -> None:
        """Add any operation, by its records; a system call directly after another of its agent joins that record."""
        if not self._events:
            return
        agent, batch = unit[0][4], self.batch
        if unit[0][3] == op.SYSCALL and batch.filled:
            last = batch.ops[batch.filled - 1]
            if last["kind"] == op.SYSCALL and last["agent"] == agent:
                last["count"] += 1
                return
        if self._user_end > op.USER_END:
            self._highest = max(self._highest, _last_byte(unit))
        member = self._member_of[agent]
        member.coverage.follow(batch.records, unit, member.calls.initial_break)
        batch.append(unit)

    def fork(self, agent: int, title: str) -> int:
        """Add a fork by an agent; return the number of the child's first agent, -1 if there is no room or events are left out."""
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
        """Add the end of an agent's process; none of its records may follow."""
        member = self._member_of[agent]
        if self._events and not member.exited:
            member.exited = True
            member.coverage.follow(self.batch.records)
            self.counts["exit"] += 1
            self.batch.append([(0, 0, 0, op.EXIT, agent)])

    def is_short(self, records: int) -> bool:
        """Return whether the batch lacks room for `records` records: then call `flush`."""
        return self.batch.room() < records

    def flush(self) -> Iterator[np.ndarray]:
        """Pass the batch on: yield coalesced records, as far as they can no longer change."""
        for member in self._members:
            member.coverage.follow(self.batch.records)
            member.coverage.rewind()
        if self._user_end > op.USER_END and self._watch:
            records = self.batch.records
            accesses = (records["kind"] & ~op.CONTINUES) <= op.FETCH
            self._highest = int(records["address"].max(initial=self._highest, where=accesses))
        done = self._coalescer.push(self.batch.records)
        self.batch.filled = 0
        if done.size:
            yield done

    def finish(self) -> Iterator[np.ndarray]:
        """Yield the remaining records, with the exit of each process that has ended without a recorded exit."""
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
        """Return the memory that existed before the first record; call after a complete pass with `watch`."""
        units = [*self._listed, *self._inferred()]
        for member in self._roots():
            if member.calls.initial_break is not None:
                units.append([(member.calls.initial_break, 0, 0, op.BRK, member.agent)])
        return op.as_records(record for unit in units for record in unit)

    def about(self, listed: str = "listed") -> dict[str, Any]:
        """Return the trace's `info` about the recording; call after a complete pass."""
        highest = max(self._highest, *(member.calls.initial_break or 0 for member in self._roots()))
        return {
            "format": self._format,
            **({"user_end": op.user_end_of(highest)} if highest >= op.USER_END else {}),
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
        """Return the processes not forked within the recording: memory that a child uses, its parent had."""
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


def _last_byte(unit: Unit) -> int:
    """Return the highest address that an operation has."""
    (address, pages, _, kind, _), *args = unit
    if kind not in op.PAGED:
        return address
    last = address + (pages if pages != -1 else args[-1][0]) * op.PAGE - 1
    return max(last, args[0][0] + args[0][1] * op.PAGE - 1) if kind == op.MREMAP else last
