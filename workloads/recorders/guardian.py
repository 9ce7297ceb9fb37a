"""A process that cleans up after a recorder: if the recorder dies, for whatever reason, its programs, instances and files go too.

The guardian runs in a session of its own and reads from a pipe whose other end the recorder holds; so it notices every end of the recorder.
The recorder announces each thing before making it. A program announces itself, as its last act before it becomes the program (`shim`):
at no moment is it unknown. A program that dies by itself leaves its descendants without a parent, and so without a trace: the guardian
holds the reading ends of its pipes open, so that it does not die of SIGPIPE when its recorder does.

This file is run by itself, and must import nothing from the project.
"""

import contextlib
import functools
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

SHIM = """\
import ctypes, os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL), signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
guardian, locale, held = map(int, sys.argv[1:4])
locale or os.environ.pop("LC_CTYPE", None)
os.set_inheritable(guardian, False)
os.write(guardian, b"program %d\\n" % os.getpid())
held and ctypes.CDLL(None).ptrace(0, 0, None, None)
os.execvp(sys.argv[4], sys.argv[4:])
"""
"""Becomes a program that the guardian knows, and that stops at its first instruction if it is to be held. Python ignores two signals and
may set LC_CTYPE; the program must not."""
START = 10.0
PATIENCE, PAUSE = 10.0, 0.02
GRACE = 1.0
"""Seconds: to begin, to go on trying, between trials, and for which a recorder waits for the guardian at the end."""


class Guardian:
    """The recorder's side, a context manager: enter before making anything that needs cleaning up, leave after all of it has been removed.

    Parameters
    ----------
    pipes : sequence of int
        Descriptors to hold open until `release`, or until the recorder's end has been dealt with.

    Raises
    ------
    OSError
        If the guardian can't be started, or has gone.
    """

    def __init__(self, pipes: Sequence[int] = ()) -> None:
        self._pipes = pipes

    def __enter__(self) -> "Guardian":
        self._instances: list[pathlib.Path] = []
        reading, self.descriptor = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, *map(str, self._pipes)], stdin=reading, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, pass_fds=self._pipes,
            )  # fmt: skip
        finally:
            os.close(reading)
        ready, _, _ = select.select([self._process.stdout], [], [], START)
        if not ready or not self._process.stdout.read(1):  # type: ignore[union-attr]
            self.__exit__()
            raise OSError("the process that ends a recording should its recorder die could not be started")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        self._process.stdout.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)

    def shim(self, command: Sequence[str], env: Mapping[str, str] | None, held: bool = False) -> list[str]:
        """Return the command to start in place of a program; the child must inherit `descriptor`."""
        has_locale = "LC_CTYPE" in (os.environ if env is None else env)
        return [sys.executable, "-I", "-S", "-c", SHIM, str(self.descriptor), str(int(has_locale)), str(int(held)), *command]

    def program_ended(self) -> None:
        """Tell the guardian that the program has ended; its number may soon be another's."""
        self._tell("ended")

    def release(self) -> None:
        """Let the guardian close the pipes: nobody reads on, and the program may learn of it."""
        self._tell("release")

    def will_make(self, path: str | os.PathLike[str]) -> None:
        """Announce a file, or a folder with all that will be in it, to be removed."""
        self._tell(f"file {os.fspath(path)}")

    def will_trace(self, path: str | os.PathLike[str]) -> None:
        """Announce a tracefs instance, to be stopped and removed, and the processes that it watches with it."""
        self._instances.append(pathlib.Path(path))
        self._tell(f"instance {os.fspath(path)}")

    def kill(self, process: subprocess.Popen) -> None:
        """End a program and its descendants, if it has not ended."""
        if process.poll() is None:
            _kill({process.pid: _born(process.pid)}, self._instances)
            process.wait()
        self.program_ended()

    def _tell(self, line: str) -> None:
        try:
            os.write(self.descriptor, os.fsencode(line.replace("\n", "")) + b"\n")
        except BrokenPipeError:
            raise OSError("the process that ends a recording should its recorder die has ended") from None


def watch() -> None:
    """Wait for the recorder's end; then remove everything left over from it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b".")
    os.close(1)
    programs: dict[int, str] = {}
    made: list[tuple[str, str]] = []
    with open(0, "rb", buffering=0) as pipe, contextlib.closing(pipe):
        for line in pipe:
            kind, _, value = os.fsdecode(line.rstrip(b"\n")).partition(" ")
            if kind == "program":
                programs[int(value)] = _born(int(value))
            elif kind == "ended":
                programs.clear()
            elif kind == "release":
                for descriptor in map(int, sys.argv[1:]):
                    os.close(descriptor)
            else:
                made.append((kind, value))
    instances = [pathlib.Path(path) for kind, path in made if kind == "instance"]
    for path in instances:
        _try(lambda path=path: (path / "tracing_on").write_text("0"))
    if programs:
        _kill(programs, instances)
    until = time.monotonic() + PATIENCE
    left = [*(path.rmdir for path in instances), *(functools.partial(_remove, path) for kind, path in made if kind == "file")]
    while (left := [remove for remove in left if not _try(remove)]) and time.monotonic() < until:
        time.sleep(PAUSE)


def _remove(path: str) -> None:
    """Remove a file, or a folder with its content."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _try(action: Any) -> bool:
    """Do an action; return whether it is done, or there is nothing to be done."""
    try:
        action()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def _kill(programs: dict[int, str], instances: list[pathlib.Path]) -> None:
    """End programs and their descendants; stop all of them first, so that none starts another meanwhile."""
    stopped: set[int] = set()
    oldest = min((int(born) for born in programs.values() if born), default=0)
    while found := _family(programs, instances, oldest) - stopped:
        for pid in found:
            _try(lambda pid=pid: os.kill(pid, signal.SIGSTOP))
        stopped |= found
    for pid in stopped:
        _try(lambda pid=pid: os.kill(pid, signal.SIGKILL))


def _family(programs: dict[int, str], instances: list[pathlib.Path], oldest: int) -> set[int]:
    """Return the announced programs if still the same processes, their descendants, and processes watched by instances, if not older."""
    known = {int(name): _status(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    family = {pid for pid, born in programs.items() if born and _born(pid) == born}
    grown = 0
    while grown != len(family):
        grown = len(family)
        family |= {pid for pid, (parent, _) in known.items() if parent in family}
    for path in instances:
        with contextlib.suppress(OSError):
            watched = {int(word) for word in (path / "set_event_pid").read_text().split() if word.isdigit()}
            family |= {pid for pid in watched & known.keys() if known[pid][1].isdigit() and int(known[pid][1]) >= oldest}
    return family


def _born(pid: int) -> str:
    """Return the start time of a process; empty if it has ended."""
    return _status(pid)[1]


def _status(pid: int) -> tuple[int, str]:
    """Return (parent, start time) of a process; (0, "") if it has ended."""
    try:
        words = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0, ""
    return (0, "") if words[0] in (b"Z", b"X") else (int(words[1]), words[19].decode())


if __name__ == "__main__":
    watch()
