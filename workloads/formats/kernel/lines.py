"""Events of the kernel's trace text, in every layout of `layouts`, one after the other."""

import re
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import NamedTuple

import numpy as np

from hwmodel.op import TraceError
from workloads.formats.kernel import clones, scan
from workloads.formats.kernel import parsers as p
from workloads.formats.kernel.layouts import CALLER, CPUS_OF, FILE, NO_THREAD, STACKS, Layouts, Line, is_no_event, lost
from workloads.formats.numbers import X86_64, Numbering
from workloads.formats.textbuffer import TextBuffer
from workloads.streams import Source

MARK = "# hwmodel "
"""Marks the comments of a recording of our own."""
MACHINE = re.compile(r"# arch : (\S+)\s*$")
"""perf script --header tells the machine."""
BLOCK = 1 << 18
ALL_BITS = (1 << 64) - 1
LONGEST, LONGEST_COMMENT = 1 << 13, 1 << 22
"""Most bytes of a line; a longer line is not of this format. A comment of ours holds a whole command."""

KINDS = np.array([p.ENTER, p.LEAVE, p.FAULT, p.FAULT, p.FLUSH, p.UNMAP, p.ENTER, p.LEAVE, p.ENTER, p.LEAVE, 0, 0])
"""Kinds of events that the kernel's parsers take apart, and of none."""


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
        self.files = set[str]()  # names of files that lines say they are of
        self.is_one_file = False
        self.unknown: dict[str, int] = {}
        self.comments: list[tuple[int, str]] = []  # (line, text)
        self._layouts = Layouts()
        self._known = np.zeros(scan.SLOTS, scan.KNOWN)
        self._known["hash"] = scan.EMPTY
        self._names = np.full(scan.SLOTS, "", object)  # the events that are known, by slot
        self._free = scan.SLOTS // 2
        for name, parser in scan.PARSED.items():
            self._know(name, ":", parser)
        self._rows, self._place = np.zeros(scan.ROWS, scan.ROW), np.zeros(1, scan.PLACE)
        self._row, self._latest = self._place[0], np.zeros(scan.MOST_LATEST, np.int64)

    def events(self) -> Iterator[Event]:
        """Yield known events; count others in `unknown`, lost ones in `lost`; keep comments of our own.

        Raises
        ------
        TraceError
            At a line of no known layout, or a garbled known event.
        """
        with self._source.open() as stream:
            buffer = TextBuffer(stream, self._source.name, self._place, LONGEST_COMMENT + 1, BLOCK)
            while buffer.refill():
                text = buffer.text()
                while self._row["at"] < self._row["end"]:
                    self._row["rows"] = 0
                    scan.scan(buffer.codes, self._place, self._known, self._rows, self._latest, LONGEST)
                    rows = self._rows[: self._row["rows"]]
                    scanned = zip(rows["line"].tolist(), rows["kind"].tolist(), self._scanned(text, rows), strict=True)
                    for self.line, parser, event in scanned:
                        if parser != scan.HANDED_OUT:
                            yield event
                        else:
                            yield from self._slow(text[event.numbers[0] : event.numbers[1]].encode("latin-1"))
                self.line = buffer.line
                self._count_useless()
                self._check_length(buffer.rest(), self.line + 1)
            if buffer.rest() or stream.cut:
                self.cut = f"in line {buffer.line + 1}"

    def _scanned(self, text: str, rows: np.ndarray) -> Iterator[Event]:
        """Return the events of lines that the kernel took apart; of those that it handed out, the numbers are where they are."""
        parsers, like = rows["kind"], rows["like"]
        handed_out = parsers == scan.HANDED_OUT
        self.known |= not handed_out.all()
        rows["count"][handed_out], rows["slot"][handed_out], like[handed_out] = 2, 0, 0
        rows["numbers"][handed_out, :2] = np.column_stack([rows["at"], rows["end"]])[handed_out]
        numbers = self._numbers(rows)
        who = np.empty((3, rows.size), object)
        for at in np.unique(like).tolist():
            row = rows[at]
            who[:, at] = int(row["thread"]), int(row["process"]), text[row["at"] : row["end"]]
            self._note_file(who[2, at])
        events, nothing = self._names[rows["slot"]].tolist(), repeat("")
        columns = zip(
            KINDS[parsers].tolist(), numbers, *who[:, like].tolist(), nothing, rows["cpu"].tolist(), events, nothing, strict=False
        )
        return map(tuple.__new__, repeat(Event), columns)  # a third of the time of calling the class

    def _numbers(self, rows: np.ndarray) -> list[tuple[int, ...]]:
        """Return the numbers of each row."""
        counts, matrix, found = rows["count"], rows["numbers"], np.empty(rows.size, object)
        for count in np.unique(counts).tolist():
            chosen = np.flatnonzero(counts == count)
            columns = (matrix[chosen, k].tolist() for k in range(count))
            found[chosen] = np.fromiter(zip(*columns, strict=True), object, chosen.size)
        numbers = found.tolist()
        self._correct(rows, numbers)
        return numbers

    def _correct(self, rows: np.ndarray, numbers: list[tuple[int, ...]]) -> None:
        """Give calls the numbers that they have on x86-64, and arguments of 64 bits their values."""
        parsers = rows["kind"]
        entered = KINDS[parsers] == p.ENTER
        for at in np.flatnonzero(entered & (rows["numbers"][:, 1:] < 0).any(axis=1)).tolist():
            numbers[at] = (numbers[at][0], *(number & ALL_BITS for number in numbers[at][1:]))
        threads = rows["thread"]
        raw = (parsers == scan.ENTERS) | (parsers == scan.LEAVES)
        for thread in np.unique(threads[raw]).tolist():
            translate = self._numbering(thread)
            for at in np.flatnonzero(raw & (threads == thread)).tolist() if translate is not X86_64 else ():
                number, *others = numbers[at]
                numbers[at] = translate.enter(number, others) if entered[at] else translate.leave(number, others[0])

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

    def _know(self, name: str, next_: str, parser: int, call: int = 0) -> None:
        """Let the kernel know an event by its name and the character after it, if it can."""
        if not self._free or not name.isascii() or not next_.isascii():
            return
        number = scan.hash_of(name + next_)
        slot = number % scan.SLOTS
        while self._known["hash"][slot] not in (number, scan.EMPTY):
            slot = (slot + 1) % scan.SLOTS
        if self._known["hash"][slot] == scan.EMPTY:
            self._known[slot] = (number, parser, call, p.NEEDED.get(call, 0), 0)
            self._names[slot] = name
            self._free -= 1

    def _know_call(self, name: str, next_: str) -> None:
        """Let the kernel know an event that has a system call's name."""
        if next_ == ":" and name.startswith("sys_enter_"):
            self._know(name, next_, scan.TOLD_ENTERS, p.CALLS.get(name[10:], p.OTHER))
        elif next_ == ":" and name.startswith("sys_exit_"):
            self._know(name, next_, scan.TOLD_LEAVES, p.CALLS.get(name[9:], p.OTHER))
        elif next_ in ("(", " ") and name.startswith("sys_"):
            self._know(name, next_, scan.OWN_ENTERS if next_ == "(" else scan.OWN_LEAVES, p.CALLS.get(name[4:], p.OTHER))

    def _useless(self, name: str, next_: str) -> None:
        """Count an event of no use, and let the kernel count the next ones."""
        self.unknown[name] = self.unknown.get(name, 0) + 1
        if name not in p.PARSERS and not name.startswith("sys_"):
            self._know(name, next_, scan.USELESS)

    def _count_useless(self) -> None:
        seen = self._known["seen"]
        for slot in np.flatnonzero(seen).tolist():
            self.unknown[self._names[slot]] += int(seen[slot])
        seen[:] = 0

    def _event(self, line: Line) -> Event | None:
        name, rest = line.name, line.text
        try:
            parsed = p.ipi_mask(rest, self._lists) if name == "ipi_send_cpumask" else p.parse(name, rest)
        except (ValueError, IndexError):
            if CALLER.match(rest):
                self._useless(name, rest[:1])
                return None
            raise TraceError(f"{self._source.name}: line {self.line}: garbled {name}: {rest[:80].strip()!r}") from None
        if parsed is None:
            if name not in STACKS:
                self._useless(name, rest[:1] or "\n")
            return None
        self.known = True
        self._note_file(line.comm)
        self._know_call(name, rest[:1])
        kind, numbers = parsed
        if name in p.RAW:
            translate = self._numbering(line.thread)
            numbers = translate.enter(numbers[0], numbers[1:]) if kind == p.ENTER else translate.leave(*numbers)
        path = p.path(rest) if kind == p.ENTER else ""
        return Event(kind, numbers, line.thread, line.process, line.comm, path, line.cpu, name, rest if kind == p.IPI else "")

    def _other_line(self, text: str) -> Iterator[Event]:
        if number := lost(text):
            self.lost += number
        elif found := PERF_FORK.match(text):
            process, thread, parents, parent = map(int, found.groups())
            yield Event(p.NEW_TASK, (thread, clones.CLONE_VM if process == parents else 0), parent, parents)
        elif found := MACHINE.match(text):
            self.machine = found[1]
        elif text.startswith(MARK):
            self.comments.append((self.line, text[len(MARK) :]))
        elif found := CPUS_OF.match(text):
            self.files.add(found[1])
        elif text.startswith("cpus="):
            self.is_one_file = True
        elif not is_no_event(text):
            what = "no thread number (perf script -F +tid)" if NO_THREAD.match(text) else "no trace event"
            raise TraceError(f"{self._source.name}: line {self.line}: {what}: {text[:80].strip()!r}")

    def _note_file(self, comm: str) -> None:
        """Note the file that a line is of, which stands before its thread's name if `trace-cmd report` prints several."""
        if ":  " in comm and (found := FILE.match(comm)):
            self.files.add(found[1])

    def _check_length(self, line: bytes, number: int) -> None:
        longest = LONGEST_COMMENT if line.startswith(b"#") else LONGEST
        if len(line) > longest:
            raise TraceError(f"{self._source.name}: line {number}: longer than {longest} bytes")
