"""What a new task shares with the one that made it: by the flags of the event that announces it, or by the call that made it."""

from collections.abc import Sequence

from workloads.formats.syscalls import CLONE, CLONE3

CLONE_VM, CLONE_VFORK = 0x100, 0x4000
FORK, VFORK = 57, 58
MAKING = (CLONE, FORK, VFORK, CLONE3)
"""Numbers of the calls that make threads or processes."""


def flags_of(number: int, arguments: Sequence[int]) -> int:
    """Return the flags of a call that makes a task, as far as they are told: clone3 has its own in memory, and threads use it."""
    if number == CLONE:
        return arguments[0] if arguments else 0
    return {VFORK: CLONE_VM | CLONE_VFORK, CLONE3: CLONE_VM}.get(number, 0)


def shares_memory(flags: int) -> bool:
    """Return whether a new task is in its maker's address space, as a thread is and, until it executes a program, a child of vfork."""
    return bool(flags & CLONE_VM)


def is_thread(flags: int) -> bool:
    """Return whether a new task is taken for a thread of its maker's process: it stays in the address space."""
    return shares_memory(flags) and not flags & CLONE_VFORK
