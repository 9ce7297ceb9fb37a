"""A program held at its first instruction, and made to do system calls there (ptrace, x86-64 Linux).

A virtual machine belongs to the address space that creates it, and that space begins with the program. So the program
itself has to make the call: before its first instruction it is made to execute the `syscall` instruction
in the vDSO. Nothing of the program is changed or preloaded, so static programs work too.
"""

import ctypes
import errno
import os
import signal
import struct
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from hwmodel.op import PAGE, TraceError
from workloads.recorders.guardian import Guardian

SINGLESTEP, GETREGS, SETREGS, DETACH = 9, 12, 13, 17
REGISTERS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
).split()
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
SYSCALL = b"\x0f\x05"
SCRATCH = 512
"""Bytes below the stack pointer at which a call's structure is put: nothing has used them yet."""
PRESENT = 1 << 63


class Tracee:
    """A program that has been loaded and has not run.

    Parameters
    ----------
    guardian : Guardian
        Ends the program should this process die.
    command : sequence of str
        The program and its arguments.
    cwd, env : optional
        Working directory and environment.
    fds : sequence of int
        File descriptors that the program inherits.

    Raises
    ------
    TraceError
        If the program can't be started.
    """

    def __init__(
        self, guardian: Guardian, command: Sequence[str], cwd: Any = None, env: Mapping[str, str] | None = None, fds: Sequence[int] = ()
    ) -> None:
        self._guardian = guardian
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self._libc.ptrace.restype = ctypes.c_long
        shim = guardian.shim(command, env, held=True)
        self._process = subprocess.Popen(shim, cwd=cwd, env=env, pass_fds=(*fds, guardian.descriptor))
        self.pid = self._process.pid
        self._held = True
        try:
            self._wait_for_stop()
            self.maps = self._read("maps").decode("utf-8", "replace").splitlines()
        except (OSError, TraceError):
            self.kill()
            raise TraceError(f"cannot record {command[0]!r}: it could not be started") from None

    def call(self, number: int, *arguments: int) -> int:
        """Make the program do a system call, and return the result. Raises OSError if the call fails."""
        before = self._registers()
        registers = self._registers()
        values = dict(zip(ARGUMENTS, arguments, strict=False)) | {"rip": self._syscall_instruction(), "rax": number}
        for name, value in (values | {"orig_rax": (1 << 64) - 1}).items():
            registers[REGISTERS.index(name)] = value
        self._ptrace(SETREGS, registers)
        self._ptrace(SINGLESTEP)
        self._wait_for_stop()
        result = ctypes.c_long(self._registers()[REGISTERS.index("rax")]).value
        self._ptrace(SETREGS, before)
        if -4096 < result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def put(self, data: bytes) -> int:
        """Put bytes into the program's memory for a call to point to; return their address."""
        address = self._registers()[REGISTERS.index("rsp")] - SCRATCH
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(data)
        return address

    def present(self) -> list[tuple[int, int]]:
        """Return (first address, pages) of each run of memory already mapped by page tables; needs root."""
        runs: list[tuple[int, int]] = []
        with open(f"/proc/{self.pid}/pagemap", "rb", buffering=0) as pagemap:
            for line in self.maps:
                first, end = (int(text, 16) for text in line.split()[0].split("-"))
                if end > 1 << 47:
                    continue
                pagemap.seek(first // PAGE * 8)
                words = struct.unpack(f"<{(end - first) // PAGE}Q", pagemap.read((end - first) // PAGE * 8))
                for page in (first + PAGE * i for i, word in enumerate(words) if word & PRESENT):
                    if runs and runs[-1][0] + runs[-1][1] * PAGE == page and page != first:
                        runs[-1] = (runs[-1][0], runs[-1][1] + 1)
                    else:
                        runs.append((page, 1))
        return runs

    def go(self) -> None:
        """Let the program run, untraced."""
        self._ptrace(DETACH)
        self._held = False

    def wait(self) -> int:
        """Wait for the program's end and return its exit status; negative: the signal that killed it."""
        status = self._process.wait()
        self._guardian.program_ended()
        return status

    def kill(self) -> None:
        """End the program and its descendants, if it has not ended."""
        self._guardian.kill(self._process)

    def _wait_for_stop(self) -> None:
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._process.returncode = os.waitstatus_to_exitcode(status)
            raise TraceError("it has ended")
        if os.WSTOPSIG(status) != signal.SIGTRAP:
            raise TraceError(f"it was stopped by signal {os.WSTOPSIG(status)}")

    def _registers(self) -> Any:
        registers = (ctypes.c_ulong * len(REGISTERS))()
        self._ptrace(GETREGS, registers)
        return registers

    def _ptrace(self, request: int, registers: Any = None) -> None:
        data = None if registers is None else ctypes.addressof(registers)
        if self._libc.ptrace(request, self.pid, None, data) == -1:
            number = ctypes.get_errno() or errno.EPERM
            raise OSError(number, os.strerror(number))

    def _syscall_instruction(self) -> int:
        for line in self.maps:
            if line.endswith("[vdso]"):
                first, end = (int(text, 16) for text in line.split()[0].split("-"))
                with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
                    memory.seek(first)
                    at = memory.read(end - first).find(SYSCALL)
                if at >= 0:
                    return first + at
        raise OSError(errno.ENOSYS, "the vDSO has no syscall instruction")

    def _read(self, name: str) -> bytes:
        with open(f"/proc/{self.pid}/{name}", "rb") as file:
            return file.read()
