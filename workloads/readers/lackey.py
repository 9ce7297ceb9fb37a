"""Reader of valgrind lackey's text (`--trace-mem=yes`, with `--trace-syscalls=yes` for the operations on memory).

Lines are `I  addr,size`, ` L addr,size`, ` S addr,size` and ` M addr,size` (addresses in hexadecimal). A modify is one
write: x86 faults a read-modify-write as a write. An access that crosses a page is a record for each page. Threads share
one stream in which only system calls name them, so a process is one agent. A forked process has a log of its own; it is
read, as another agent, where its name is that of the parent's log with its own process id at the end (`log.123`).
"""

import functools
import os
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from hwmodel import op as t
from hwmodel.trace import Trace
from workloads.coalesce import Coalescer
from workloads.readers.initial import Coverage, inferred_units, parse_layout, populated_units
from workloads.readers.lackeylog import Log, shorten
from workloads.readers.syscalls import Files, Fork, Process, Unit
from workloads.streams import open_stream

ACCESS = re.compile(rb"(?:I  | [LSM] )[0-9a-f]+,\d+\r?\n")
NOISE = (b"==", b"--", b"**")
CALLS = (b"SYSCALL[", b" -->")
COMMAND = re.compile(rb"==\d+== Command: (.*)")


def recognises(head: bytes) -> bool:
    """Whether text that begins with `head` is lackey's."""
    lines = [line for line in head.splitlines(keepends=True) if not line.startswith(NOISE) and line.strip()]
    return bool(lines) and (ACCESS.fullmatch(lines[0]) is not None or lines[0].startswith(CALLS))


def read(path: str | os.PathLike[str], events: bool = True) -> Trace:
    """Open a lackey log, plain or compressed with gzip or xz.

    A first pass finds the processes and the memory that was mapped before the first record: from the list that
    valgrind prints with -d if the log has it, else from the use of pages that no recorded mapping covers.

    Parameters
    ----------
    path : path
        The log of a process that was not forked within the recording.
    events : bool
        False leaves out system calls and forked processes; every page used is then in memory, mapped with every
        right, from the start: accesses fault nowhere, and miss TLBs as they would in a simulator of caches.

    Returns
    -------
    Trace
        Coalesced; read again, in constant memory, at every iteration.

    Raises
    ------
    TraceError
        At a garbled or truncated line; names the file and the line.
    """
    path = pathlib.Path(path)
    run = Run(os.fspath(path), events, functools.partial(_child_log, path))
    records = references = 0
    with open_stream(path) as text:
        for chunk in run.chunks(text):
            records, references = records + chunk.size, references + t.count_references(chunk)
    prelude, info = run.finish()
    source = functools.partial(_read_again, path, events)
    return Trace(run.agents, source, prelude, info, os.fspath(path), records, references)


def _read_again(path: pathlib.Path, events: bool) -> Iterator[np.ndarray]:
    run = Run(os.fspath(path), events, functools.partial(_child_log, path), watch=False)
    with open_stream(path) as text:
        yield from run.chunks(text)


def _child_log(path: pathlib.Path, pid: int) -> pathlib.Path | None:
    """The log of a forked process beside that of its parent, if it is there."""
    name = re.fullmatch(r"(.*\.)\d+((?:\.gz|\.xz)?)", path.name)
    child = path.with_name(f"{name[1]}{pid}{name[2]}") if name else path
    return child if name and child.is_file() else None


class Run:
    """One pass over the log of a process and the logs of those it forks.

    Parameters
    ----------
    name : str
        For errors.
    events : bool
        Whether system calls become records.
    child_log : callable
        The path of a forked process's log, or None.
    debug_lines : callable, optional
        Returns what valgrind -d printed; by default such lines are looked for in the log.
    watch : bool
        Whether to note pages that no mapping covers.
    """

    def __init__(
        self,
        name: str,
        events: bool = True,
        child_log: Callable[[int], pathlib.Path | None] = lambda pid: None,
        debug_lines: Callable[[], Iterable[str]] | None = None,
        watch: bool = True,
    ) -> None:
        self.agents: list[t.Agent] = []
        self.program = ""
        self._name, self._events, self._child_log = name, events, child_log
        self._files, self._counts, self._about = Files(), Counter[str](), Counter[str]()
        self._debug: list[str] = []
        self._debug_lines = debug_lines or (lambda: self._debug)
        self._listed: list[Unit] = []
        self._started = False
        self._coverage = Coverage(watch)
        self._root = Process(0, self._files, self._counts)
        self._coalescer = Coalescer()
        self._admit()

    def chunks(self, text: BinaryIO) -> Iterator[np.ndarray]:
        """The coalesced records of the run."""
        for batch in self._process(text, self._name, self._root, self._coverage):
            done = self._coalescer.push(batch)
            if done.size:
                yield done
        rest = self._coalescer.finish()
        if rest.size:
            yield rest

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """(prelude, info), after a whole pass."""
        uses = self._coverage.uses
        inferred = inferred_units(uses, self._files) if self._events else populated_units(uses)
        units = [*self._listed, *inferred]
        if self._root.initial_break is not None:
            units.append([(self._root.initial_break, 0, 0, t.BRK, 0)])
        sources = {"listed_by_valgrind": len(self._listed), "inferred_from_use": len(inferred)}
        info = {
            "program": self.program,
            "format": "valgrind lackey",
            "coalesced": "consecutive accesses of one kind to one page, by stream (fetches, data)",
            "initial_vmas": sources,
            **self._about,
            "operations": dict(sorted(self._counts.items())) if self._events else "left out",
        }
        if self._root.threads:
            info["threads"] = "share one agent: the log does not tell them apart"
        return t.as_records(record for unit in units for record in unit), info

    def _admit(self, pid: int = 0) -> int:
        """A new agent, in an address space of its own."""
        number = len(self.agents)
        self.agents.append(t.Agent("cpu", number, self._agent_name(pid)))
        self._coalescer.admit(number, number)
        return number

    def _agent_name(self, pid: int = 0) -> str:
        name = os.path.basename(self.program.split(" ")[0]) or "process"
        return f"{name}:{pid}" if pid else name

    def _process(self, text: BinaryIO, name: str, process: Process, coverage: Coverage) -> Iterator[np.ndarray]:
        """Uncoalesced records of a process, with those of its children behind their forks."""
        log = Log(text, name, process.agent)
        for line in log.stops():
            if line is not None and self._is_noise(line):
                continue
            if not self._started:
                self._start()
            outcome = None if line is None else self._interpret(line, log, name, process)
            if isinstance(outcome, list):
                self._add(outcome, log, process, coverage)
            elif outcome is not None or line is None:
                coverage.follow(log.batch)
                yield log.batch
                log.clear()
                coverage.rewind()
            if isinstance(outcome, Fork):
                yield from self._fork(outcome.pid, process, coverage)
        self._about["lines"] += log.line
        if process.has_ended():
            self._counts["exit"] += 1
            yield t.as_records([(0, 0, 0, t.EXIT, process.agent)])

    def _is_noise(self, line: bytes) -> bool:
        """Whether a line is valgrind's own talk; remembers what of it is of use."""
        if line.startswith(b"--") and not self._started:
            self._debug.append(line.decode("utf-8", "replace"))
        command = None if self.program else COMMAND.match(line)
        if command:
            self.program = command[1].decode("utf-8", "replace")
            self.agents[0] = t.Agent("cpu", 0, self._agent_name())
        return line.startswith(NOISE) or not line.strip()

    def _start(self) -> None:
        """At the first record: the memory that valgrind lists is there."""
        self._started = True
        if self._events:
            try:
                layout = parse_layout(self._debug_lines(), self._files)
            except ValueError as error:
                line = shorten(str(error).encode())
                raise t.TraceError(f"{self._name}: valgrind's list of the program's memory is garbled: {line}") from None
            self._listed = layout.units
            self._root.start(layout.break_)
            self._coverage.start(layout.covered, layout.break_)

    def _interpret(self, line: bytes, log: Log, name: str, process: Process) -> Unit | Fork | None:
        """What a line that is no access says."""
        try:
            if not line.startswith(CALLS):
                raise ValueError
            return process.line(line.decode("utf-8", "replace")) if self._events else None
        except (ValueError, IndexError):
            raise t.TraceError(f"{name}: line {log.line} is garbled: {shorten(line)}") from None

    def _add(self, unit: Unit, log: Log, process: Process, coverage: Coverage) -> None:
        """Append a unit to the batch; a system call right behind another joins its record."""
        batch = log.batch
        if unit[0][3] == t.SYSCALL and batch.size and batch[-1]["kind"] == t.SYSCALL:
            batch[-1]["count"] += 1
            return
        coverage.follow(batch, unit, process.initial_break)
        log.append(unit)

    def _fork(self, pid: int, parent: Process, coverage: Coverage) -> Iterator[np.ndarray]:
        """The fork and the child's records, or just its exit if it has no log."""
        if len(self.agents) == t.AGENTS:
            self._about["forks_left_out"] += 1
            yield t.as_records([(0, 1, 0, t.SYSCALL, parent.agent)])
            return
        agent, log = self._admit(pid), self._child_log(pid)
        self._counts["fork"] += 1
        yield t.as_records([(0, agent, 0, t.FORK, parent.agent)])
        if log is None:
            self._about["forked_without_log"] += 1
            yield t.as_records([(0, 0, 0, t.EXIT, agent)])
            return
        with open_stream(log) as text:
            yield from self._process(text, os.fspath(log), parent.child(agent), coverage.fork())
