"""What the system calls in a valgrind log (`--trace-syscalls=yes`) do to the address space, as op records."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hwmodel import op as t

Unit = list[tuple[int, int, int, int, int]]

CALL = re.compile(r"SYSCALL\[(\d+),\s*(\d+)\]\(\s*(\d+)\)\s?(.*)", re.DOTALL)
RESULT = re.compile(r"-->\s*(?:\[\S+\]\s*)?(Success|Failure)\(0x([0-9a-f]+)\S*\)\s*$")
ARGUMENTS = re.compile(r"\(\s(.*)\s\)")
CHILD = re.compile(r"created child (\d+)\s*$")
PATH = re.compile(r"0x[0-9a-f]+\((.*)\)")

ADVICE = frozenset({t.DONTNEED, t.FREE, t.HUGEPAGE, t.NOHUGEPAGE, t.COLD, t.PAGEOUT})
MAP_SHARED, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_HUGETLB = 0x1, 0x20, 0x100, 0x40000
HUGE_SIZES = (0, 21)  # bits 26.. of the flags: the default size, 2 MiB
CLONE_VM = 0x100
EXECVE, EXIT_THREAD, EXIT_GROUP, CLONE = 59, 60, 231, 56


@dataclass
class Files:
    """Numbers of the mapped files of a recording, by what identifies them."""

    numbers: dict[object, int] = field(default_factory=dict)

    def number(self, key: object) -> int:
        """The file's number, from 1."""
        return self.numbers.setdefault(key, len(self.numbers) + 1)

    def new(self) -> int:
        """The number of a file that has no name."""
        return self.number(object())


@dataclass
class Fork:
    """A system call that made a process."""

    pid: int


class Process:
    """A process of a valgrind log: what of its state its system calls need.

    Parameters
    ----------
    agent : int
        Of its records.
    files : Files
        Shared by the processes of the recording.
    counts : Counter
        Counts operations by name; shared.
    is_child : bool
        Whether it was forked within the recording.
    """

    def __init__(self, agent: int, files: Files, counts: Counter[str], is_child: bool = False) -> None:
        self.agent = agent
        self.is_child = is_child
        self.threads = False
        self.ended = False
        self.initial_break: int | None = None
        self.break_: int | None = None
        self._files, self._counts = files, counts
        self._paths: dict[int, object] = {}
        self._waiting: dict[str, tuple[int, str]] = {}
        self._open: tuple[int, str] | None = None

    def child(self, agent: int) -> "Process":
        """A process forked from this one."""
        new = Process(agent, self._files, self._counts, is_child=True)
        new.start(self.break_)
        new._paths = dict(self._paths)
        return new

    def line(self, text: str) -> Unit | Fork | None:
        """The unit, or the fork, that a log line completes, if any; ValueError if it is garbled."""
        call = CALL.match(text)
        if call is None:
            return self._continue(text)
        thread, number, rest = call[2], int(call[3]), call[4]
        result = RESULT.search(rest)
        if result is None:
            self._begin(thread, number, rest)
            return None
        if rest.startswith("... "):
            number, rest = self._waiting.pop(thread, (number, ""))
        return self._end(number, rest, result)

    def start(self, break_: int | None) -> None:
        """Set the program break it starts with, if known."""
        self.initial_break = self.break_ = break_

    def has_ended(self) -> bool:
        """Whether its address space is gone at the end of its log."""
        replaced = self._open is not None and self._open[0] == EXECVE  # a successful execve leaves no result behind
        return self.ended or replaced or self.is_child

    def _begin(self, thread: str, number: int, rest: str) -> None:
        """A call whose result is on a later line."""
        if rest.rstrip().endswith("[async] ..."):
            self._waiting[thread] = number, rest
        else:
            self._open = number, rest

    def _continue(self, text: str) -> Unit | Fork | None:
        """A line that holds but the result of the call before; a child's first line is its parent's second."""
        result = RESULT.match(text.strip())
        if result is None:
            raise ValueError
        (number, rest), self._open = self._open or (-1, ""), None
        return None if number == -1 else self._end(number, rest, result)

    def _end(self, number: int, rest: str, result: re.Match[str]) -> Unit | Fork | None:
        child = CHILD.search(rest)
        if result[1] == "Failure":
            return self._syscall()
        if child:
            return Fork(int(child[1]))
        value = int(result[2], 16)
        if number in NAMING:
            self._name(number, rest, value)
        elif number == EXIT_GROUP or (number == EXIT_THREAD and not self.threads):
            self.ended = True
            return None  # the EXIT record is the call
        elif number == CLONE:
            self.threads = True
        handler = MEMORY.get(number)
        unit = handler(self, _integers(rest), value) if handler else None
        if unit is None:
            return self._syscall()
        _check(unit)
        self._counts[t.NAMES[unit[0][3]]] += 1
        return unit

    def _syscall(self) -> Unit:
        self._counts["syscall"] += 1
        return [(0, 1, 0, t.SYSCALL, self.agent)]

    def _mmap(self, args: list[int], result: int) -> Unit | None:
        _, length, prot, flags, fd, offset = args
        pages = _pages(length)
        mapping, file = t.PRIVATE, 0
        if flags & MAP_HUGETLB and not flags & MAP_SHARED and flags >> 26 in HUGE_SIZES:
            mapping, pages = t.HUGETLB, -(-pages // 512) * 512
        elif flags & MAP_ANONYMOUS and flags & MAP_SHARED:
            mapping, file = t.SHARED, self._files.new()
        elif not flags & MAP_ANONYMOUS:
            mapping = t.SHARED_FILE if flags & MAP_SHARED else t.PRIVATE_FILE
            file = self._files.number(self._paths.get(fd, ("descriptor", fd)))
        offset = offset >> t.PAGE_SHIFT if file and mapping != t.SHARED else 0
        grows = bool(flags & MAP_GROWSDOWN)
        return t.mmap_unit(result, pages, prot & 7, mapping, file, offset, grows, self.agent)

    def _munmap(self, args: list[int], result: int) -> Unit | None:
        return t.paged_unit(t.MUNMAP, args[0], _pages(args[1]), agent=self.agent) if args[1] else None

    def _mprotect(self, args: list[int], result: int) -> Unit | None:
        address, length, prot = args
        return t.paged_unit(t.MPROTECT, address, _pages(length), [(0, prot & 7)], self.agent) if length else None

    def _madvise(self, args: list[int], result: int) -> Unit | None:
        address, length, advice = args
        if advice not in ADVICE or not length:
            return None
        return t.paged_unit(t.MADVISE, address, _pages(length), [(0, advice)], self.agent)

    def _brk(self, args: list[int], result: int) -> Unit | None:
        before, self.break_ = self.break_, result
        if before is None:
            self.initial_break = before = result
        return [(result, 0, 0, t.BRK, self.agent)] if result != before else None

    def _mremap(self, args: list[int], result: int) -> Unit | None:
        old, new = _pages(args[1]), _pages(args[2])
        return t.paged_unit(t.MREMAP, args[0], old, [(result, new)], self.agent) if old else None

    def _name(self, number: int, rest: str, fd: int) -> None:
        """Remember what a file descriptor stands for."""
        if NAMING[number] == "open":
            path = PATH.search(rest)
            self._paths[fd] = path[1] if path else object()
        elif NAMING[number] == "new":
            self._paths[fd] = object()
        else:
            args = _integers(rest)
            if number in (32, 33, 292) or args[1] in (0, 1030):  # dup, dup2, dup3; fcntl's F_DUPFD, F_DUPFD_CLOEXEC
                self._paths[fd] = self._paths.get(args[0], ("descriptor", args[0]))


MEMORY: dict[int, Callable[[Process, list[int], int], Unit | None]] = {
    9: Process._mmap,
    10: Process._mprotect,
    11: Process._munmap,
    12: Process._brk,
    25: Process._mremap,
    28: Process._madvise,
}
NAMING = {2: "open", 257: "open", 85: "open", 319: "new", 32: "dup", 33: "dup", 292: "dup", 72: "dup"}


def _integers(rest: str) -> list[int]:
    """The arguments of a call, strings left out of them; ValueError if they are garbled."""
    arguments = ARGUMENTS.search(rest)
    if arguments is None:
        raise ValueError
    return [int(argument.split("(")[0], 0) for argument in arguments[1].split(", ")]


def _check(unit: Unit) -> None:
    """ValueError for a unit that no kernel would have said Success to, or that does not fit in records."""
    (address, pages, _, kind, _), *args = unit
    ranges = [(address, pages if pages != -1 else args[-1][0])]
    if kind == t.MREMAP:
        ranges.append(args[0][:2])
    least = 0 if kind == t.BRK else 1
    inside = all(first >= 0 and count >= least and first + count * t.PAGE <= t.USER_END for first, count in ranges)
    offset = args[0][0] if kind == t.MMAP else 0
    if not inside or not 0 <= offset < 1 << 51 or any(arg[1] >= 1 << 31 for arg in args):
        raise ValueError


def _pages(length: int) -> int:
    if length < 0:
        raise ValueError
    return -(-length // t.PAGE)
