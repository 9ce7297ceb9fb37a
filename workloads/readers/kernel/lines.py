"""Events of the kernel's trace text, in every layout of `ftracelayouts`: what each is and its numbers.

Numbers of system calls are x86-64's.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from hwmodel.op import PAGE, TraceError
from workloads.readers.kernel import clones, masks, scan
from workloads.readers.kernel.layouts import NO_THREAD, STACKS, Layouts, Line, is_no_event, lost
from workloads.readers.kernel.numbers import X86_64, Numbering
from workloads.streams import Source

MARK = "# hwmodel "
"""Marks the comments of a recording of our own."""
MACHINE = re.compile(r"# arch : (\S+)\s*$")
"""perf script --header tells the machine."""
BLOCK = 1 << 18
LONGEST, LONGEST_COMMENT = 1 << 13, 1 << 22
"""Most bytes of a line; a longer line is not of this format. A comment of ours holds a whole command."""

ENTER, LEAVE, FAULT, FLUSH, IPI, UNMAP, AGE, GUEST_FAULT, NEW_TASK, FORKED, EXEC, ENDED = range(12)
"""Kinds of events, with their numbers: ENTER (call, arguments ...), LEAVE (call, result), FAULT (address, error code, 1 if in
user mode), FLUSH (pages or -1, reason), IPI (targets, 1 if its callback is a flush), UNMAP and AGE (first byte, end),
GUEST_FAULT (vCPU or -1, guest address, error code), NEW_TASK (thread, clone flags), FORKED (thread), EXEC (), ENDED (thread)."""

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
    cpu : int
        -1 if the line does not have it.
    event, text : str
        Name of the event; and what the line has after it, of an interrupt.
    """

    kind: int
    numbers: tuple[int, ...]
    thread: int
    process: int
    name: str = ""
    path: str = ""
    cpu: int = -1
    event: str = ""
    text: str = ""


PERF_FORK = re.compile(r".*PERF_RECORD_FORK\((\d+):(\d+)\):\((\d+):(\d+)\)")
"""Told by perf script --show-task-events: the process and the thread that were made, and those that made them."""
RAW = ("sys_enter", "sys_exit")
"""Events of system calls by number; others name the call."""


class Lines:
    """The events of a source, in order.

    Parameters
    ----------
    source : Source
        The text.
    lists : bool
        Whether CPUs that may be a list or a bitmap are a list.
    numbering : callable, optional
        The numbering of the system calls of a thread. By default numbers are as in the text.
    """

    def __init__(self, source: Source, lists: bool = False, numbering: Callable[[int], Numbering] = lambda thread: X86_64) -> None:
        self._source, self._lists, self._numbering = source, lists, numbering
        self.line = 0
        self.cut = ""
        self.lost = 0
        self.known = False
        self.machine = ""
        self.unknown: dict[str, int] = {}
        self.comments: list[tuple[int, str]] = []  # (line, text)
        self._layouts = Layouts()
        self._useless_names: list[str] = []
        self._names = np.full((len(scan.KNOWN) + scan.NAMES, 3), -2, np.int64)
        self._names[:, 2] = 0
        self._names[: len(scan.KNOWN), :2] = [(scan.hash_of(name), parser) for name, parser in scan.KNOWN.items()]
        self._rows, self._place = np.zeros(scan.ROWS, scan.ROW), np.zeros(1, scan.PLACE)
        self._row = self._place[0]

    def events(self) -> Iterator[Event]:
        """Yield known events; count others in `unknown`, lost ones in `lost`; keep comments of our own.

        Raises
        ------
        TraceError
            At a line of no known layout, or a garbled known event.
        """
        for data, end in self._blocks():
            codes, self._place["at"], self._place["end"] = np.frombuffer(data, np.uint8), 0, end
            while self._row["at"] < end:
                self._row["rows"] = 0
                scan.scan(codes, self._place, self._names, self._rows, LONGEST)
                yield from self._scanned(data)
            self.line = int(self._row["line"])
            self._count_useless()

    def _scanned(self, data: bytes) -> Iterator[Event]:
        """Yield the events of the lines that the kernel took apart, and of those that it handed out."""
        rows = self._rows[: self._row["rows"]]
        heads = [rows[name].tolist() for name in ("line", "kind", "thread", "process", "cpu", "at", "end")]
        firsts = rows["numbers"][:, :3].T.tolist()
        names: dict[bytes, str] = {}
        for at, (line, parser, thread, process, cpu, first, end, one, two, three) in enumerate(zip(*heads, *firsts, strict=True)):
            self.line = line
            text = data[first:end]
            if parser == scan.HANDED_OUT:
                yield from self._slow(text)
                continue
            self.known = True
            kind, event, length = SCANNED[parser]
            numbers: tuple[int, ...] = (one, two) if length == 2 else (one, two, three)
            if parser <= scan.LEAVES:
                numbers = tuple(rows["numbers"][at].tolist()) if length > 3 else numbers
                translate = self._numbering(thread)
                if translate is not X86_64:
                    numbers = translate.enter(numbers[0], numbers[1:]) if kind == ENTER else translate.leave(one, two)
            name = names.get(text) or names.setdefault(text, text.decode())
            yield _new(Event, (kind, numbers, thread, process, name, "", cpu, event, ""))

    def _slow(self, line: bytes) -> Iterator[Event]:
        """Yield the event of any line, if it is one."""
        self._check_length(line, self.line)
        text = line.decode("utf-8", "replace")
        try:
            found = None if text.startswith("#") else self._layouts.split(text)
        except ValueError:  # thousands of digits
            raise TraceError(f"{self._source.name}: line {self.line}: no trace event: {text[:80].strip()!r}") from None
        if found is None or found.name.startswith("PERF_RECORD_"):
            yield from self._other_line(text)
        elif (event := self._event(found)) is not None:
            yield event

    def _useless(self, name: str) -> None:
        """Count an event of no use, and have the kernel count the next ones."""
        self.unknown[name] = self.unknown.get(name, 0) + 1
        known = len(self._useless_names)
        is_new = name not in PARSERS and not name.startswith("sys_") and name not in self._useless_names
        if is_new and name.isascii() and known < scan.NAMES:
            self._names[len(scan.KNOWN) + known] = (scan.hash_of(name), scan.USELESS, 0)
            self._useless_names.append(name)

    def _count_useless(self) -> None:
        counts = self._names[len(scan.KNOWN) :, 2]
        for name, count in zip(self._useless_names, counts.tolist(), strict=False):
            self.unknown[name] += count
        counts[:] = 0

    def _event(self, line: Line) -> Event | None:
        name, rest = line.name, line.text
        try:
            parsed = _ipi_mask(rest, self._lists) if name == "ipi_send_cpumask" else parse(name, rest)
        except (ValueError, IndexError):
            raise TraceError(f"{self._source.name}: line {self.line}: garbled {name}: {rest[:80].strip()!r}") from None
        if parsed is None:
            if name not in STACKS:
                self._useless(name)
            return None
        self.known = True
        kind, numbers = parsed
        if name in RAW:
            translate = self._numbering(line.thread)
            numbers = translate.enter(numbers[0], numbers[1:]) if kind == ENTER else translate.leave(*numbers)
        path = _path(rest) if kind == ENTER else ""
        return Event(kind, numbers, line.thread, line.process, line.comm, path, line.cpu, name, rest if kind == IPI else "")

    def _other_line(self, text: str) -> Iterator[Event]:
        if number := lost(text):
            self.lost += number
        elif found := PERF_FORK.match(text):
            process, thread, parents, parent = map(int, found.groups())
            yield Event(NEW_TASK, (thread, clones.CLONE_VM if process == parents else 0), parent, parents)
        elif found := MACHINE.match(text):
            self.machine = found[1]
        elif text.startswith(MARK):
            self.comments.append((self.line, text[len(MARK) :]))
        elif not is_no_event(text):
            what = "no thread number (perf script -F +tid)" if NO_THREAD.match(text) else "no trace event"
            raise TraceError(f"{self._source.name}: line {self.line}: {what}: {text[:80].strip()!r}")

    def _blocks(self) -> Iterator[tuple[bytes, int]]:
        """Yield bytes with the index after their last newline; set `cut` if the last line is incomplete."""
        rest = b""
        with self._source.open() as stream:
            while block := stream.read(BLOCK):
                data = rest + block
                end = data.rfind(b"\n") + 1
                if end:
                    yield data + bytes(scan.SLACK), end
                rest = data[end:]
                self._check_length(rest, int(self._row["line"]) + 1)
            if rest or stream.cut:
                self.cut = f"in line {int(self._row['line']) + 1}"

    def _check_length(self, line: bytes, number: int) -> None:
        longest = LONGEST_COMMENT if line.startswith(b"#") else LONGEST
        if len(line) > longest:
            raise TraceError(f"{self._source.name}: line {number}: longer than {longest} bytes")


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
    text = text.split()[0]
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
    found = re.match(r": NR (-?\d+) \(([0-9a-f, ]*)\)(?!\S)", rest)
    if found is None:
        raise ValueError
    arguments = tuple(int(value, 16) for value in found[2].split(","))
    if len(arguments) != 6:
        raise ValueError
    return ENTER, (int(found[1]), *arguments)


def _fault(user: int) -> Callable[[str], tuple[int, tuple[int, ...]] | None]:
    pattern = re.compile(r":\s+(?:\w+ page fault, )?address=(\S+) (?:ip|epc)=.*?\s(error_code|cause)=(?:0x)?([0-9a-f]+)(?!\S)")
    number = re.compile(r"(?:0x)?([0-9a-f]+)$")

    def parse_fault(rest: str) -> tuple[int, tuple[int, ...]] | None:
        found = pattern.match(rest)
        if found is None:
            raise ValueError
        address = number.match(found[1])
        if address is None:  # a symbol of the kernel
            return None
        code = int(found[3], 16)
        return FAULT, (int(address[1], 16), CAUSES.get(code, 0) if found[2] == "cause" else _error_code(code), user)

    return parse_fault


READ_CODE, WRITE_CODE, FETCH_CODE = 4, 6, 0x14
CAUSES = {0xC: FETCH_CODE, 0xD: READ_CODE, 0xF: WRITE_CODE}
"""RISC-V's causes of page faults (the privileged architecture's scause) as error codes of x86."""
ABORTS = {0x20: FETCH_CODE, 0x21: FETCH_CODE, 0x24: READ_CODE, 0x25: READ_CODE}
"""Exception classes of arm64's ESR_EL1, bits 31:26, as error codes of x86; bit 6 says that a data abort is a write, bit 8 not."""
INSTRUCTION_LENGTH = 1 << 25
"""Set in arm64's syndrome of each abort, never in an error code of x86."""


def _error_code(code: int) -> int:
    """Return an error code of x86; arm64 has its syndrome register there."""
    if not code & INSTRUCTION_LENGTH or code >> 26 not in ABORTS:
        return code
    return WRITE_CODE if code >> 26 >= 0x24 and code >> 6 & 5 == 1 else ABORTS[code >> 26]


def _ipi_mask(rest: str, lists: bool = False) -> tuple[int, tuple[int, ...]]:
    found = masks.MASK.match(rest)
    if found is None:
        raise ValueError
    return IPI, (masks.targets(found, lists), int("callback=flush_tlb" in found[3]))


def _ipi(rest: str) -> tuple[int, tuple[int, ...]]:
    if re.match(r":\s+cpu=\d+ ", rest) is None:
        raise ValueError
    return IPI, (1, int("callback=flush_tlb" in rest))


def _guest_fault(rest: str) -> tuple[int, tuple[int, ...]]:
    new = re.match(r":\s+vcpu (\d+) rip (?:0x)?[0-9a-f]+ address (?:0x)?([0-9a-f]+) error_code (?:0x)?([0-9a-f]+)(?!\S)", rest)
    old = re.match(r":\s+address (?:0x)?([0-9a-f]+) error_code (?:0x)?([0-9a-f]+)(?!\S)", rest)
    if new:
        return GUEST_FAULT, (int(new[1]), int(new[2], 16), int(new[3], 16))
    if old is None:
        raise ValueError
    return GUEST_FAULT, (-1, int(old[1], 16), int(old[2], 16))


def _arm_guest_fault(rest: str) -> tuple[int, tuple[int, ...]]:
    found = re.match(r":\s+ipa 0x([0-9a-f]+),? hsr 0x([0-9a-f]+),? hxfar 0x([0-9a-f]+)", rest)
    if found is None:
        raise ValueError
    page, syndrome, address = (int(text, 16) for text in found.groups())
    return GUEST_FAULT, (-1, page & -PAGE | address % PAGE, _error_code(syndrome))


def _one_page(kind: int, what: str) -> Callable[[str], tuple[int, tuple[int, ...]]]:
    parse_address = _matched(kind, rf":\s+mmu notifier {what} hva: (?:0x)?([0-9a-f]+)(?!\S)", 16)

    def parse_page(rest: str) -> tuple[int, tuple[int, ...]]:
        _, (address,) = parse_address(rest)
        return kind, (address & -PAGE, (address & -PAGE) + PAGE)

    return parse_page


_RANGE = r"(?:0x)?([0-9a-f]+) -- (?:0x)?([0-9a-f]+)(?!\S)"
PARSERS: dict[str, Callable[[str], tuple[int, tuple[int, ...]] | None]] = {
    "sys_enter": _raw_enter,
    "sys_exit": _matched(LEAVE, r":\s+NR (-?\d+) = (-?\d+)(?!\S)", 10, 10),
    "page_fault_user": _fault(1),
    "page_fault_kernel": _fault(0),
    "tlb_flush": _matched(FLUSH, r":\s+pages[:=](-?\d+) reason[:=][^(]*\((\d+)\)(?!\S)", 10, 10),
    "ipi_send_cpu": _ipi,
    "ipi_send_cpumask": _ipi_mask,
    "kvm_unmap_hva_range": _matched(UNMAP, rf":\s+mmu notifier unmap range: {_RANGE}", 16, 16),
    "kvm_age_hva": _matched(AGE, rf":\s+mmu notifier age hva: {_RANGE}", 16, 16),
    "kvm_test_age_hva": _one_page(AGE, "test age"),
    "kvm_set_spte_hva": _one_page(UNMAP, "set pte"),
    "kvm_page_fault": _guest_fault,
    "kvm_guest_fault": _arm_guest_fault,
    "task_newtask": _matched(NEW_TASK, r":\s+pid=(\d+) comm=.* clone_flags=(?:0x)?([0-9a-f]+) ", 10, 16),
    "sched_process_fork": _matched(FORKED, r":\s+comm=.* pid=\d+ child_comm=.* child_pid=(\d+)(?!\S)", 10),
    "sched_process_exec": _matched(EXEC, r":\s+filename="),
    "sched_process_exit": _matched(ENDED, r":\s+comm=.* pid=(\d+) prio=-?\d+", 10),
}
_new = tuple.__new__  # a third of the time of calling the class
SCANNED = tuple(zip((ENTER, LEAVE, FAULT, FAULT, FLUSH, UNMAP), scan.KNOWN, scan.LENGTHS, strict=True))
"""The kernel's parsers: kind, name and numbers of their events."""
