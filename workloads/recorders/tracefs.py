"""A tracefs instance: the kernel's trace events of a few threads, as text, streamed to a file.

An instance outlives the process that made it, and goes on recording. So a guardian removes it if its recorder dies. The guardian can be
killed too: so a recorder locks its instance for as long as it lives, and the next recorder removes instances without a lock.
"""

import contextlib
import fcntl
import os
import pathlib
import secrets
import select
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from hwmodel.op import TraceError
from workloads.recorders.guardian import Guardian

ROOTS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
BUFFER_KIB = 1 << 15
"""Buffer of each CPU: about 300,000 events, more than a reader can fall behind."""
CLOCK = "mono"
"""The default clock is each CPU's own, and a thread that changes CPUs could go back in time."""
HEADER = """\
# tracer: nop
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
"""The header of `trace`; `trace_pipe`, which can be streamed, leaves it out."""
PREFIX = "hwmodel-"
READ = 1 << 16
POLL_MS = 50


class Instance:
    """A set of events with buffers of its own, removed on exit. It records nothing until `start`.

    Parameters
    ----------
    guardian : Guardian
        Removes the instance should this process die.
    needed, wanted : iterable of str
        Events as "group/event"; a kernel that lacks a needed one is refused, missing wanted ones are left out.

    Raises
    ------
    TraceError
        If there is no tracefs, or this process may not use it.
    """

    def __init__(self, guardian: Guardian, needed: Iterable[str], wanted: Iterable[str] = ()) -> None:
        self._path = _root() / "instances" / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self._guardian, self._lock = guardian, contextlib.ExitStack()
        self.events: list[str] = []
        self._needed, self._wanted = tuple(needed), tuple(wanted)
        self._reader: threading.Thread | None = None
        self._over = threading.Event()
        self._failure: OSError | None = None

    def __enter__(self) -> "Instance":
        try:
            self._guardian.will_trace(self._path)
            with _locked(self._path.parent):  # so that no other recorder takes the instance for a dead recorder's before it is locked
                _remove_left(self._path.parent)
                self._path.mkdir()
                self._lock.enter_context(_locked(self._path))
        except OSError as error:
            self._lock.close()
            raise TraceError(f"cannot record the kernel's events: {self._path}: {error.strerror} (it needs root)") from None
        try:
            self._put("tracing_on", "0")
            self._put("buffer_size_kb", str(BUFFER_KIB))
            self._put("trace_clock", CLOCK)
            self._put("options/event-fork", "1")
            for event in (*self._needed, *self._wanted):
                self._enable(event)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    def start(self, pid: int, write: Callable[[bytes], object]) -> None:
        """Record the events of a thread and all its descendants; hand the text to `write`, in another thread."""
        self._put("set_event_pid", str(pid))
        self._reader = threading.Thread(target=self._stream, args=(write,), daemon=True)
        self._put("tracing_on", "1")
        self._reader.start()

    def stop(self) -> None:
        """Stop recording; return when all text has been written. Raises OSError if writing failed."""
        self._put("tracing_on", "0")
        self._over.set()
        if self._reader is not None:
            self._reader.join()
            self._reader = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def lost(self) -> int:
        """Return the number of events lost because the kernel's buffers were full."""
        count = 0
        for stats in self._path.glob("per_cpu/cpu*/stats"):
            for line in stats.read_text().splitlines():
                name, _, value = line.partition(": ")
                count += int(value) if name in ("overrun", "commit overrun", "dropped events") else 0
        return count

    def _stream(self, write: Callable[[bytes], object]) -> None:
        try:
            with open(os.open(self._path / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
                while self._copy(pipe, write):
                    pass
        except OSError as error:
            self._failure = error

    def _copy(self, pipe: BinaryIO, write: Callable[[bytes], object]) -> bool:
        """Hand on the available text; return False if there will be no more."""
        over = self._over.is_set()
        text = pipe.read(READ)
        if text:
            write(text)
        elif over:
            return False
        else:
            poller = select.poll()
            poller.register(pipe, select.POLLIN)
            poller.poll(POLL_MS)
        return True

    def _enable(self, event: str) -> None:
        if (self._path / "events" / event).is_dir():
            self._put(f"events/{event}/enable", "1")
            self.events.append(event)
        elif event in self._needed:
            raise TraceError(f"cannot record the kernel's events: this kernel has no event {event}")

    def _put(self, name: str, text: str) -> None:
        try:
            (self._path / name).write_text(text)
        except OSError as error:
            raise TraceError(f"cannot record the kernel's events: {self._path / name}: {error.strerror}") from None

    def _remove(self) -> None:
        if self._path.is_dir():
            self._put("events/enable", "0")
            self._path.rmdir()
        self._lock.close()


@contextlib.contextmanager
def _locked(folder: pathlib.Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder; raise BlockingIOError if another process holds it and `wait` is False."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _remove_left(folder: pathlib.Path) -> None:
    """Remove the instances of recorders that are dead."""
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _locked(path, wait=False):
            path.rmdir()


def _root() -> pathlib.Path:
    for root in ROOTS:
        if os.path.isdir(f"{root}/instances"):
            return pathlib.Path(root)
    mount = "mount -t tracefs tracefs /sys/kernel/tracing"
    raise TraceError(f"cannot record the kernel's events: there is no tracefs ({mount}), or no right to it")
