"""Reader of thread recordings, written by the QEMU plugin in `workloads/recorders`: every thread of a process, with its system calls.

Little-endian entries of 16 bytes; the first is ``\\x89HWTHREAD\\r\\n\\x1a``, version (u16: 1), size of an entry (u16: 16)::

    u64 address | u32 number | u16 thread | u8 kind | u8 marks

=============  ==========================  =======================================================================
kind           address                     number
=============  ==========================  =======================================================================
0 READ         first byte                  bytes
1 WRITE        first byte                  bytes
2 FETCH        first instruction           bytes | instructions << 16; those that begin on one page, or one that
                                           ends on the next
3 THREAD       the system's thread id      a new thread: its first entry
4 THREAD_END                               its last entry; others may come to have its number then
5 CALL         result, -4095 to -1 if it   number of a completed system call of x86-64; six ARGUMENTs follow.
               failed                      Calls that never return (exit, exit_group) have result 0
6 ARGUMENT     its value                   which: 0 to 5
7 MAPPED_FILE  inode                       major << 20 | minor of its device: the file of the mmap directly after it
8 PROGRAM      up to 8 bytes of its path   how many
9 BEGIN                                    nothing ran before this entry
10 EXEC                                    an execve begins: if it succeeds it ends the recording
11 END                                     the process ended; without it, it was killed, or the file is cut short
=============  ==========================  =======================================================================

Marks: 1 SAME, an access by the same instruction as the thread's access right before; 2 INITIAL, a mapping that exists from
the beginning, given as the mmap that would make it; 4 FORKED, a call that made a process, which is not recorded.

A thread's entries are in its order. Threads take turns, thousands of entries long, but a call on memory comes after everything
done before it and before everything done after it; and a thread's actions before any call come before it.

A QEMU that runs x86-64 reads and writes 16 bytes as two times 8, and a read-modify-write is a read and a write: both are one
access here, as in the program, because x86 faults a read-modify-write as a write. The agents are the threads, in one
address space: `prog/0`, `prog/1`, in the order in which they were made.
"""

import functools
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.formats import passes
from workloads.formats.assembly import Assembly
from workloads.formats.initial import Layout
from workloads.formats.syscalls import EXECVE, EXECVEAT, MMAP, Process
from workloads.formats.threads import log as threadlog
from workloads.formats.threads.log import Log
from workloads.streams import Source, Stream

NAME = "threads"
MAGIC = b"\x89HWTHREAD\r\n\x1a"
VERSION, ENTRY_SIZE = 1, 16


def recognises(head: bytes) -> bool:
    """Return whether bytes that begin with `head` are a thread recording."""
    return head.startswith(MAGIC)


def read(source: Source, events: bool = True) -> Trace:
    """Open a thread recording, as `workloads.formats` says; one of another version is refused."""
    return passes.two_passes(source, functools.partial(Run, source, events))


class Run:
    """One pass over a thread recording.

    Parameters
    ----------
    source : Source
        The recording.
    events : bool
        Whether system calls become records.
    watch : bool
        Whether to note pages that no mapping covers.
    was_killed : callable
        Returns whether the process was killed; called if the recording has no END. If it was not, the recording is cut short.
    """

    def __init__(
        self, source: Source, events: bool = True, watch: bool = True, was_killed: Callable[[], bool] = lambda: False
    ) -> None:
        self._source, self._events, self._was_killed = source, events, was_killed
        self._program, self._entries, self._threads = b"", 0, 0
        self._layout, self._file = Layout(), 0
        self._begun = self._ended = self._replaced = False
        self._ids: dict[str, int] = {}
        self._free: list[int] = []  # agents of threads that have ended
        self._run = Assembly(source.name, "thread recording", events, watch)
        self._root = self._run.process("process")
        self.agents, self.cut = self._run.agents, list[str]()

    def chunks(self, stream: Stream | None = None) -> Iterator[np.ndarray]:
        """Yield the coalesced records of the run; `stream` if the recording is already open."""
        with stream or self._source.open() as stream:
            log = Log(stream, self._source.name, self._run.batch)
            self._check_header(log.header())
            for stop in log.stops():
                if stop is not None:
                    self._handle(stop, log)
                if stop is None or self._run.is_short(threadlog.ROOM):
                    yield from self._run.flush()
                if self._ended:
                    break
        self._entries = log.entries
        self._end(log.cut)
        yield from self._run.finish()

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after a complete pass."""
        about = {"program": self._program.decode("utf-8", "replace"), **self._run.about("listed_by_qemu")}
        return self._run.prelude(), {**about, "threads": self._ids, "entries": self._entries}

    def _check_header(self, header: bytes) -> None:
        if len(header) < ENTRY_SIZE:
            return  # the log is empty, and is reported as cut short
        version, entry = struct.unpack("<HH", header[len(MAGIC) :])
        if not header.startswith(MAGIC) or version != VERSION or entry != ENTRY_SIZE:
            what = f"version {version} with entries of {entry} bytes; known is version {VERSION} with {ENTRY_SIZE}"
            raise TraceError(f"{self._source.name}: byte {len(MAGIC)}: {what}")

    def _end(self, cut: str) -> None:
        """End the process after the last entry, unless the recording is cut short."""
        if not self._ended and not self._replaced and not self._was_killed():
            self.cut.append(cut)
        else:
            self._run.exit(self._root)

    def _handle(self, stop: np.ndarray, log: Log) -> None:
        """Handle an entry that is no access, with those that belong to it."""
        entry = stop[0]
        kind, thread = int(entry["kind"]), int(entry["thread"])
        address, number = int(entry["address"]), int(entry["number"])
        if self._begun and (kind in (threadlog.PROGRAM, threadlog.BEGIN) or int(entry["marks"]) & threadlog.INITIAL):
            raise log.refusal()
        if kind == threadlog.CALL:
            self._call(stop, log)
        elif kind == threadlog.MAPPED_FILE:
            self._file = address << 32 | number
        elif kind == threadlog.THREAD:
            log.agents[thread] = self._admit(thread, address)
        elif kind == threadlog.THREAD_END:
            self._free.append(log.agent(thread))
            log.agents[thread] = -1
        elif kind == threadlog.PROGRAM:
            self._program += address.to_bytes(8, "little", signed=True)[:number]
        elif kind == threadlog.BEGIN:
            self._begin()
        elif kind == threadlog.EXEC:
            self._replaced = True
        elif kind == threadlog.END:
            self._ended = True

    def _begin(self) -> None:
        self._begun = True
        if self._events:
            self._run.start(self._root, self._layout)
        number = next(iter(self._ids), "/0").rpartition("/")[2]
        self._ids = {self._title(number): tid for tid in self._ids.values()}
        self._run.rename(self._root, self._title(number))

    def _title(self, what: object) -> str:
        return f"{os.path.basename(self._program.decode('utf-8', 'replace')) or 'process'}/{what}"

    def _admit(self, thread: int, tid: int) -> int:
        """Return the agent of a new thread: a new one or, if there is no room, that of a thread that has ended."""
        title = self._title(thread)
        self._ids[title] = tid
        self._threads += 1
        if self._threads == 1:
            return self._root
        if self._run.is_full() and self._free:
            self._run.notes["threads_that_share_an_agent"] += 1
            return self._free.pop(0)
        return self._run.thread(self._root, title)

    def _call(self, stop: np.ndarray, log: Log) -> None:
        entry, args = stop[0], [int(value) for value in stop["address"][1:]]
        number, result, marks = int(entry["number"]), int(entry["address"]), int(entry["marks"])
        agent, file, self._file = log.agent(int(entry["thread"])), self._file, 0
        try:
            if marks & threadlog.INITIAL:
                self._initial(args, result, file)
            elif marks & threadlog.FORKED:
                self._fork(agent)
            else:
                if file and number == MMAP:
                    self._run.calls(agent).identify(args[4], ("inode", file))
                self._run.call(agent, number, args, result)
        except ValueError:
            raise log.refusal() from None
        if number in (EXECVE, EXECVEAT):
            self._replaced = False  # it returned: it failed

    def _initial(self, args: list[int], result: int, file: int) -> None:
        """Add a mapping that exists from the beginning."""
        mapper = Process(self._run.files, Counter())
        mapper.identify(args[4], ("inode", file))
        unit = mapper.call(self._root, MMAP, args, result) or []
        if [record[3] for record in unit] != [op.MMAP, op.ARG]:
            raise ValueError
        first = result >> op.PAGE_SHIFT
        self._layout.units.append(unit)
        self._layout.covered.append((first, first + unit[0][1]))

    def _fork(self, agent: int) -> None:
        """Note that a process was made, which is not recorded."""
        child = self._run.fork(agent, self._title(f"fork {self._run.counts['fork'] + 1}"))
        if child >= 0:
            self._run.notes["forks_not_followed"] += 1
            self._run.exit(child)
