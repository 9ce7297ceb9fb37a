"""Record a program with valgrind's lackey.

Valgrind lists the program's memory before it runs (-d), so the trace has the mappings before its first record.
The addresses are valgrind's own and repeatable: no randomisation, one thread at a time, no huge pages. A forked process
is not followed: it is a FORK and an EXIT, with nothing in between. A successful execve ends the recording. Threads share
one agent, because lackey does not tell them apart.
"""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hwmodel.op import TraceError
from workloads.formats.lackey import Run
from workloads.recorders.launch import Launch
from workloads.streams import Stream, bytes_source

FOLLOW = ("--trace-mem=yes", "--trace-syscalls=yes", "--child-silent-after-fork=yes")
OPTIONS = ("--tool=lackey", *FOLLOW, "-d", "--vgdb=no")
LOSS = "in which all threads are one agent and which records less than a million references a second"
"""What is lost with this recorder beside QEMU's, in words."""
DEBUG = re.compile(rb"--\d+:\d+:")
LAYOUT_END = b"aspacem >>>"


def missing() -> str:
    """Return why this recorder cannot be used here; empty if it can."""
    return "" if shutil.which("valgrind") else "valgrind, which is not installed (package valgrind)"


class Recorder:
    """One run of a program under lackey, as `workloads.recorders` says."""

    def __init__(self, command: list[str], cwd: Any = None, env: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._debug: list[str] = []
        self._has_layout = threading.Event()
        self._launch = Launch(self._line, self._keep, cwd, env)
        self._run = Run(bytes_source(b"", command[0]), debug_lines=self._layout)
        self.agents, self.cut = self._run.agents, self._run.cut

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the records, while the program runs."""
        with self._launch as launch:
            yield from self._run.chunks(Stream(launch.log, self._command[0]))

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after the program's end."""
        prelude, info = self._run.finish()
        if not info["lines"]:
            raise TraceError(f"cannot record {self._command[0]!r}: {self._launch.complaint or 'valgrind recorded nothing'}")
        if self.cut:
            raise TraceError(f"cannot record {self._command[0]!r}: valgrind's log ends early: {'; '.join(self.cut)}")
        return prelude, info | {"recorder": _version(), "command": self._command, "exit_status": self._launch.status}

    def _line(self, log: int) -> list[str]:
        return [str(shutil.which("valgrind")), *OPTIONS, f"--log-fd={log}", *self._command]

    def _layout(self) -> list[str]:
        """Wait for the lines that list the program's memory before it runs, and return them."""
        self._has_layout.wait()
        return self._debug

    def _keep(self, line: bytes) -> bool:
        """Keep valgrind's debug output up to the first list of memory; return whether the line was such output."""
        if line and not DEBUG.match(line):
            return False
        if not self._has_layout.is_set():
            self._debug.append(line.decode("utf-8", "replace"))
            if not line or LAYOUT_END in line:
                self._has_layout.set()
        return True


def _version() -> str:
    found = subprocess.run([str(shutil.which("valgrind")), "--version"], capture_output=True, text=True, check=False)
    return f"{found.stdout.strip()} lackey"
