"""Effects of x86-64 system calls on the address space, as op records: the only place for these, for every reader."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hwmodel import op

Unit = list[tuple[int, int, int, int, int]]

ADVICE = frozenset({op.DONTNEED, op.FREE, op.HUGEPAGE, op.NOHUGEPAGE, op.COLD, op.PAGEOUT})
MAP_SHARED, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_HUGETLB = 0x1, 0x20, 0x100, 0x40000
HUGE_SIZES = (0, 21)  # bits 26.. of the flags: the default size, 2 MiB
WORD = (1 << 32) - 1  # an int argument: recordings differ in the upper half of its register
MMAP, CLONE, EXECVE, EXIT_THREAD, EXIT_GROUP, EXECVEAT, CLONE3 = 9, 56, 59, 60, 231, 322, 435


@dataclass
class Files:
    """Numbers of the mapped files of a recording, by their identity."""

    numbers: dict[object, int] = field(default_factory=dict)

    def number(self, key: object) -> int:
        """Return the file's number, from 1."""
        return self.numbers.setdefault(key, len(self.numbers) + 1)

    def new(self) -> int:
        """Return the number of a file that has no name."""
        return self.number(object())


class Process:
    """The state of a recorded process that its system calls depend on.

    Parameters
    ----------
    files : Files
        Shared by the processes of the recording.
    counts : Counter
        Counts operations by name; shared.
    """

    def __init__(self, files: Files, counts: Counter[str]) -> None:
        self.ended = False
        self.threads = False
        self.initial_break: int | None = None
        self.break_: int | None = None
        self.user_end = op.USER_END
        self._files, self._counts = files, counts
        self._paths: dict[int, object] = {}

    def child(self) -> "Process":
        """Return a process forked from this one."""
        new = Process(self._files, self._counts)
        new.start(self.break_)
        new.user_end = self.user_end
        new._paths = dict(self._paths)
        return new

    def start(self, break_: int | None) -> None:
        """Set the initial program break, if known."""
        self.initial_break = self.break_ = break_

    def call(self, agent: int, number: int, args: Sequence[int], result: int, path: str | None = None) -> Unit | None:
        """Return the unit of a completed system call.

        Parameters
        ----------
        agent : int
            The calling agent.
        number : int
            Number of the call, on x86-64.
        args : sequence of int
            The call's arguments, as many as it has or more; ignored if it failed.
        result : int
            The call's result, -4095 to -1 if it failed.
        path : str, optional
            Path of the file that it opened, if the recording has it.

        Returns
        -------
        list of records, or None
            A SYSCALL if it changed no modelled state; None for the end of the process, which is an EXIT of its own.

        Raises
        ------
        ValueError
            If no kernel would have reported success, or if arguments are missing.
        """
        if -4096 < result < 0:
            return self.other(agent)
        if len(args) < ARGUMENTS.get(number, 0):
            raise ValueError
        if number in NAMING:
            self._name(number, args, result, path)
        elif number == EXIT_GROUP or (number == EXIT_THREAD and not self.threads):
            self.ended = True
            return None
        elif number in (CLONE, CLONE3):
            self.threads = True
        handler = MEMORY.get(number)
        unit = handler(self, list(args), result) if handler else None
        if unit is None:
            return self.other(agent)
        _check(unit, self.user_end)
        self._counts[op.NAMES[unit[0][3]]] += 1
        return [(*record[:4], agent) for record in unit]

    def identify(self, fd: int, file: object) -> None:
        """Set the file of a file descriptor, if the recording has it."""
        self._paths[fd & WORD] = file

    def other(self, agent: int) -> Unit:
        """Return the unit of a call that changes no modelled state."""
        self._counts["syscall"] += 1
        return [(0, 1, 0, op.SYSCALL, agent)]

    def _mmap(self, args: list[int], result: int) -> Unit | None:
        _, length, prot, flags, fd, offset = args[:6]
        pages, flags, fd = _pages(length), flags & WORD, fd & WORD
        mapping, file = op.PRIVATE, 0
        if flags & MAP_HUGETLB and not flags & MAP_SHARED and flags >> 26 in HUGE_SIZES:
            mapping, pages = op.HUGETLB, -(-pages // 512) * 512
        elif flags & MAP_ANONYMOUS and flags & MAP_SHARED:
            mapping, file = op.SHARED, self._files.new()
        elif not flags & MAP_ANONYMOUS:
            mapping = op.SHARED_FILE if flags & MAP_SHARED else op.PRIVATE_FILE
            file = self._files.number(self._paths.get(fd, ("descriptor", fd)))
        offset = offset >> op.PAGE_SHIFT if file and mapping != op.SHARED else 0
        grows = bool(flags & MAP_GROWSDOWN)
        return op.mmap_unit(result, pages, prot & 7, mapping, file, offset, grows)

    def _munmap(self, args: list[int], result: int) -> Unit | None:
        return op.paged_unit(op.MUNMAP, args[0], _pages(args[1])) if args[1] else None

    def _mprotect(self, args: list[int], result: int) -> Unit | None:
        address, length, prot = args[:3]
        return op.paged_unit(op.MPROTECT, address, _pages(length), [(0, prot & 7)]) if length else None

    def _madvise(self, args: list[int], result: int) -> Unit | None:
        address, length, advice = args[:3]
        if advice not in ADVICE or not length:
            return None
        return op.paged_unit(op.MADVISE, address, _pages(length), [(0, advice)])

    def _brk(self, args: list[int], result: int) -> Unit | None:
        if not 0 <= result < self.user_end:
            raise ValueError
        before, self.break_ = self.break_, result
        if before is None:
            self.initial_break = before = result
        return [(result, 0, 0, op.BRK, 0)] if result != before else None

    def _mremap(self, args: list[int], result: int) -> Unit | None:
        old, new = _pages(args[1]), _pages(args[2])
        return op.paged_unit(op.MREMAP, args[0], old, [(result, new)]) if old else None

    def _name(self, number: int, args: Sequence[int], fd: int, path: str | None) -> None:
        """Remember the file of a file descriptor."""
        if NAMING[number] == "open":
            self._paths[fd] = path or object()
        elif NAMING[number] == "new":
            self._paths[fd] = object()
        elif number in (32, 33, 292) or args[1] in (0, 1030):  # dup, dup2, dup3; fcntl's F_DUPFD, F_DUPFD_CLOEXEC
            self._paths[fd] = self._paths.get(args[0] & WORD, ("descriptor", args[0] & WORD))


MEMORY: dict[int, Callable[[Process, list[int], int], Unit | None]] = {
    MMAP: Process._mmap,
    10: Process._mprotect,
    11: Process._munmap,
    12: Process._brk,
    25: Process._mremap,
    28: Process._madvise,
}
ARGUMENTS = {9: 6, 10: 3, 11: 2, 12: 1, 25: 3, 28: 3, 32: 1, 33: 1, 292: 1, 72: 2}
"""Number of arguments used, by call; none of other calls."""
NAMING = {2: "open", 257: "open", 85: "open", 319: "new", 32: "dup", 33: "dup", 292: "dup", 72: "dup"}


def _check(unit: Unit, user_end: int) -> None:
    """Raise ValueError for a unit that no kernel would have reported as successful, or that does not fit in records."""
    (address, pages, _, kind, _), *args = unit
    ranges = [(address, pages if pages != -1 else args[-1][0])]
    if kind == op.MREMAP:
        ranges.append(args[0][:2])
    least = 0 if kind == op.BRK else 1
    inside = all(first >= 0 and count >= least and first + count * op.PAGE <= user_end for first, count in ranges)
    offset = args[0][0] if kind == op.MMAP else 0
    if not inside or not 0 <= offset < 1 << 51 or any(arg[1] >= 1 << 31 for arg in args):
        raise ValueError


def _pages(length: int) -> int:
    if length < 0:
        raise ValueError
    return -(-length // op.PAGE)
