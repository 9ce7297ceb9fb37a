"""Lines of the kernel's trace events as text: ftrace's own, `trace-cmd report` and `perf script`.

======================  ===================================================================================
ftrace                  ``python3-4711  [001] d..2. 25.000123: tlb_flush: pages:1 reason:local MM shootdown (3)``
trace-cmd report        ``python3-4711  [001] 25.000123: tlb_flush:   pages=1 reason=local mm shootdown (3)``
perf script             ``python3 4711 [001] 25.000123:   tlb:tlb_flush: pages:1 reason:local MM shootdown (3)``
======================  ===================================================================================

Each may have more columns (the process of a thread, flags). Numbers of system calls are x86-64's.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hwmodel.op import PAGE, TraceError
from workloads.streams import Source

LINE = re.compile(
    r"\s*+(.*?)[-\s]\s*+(\d++)(?:/(\d++))?\s++(?:\(\s*+(\d++|-++)\)\s++)?\[\d++\]\s++(?:\S{4,8}\s++)?\d++\.\d++:\s++(?:[\w-]++:(?=\w))?(\w++)(.*)"
)
LOST = re.compile(r"CPU:\d+ \[(?:LOST (\d+) EVENTS|(\d+) EVENTS DROPPED)\]|.*PERF_RECORD_LOST(?:_SAMPLES)? lost (\d+)")
HEADER = re.compile(r"#|cpus=\d+\s*$|version = \d+\s*$|\s*$")
MARK = "# hwmodel "
"""Marks the comments of a recording of our own."""
BLOCK = 1 << 18
LONGEST, LONGEST_COMMENT = 1 << 13, 1 << 22
"""Most bytes of a line; a longer line is not of this format. A comment of ours holds a whole command."""

ENTER, LEAVE, FAULT, FLUSH, IPI, UNMAP, AGE, GUEST_FAULT, NEW_TASK, FORKED, EXEC, ENDED = range(12)
"""Kinds of events, with their numbers: ENTER (call, arguments ...), LEAVE (call, result), FAULT (address, error code, 1 if in
user mode), FLUSH (pages or -1, reason), IPI (targets, 1 if its callback is a flush), UNMAP and AGE (first byte, end),
GUEST_FAULT (vCPU, guest address, error code), NEW_TASK (thread, clone flags), FORKED (thread), EXEC (), ENDED (thread)."""

CALLS = {
    "open": 2, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33, "clone": 56,
    "fork": 57, "vfork": 58, "execve": 59, "exit": 60, "fcntl": 72, "creat": 85, "exit_group": 231, "openat": 257, "dup3": 292,
    "memfd_create": 319, "execveat": 322, "clone3": 435,
}  # fmt: skip
"""System calls whose numbers matter; a call with another name has number OTHER."""
OTHER = -1


class Event(NamedTuple):
    """One line of the text.

    Parameters
    ----------
    kind : int
        One of the kinds of events: ENTER ...
    numbers : tuple of int
        The numbers that belong to the kind.
    thread, process : int
        The running thread; process is -1 if the line does not have it.
    name : str
        Name of the thread.
    path : str
        Path of the file that an `open` names, if the line has it.
    """

    kind: int
    numbers: tuple[int, ...]
    thread: int
    process: int
    name: str = ""
    path: str = ""


class Lines:
    """The events of a source, in order.

    Parameters
    ----------
    source : Source
        The text.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.line = 0
        self.cut = ""
        self.lost = 0
        self.unknown: dict[str, int] = {}
        self.comments: list[tuple[int, str]] = []  # (line, text)

    def events(self) -> Iterator[Event]:
        """Yield known events; count others in `unknown`, lost ones in `lost`; keep comments of our own.

        Raises
        ------
        TraceError
            At a line of no known layout, or a garbled known event.
        """
        for text in self._whole_lines():
            self.line += 1
            found = None if text.startswith("#") else LINE.match(text)
            if found is None:
                self._other_line(text)
            elif (event := self._event(found)) is not None:
                yield event

    def _event(self, found: re.Match[str]) -> Event | None:
        who, first, second, group, name, rest = found.groups()
        thread = int(second or first)
        process = int(first) if second else int(group) if group and group.isdigit() else -1
        try:
            parsed = parse(name, rest)
        except (ValueError, IndexError):
            raise TraceError(f"{self._source.name}: line {self.line}: garbled {name}: {rest[:80].strip()!r}") from None
        if parsed is None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            return None
        kind, numbers = parsed
        return Event(kind, numbers, thread, process, who, _path(rest) if kind == ENTER else "")

    def _other_line(self, text: str) -> None:
        lost = None if text.startswith("#") else LOST.match(text)
        if lost:
            self.lost += int(next(filter(None, lost.groups())))
        elif text.startswith(MARK):
            self.comments.append((self.line, text[len(MARK) :]))
        elif not HEADER.match(text):
            raise TraceError(f"{self._source.name}: line {self.line}: no trace event: {text[:80].strip()!r}")

    def _whole_lines(self) -> Iterator[str]:
        """Yield complete lines; set `cut` if the last is incomplete."""
        rest = b""
        with self._source.open() as stream:
            while block := stream.read(BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._check_length(line)
                    yield line.decode("utf-8", "replace")
                self._check_length(rest)
            if rest or stream.cut:
                self.cut = f"in line {self.line + 1}"

    def _check_length(self, line: bytes) -> None:
        longest = LONGEST_COMMENT if line.startswith(b"#") else LONGEST
        if len(line) > longest:
            raise TraceError(f"{self._source.name}: line {self.line + 1}: longer than {longest} bytes")


def recognises(head: bytes) -> bool:
    """Return whether text that begins with `head` is of one of these layouts."""
    if b"\0" in head:
        return False
    lines = head.decode("utf-8", "replace").split("\n")[:-1] or [head.decode("utf-8", "replace")]
    if lines[0].startswith("# tracer:"):
        return True
    first = next((line for line in lines if not HEADER.match(line) and not LOST.match(line)), "")
    return LINE.match(first) is not None


def parse(name: str, rest: str) -> tuple[int, tuple[int, ...]] | None:
    """Return (kind, numbers) of an event from its name and the text after it, or None if it is of no use. ValueError if it is garbled."""
    if name.startswith("sys_") and not rest.startswith(":"):  # ftrace's own format of a call known by name
        return _own_call(name[4:], rest)
    parser = PARSERS.get(name)
    if parser is not None:
        return parser(rest)
    if name.startswith("sys_enter_"):
        return _enter(name[10:], rest)
    return (LEAVE, (CALLS.get(name[9:], OTHER), _result(rest[1:]))) if name.startswith("sys_exit_") else None


def _own_call(call: str, rest: str) -> tuple[int, tuple[int, ...]]:
    """Parse `sys_mmap(addr: 0, ..)` or `sys_mmap -> 0x..`."""
    if rest.startswith(" ->"):
        return LEAVE, (CALLS.get(call, OTHER), _result(rest[3:]))
    if not rest.startswith("(") or not rest.rstrip().endswith(")"):
        raise ValueError
    return _enter(call, rest)


def _enter(call: str, rest: str) -> tuple[int, tuple[int, ...]]:
    """Parse a call's beginning: its arguments are named hexadecimal numbers."""
    number = CALLS.get(call, OTHER)
    arguments = tuple(int(value, 16) for value in ARGUMENT.findall(rest))
    if len(arguments) < NEEDED.get(number, 0):
        raise ValueError
    return ENTER, (number, *arguments)


ARGUMENT = re.compile(r"\w+: (?:0x)?([0-9a-f]+)(?![^\s,)])")
NEEDED = {9: 6, 10: 3, 11: 2, 12: 1, 25: 3, 28: 3, 56: 1, 32: 1, 33: 2, 292: 2, 72: 2}
"""Number of arguments without which a call is useless."""
PATH = re.compile(r'filename: 0x[0-9a-f]+ "((?:[^"\\]|\\.)*)"')


def _path(rest: str) -> str:
    found = PATH.search(rest)
    return found[1] if found else ""


def _result(text: str) -> int:
    text = text.strip()
    return int(text) if text.startswith("-") else _signed(int(text, 16))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _matched(kind: int, pattern: str, *bases: int) -> Callable[[str], tuple[int, tuple[int, ...]]]:
    """Return a parser of events whose fields are the groups of a pattern, in these bases."""
    compiled = re.compile(pattern)

    def parse_fields(rest: str) -> tuple[int, tuple[int, ...]]:
        found = compiled.match(rest)
        if found is None:
            raise ValueError
        return kind, tuple(int(text, base) for text, base in zip(found.groups(), bases, strict=True))

    return parse_fields


def _raw_enter(rest: str) -> tuple[int, tuple[int, ...]]:
    found = re.match(r": NR (-?\d+) \(([0-9a-f, ]*)\)\s*$", rest)
    if found is None:
        raise ValueError
    arguments = tuple(int(value, 16) for value in found[2].split(","))
    if len(arguments) != 6:
        raise ValueError
    return ENTER, (int(found[1]), *arguments)


def _fault(user: int) -> Callable[[str], tuple[int, tuple[int, ...]] | None]:
    pattern = re.compile(r":\s+address=(\S+) ip=\S+ error_code=0x([0-9a-f]+)\s*$")
    number = re.compile(r"(?:0x)?([0-9a-f]+)$")

    def parse_fault(rest: str) -> tuple[int, tuple[int, ...]] | None:
        found = pattern.match(rest)
        if found is None:
            raise ValueError
        address = number.match(found[1])
        if address is None:  # a symbol of the kernel
            return None
        return FAULT, (int(address[1], 16), int(found[2], 16), user)

    return parse_fault


def _ipi_mask(rest: str) -> tuple[int, tuple[int, ...]]:
    """Parse the CPUs: hexadecimal words, most significant first, or an array of bytes from tools that can't print these."""
    found = re.match(r":\s+(?:\[FAILED TO PARSE\]\s+)?cpumask=(?:ARRAY\[([0-9a-f, ]*)\]|([0-9a-f,]+))(.*)", rest)
    if found is None:
        raise ValueError
    words = (found[1] or found[2]).split(",")
    return IPI, (sum(int(word, 16).bit_count() for word in words), int("callback=flush_tlb" in found[3]))


def _ipi(rest: str) -> tuple[int, tuple[int, ...]]:
    if re.match(r":\s+cpu=\d+ ", rest) is None:
        raise ValueError
    return IPI, (1, int("callback=flush_tlb" in rest))


def _guest_fault(rest: str) -> tuple[int, tuple[int, ...]]:
    new = re.match(r":\s+vcpu (\d+) rip (?:0x)?[0-9a-f]+ address (?:0x)?([0-9a-f]+) error_code (?:0x)?([0-9a-f]+)\s*$", rest)
    old = re.match(r":\s+address (?:0x)?([0-9a-f]+) error_code (?:0x)?([0-9a-f]+)\s*$", rest)
    if new:
        return GUEST_FAULT, (int(new[1]), int(new[2], 16), int(new[3], 16))
    if old is None:
        raise ValueError
    return GUEST_FAULT, (0, int(old[1], 16), int(old[2], 16))


def _one_page(kind: int, what: str) -> Callable[[str], tuple[int, tuple[int, ...]]]:
    parse_address = _matched(kind, rf":\s+mmu notifier {what} hva: (?:0x)?([0-9a-f]+)\s*$", 16)

    def parse_page(rest: str) -> tuple[int, tuple[int, ...]]:
        _, (address,) = parse_address(rest)
        return kind, (address & -PAGE, (address & -PAGE) + PAGE)

    return parse_page


_RANGE = r"(?:0x)?([0-9a-f]+) -- (?:0x)?([0-9a-f]+)\s*$"
PARSERS: dict[str, Callable[[str], tuple[int, tuple[int, ...]] | None]] = {
    "sys_enter": _raw_enter,
    "sys_exit": _matched(LEAVE, r":\s+NR (-?\d+) = (-?\d+)\s*$", 10, 10),
    "page_fault_user": _fault(1),
    "page_fault_kernel": _fault(0),
    "tlb_flush": _matched(FLUSH, r":\s+pages[:=](-?\d+) reason[:=].*\((\d+)\)\s*$", 10, 10),
    "ipi_send_cpu": _ipi,
    "ipi_send_cpumask": _ipi_mask,
    "kvm_unmap_hva_range": _matched(UNMAP, rf":\s+mmu notifier unmap range: {_RANGE}", 16, 16),
    "kvm_age_hva": _matched(AGE, rf":\s+mmu notifier age hva: {_RANGE}", 16, 16),
    "kvm_test_age_hva": _one_page(AGE, "test age"),
    "kvm_set_spte_hva": _one_page(UNMAP, "set pte"),
    "kvm_page_fault": _guest_fault,
    "task_newtask": _matched(NEW_TASK, r":\s+pid=(\d+) comm=.* clone_flags=(?:0x)?([0-9a-f]+) ", 10, 16),
    "sched_process_fork": _matched(FORKED, r":\s+comm=.* pid=\d+ child_comm=.* child_pid=(\d+)\s*$", 10),
    "sched_process_exec": _matched(EXEC, r":\s+filename="),
    "sched_process_exit": _matched(ENDED, r":\s+comm=.* pid=(\d+) prio=-?\d+", 10),
}
