"""Recording a program with valgrind's lackey, as a stream: the text never touches the disk.

Valgrind lists the program's memory before it runs (-d), so the trace knows what is mapped before its first record.
Its addresses are valgrind's own and repeatable: no randomisation, one thread at a time, no huge pages. A forked process
is not followed: it is a FORK and an EXIT, with nothing in between. A successful execve ends the recording.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace
from workloads.readers.lackey import Run
from workloads.streams import Stream, bytes_source

FOLLOW = ("--trace-mem=yes", "--trace-syscalls=yes", "--child-silent-after-fork=yes")
OPTIONS = ("--tool=lackey", *FOLLOW, "-d", "--vgdb=no")
DEBUG = re.compile(rb"--\d+:\d+:")
LAYOUT_END = b"aspacem >>>"


def record(
    command: Sequence[str],
    out: str | os.PathLike[str] | None = None,
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Trace:
    """Run a program under valgrind's lackey and record its accesses, system calls and operations on memory.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments. It has this process's input and output; about 100 times slower than alone.
    out : path, optional
        Trace file to write, by custom ``.hwtrace``; written completely or not at all. None keeps the trace in memory
        (16 bytes a record).
    cwd, env : optional
        Working directory and environment of the program.

    Returns
    -------
    Trace
        `info` has the command, its exit status (negative: the signal that killed it) and what was recorded.

    Raises
    ------
    TraceError
        If valgrind is not installed or the program can't be started.
    """
    command = [os.fspath(part) for part in command]
    if not command:
        raise TraceError("nothing to record: the command is empty")
    if shutil.which("valgrind") is None:
        raise TraceError("recording needs valgrind, which is not installed (Debian, Ubuntu: apt-get install valgrind)")
    if shutil.which(os.path.join(cwd or "", command[0]) if os.sep in command[0] else command[0]) is None:
        raise TraceError(f"cannot record {command[0]!r}: no such program")
    trace = _Recording(command, cwd, env)
    if out is not None:
        trace.save(out)
        return Trace.load(out)
    chunks = list(trace.chunks())
    return Trace(trace.agents, functools.partial(iter, chunks), trace.prelude, trace.info)


class _Recording(Trace):
    """A trace that is read once, while its program runs; agents, prelude and info are complete at the end."""

    def __init__(self, command: list[str], cwd: Any, env: Mapping[str, str] | None) -> None:
        super().__init__([Agent("cpu", 0, command[0])], functools.partial(self._run, command, cwd, env))

    def _run(self, command: list[str], cwd: Any, env: Mapping[str, str] | None) -> Iterator[np.ndarray]:
        with _Valgrind(command, cwd, env) as valgrind:
            run = Run(bytes_source(b"", command[0]), debug_lines=valgrind.layout)
            for chunk in run.chunks(Stream(valgrind.log, command[0])):
                self.agents = tuple(run.agents)
                yield chunk
        self.agents = tuple(run.agents)
        self.prelude, info = run.finish()
        if not info["lines"]:
            raise TraceError(f"cannot record {command[0]!r}: {valgrind.complaint or 'valgrind recorded nothing'}")
        if run.cut:
            raise TraceError(f"cannot record {command[0]!r}: valgrind's log ends early: {'; '.join(run.cut)}")
        recorder = {"recorder": valgrind.version(), "command": command, "exit_status": valgrind.exit_status}
        self.info = info | recorder


class _Valgrind:
    """A running valgrind: its log as a stream, its debug output, the program's own errors passed on."""

    def __init__(self, command: list[str], cwd: Any, env: Mapping[str, str] | None) -> None:
        self._valgrind = str(shutil.which("valgrind"))
        self._command, self._cwd, self._env = command, cwd, env
        self._debug: list[str] = []
        self._has_layout = threading.Event()
        self.complaint = ""
        self.exit_status: int | None = None

    def __enter__(self) -> "_Valgrind":
        reading, writing = os.pipe()
        self.log: BinaryIO = open(reading, "rb", buffering=0)
        try:
            command = [self._valgrind, *OPTIONS, f"--log-fd={writing}", *self._command]
            places = {"cwd": self._cwd, "env": self._env, "pass_fds": (writing,)}
            self._process = subprocess.Popen(command, stderr=subprocess.PIPE, **places)
        finally:
            os.close(writing)
        self._errors = threading.Thread(target=self._watch_errors, daemon=True)
        self._errors.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.log.close()
        if kind is not None:
            self._process.kill()
        self.exit_status = self._process.wait()
        self._errors.join(timeout=5)  # a daemon of the program's may hold it open

    def layout(self) -> list[str]:
        """Lines that list the program's memory before it runs; waits for them."""
        self._has_layout.wait()
        return self._debug

    def version(self) -> str:
        """The recorder's name and version."""
        found = subprocess.run([self._valgrind, "--version"], capture_output=True, text=True, check=False)
        return f"{found.stdout.strip()} lackey"

    def _watch_errors(self) -> None:
        """Keep valgrind's debug output up to the first list of memory, pass on the rest."""
        with self._process.stderr as errors:  # type: ignore[union-attr]
            for line in errors:
                if not DEBUG.match(line):
                    self.complaint = line.decode("utf-8", "replace").strip()
                    sys.stderr.write(line.decode("utf-8", "replace"))
                elif not self._has_layout.is_set():
                    self._debug.append(line.decode("utf-8", "replace"))
                    if LAYOUT_END in line:
                        self._has_layout.set()
        self._has_layout.set()
