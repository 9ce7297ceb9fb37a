"""Record Linux's work on a program's memory: the kernel's own trace events, as ftrace prints them.

The kernel reports system calls, page faults, TLB flushes and interrupts for any program. It reports calls of mmu notifiers
only if one is registered. Therefore a virtual machine without a CPU is created in the program's address space before the program
begins. (The events need no memslot; a memslot determines the guest address of each host address.)
"""

import contextlib
import json
import os
import pathlib
import platform
import shutil
import struct
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from hwmodel.op import PAGE, USER_END, TraceError, TraceWarning
from workloads.formats.kernel.lines import MARK
from workloads.recorders.guardian import Guardian
from workloads.recorders.tracee import Tracee
from workloads.recorders.tracefs import HEADER, Instance
from workloads.streams import create

NEEDED = ("raw_syscalls/sys_enter", "raw_syscalls/sys_exit", "exceptions/page_fault_user")
WANTED = (
    "exceptions/page_fault_kernel", "tlb/tlb_flush", "ipi/ipi_send_cpu", "ipi/ipi_send_cpumask", "task/task_newtask",
    "sched/sched_process_exec", "sched/sched_process_exit",
)  # fmt: skip
NOTIFIER = ("kvm/kvm_unmap_hva_range",)
NOTIFIER_WANTED = ("kvm/kvm_age_hva", "kvm/kvm_test_age_hva", "kvm/kvm_set_spte_hva", "kvm/kvm_page_fault")
KVM = "/dev/kvm"
KVM_CREATE_VM, KVM_SET_USER_MEMORY_REGION = 0xAE01, 0x4020AE46
IOCTL, CLOSE, FCNTL, DUPFD_CLOEXEC = 16, 3, 72, 1030
VM_FD = 500
"""File descriptor of the virtual machine in the program: well above those that the program opens itself."""
WINDOW = 34
"""Memslots cover aligned windows of 16 GiB; each costs the kernel 30 MB."""


def record_kernel(
    command: Sequence[str],
    out: str | os.PathLike[str],
    *,
    kvm: bool = True,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run a program and record the kernel's events of its memory: `workloads.read` and `analysis.replay` take the file.

    Needs Linux on x86-64, root, tracefs and, for the notifier events, KVM.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments. It has this process's input and output and runs at nearly its own speed.
        Threads and processes that it starts are recorded too, until it ends; only its own address space has a virtual
        machine: the new address space of an execve, or of a forked child, has no notifier events. If this process is killed, the program is
        killed too, with all its descendants, and nothing is left of the recording.
    out : path
        Text file to write, as ftrace prints it; compressed if it ends in .gz, .xz, .bz2 or .zst. Written completely or not
        at all. Comments at its beginning hold the program's initial memory, those at its end the exit status.
    kvm : bool
        False: no virtual machine, hence no notifier events.
    cwd, env : optional
        Working directory and environment of the program.

    Returns
    -------
    dict
        The contents of the comments: command, kernel, exit_status (negative: the signal that killed it), lost_events ...

    Raises
    ------
    TraceError
        If recording is impossible here, or the program can't be started; one line says what is missing.
    """
    command = [os.fspath(part) for part in command]
    _check(command, kvm, cwd)
    events = ((*NEEDED, *NOTIFIER), (*WANTED, *NOTIFIER_WANTED)) if kvm else (NEEDED, WANTED)
    with Guardian() as guardian, create(out, guardian.will_make) as file, Instance(guardian, *events) as instance:
        with contextlib.ExitStack() as stack:
            about = _run(command, file, guardian, instance, kvm, stack, cwd, env)
    if about["lost_events"]:
        warnings.warn(f"{os.fspath(out)}: the kernel lost {about['lost_events']} events", TraceWarning, stacklevel=2)
    return about


def _run(
    command: list[str], file: BinaryIO, guardian: Guardian, instance: Instance, kvm: bool, stack: contextlib.ExitStack, cwd: Any, env: Any
) -> dict[str, Any]:
    """Run the program in the instance; return the contents of the comments."""
    device = os.open(KVM, os.O_RDWR) if kvm else None
    if device is not None:
        stack.callback(os.close, device)
    tracee = Tracee(guardian, command, cwd, env, () if device is None else (device,))
    stack.callback(tracee.kill)
    about: dict[str, Any] = {
        "recorder": "hwmodel record --kernel",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "command": command,
        "pid": tracee.pid,
        "events": instance.events,
        "memslots": _attach(tracee, device) if device is not None else [],
        "vm": kvm,
        **_settings(),
    }
    _write_head(file, about, tracee)
    begun = time.perf_counter()
    instance.start(tracee.pid, file.write)
    tracee.go()
    status = tracee.wait()
    instance.stop()
    end = {"exit_status": status, "lost_events": instance.lost(), "seconds": round(time.perf_counter() - begun, 3)}
    file.write(f"{MARK}end: {json.dumps(end)}\n".encode())
    return about | end


def _attach(tracee: Tracee, device: int) -> list[list[int]]:
    """Make a virtual machine in the program's address space; return its memslots as [guest address, host address, bytes]."""
    try:
        vm = tracee.call(IOCTL, device, KVM_CREATE_VM, 0)
        slots = []
        for slot, window in enumerate(_windows(tracee.maps)):
            guest, host = slot << WINDOW, window << WINDOW
            size = min(1 << WINDOW, USER_END - PAGE - host)  # a program can't use the last page
            address = tracee.put(struct.pack("<IIQQQ", slot, 0, guest, size, host))
            tracee.call(IOCTL, vm, KVM_SET_USER_MEMORY_REGION, address)
            slots.append([guest, host, size])
        tracee.call(FCNTL, vm, DUPFD_CLOEXEC, VM_FD)
        tracee.call(CLOSE, vm)
        tracee.call(CLOSE, device)
    except OSError as error:
        raise TraceError(f"cannot make a virtual machine in the program ({error.strerror}); --no-kvm goes without") from None
    return slots


def _windows(maps: Sequence[str]) -> list[int]:
    """Return the windows that contain the program's memory, and the one below its libraries, where mmap continues."""
    windows = set[int]()
    for line in maps:
        first, end = (int(text, 16) for text in line.split()[0].split("-"))
        if end <= 1 << 47:
            windows |= {first >> WINDOW, (end - 1) >> WINDOW}
            windows |= {(first >> WINDOW) - 1} if line.endswith("[vdso]") else set()
    return sorted(windows)


def _settings() -> dict[str, str]:
    """Return this kernel's settings that affect faults and flushes."""
    found = {}
    for name, path in (
        ("thp", "/sys/kernel/mm/transparent_hugepage/enabled"),
        ("flush_ceiling_pages", "/sys/kernel/debug/x86/tlb_single_page_flush_ceiling"),
        ("fault_around_bytes", "/sys/kernel/debug/fault_around_bytes"),
    ):
        with contextlib.suppress(OSError):
            found[name] = pathlib.Path(path).read_text().strip()
    return found


def _write_head(file: BinaryIO, about: dict[str, Any], tracee: Tracee) -> None:
    lines = [f"{MARK}recording: {json.dumps(about)}", *(f"{MARK}map: {line}" for line in tracee.maps)]
    lines += [f"{MARK}present: {first:x} {pages}" for first, pages in tracee.present()]
    file.write((HEADER + "".join(f"{line}\n" for line in lines)).encode("utf-8", "replace"))


def _check(command: list[str], kvm: bool, cwd: Any) -> None:
    """Refuse, in one line, a recording that cannot work."""
    if not command:
        raise TraceError("nothing to record: the command is empty")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise TraceError(f"the kernel's events are recorded on Linux on x86-64, not on {platform.system()} {platform.machine()}")
    if os.geteuid() != 0:
        raise TraceError("recording the kernel's events needs root")
    if kvm and not os.access(KVM, os.R_OK | os.W_OK):
        raise TraceError(f"the notifier events need {KVM}, which can't be used here; --no-kvm records without them")
    if shutil.which(os.path.join(cwd or "", command[0]) if os.sep in command[0] else command[0]) is None:
        raise TraceError(f"cannot record {command[0]!r}: no such program")
