"""Reader of DynamoRIO's drmemtrace traces in the form written by raw2trace: entries of 12 bytes, a file for each thread.

Layout: DynamoRIO clients/drcachesim/common/trace_entry.h: `u16 type | u16 size | u64 addr`, packed. A thread's file is a
zip of chunks, or is compressed as a whole; a folder with the files of one recording is one trace, its threads merged by
their time stamps. System calls are markers; recorded with their arguments and results (`-record_syscall`, for example
`9|6&10|3&11|2&12|1&25|5&28|3`), operations on memory become records. Before version 6 a result only tells whether the call
succeeded: the address of a new mapping is then known only if it was a fixed one; otherwise the mapped memory is inferred from use.

Prefetches, cache flushes and instruction bytes are left out, and so are kernel addresses (the upper half); `info` counts
them. An instruction without a fetch (a further iteration of a `rep`) fetches nothing. A file ends with a footer; a file without
a footer is cut short. Raw files, from before raw2trace, need the program's binaries and are not read.
"""

import functools
import heapq
import io
import os
import pathlib
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from hwmodel.trace.file import told
from workloads.formats import passes
from workloads.formats.assembly import Assembly
from workloads.formats.drmemtrace import entries as dr
from workloads.formats.entries import Entries
from workloads.formats.numbers import ARM, GENERIC, I386, X86_64, Numbering
from workloads.streams import Source, Stream, file_source

NAME = "drmemtrace"
ZIP = b"PK\x03\x04"
VERSIONS = range(1, 100)
FILTERS = 0x1 | 0x80 | 0x100
"""Bits of a file's type: an online filter (a small cache) has left out accesses, of both kinds, of instructions, of data."""
INSTRUCTION_ONLY = 0x4
"""A bit of a file's type: it has no accesses to data."""
AARCH64 = 0x8
"""A bit of a file's type (offline_file_type_t): its user memory ends at 2^48."""
NUMBERS: dict[int, Numbering] = {AARCH64: GENERIC, 0x10: ARM, 0x20: I386, 0x40: X86_64}
"""Numbers of system calls by the bit of a file's type that names its architecture."""
RAW_RESULTS = 6  # from this version on, a call's recorded result is its return value
MMAP, MAP_FIXED, EXITS = 9, 0x10, (60, 231)
UNKNOWN = -1


def recognises(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a drmemtrace file: a zip, but not NumPy's, or a header entry."""
    if head.startswith(ZIP):
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return bool(name) and not name.endswith(b".npy")
    if len(head) < dr.ENTRY.itemsize:
        return False
    first = np.frombuffer(head[: dr.ENTRY.itemsize], dr.ENTRY)[0]
    header = first["what"] == dr.HEADER or (first["what"] == dr.MARKER and first["bytes_"] == dr.MARKED_VERSION)
    return bool(header and int(first["addr"]) in VERSIONS)


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the threads' files of a recording in a folder, or in its subfolder `trace`."""
    for place in (folder, folder / "trace"):
        files = sorted(path for path in place.glob("*.trace*") if path.is_file())
        if files:
            return files
    return []


def refuse_raw(path: pathlib.Path) -> None:
    """Raise TraceError if a path is a raw recording's, which needs its program's binaries: its folder, or a file of its subfolder `raw`."""
    if next(path.glob("raw/*.raw*"), None) or next(path.glob("*.raw.*"), None) or (".raw" in path.suffixes and path.is_file()):
        raise op.TraceError(f"{path}: a raw drmemtrace recording: run DynamoRIO's raw2trace on it first (drraw2trace -indir FOLDER)")


def read(source: Source, events: bool = True) -> Trace:
    """Open a thread's file, or a file of several threads, as `workloads.formats` says: an agent for each thread."""
    return _told(passes.two_passes(source, functools.partial(_Run, source, [source], events)))


def read_folder(folder: pathlib.Path, events: bool = True, strict: bool = False) -> Trace:
    """Open the files of a recording's threads as one trace; see `read`."""
    name = os.fspath(folder)
    sources = [file_source(path, strict) for path in files_of(folder)]
    whole = Source(name, io.BytesIO, strict, folder)
    return _told(passes.two_passes(whole, functools.partial(_Run, whole, sources, events)))


def _told(trace: Trace) -> Trace:
    """Return the trace, after a warning if the machine that it is of had pages of another size."""
    size = trace.info.get("page_size", op.PAGE)
    if size != op.PAGE:
        what = f"recorded on a machine with pages of {size} bytes; here a page has {op.PAGE}"
        warnings.warn(trace.prefix + what, op.TraceWarning, stacklevel=3)
    return trace


def _open(source: Source) -> Stream:
    """Return the entries of a file: those of a zip's chunks, one after the other."""
    if not source.head(4).startswith(ZIP):
        return source.open()
    raw = source.opener()
    try:
        archive = zipfile.ZipFile(raw)
    except Exception as error:  # the library reports a garbled archive by many types of exception
        raw.close()
        raise op.TraceError(f"{source.name}: damaged or cut short: its table of contents is missing ({told(error)})") from None
    return Stream(_Chunks(archive, raw), source.name)  # type: ignore[arg-type]


class _Chunks:
    """The files of a zip as one binary file, as far as a Stream needs it."""

    def __init__(self, archive: zipfile.ZipFile, raw: BinaryIO) -> None:
        self._archive, self._raw, self._names = archive, raw, archive.namelist()
        self._open: BinaryIO | None = None

    def read(self, size: int) -> bytes:
        while self._open or self._names:
            try:
                self._open = self._open or self._archive.open(self._names.pop(0))  # type: ignore[assignment]
                data = self._open.read(size)  # type: ignore[union-attr]
            except Exception as error:  # see `_open`
                raise OSError(error) from None
            if data:
                return data
            self._open.close()  # type: ignore[union-attr]
            self._open = None
        return b""

    def readinto(self, view: memoryview) -> int:
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._open:
            self._open.close()
        self._archive.close()
        self._raw.close()


class _File:
    """One file: its entries, the current thread, and a system call that has begun."""

    def __init__(self, source: Source, run: "_Run") -> None:
        self.source, self.time, self.footer, self.started = source, 0, False, False
        self._run, self._version = run, 0
        self._stream = _open(source)
        self._entries = Entries(self._stream, dr.ENTRY)
        self._state = np.zeros(1, dr.STATE)
        self._state["agent"], self._state["user_end"] = UNKNOWN, run.user_end
        self._tid = UNKNOWN
        self._number: int | None = None  # number of the call that has begun
        self._args: list[int] = []
        self._result: int | None = None
        self._failed = False

    def close(self) -> None:
        self._stream.close()

    def advance(self) -> Iterator[np.ndarray]:
        """Parse up to the next time stamp, and set `time` to it, or to the end: then `time` is -1."""
        batch = self._run.assembly.batch
        while self._entries.at < self._entries.rows.size or self._entries.refill():
            self._state["filled"] = batch.filled
            rows, at = self._entries.rows, self._entries.at
            known = self._run.threads[: len(self._run.agents)]
            self._entries.at, reason = dr.entries(rows, at, batch.ops, self._state, known)
            batch.filled = int(self._state["filled"][0])
            if reason == dr.FULL:
                yield from self._run.assembly.flush()
            elif reason == dr.STOP:
                if self._look(self._entries.rows[self._entries.at]):
                    return
            elif reason != dr.END:
                self._refuse(reason)
            if self._run.assembly.is_short(dr.ROOM):
                yield from self._run.assembly.flush()
        self._complete()
        self.time = -1

    def where_cut(self) -> str:
        """Return how the file ends early; empty if it does not."""
        return self._entries.where_cut() or ("" if self.footer else f"ends at byte {self._entries.byte()}, without a footer")

    def left_out(self) -> dict[str, int]:
        """Return the number of entries left out, by kind."""
        return {name: int(self._state[name][0]) for name in ("kernel", "prefetches", "flushes")}

    def _look(self, e: Any) -> bool:
        """Handle an entry that the kernel stopped at; return whether it is a time stamp that other threads come before."""
        kind, marker, value = int(e["what"]), int(e["bytes_"]), int(e["addr"])
        ends_call = kind != dr.MARKER or marker in (dr.NUMBER, dr.STAMP)
        if ends_call and self._number is not None and not (marker == dr.STAMP and self._result is None and kind == dr.MARKER):
            self._complete()
            return False  # the kernel returns to this entry
        if kind not in (dr.THREAD, dr.THREAD_EXIT, dr.PROCESS, dr.HEADER, dr.FOOTER, dr.MARKER):
            self._admit(UNKNOWN)
            return False
        is_stamp = False
        if kind == dr.THREAD:
            self._tid, self._state["agent"] = value, UNKNOWN
        elif kind == dr.PROCESS:
            if int(self._state["agent"][0]) == UNKNOWN:
                self._admit(value)
        elif kind == dr.HEADER:
            self._check_version(value)
        elif kind == dr.FOOTER:
            self.footer = True
        elif kind == dr.MARKER:
            is_stamp = self._marker(marker, value)
        self._entries.at += 1
        return is_stamp

    def _marker(self, marker: int, value: int) -> bool:
        if marker == dr.STAMP:
            self.time = max(value, 0)
            return True
        if marker == dr.MARKED_VERSION:
            self._check_version(value)
        elif marker == dr.FILE_TYPE:
            self._run.type_of_file(value)
            self._state["user_end"] = self._run.user_end
        elif marker == dr.PAGE_SIZE:
            self._run.page_size = value
        elif marker == dr.NUMBER:
            self._number, self._args, self._result, self._failed = value, [], None, False
            self._state["pending"] = 1
        elif self._number is not None:
            if marker == dr.CALL_ARGUMENT and len(self._args) < 6:
                self._args.append(value)
            elif marker == dr.CALL_RESULT:
                self._result = value
            elif marker == dr.CALL_FAILED:
                self._failed = True
        return False

    def _check_version(self, value: int) -> None:
        if value not in VERSIONS:
            raise op.TraceError(f"{self.source.name}: {self._where()}: format version {value} is not known")
        self._version = value

    def _admit(self, pid: int) -> None:
        """Make the current thread a new agent."""
        self._state["agent"] = self._run.admit(self._tid, pid)

    def _complete(self) -> None:
        """Complete the system call that has begun."""
        number, self._number = self._number, None
        self._state["pending"] = 0
        if number is None:
            return
        if int(self._state["agent"][0]) == UNKNOWN:
            self._admit(UNKNOWN)
        agent, numbering = int(self._state["agent"][0]), self._run.numbering
        result = self._returned(numbering.number(number))
        try:
            if result is None:
                self._run.assembly.other_call(agent)
            else:
                here, *args = numbering.enter(number, self._args)
                self._run.assembly.call(agent, here, args, numbering.leave(number, result)[1])
        except (ValueError, IndexError):
            raise op.TraceError(f"{self.source.name}: {self._where()}: system call {number} makes no sense") from None

    def _returned(self, number: int) -> int | None:
        """Return a call's result, -1 if it failed, None if it is not known."""
        if number in EXITS:
            return 0
        if self._failed or self._result is None:
            return -1 if self._failed else None
        if self._version < RAW_RESULTS and self._result == 0:
            return -1
        if self._result != 1 or number not in (MMAP, 12, 25):
            return self._result
        fixed = number == MMAP and len(self._args) > 3 and self._args[3] & MAP_FIXED
        return self._args[0] if fixed else None

    def _where(self) -> str:
        return f"entry {self._entries.before + self._entries.at} at byte {self._entries.byte()}"

    def _refuse(self, reason: int) -> None:
        e = self._entries.rows[self._entries.at]
        address = int(e["addr"]) & (1 << 64) - 1
        why = f"non-canonical address {address:#x}" if reason == dr.NON_CANONICAL else f"unknown type {int(e['what'])}"
        if reason == dr.STRANGE and e["what"] == dr.BUNDLE:
            why = f"a bundle of {int(e['bytes_']) & 0xFFFF} instructions"
        raise op.TraceError(f"{self.source.name}: {self._where()} makes no sense: {why}")


class _Run:
    """One pass over the files of a recording."""

    def __init__(self, whole: Source, sources: list[Source], events: bool, watch: bool) -> None:
        self.assembly = Assembly(whole.name, NAME, events, watch)
        self.agents, self.cut = self.assembly.agents, list[str]()
        self.threads = np.full(op.AGENTS, UNKNOWN, np.int64)  # thread id of each agent
        self._sources = sources
        self._processes: dict[int, int] = {}
        self._left_out: dict[str, int] = {}
        self.filtered, self.instructions_only, self.page_size = False, False, op.PAGE
        self.user_end, self.numbering = op.USER_END, X86_64

    def chunks(self) -> Iterator[np.ndarray]:
        files = [_File(source, self) for source in self._sources]
        try:
            waiting = [(0, number) for number in range(len(files))]
            while waiting:
                _, number = heapq.heappop(waiting)
                yield from files[number].advance()
                if files[number].time >= 0:
                    heapq.heappush(waiting, (files[number].time, number))
        finally:
            for file in files:
                file.close()
        self._note(files)
        if not self.agents:
            self.admit(UNKNOWN, UNKNOWN)
        yield from self.assembly.finish()

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        tids = {"threads": self.threads[: len(self.agents)].tolist()}
        said = {**tids, **self._left_out} | ({"filtered": True} if self.filtered else {})
        said |= {"instructions_only": True} if self.instructions_only else {}
        said |= {"page_size": self.page_size} if self.page_size != op.PAGE else {}
        return self.assembly.prelude(), {**self.assembly.about(), **said}

    def type_of_file(self, bits: int) -> None:
        """Note what a file's type says (offline_file_type_t)."""
        self.filtered |= bool(bits & FILTERS)
        self.instructions_only |= bool(bits & INSTRUCTION_ONLY)
        self.numbering = next((numbers for bit, numbers in NUMBERS.items() if bits & bit), self.numbering)
        if bits & AARCH64:
            self.user_end = op.user_end_of(op.USER_END)
            self.assembly.reach(self.user_end)

    def admit(self, tid: int, pid: int) -> int:
        """Add a new thread, perhaps of a new process; return its agent."""
        if pid == UNKNOWN and self._processes:
            pid = next(iter(self._processes))
        number = len(self.agents)
        if pid in self._processes:
            self.assembly.thread(self._processes[pid], f"thread {number}")
        else:
            self._processes[pid] = self.assembly.process(f"thread {number}")
        self.threads[number] = tid
        return number

    def _note(self, files: list[_File]) -> None:
        for file in files:
            if cut := file.where_cut():
                self.cut.append(cut if len(files) == 1 else f"{file.source.name} {cut}")
            for name, count in file.left_out().items():
                if count:
                    self._left_out[f"{name}_left_out"] = self._left_out.get(f"{name}_left_out", 0) + count
