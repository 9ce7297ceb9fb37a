"""What a whole recording tells of its threads before it is read: their processes, their system calls' numbers, whose memory is where.

Lines of events name the running thread, often without its process. Who belongs together is told, in this order, by the caller; by lines
that have the process; by a TLB flush that one thread sends and another receives, which share an address space; and by the names that
QEMU gives to the threads of vCPUs.
"""

import bisect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from hwmodel.op import MOST_USER_END, PAGE, PAGE_SHIFT, TraceError
from workloads.formats.evidence import Evidence, mapped_range
from workloads.formats.kernel import clones
from workloads.formats.kernel import parsers as f
from workloads.formats.kernel.cachedfiles import joined
from workloads.formats.kernel.counts import REMOTE, SEND
from workloads.formats.kernel.facts import SPELLED, way
from workloads.formats.kernel.lines import Event, Lines
from workloads.formats.kernel.masks import Masks
from workloads.formats.numbers import MACHINES, NUMBERINGS, TOGETHER, X86_64, Numbering
from workloads.formats.syscalls import EXECVE, EXECVEAT
from workloads.streams import Source

VCPU = re.compile(r"(?:CPU |fc_vcpu |vcpu|kvm-vcpu-|crosvm_vcpu)(\d+)(?:/K(?:VM?)?)?$")
"""Name of a vCPU's thread in QEMU, Firecracker, Cloud Hypervisor, kvmtool, crosvm; the latency format has its first 8 letters."""
CHUNK_SHIFT = 21
CHANGING = (9, 10, 11, 12, 25, 28)
"""Calls that change mappings."""
EXECUTING = (EXECVE, EXECVEAT)
"""Calls that give a process another program, by x86-64's numbers."""


class Survey:
    """One pass over a recording.

    Parameters
    ----------
    source : Source
        The recording.
    arch : str, optional
        The architecture whose numbers its system calls have, one of `callnumbers.MACHINES`; by default as the recording tells.
    processes : sequence of sequences of int
        The threads of each process, as far as the caller knows.
    """

    def __init__(self, source: Source, arch: str | None = None, processes: Sequence[Sequence[int]] = ()) -> None:
        self._name = source.name
        self._given = MACHINES[arch] if arch is not None else None
        self._groups = Groups()
        self._acting: dict[int, str] = {}  # names of the threads that become agents
        self._made, self._doubtful = set[int](), set[int]()
        self._executed: dict[int, bool] = {}  # whether an execve comes first of what a thread does, but for the kernel's faults
        self._calls: dict[int, tuple[int, ...]] = {}
        self._evidence: defaultdict[int, Evidence] = defaultdict(Evidence)
        self._changing: dict[int, bool] = {}  # whether a thread is in a call that changes mappings
        self._sending: dict[int, tuple[int, bool]] = {}  # pages of the flush that a thread waits for; whether it is of one address space
        self._masks = Masks()
        self._memory, self._hypervisors = Memory(), set[int]()
        self._first_call, self.threadless = 0, 0
        self._read(source, processes)

    @property
    def lists(self) -> bool:
        """Tell whether CPUs that may be a list or a bitmap are a list."""
        return self._masks.are_lists()

    @property
    def arch(self) -> str:
        """Return the architecture whose numbers most system calls have."""
        return self._common.name

    def numbering(self, thread: int) -> Numbering:
        """Return the numbering of a thread's system calls."""
        return self._numberings.get(self.process(thread), self._common)

    def process(self, thread: int) -> int:
        """Return the process of a thread: the number of a thread in it."""
        return self._groups.leader(thread)

    def name(self, process: int, other: str) -> str:
        """Return the name of a process: its first thread's, another one's of it, or another name."""
        names = (name for thread, name in self._acting.items() if name and self.process(thread) == process)
        return self._acting.get(process) or next(names, other)

    def unsure(self) -> list[int]:
        """Return the threads that are taken as a process each although nothing tells that they are; none if there is but one."""
        found = sorted(thread for thread in self._acting if thread not in self._groups and thread not in self._made)
        return found if len(found) > 1 or self._groups else []

    def doubtful(self) -> list[int]:
        """Return the threads that are in one process by their names only."""
        return sorted(self._doubtful)

    def begins_with_exec(self, thread: int) -> bool:
        """Return whether a thread's first event, but for the kernel's faults, is the end of an execve whose beginning is not recorded."""
        return self._executed.get(thread, False)

    def is_foreign(self, event: Event) -> bool:
        """Return whether a notice is of another process than the running thread's."""
        return event.kind == f.UNMAP and self.owner(event.thread, *event.numbers) not in (self.process(event.thread), None)

    def owner(self, thread: int, first: int, end: int) -> int | None:
        """Return the process whose memory a notice in the context of a thread is of; None if it is nobody's or several could be meant."""
        own, processes, machines = self.process(thread), self._processes, self._hypervisors
        holders = self._memory.holders(first, end)
        holders = holders & machines or holders
        if own in holders or (own in processes and not holders and (not machines or own in machines)):
            return own
        for candidates in (processes, holders or machines):
            if len(candidates) == 1:
                return next(iter(candidates))
        return None

    def _read(self, source: Source, processes: Sequence[Sequence[int]]) -> None:
        for threads in processes:
            self._groups.know(threads[0])
            for thread in threads:
                self._groups.join(threads[0], thread)
        lines, seen = Lines(source), set[int]()
        for event in lines.events():
            seen.add(event.thread)
            if event.event in f.RAW and not self._first_call:
                self._first_call = lines.line
            if not self._note(event) and any(event.thread in threads for threads in processes):
                reason = f"thread {event.thread} is of process {event.process} here"
                raise TraceError(f"{self._name}: line {lines.line}: processes ({SPELLED['processes']}): {reason}")
        strange = [thread for threads in processes for thread in threads if thread not in seen and thread not in self._made]
        if strange:
            raise TraceError(f"{self._name}: processes ({SPELLED['processes']}): no line is of thread {strange[0]}")
        if len(lines.files) > 1 and not lines.is_one_file:
            several = ", ".join(sorted(lines.files)[:4])
            raise TraceError(f"{self._name}: lines of several files ({several}): report one at a time (trace-cmd report -i FILE)")
        self._use_comments([text for _, text in lines.comments])
        self._join_vcpus()
        self._settle(lines.machine)
        self._memory.group(self.process)
        self._hypervisors = {self.process(thread) for thread in self._hypervisors}
        self._processes = {self.process(thread) for thread in self._acting}

    def _settle(self, machine: str) -> None:
        """Decide on the numbering of each process; of those that do not tell it is that of most calls."""
        total, by_process = Evidence(), defaultdict[int, Evidence](Evidence)
        for thread, evidence in self._evidence.items():
            total.add(evidence)
            by_process[self.process(thread)].add(evidence)
        told = self._machine(machine) if machine and self._first_call and not self._given else None
        self._common = self._given or told or total.best() or X86_64
        if not self._given and not told and total.is_foreign():
            line = f"{self._name}: line {self._first_call}"
            raise TraceError(f"{line}: system calls have numbers of another architecture ({way('arch', 'names it')})")
        found = {process: evidence.best() for process, evidence in by_process.items()}
        family = () if self._given else next(family for family in TOGETHER if self._common in family)
        self._numberings = {process: best for process, best in found.items() if best in family}
        strange = min((process for process, best in found.items() if best and family and best not in family), default=None)
        if strange is not None:
            whose = f"{found[strange].name}'s numbers, others {self._common.name}'s"
            raise TraceError(f"{self._name}: system calls of process {strange} have {whose} ({way('arch', 'names one')})")

    def _machine(self, name: str) -> Numbering:
        if name not in MACHINES:
            known = f"there are {', '.join(MACHINES)} ({way('arch', 'names another')})"
            raise TraceError(f"{self._name}: no numbers of system calls for {name!r}; {known}")
        return MACHINES[name]

    def _use_comments(self, comments: Iterable[str]) -> None:
        """Note the process and the memory that a recording of our own lists."""
        parts = [text.partition(": ") for text in comments]
        recordings = [value for key, _, value in parts if key == "recording"]
        found = re.search(r'"pid": (\d+)', recordings[0]) if recordings else None
        if found is None:
            return
        thread = int(found[1])
        self._groups.know(thread)
        self._acting.setdefault(thread, "")
        if '"vm": true' in recordings[0]:
            self._hypervisors.add(thread)
        for key, _, value in parts:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", value) if key == "map" else None
            if found:
                self._memory.map(thread, int(found[1], 16), int(found[2], 16))

    def _join_vcpus(self) -> None:
        """Join the vCPUs' threads that no line gives a process, by their names: each number begins another virtual machine."""
        taken, leader = set[str](), -1
        for thread in sorted(self._acting):
            found = VCPU.match(self._acting[thread])
            if not found or thread in self._groups or thread in self._made:
                continue
            if leader < 0 or found[1] in taken:
                taken, leader = set(), thread
            elif self._groups.join(leader, thread):
                self._doubtful |= {leader, thread}
            taken.add(found[1])

    def _note(self, event: Event) -> bool:
        """Take note of an event; return False if its process contradicts what the caller, or an earlier line, says."""
        fits = True
        if event.thread < -1:
            self.threadless += 1
            self._groups.join(-2, event.thread)
        if event.process >= 0:
            fits = self._groups.know(event.process) and self._groups.join(event.process, event.thread)
        if event.kind in NOTES:
            NOTES[event.kind](self, event)
        return fits

    def _enter(self, event: Event) -> None:
        self._act(event)
        self._calls[event.thread] = event.numbers
        self._changing[event.thread] = _may_be(event, CHANGING)

    def _leave(self, event: Event) -> None:
        self._act(event)
        call = self._calls.pop(event.thread, ())
        self._changing.pop(event.thread, None)
        if event.numbers[1] > 0 and _may_be(event, clones.MAKING):
            self._made.add(event.numbers[1])
        if event.event in f.RAW and call and call[0] == event.numbers[0]:
            self._evidence[event.thread].note(call, event.numbers)
            mapped = mapped_range(call, event.numbers)
            if mapped:
                self._memory.map(event.thread, *mapped)

    def _fault(self, event: Event) -> None:
        if event.numbers[0] < MOST_USER_END:
            self._act(event, is_first=event.numbers[2] == 1)
            self._memory.touch(event.thread, event.numbers[0])

    def _guest_fault(self, event: Event) -> None:
        self._act(event)
        self._hypervisors.add(event.thread)

    def _made_task(self, event: Event) -> None:
        self._made.add(event.numbers[0])
        if event.kind == f.NEW_TASK and clones.is_thread(event.numbers[1]):
            self._groups.join(event.thread, event.numbers[0])

    def _flush(self, event: Event) -> None:
        pages, reason = event.numbers
        if reason == SEND:
            is_of_one = pages >= 0 or bool(self._changing.get(event.thread))  # reclaim flushes all of several address spaces at once
            self._sending[event.thread] = pages, is_of_one
        elif reason == REMOTE and event.thread:  # the idle task of a CPU, 0, runs lazily in anybody's memory
            senders = [thread for thread, (sent, _) in self._sending.items() if sent == pages and thread != event.thread]
            if len(senders) == 1 and self._sending[senders[0]][1]:
                self._groups.join(senders[0], event.thread)

    def _mask(self, event: Event) -> None:
        if event.event == "ipi_send_cpumask":
            self._masks.note(event.text, event.cpu)

    def _executes(self, event: Event) -> None:
        self._executed.setdefault(event.thread, True)

    def _act(self, event: Event, is_first: bool = True) -> None:
        self._sending.pop(event.thread, None)
        if is_first:
            self._executed.setdefault(event.thread, event.kind == f.LEAVE and _may_be(event, EXECUTING))
        self._acting.setdefault(event.thread, event.name)
        if VCPU.match(event.name):
            self._hypervisors.add(event.thread)


NOTES: Mapping[int, Callable[[Survey, Event], None]] = {
    f.ENTER: Survey._enter,
    f.LEAVE: Survey._leave,
    f.FAULT: Survey._fault,
    f.FLUSH: Survey._flush,
    f.IPI: Survey._mask,
    f.GUEST_FAULT: Survey._guest_fault,
    f.NEW_TASK: Survey._made_task,
    f.FORKED: Survey._made_task,
    f.EXEC: Survey._executes,
}


def _may_be(event: Event, calls: Sequence[int]) -> bool:
    """Return whether a call is one of some, in any numbering if its line has but the number."""
    numberings = NUMBERINGS if event.event in f.RAW else (X86_64,)
    return any(numbering.number(event.numbers[0]) in calls for numbering in numberings)


class Groups:
    """Threads that belong together; of each group at most one thread's number is known to be the process's."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._known: dict[int, int] = {}

    def __contains__(self, thread: int) -> bool:
        return thread in self._next

    def __len__(self) -> int:
        return len(self._next)

    def know(self, process: int) -> bool:
        """Note that a number is a process's; return False if its group is known to be another process's."""
        return self._known.setdefault(self._root(process), process) == process

    def join(self, one: int, other: int) -> bool:
        """Join the groups of two threads; return False if they are known to be of different processes."""
        first, second = sorted((self._root(one), self._root(other)))
        known = {self._known[root] for root in (first, second) if root in self._known}
        if len(known) > 1:
            return False
        self._next[second] = first
        if known:
            self._known[first] = known.pop()
        return True

    def leader(self, thread: int) -> int:
        """Return the number of a thread's process: as known, or the smallest of its threads'; the thread's own if nothing tells."""
        if thread not in self._next:
            return thread
        root = self._root(thread)
        return self._known.get(root, root)

    def _root(self, thread: int) -> int:
        at = self._next.setdefault(thread, thread)
        while at != self._next[at]:
            at = self._next[at]
        self._next[thread] = at
        return at


class Memory:
    """The memory that threads used or mapped at any time of a recording."""

    def __init__(self) -> None:
        self._touched: defaultdict[int, dict[int, int]] = defaultdict(dict)  # by 2 MiB: its pages, a bit each, by process
        self._mapped: dict[int, list[tuple[int, int]]] = {}

    def touch(self, thread: int, address: int) -> None:
        """Note a page that a thread used."""
        chunk = self._touched[address >> CHUNK_SHIFT]
        chunk[thread] = chunk.get(thread, 0) | 1 << (address >> PAGE_SHIFT) % (1 << CHUNK_SHIFT - PAGE_SHIFT)

    def map(self, thread: int, first: int, end: int) -> None:
        """Note bytes that a thread mapped."""
        self._mapped.setdefault(thread, []).append((first, end))

    def group(self, process: Callable[[int], int]) -> None:
        """Give the threads' memory to their processes."""
        for number, chunk in self._touched.items():
            merged: dict[int, int] = {}
            for thread, pages in chunk.items():
                merged[process(thread)] = merged.get(process(thread), 0) | pages
            self._touched[number] = merged
        mapped: dict[int, list[tuple[int, int]]] = {}
        for thread, ranges in self._mapped.items():
            mapped.setdefault(process(thread), []).extend(ranges)
        self._mapped = {owner: joined(ranges) for owner, ranges in mapped.items()}

    def holders(self, first: int, end: int) -> set[int]:
        """Return the processes that used or mapped a byte of [first, end)."""
        found = {owner for owner, ranges in self._mapped.items() if _meets(ranges, first, end)}
        for number in self._chunks(first, end):
            low = max(first - (number << CHUNK_SHIFT), 0) >> PAGE_SHIFT
            high = min(-(-(end - (number << CHUNK_SHIFT)) // PAGE), 1 << CHUNK_SHIFT - PAGE_SHIFT)
            mask = (1 << high) - (1 << low)
            found |= {owner for owner, pages in self._touched[number].items() if pages & mask}
        return found

    def _chunks(self, first: int, end: int) -> Iterator[int]:
        low, high = first >> CHUNK_SHIFT, -(-end // (1 << CHUNK_SHIFT))
        if high - low > len(self._touched):
            return (number for number in self._touched if low <= number < high)
        return (number for number in range(low, high) if number in self._touched)


def _meets(ranges: list[tuple[int, int]], first: int, end: int) -> bool:
    """Return whether sorted, disjoint ranges have a byte of [first, end)."""
    at = bisect.bisect_left(ranges, (end, 0)) - 1
    return at >= 0 and ranges[at][1] > first
