"""A tool that runs a program and writes a recording to a pipe of ours: nothing of it touches the disk, or outlives this process."""

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from workloads.recorders.guardian import Guardian

PIPE_SIZE = 1 << 20  # bytes: the most that a process without privileges may ask for
SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)


class Launch:
    """A running tool, with its output; error messages of tool and program are passed on.

    Parameters
    ----------
    command : callable
        Returns the tool's command, given the descriptor to write to.
    keep : callable
        Returns whether a line of the errors is ours and not to be passed on.
    cwd, env : optional
        Working directory and environment.
    share : sequence of int
        Further descriptors that the tool inherits.
    """

    def __init__(
        self, command: Callable[[int], list[str]], keep: Callable[[bytes], bool], cwd: Any, env: Mapping[str, str] | None,
        share: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self._command, self._keep, self._cwd, self._env, self._share = command, keep, cwd, env, share
        self.complaint = ""
        self.status: int | None = None

    def __enter__(self) -> "Launch":
        reading, writing = os.pipe()
        complaints, complaining = os.pipe()
        self.log: BinaryIO = open(reading, "rb", buffering=0)
        errors = open(complaints, "rb")
        self._stack = contextlib.ExitStack()
        try:
            self._guardian = self._stack.enter_context(Guardian((reading, complaints)))
            _enlarge(writing)
            places = {"cwd": self._cwd, "env": self._env, "pass_fds": (writing, self._guardian.descriptor, *self._share)}
            command = self._guardian.shim(self._command(writing), self._env)
            self._process = subprocess.Popen(command, stderr=complaining, **places)
        except BaseException:
            self._stack.close()
            self.log.close()
            errors.close()
            raise
        finally:
            os.close(writing)
            os.close(complaining)
        self._errors = threading.Thread(target=self._watch_errors, args=(errors,), daemon=True)
        self._errors.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            self._guardian.kill(self._process)  # before it can die of a closed pipe, and its descendants lose their parent
        self.log.close()
        self._guardian.release()
        self.wait()
        self._errors.join(timeout=5)  # a daemon started by the program may hold it open
        self._stack.close()

    def wait(self) -> int:
        """Wait for the exit status and return it; negative: the signal that killed the program."""
        if self.status is None:
            self.status = self._process.wait()
            self._guardian.program_ended()
        return self.status

    def _watch_errors(self, errors: BinaryIO) -> None:
        with errors:
            for line in errors:
                if not self._keep(line):
                    self.complaint = line.decode("utf-8", "replace").strip()
                    sys.stderr.write(line.decode("utf-8", "replace"))
        self._keep(b"")


def _enlarge(pipe: int) -> None:
    """Enlarge a pipe, for a reader that falls behind for a while; without a larger pipe the writer only waits more often."""
    try:
        fcntl.fcntl(pipe, SET_PIPE_SIZE, PIPE_SIZE)
    except OSError:
        pass
