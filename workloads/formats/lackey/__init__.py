"""Reader of valgrind lackey's text (`--trace-mem=yes`, with `--trace-syscalls=yes` for the operations on memory).

Lines are `I  addr,size`, ` L addr,size`, ` S addr,size` and ` M addr,size` (addresses in hexadecimal). A modify is one
write: x86 faults a read-modify-write as a write. Lines `SB addr` (`--trace-superblocks=yes`) are left out: the block's
instructions follow. An access that crosses a page is a record for each page. Threads share
one stream, in which only system calls have a thread, so a process is one agent. A forked process has a log of its own; it is
read, as another agent, if its name is the parent's log's with the child's process id at the end (`log.123`).
"""

import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.formats import passes
from workloads.formats.assembly import Assembly
from workloads.formats.lackey.calls import Calls, Fork
from workloads.formats.lackey.layout import parse_layout
from workloads.formats.lackey.log import ROOM, parse
from workloads.formats.textbuffer import Log, shorten
from workloads.streams import Source, Stream, file_source

NAME = "lackey"
ACCESS = re.compile(rb"(?:(?:I  ?| [LSM] )[0-9a-f]+,\d+|SB [0-9a-f]+)\r?\n")
NOISE = (b"==", b"--", b"**")
CALLS = (b"SYSCALL[", b" -->")
EXECVE = b"](59) "
"""The one call that does not return: a log may end with it."""
COMMAND = re.compile(rb"==\d+== Command: (.*)")


def recognises(head: bytes) -> bool:
    """Return whether text that begins with `head` is lackey's."""
    lines = [line for line in head.splitlines(keepends=True) if not line.startswith(NOISE) and line.strip()]
    return bool(lines) and (ACCESS.fullmatch(lines[0]) is not None or lines[0].startswith(CALLS))


def resembles(line: bytes) -> bool:
    """Return whether a line might be of such a log."""
    return ACCESS.fullmatch(line + b"\n") is not None or line.startswith((*CALLS, b"=="))


def read(source: Source, events: bool = True) -> Trace:
    """Open the log of a process that was not forked within the recording, as `workloads.formats` says.

    A first pass finds the processes and the memory that was mapped before the first record: from the list that
    valgrind prints with -d if the log has it, or from the use of pages that no recorded mapping covers. Without `events` forked
    processes are left out too: no access faults, and TLBs miss as they would in a simulator of caches.
    """
    return passes.two_passes(source, functools.partial(Run, source, events))


def _child_log(path: pathlib.Path | None, pid: int) -> pathlib.Path | None:
    """Return the log of a forked process in its parent's folder, if it exists."""
    name = re.fullmatch(r"(.*\.)\d+((?:\.\w+)?)", path.name) if path else None
    child = path.with_name(f"{name[1]}{pid}{name[2]}") if path and name else None
    return child if child and child.is_file() else None


class Run:
    """One pass over the log of a process and the logs of those it forks.

    Parameters
    ----------
    source : Source
        The log.
    events : bool
        Whether system calls become records.
    watch : bool
        Whether to note pages that no mapping covers.
    debug_lines : callable, optional
        Returns the output of valgrind -d; by default such lines are taken from the log.
    """

    def __init__(
        self, source: Source, events: bool = True, watch: bool = True, debug_lines: Callable[[], Iterable[str]] | None = None
    ) -> None:
        self._source, self._events = source, events
        self._debug: list[str] = []
        self._debug_lines = debug_lines or (lambda: self._debug)
        self._program, self._started, self._lines = "", False, 0
        self.cut: list[str] = []
        self._run = Assembly(source.name, "valgrind lackey", events, watch)
        self._root = self._run.process("process")
        self.agents = self._run.agents

    def chunks(self, text: Stream | None = None) -> Iterator[np.ndarray]:
        """Yield the coalesced records of the run; `text` if the log is already open."""
        with text or self._source.open() as text:
            yield from self._process(text, self._source.name, self._root)
        yield from self._run.finish()

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after a complete pass."""
        info = {"program": self._program, **self._run.about("listed_by_valgrind"), "lines": self._lines}
        if self._run.calls(self._root).threads:
            info["threads"] = "share one agent: the log does not tell them apart"
        return self._run.prelude(), info

    def _process(self, text: Stream, name: str, agent: int) -> Iterator[np.ndarray]:
        """Yield the records of a process, with those of its children after their forks."""
        calls = Calls(self._run, agent)
        log = Log(text, name, self._run.batch, functools.partial(parse, agent), lambda rest: EXECVE in rest)
        for line in log.stops():
            if line is not None and self._is_noise(line):
                continue
            if not self._started:
                self._start()
            fork = None if line is None else self._interpret(line, log, name, calls)
            if line is None or self._run.is_short(ROOM):
                yield from self._run.flush()
            if fork:
                yield from self._fork(fork.pid, agent)
        self._lines += log.line
        if log.cut:
            self.cut.append(log.cut if agent == self._root else f"{name} {log.cut}")
        if self._run.calls(agent).ended or calls.has_replaced() or agent != self._root:
            self._run.exit(agent)

    def _is_noise(self, line: bytes) -> bool:
        """Return whether a line is valgrind's own message; remember the useful ones."""
        if line.startswith(b"--") and not self._started:
            self._debug.append(line.decode("utf-8", "replace"))
        command = None if self._program else COMMAND.match(line)
        if command:
            self._program = command[1].decode("utf-8", "replace")
            self._run.rename(self._root, self._title())
        return line.startswith(NOISE) or not line.strip()

    def _title(self) -> str:
        return os.path.basename(self._program.split(" ")[0]) or "process"

    def _start(self) -> None:
        """Set the initial memory, from valgrind's list, at the first record."""
        self._started = True
        if self._events:
            try:
                layout = parse_layout(self._debug_lines(), self._run.files)
            except ValueError as error:
                line = shorten(str(error).encode())
                raise op.TraceError(f"{self._source.name}: valgrind's list of the program's memory is garbled: {line}") from None
            self._run.start(self._root, layout)

    def _interpret(self, line: bytes, log: Log, name: str, calls: Calls) -> Fork | None:
        """Interpret a line that is no access; return the fork that it completes, if any."""
        try:
            if not line.startswith(CALLS):
                raise ValueError
            return calls.line(line.decode("utf-8", "replace")) if self._events else None
        except (ValueError, IndexError):
            raise op.TraceError(f"{name}: line {log.line} is garbled: {shorten(line)}") from None

    def _fork(self, pid: int, parent: int) -> Iterator[np.ndarray]:
        """Yield the fork and the child's records, or only the child's exit if it has no log."""
        child = self._run.fork(parent, f"{self._title()}:{pid}")
        if child < 0:
            return
        log = _child_log(self._source.path, pid)
        if log is None:
            self._run.notes["forked_without_log"] += 1
            self._run.exit(child)
            return
        with file_source(log).open() as text:
            yield from self._process(text, os.fspath(log), child)
