"""Record a program with QEMU's user mode: every thread is an agent.

The plugin in this folder, in C, is built on first use with the system's C compiler. It writes a thread recording
(`workloads.formats.threads`), which is read as it arrives. QEMU lists the program's memory before it runs, so VMAs are exact
if it passes the list to plugins (versions 6.2 to 8.2); otherwise they are inferred from use.

A deterministic program of one thread gives the same recording each time: QEMU places programs without randomisation, and the random bytes
that a program gets at its start are seeded. The order of threads is not repeatable, nor is anything that depends on it. A forked process
is not followed: it is a FORK and an EXIT, with nothing in between; so is the child of a vfork. A successful execve ends the
recording: the new program runs outside QEMU. All accesses before a signal that kills a program are recorded. A program that
closes all descriptors at once ends the recording, with a warning. The kernel's reads and writes for a call are not
recorded; a block of instructions that a signal interrupts counts as fetched to its end.
"""

import atexit
import functools
import hashlib
import io
import mmap
import os
import pathlib
import platform
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast

import numpy as np

from hwmodel.jit import CACHE_DIR
from hwmodel.op import TraceError
from hwmodel.output import whole
from hwmodel.store import Store
from workloads.formats.threads import Run
from workloads.recorders.guardian import Guardian
from workloads.recorders.launch import Launch
from workloads.streams import Stream, bytes_source

QEMU = "qemu-x86_64"
SOURCES = ("plugin.c", "qemu.h", "stream.h", "layout.h")
FLAGS = ("-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
OPTIONS = ("-cpu", "max", "-seed", "1")
PACKAGES = "those of Debian 12 and Ubuntu 22.04 have them, of Debian 11 and 13 and Ubuntu 24.04 not; else configure --enable-plugins"
"""Looked at with --help: qemu-user 5.2, 10.0, 11.1 of Debian 11, 13 and unstable, 8.2 of Ubuntu 24.04; 7.2 and 6.2 of the others."""
SLOTS, ENTRIES = 1024, 4096  # most threads at a time; most entries that each may hold back
SHARED, HEADER, ENTRY = 64, 64, 16  # bytes: at the front of the buffers; at the front of each; of an entry
SLOT = HEADER + ENTRIES * ENTRY


def missing() -> str:
    """Return why this recorder cannot be used here; empty if it can."""
    path = shutil.which(QEMU)
    if path is None:
        return f"{QEMU}, which is not installed (package qemu-user; openSUSE: qemu-linux-user; Alpine: qemu-x86_64)"
    if not _has_plugins(path):
        return f"a {QEMU} with plugins; this one, version {_version()}, was built without ({PACKAGES})"
    if shutil.which("cc") is None:
        return "a C compiler, cc, which is not installed (package gcc, and libc6-dev on Debian and Ubuntu)"
    return ""


def plugin() -> pathlib.Path:
    """Return the plugin, and build it first if needed.

    To keep a recording as it is: ``qemu-x86_64 -plugin PLUGIN,out=FILE PROGRAM ...``; `workloads.read` reads it.

    Returns
    -------
    Path
        A shared library in the user's cache folder (or in HWMODEL_CACHE), or, if nothing can be kept, in a folder of this process.

    Raises
    ------
    TraceError
        If QEMU or the compiler is missing, or refuses.
    """
    if reason := missing():
        raise TraceError(f"recording threads needs {reason}")
    compiler = _said(["cc", "--version"])
    api = 1 if int(_version().split(".")[0]) < 9 else 2
    flags = [*FLAGS, f"-DPLUGIN_API={api}"]
    folder = pathlib.Path(__file__).resolve().parent
    digest = hashlib.sha256("\0".join([compiler, platform.machine(), *flags]).encode())
    for name in SOURCES:
        digest.update((folder / name).read_bytes())
    name, store = digest.hexdigest()[:20], _store()
    library = store.load(name)
    if library is None:
        library = _built(str(folder / SOURCES[0]), *flags)
        store.save(name, library)
    path = pathlib.Path(store.folder if store.load(name) == library else _own_folder()) / f"{name}.so"
    if not path.exists() or path.read_bytes() != library:
        with whole(path, mode=0o700) as file:
            file.write(library)
    return path


@functools.cache
def _store() -> Store:
    return Store(str(pathlib.Path(CACHE_DIR).parent / "plugins"))


@functools.cache
def _own_folder() -> str:
    """Return a folder that is removed when this process ends, whatever ends it."""
    guardian = Guardian().__enter__()
    atexit.register(guardian.__exit__)
    return _folder(guardian)


def _folder(guardian: Guardian) -> str:
    """Make a folder that the guardian removes."""
    path = os.path.join(tempfile.gettempdir(), f"hwmodel-{secrets.token_hex(8)}")
    guardian.will_make(path)
    os.mkdir(path, 0o700)
    return path


@functools.cache
def _built(*arguments: str) -> bytes:
    """Compile a shared library and return its bytes; the compiler and its files end with this process."""
    with Guardian() as guardian:
        folder = _folder(guardian)
        path, env = os.path.join(folder, "plugin.so"), os.environ | {"TMPDIR": folder}
        command = guardian.shim(["cc", *arguments, "-o", path], env)
        found = subprocess.run(command, capture_output=True, text=True, check=False, env=env, pass_fds=(guardian.descriptor,))
        guardian.program_ended()
        if found.returncode:
            errors = [line for line in found.stderr.splitlines() if "error" in line] or found.stderr.splitlines() or ["it says nothing"]
            raise TraceError(f"cc cannot build the plugin of QEMU: {errors[0]}")
        return pathlib.Path(path).read_bytes()


def _said(command: list[str]) -> str:
    """Return the standard output of a command."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@functools.cache
def _has_plugins(path: str) -> bool:
    """Return whether this QEMU was built with plugins."""
    return "-plugin" in _said([path, "--help"])


@functools.cache
def _version() -> str:
    """Return QEMU's version; "0" if QEMU reports none."""
    found = re.search(r"version (\d+(?:\.\d+)*)", _said([QEMU, "--version"]))
    return found[1] if found else "0"


class Recorder:
    """One run of a program under QEMU, as `workloads.recorders` says."""

    def __init__(self, command: list[str], cwd: Any = None, env: Mapping[str, str] | None = None) -> None:
        self._command, self._cwd, self._plugin = command, cwd, plugin()
        self._program = _program(command, cwd, env)
        self._buffers = os.memfd_create("hwmodel")
        os.truncate(self._buffers, SHARED + SLOTS * SLOT)
        self._launch = Launch(self._line, lambda line: not line, cwd, env, (self._buffers,))
        self._run = Run(bytes_source(b"", command[0]), was_killed=self._was_killed)
        self.agents, self.cut = self._run.agents, self._run.cut

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the records, while the program runs."""
        with open(self._buffers, "rb") as buffers, self._launch as launch:
            yield from self._run.chunks(Stream(cast(BinaryIO, Flow(launch.log, buffers)), self._command[0]))

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after the program's end."""
        prelude, info = self._run.finish()
        if not info["threads"]:
            raise TraceError(f"cannot record {self._command[0]!r}: {self._launch.complaint or 'QEMU recorded nothing'}")
        if self.cut:
            bytes_source(b"", self._command[0]).warn_cut("; ".join(self.cut))
            info["cut_short"] = list(self.cut)
        recorder = f"{QEMU} {_version()} with a plugin"
        return prelude, info | {"recorder": recorder, "command": self._command, "exit_status": self._launch.status}

    def _line(self, log: int) -> list[str]:
        program = self._program[2] if self._program[0] == "-0" else self._program[0]
        named = f"program={os.path.abspath(os.path.join(self._cwd or '', program))}"
        words = [str(self._plugin), f"out={log}", f"buffers={self._buffers}", f"slots={SLOTS}", f"entries={ENTRIES}", named]
        return [str(shutil.which(QEMU)), *OPTIONS, "-plugin", ",".join(word.replace(",", ",,") for word in words), *self._program]

    def _was_killed(self) -> bool:
        return self._launch.wait() < 0


class Flow(io.RawIOBase):
    """The plugin's output: the bytes from the pipe, then the entries left in its buffers if it was killed.

    Parameters
    ----------
    pipe, buffers : BinaryIO
        Unbuffered; open for reading.
    """

    def __init__(self, pipe: BinaryIO, buffers: BinaryIO) -> None:
        self._pipe, self._buffers = pipe, buffers
        self._came = 0
        self._left: bytes | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, view: Any) -> int:
        """Fill `view` with the bytes available at once; return the number of bytes, 0 at the end."""
        if self._left is None:
            got = int(self._pipe.readinto(view))  # type: ignore[attr-defined]
            self._came += got
            if got:
                return got
            self._left = self._leftovers()
        got = min(len(view), len(self._left))
        view[:got], self._left = self._left[:got], self._left[got:]
        return got

    def close(self) -> None:
        """Close the pipe."""
        super().close()
        self._pipe.close()

    def _leftovers(self) -> bytes:
        """Return the entries between `written` and `filled` of every buffer; of the buffer being written, those not yet received."""
        with mmap.mmap(self._buffers.fileno(), 0, prot=mmap.PROT_READ) as view:
            words = np.frombuffer(view, np.int64, SHARED // 8)
            ahead, writing = self._came - int(words[0]), int(words[1])
            del words
            parts = []
            for slot in range(SLOTS if self._came else 0):
                start = SHARED + slot * SLOT
                filled, written = (int.from_bytes(view[at : at + 8], "little") for at in (start, start + 8))
                first = written * ENTRY + (ahead if slot == writing else 0)
                parts.append(view[start + HEADER + first : start + HEADER + max(first, filled * ENTRY)])
        return b"".join(parts)


def _program(command: list[str], cwd: Any, env: Mapping[str, str] | None) -> list[str]:
    """Return the command for QEMU, which neither searches PATH nor runs scripts."""
    path = str(shutil.which(command[0], path=(env or os.environ).get("PATH")) or command[0])
    with open(os.path.join(cwd or "", path), "rb") as file:
        head = file.read(256)
    if not head.startswith(b"#!"):
        return ["-0", command[0], path, *command[1:]]
    words = head[2:].split(b"\n")[0].strip().split(None, 1) or [b""]
    return [*(os.fsdecode(word.strip()) for word in words), path, *command[1:]]
