"""Counts of the kernel's work in a recording of its trace events, by operation."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from hwmodel.op import MOST_USER_END, PAGE_SHIFT
from workloads.formats.kernel import parsers as f
from workloads.formats.kernel.lines import Event

NAMES = {
    9: "mmap", 10: "mprotect", 11: "munmap", 12: "brk", 25: "mremap", 28: "madvise", 56: "clone", 57: "clone", 58: "clone",
    435: "clone", 59: "exec", 322: "exec", 60: "exit", 231: "exit",
}  # fmt: skip
"""Operations by the number of their system call."""
FAULT, OTHER, OUTSIDE = "fault", "other call", "outside"
OPERATIONS = (*dict.fromkeys(NAMES.values()), FAULT, OTHER, OUTSIDE)
HUGE = 512
TASK_SWITCH, REMOTE, LOCAL, LOCAL_MM, SEND, WRONG_CPU = range(6)
"""Reasons of a flush (include/linux/mm_types.h, enum tlb_flush_reason)."""
COUNTS = {
    "calls": "system calls that succeeded, and exits that began",
    "calls.failed": "system calls that failed",
    "faults.user": "page faults in user mode",
    "faults.kernel": "page faults of the kernel on user memory, for a system call",
    "notices": "ranges that mmu notifiers were told of before a change",
    "notices.pages": "pages of these ranges",
    "notices.cuts": "of these ranges, those of one aligned 2 MiB that is not the call's: where a VMA is cut, a huge page might be",
    "ages": "ranges whose accessed bits mmu notifiers were asked for",
    "flushes.ranged": "TLB flushes page by page, on the CPU that decided on them",
    "flushes.pages": "pages of these",
    "flushes.full": "TLB flushes of the whole address space, on the CPU that decided on them",
    "flushes.late": "flushes that found nothing left to do: a task switch or another flush had done it",
    "flushes.remote": "flushes on a CPU that another one interrupted",
    "flushes.sent": "flushes that other CPUs were told of",
    "ipis": "interrupts sent for flushes",
    "guest_faults": "EPT violations of vCPUs",
}


@dataclass
class _Doing:
    """The state of a thread."""

    number: int | None = None  # of the current system call
    call: str = ""  # name of that call
    page: int = -1  # page of the latest fault
    what: str = OUTSIDE
    range: tuple[int, ...] = ()  # named by the call: first byte, bytes
    sending: bool = False  # the next interrupts are those of a flush


@dataclass
class Counts:
    """Counts of COUNTS by operation; `note` takes the events of a recording in their order.

    An event of a thread belongs to its page fault if that was the thread's latest action and, for a range, lies in it; otherwise
    to the current system call; otherwise it is outside of the recorded operations: reclaim, balancing of memory nodes, another process.
    """

    by_operation: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _threads: defaultdict[int, _Doing] = field(default_factory=lambda: defaultdict(_Doing))

    def note(self, event: Event, foreign: bool = False) -> str:
        """Count an event; return the operation that it belongs to. A foreign one is of another process than its thread's."""
        doing = self._threads[event.thread]
        kind, numbers = event.kind, event.numbers
        if kind == f.ENTER:
            self._enter(doing, numbers)
        elif kind == f.LEAVE:
            self._leave(doing, numbers)
        elif kind == f.FAULT:
            self._fault(doing, numbers)
        elif kind == f.UNMAP:
            self._notice(doing, numbers, foreign)
        elif kind == f.FLUSH:
            self._flush(doing, numbers)
        elif kind == f.IPI:
            self._add(doing, "ipis", numbers[0] if doing.sending or numbers[1] else 0)
        elif kind in SIMPLE:
            self._add(doing, SIMPLE[kind])
        elif kind == f.ENDED:
            doing.call = doing.what = "exit"
        doing.sending = (kind == f.FLUSH and numbers[1] == SEND) or (kind == f.IPI and doing.sending)
        return doing.what

    def totals(self) -> dict[str, int]:
        """Return each count over all operations."""
        return {name: sum(counts[name] for counts in self.by_operation.values()) for name in COUNTS}

    def table(self) -> dict[str, dict[str, int]]:
        """Return the counts that are not 0, by operation."""
        rows = {name: {key: value for key, value in self.by_operation.get(name, {}).items() if value} for name in OPERATIONS}
        return {name: row for name, row in rows.items() if row}

    def _enter(self, doing: _Doing, numbers: tuple[int, ...]) -> None:
        if doing.number == numbers[0]:
            return  # reported a second time, by name
        doing.number, doing.call = numbers[0], NAMES.get(numbers[0], OTHER)
        doing.what, doing.range, doing.page = doing.call, numbers[1:3], -1
        if doing.call == "exit":
            self._add(doing, "calls")

    def _leave(self, doing: _Doing, numbers: tuple[int, ...]) -> None:
        if doing.number == numbers[0]:
            doing.what = doing.call
            self._add(doing, "calls.failed" if -4096 < numbers[1] < 0 else "calls")
        doing.number, doing.call, doing.what, doing.page = None, "", OUTSIDE, -1

    def _fault(self, doing: _Doing, numbers: tuple[int, ...]) -> None:
        address, _, user = numbers
        if address >= MOST_USER_END:
            return
        doing.page, doing.what = address >> PAGE_SHIFT, FAULT
        self._add(doing, "faults.user" if user else "faults.kernel")

    def _notice(self, doing: _Doing, numbers: tuple[int, ...], foreign: bool) -> None:
        first, end = numbers[0] >> PAGE_SHIFT, numbers[1] >> PAGE_SHIFT
        doing.what = OUTSIDE if foreign else FAULT if first <= doing.page < end else doing.call or OUTSIDE
        self._add(doing, "notices")
        self._add(doing, "notices.pages", end - first)
        is_huge_page = end - first == HUGE and first % HUGE == 0
        if is_huge_page and doing.what not in (FAULT, OUTSIDE) and doing.range != (numbers[0], numbers[1] - numbers[0]):
            self._add(doing, "notices.cuts")

    def _flush(self, doing: _Doing, numbers: tuple[int, ...]) -> None:
        pages, reason = numbers
        if reason == REMOTE or reason == WRONG_CPU:
            self._add(doing, "flushes.remote")
        elif reason == SEND:
            self._add(doing, "flushes.sent")
        elif reason in (LOCAL, LOCAL_MM):
            self._add(doing, "flushes.full" if pages < 0 else "flushes.ranged" if pages else "flushes.late")
            self._add(doing, "flushes.pages", max(pages, 0))

    def _add(self, doing: _Doing, name: str, number: int = 1) -> None:
        self.by_operation[doing.what][name] += number


SIMPLE: Mapping[int, str] = {f.AGE: "ages", f.GUEST_FAULT: "guest_faults"}
