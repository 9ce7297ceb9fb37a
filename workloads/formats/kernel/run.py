"""One pass over a recording of the kernel's events: each becomes records of an `Assembly`."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwmodel import op
from workloads.formats.assembly import Assembly
from workloads.formats.kernel import clones
from workloads.formats.kernel import parsers as f
from workloads.formats.kernel.cachedfiles import CachedFiles
from workloads.formats.kernel.counts import OUTSIDE, Counts
from workloads.formats.kernel.facts import Facts
from workloads.formats.kernel.lines import Event, Lines
from workloads.formats.kernel.procmaps import parse_maps
from workloads.formats.kernel.survey import EXECUTING, Survey
from workloads.formats.kernel.tasks import Task, Tasks
from workloads.formats.numbers import NOT_X86, OLD_MMAP, X86_64
from workloads.streams import Source

OUTSIDE_AS = ("dontneed", "migrate", "skip")
WRITE_BIT, FETCH_BIT = 1 << 1, 1 << 4
ROOM = 1 << 12
"""Most records that one event can add."""
MOST_PENDING = ROOM // 2
"""Page faults of an execve that wait for its end: its arguments are 512 pages, a quarter of a stack of 8 MiB, at the most (fs/exec.c)."""
WAITING, MUNMAP = (61,), 11
"""Numbers of system calls; waitid does not return the number of the process whose exit it saw."""


@dataclass(frozen=True)
class Options(Facts):
    """Options of `read_kernel`, which says what they mean."""

    outside: str = "dontneed"
    files_in_memory: bool = True


DEFAULT = Options()


class Run:
    """One pass over a recording; see `read_kernel`."""

    def __init__(self, source: Source, events: bool, options: Options, survey: Survey, watch: bool = True) -> None:
        self._source, self._events, self._outside, self._watch = source, events, options.outside, watch
        self._cached = CachedFiles() if watch and events and options.files_in_memory else None
        self._survey, self._lines, self._counts = survey, Lines(source, survey.lists, survey.numbering), Counts()
        self._run = Assembly(source.name, "kernel trace events", events, watch)
        self._run.reach(op.MOST_USER_END)
        self._tasks = Tasks(self._run, survey)
        self._about: dict[str, Any] = {}
        self._slots: list[tuple[int, int, int]] = []
        self._idle = 0  # events, if none of them became a record
        if options.guest_base is not None:
            self._slots.append((0, options.guest_base, op.USER_END))

        self.agents, self.cut = self._run.agents, list[str]()

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the records."""
        number = 0
        for number, event in enumerate(self._lines.events(), 1):
            if number == 1:
                self._start()
            what = self._counts.note(event, event.kind == f.UNMAP and self._survey.is_foreign(event))
            try:
                HANDLERS[event.kind](self, event, what)
            except (ValueError, IndexError, OverflowError):
                raise op.TraceError(f"{self._source.name}: line {self._lines.line}: no kernel does that: {event.numbers}") from None
            if self._run.is_short(ROOM):
                yield from self._noted(self._run.flush())
        for task in self._tasks.waiting():  # an execve that ends after the recording
            self._release(task)
            if self._run.is_short(ROOM):
                yield from self._noted(self._run.flush())
        if not self.agents:
            self._idle = number
            self._tasks.root("process")
        self._tasks.finish()
        yield from self._noted(self._run.finish())
        self._end()

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after a complete pass with `watch`."""
        about = self._run.about("listed_by_recorder")
        about |= {"lines": self._lines.line, "kernel_counts": self._counts.table()}
        if self._lines.unknown:
            about["events_of_no_use"] = dict(sorted(self._lines.unknown.items()))
        if self._survey.arch != X86_64.name:
            about["system_calls"] = self._survey.arch
        about |= self._losses()
        prelude = self._run.prelude()
        if self._cached is not None and not self._run.is_full():
            self._cached.note(prelude)
            if self._cached.ranges:
                units = self._cached.units(self._run.process("files in memory"))
                prelude = np.concatenate([prelude, op.as_records(record for unit in units for record in unit)])
        return prelude, {**self._about, **about}

    def _noted(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for chunk in chunks:
            if self._cached is not None:
                self._cached.note(chunk)
            yield chunk

    def _start(self) -> None:
        """Use the comments at the beginning of a recording of our own."""
        maps, present = [], []
        for line, comment in self._lines.comments:
            key, _, value = comment.partition(": ")
            try:
                if key == "recording":
                    self._about = dict(json.loads(value))
                elif key == "map":
                    maps.append(value)
                elif key == "present":
                    first, pages = value.split()
                    present.append((int(first, 16), int(pages)))
            except (ValueError, TypeError):
                raise op.TraceError(f"{self._source.name}: line {line}: garbled comment: {comment[:80]!r}") from None
        self._lines.comments.clear()
        try:
            self._begin_program(maps, present)
        except (ValueError, TypeError, LookupError) as error:
            raise op.TraceError(f"{self._source.name}: line {self._lines.line}: garbled comments before it: {str(error)[:80]!r}") from None

    def _begin_program(self, maps: list[str], present: list[tuple[int, int]]) -> None:
        if not self._slots:
            self._slots = [(int(guest), int(host), int(size)) for guest, host, size in self._about.get("memslots", [])]
        if not maps:
            return
        command = self._about["command"]
        self._about["program"] = " ".join(command)
        task = self._tasks.root(os.path.basename(command[0]), int(self._about["pid"]))
        self._run.start(task.agent, parse_maps(maps, present, self._run.files, task.agent))
        if self._about.get("vm"):
            self._tasks.device(task.space, "vm")

    def _end(self) -> None:
        """Note after the last line what is missing, and use the comments at the end of a recording of our own."""
        if self._lines.cut:
            self.cut.append(self._lines.cut)
        for line, comment in self._lines.comments:
            key, _, value = comment.partition(": ")
            if key == "end":
                try:
                    self._about |= dict(json.loads(value))
                except (ValueError, TypeError):
                    raise op.TraceError(f"{self._source.name}: line {line}: garbled comment: {value[:80]!r}") from None

    def _losses(self) -> dict[str, Any]:
        """Return what is lost or not sure beside the notes, by the names of `losses`."""
        survey, guest = self._survey, self._run.notes["guest_faults_left_out"]
        found: dict[str, Any] = {"lost_events": self._lines.lost, "events_without_thread": survey.threadless}
        found |= {"threads_without_process": survey.unsure(), "threads_joined_by_name": survey.doubtful()}
        found["guest_faults_outside" if self._slots else "guest_memory_not_known"] = guest
        found["only_counted"] = 0 if guest else self._idle
        if self._lines.unknown and not self._lines.known:
            found["no_event_of_use"] = sum(self._lines.unknown.values())
        return {name: value for name, value in found.items() if value}

    def _enter(self, event: Event, what: str) -> None:
        task = self._tasks.of(event)
        if task.call and task.call[0] == event.numbers[0]:
            return  # reported a second time, by name
        task.call = event.numbers
        task.path = event.path
        number, arguments = event.numbers[0], event.numbers[1:]
        if number == MUNMAP and len(task.space.live) > 1 and _is_range(*arguments[:2]):
            # when the call returns, another thread may already have been given the range
            self._call(task, number, arguments, 0)
            task.done = True
        elif number in (60, 231):
            self._tasks.leave(task, group=number == 231)

    def _leave(self, event: Event, what: str) -> None:
        task = self._tasks.of(event)
        number, *arguments = task.call or (None,)
        result = event.numbers[1]
        done, task.call, task.done = task.done, (), False
        if number is None or number != event.numbers[0]:
            told_twice, is_born = event.numbers[0] == task.last, event.numbers[0] in clones.MAKING and result == 0
            is_of_new_program = event.numbers[0] in EXECUTING  # its beginning was the old one's
            if number is not None or not (told_twice or is_born or is_of_new_program):
                self._run.notes["calls_without_beginning"] += 1
            return
        task.last = number
        if number == OLD_MMAP + NOT_X86 and result > 0 and not result % op.PAGE:
            self._run.notes["mappings_not_told"] += 1
        if number in EXECUTING and not -4096 < result < 0:
            return
        self._release(task)
        if done:
            if result < 0:
                self._run.notes["munmaps_that_failed"] += 1
        elif number in clones.MAKING:
            self._forked(task, arguments, result)
        else:
            self._call(task, number, arguments, result)
        agent = self._tasks.agent(task)
        if number in WAITING and self._tasks.has_exited(result) and agent >= 0:  # the parent's next operations come after the child's exit
            self._run.operation([(0, 0, 0, op.SYNC, agent)])

    def _call(self, task: Task, number: int, arguments: Sequence[int], result: int) -> None:
        agent = self._tasks.agent(task)
        if agent >= 0:
            self._run.call(agent, number, arguments, result, task.path or None)

    def _forked(self, task: Task, arguments: list[int], result: int) -> None:
        """Complete a call that makes threads or processes; add the new task if no event has announced it."""
        made, task.made = task.made, 0
        if result > 0 and not made and not self._tasks.knows(result):
            self._tasks.make(task, result, shares=clones.shares_memory(clones.flags_of(task.last, arguments)))
            made = result
        agent = self._tasks.agent(task)
        if agent >= 0 and (not made or self._tasks.shares(task, made)):
            self._run.other_call(agent)

    def _new_task(self, event: Event, what: str) -> None:
        """Add a new thread or process, announced by its parent."""
        task, pid = self._tasks.of(event), event.numbers[0]
        if task.made == pid:
            return
        if event.kind == f.NEW_TASK:
            shares = clones.shares_memory(event.numbers[1])
        elif task.call:
            shares = clones.shares_memory(clones.flags_of(task.call[0], task.call[1:]))
        else:  # without the call, other lines tell
            shares = self._survey.process(pid) == self._survey.process(event.thread)
        self._release(task)
        self._tasks.make(task, pid, shares)
        task.made = pid

    def _exec(self, event: Event, what: str) -> None:
        task = self._tasks.of(event)
        self._tasks.replace(task)
        self._release(task)

    def _ended(self, event: Event, what: str) -> None:
        task = self._tasks.by_pid(event.numbers[0])
        if task is not None:
            self._tasks.end(task)

    def _fault(self, event: Event, what: str) -> None:
        address, code, user = event.numbers
        if address >= op.MOST_USER_END:
            self._run.notes["kernel_addresses"] += 1
            return
        kind = op.WRITE if code & WRITE_BIT else op.FETCH if code & FETCH_BIT else op.READ
        task = self._tasks.of(event)
        task.pending.append((address, kind))
        # the kernel's own faults in an execve, before the recording announces the new program, are of that
        if user or not self._executes(task) or len(task.pending) == MOST_PENDING:
            self._release(task)

    def _executes(self, task: Task) -> bool:
        """Return whether a thread is about to have another program's memory."""
        if task.call:
            return task.call[0] in EXECUTING
        return task.agent < 0 and self._survey.begins_with_exec(task.pid)

    def _release(self, task: Task) -> None:
        """Append the accesses that faulted."""
        if not task.pending:
            return
        agent = self._tasks.agent(task)
        if agent < 0:
            self._run.notes["faults_left_out"] += len(task.pending)
        else:
            self._run.batch.append([(address, 1, 0, kind, agent) for address, kind in task.pending])
        task.pending.clear()

    def _unmap(self, event: Event, what: str) -> None:
        first, end = event.numbers
        if not self._events:
            return
        if what == OUTSIDE:
            space = self._tasks.owner(event.thread, first, end)
        else:
            task = self._tasks.of(event)
            space = task.space if task.agent >= 0 else None
        has_device = space is not None and self._tasks.device(space, "vm")
        if what != OUTSIDE or self._outside == "skip":
            return
        if space is None or not has_device:
            self._run.notes["invalidations_of_nobody"] += 1
            return
        if not _is_range(first, end - first):
            raise ValueError
        pages = (end - first + op.PAGE - 1) >> op.PAGE_SHIFT
        host = self._tasks.host(space)
        self._run.notes["replayed_invalidations"] += 1
        kind, operand = (op.MADVISE, op.DONTNEED) if self._outside == "dontneed" else (op.MIGRATE, 0)
        self._run.operation(op.paged_unit(kind, first, pages, [(0, operand)], host))

    def _guest_fault(self, event: Event, what: str) -> None:
        vcpu, address, code = event.numbers
        slots = [(host, host + address - guest) for guest, host, size in self._slots if guest <= address < guest + size]
        hosts = [at for host, at in slots if 0 <= at < op.user_end_of(host)]  # memory above it is no guest's
        task = self._tasks.of(event)
        agent = -1
        if hosts and self._tasks.agent(task) >= 0:
            agent = self._tasks.vcpu(task, vcpu)
        if agent < 0:
            self._run.notes["guest_faults_left_out"] += 1
        else:
            self._run.batch.append([(hosts[0], 1, 0, op.WRITE if code & WRITE_BIT else op.READ, agent)])

    def _counted(self, event: Event, what: str) -> None:
        """Do nothing: the event is only counted."""


HANDLERS = {
    f.ENTER: Run._enter,
    f.LEAVE: Run._leave,
    f.FAULT: Run._fault,
    f.FLUSH: Run._counted,
    f.IPI: Run._counted,
    f.UNMAP: Run._unmap,
    f.AGE: Run._counted,
    f.GUEST_FAULT: Run._guest_fault,
    f.NEW_TASK: Run._new_task,
    f.FORKED: Run._new_task,
    f.EXEC: Run._exec,
    f.ENDED: Run._ended,
}


def _is_range(first: int, size: int) -> bool:
    return size > 0 and not first % op.PAGE and first + size <= op.MOST_USER_END
