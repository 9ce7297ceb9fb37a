"""Layouts of a line of kernel events: who ran, on which CPU, and the event's name and text.

======================  ===================================================================================
ftrace                  ``python3-4711  [001] d..2. 25.000123: tlb_flush: pages:1 reason:local MM shootdown (3)``
trace-cmd report        ``python3-4711  [001] 25.000123: tlb_flush:   pages=1 reason=local mm shootdown (3)``
perf script             ``python3 4711 [001] 25.000123:   tlb:tlb_flush: pages:1 reason:local MM shootdown (3)``
latency format          ``python3-4711    1d..2. 25000123us : tlb_flush: pages:1 reason:local MM shootdown (3)``
function graph          `` 1)  python3-4711  |  /* tlb_flush: pages:1 reason:local MM shootdown (3) */``
======================  ===================================================================================

Each may have more columns (a thread's process, flags, time since the last event), perf's also fewer, and perf's period. Times may be of any
clock: seconds, nanoseconds, ticks.
"""

import re
from typing import NamedTuple

EVENT = r"(?:\d++\s++(?=[A-Za-z_]))?(?:[\w-]++:(?=\w))?(\w++|<[\w ]++>)(.*)"
"""perf's period, a subsystem, the event's name, its text."""
WHO, PROCESS = r"\s*+(?:(.*?)[-\s]\s*+)?(\d++)(?:/(\d++))?\s++", r"(?:\(\s*+(\d++|-++)\)\s++)?"
TIME = r"\d++(?:\.\d++)?:\s++(?:\(\+\d++\)\s++)?"
FULL = re.compile(WHO + PROCESS + r"\[(\d++)\]\s++(?:\S{1,9}\s++)?" + TIME + EVENT)
OTHERS = tuple(map(re.compile, (
    # the kernel's latency format; trace-cmd report -l
    r"\s*+(.*?)-(\d++)()()\s++(\d++)[^\s\d]\S{2,8}\s++\d++(?:\.\d++)?(?:us)?[ +!#*@$]*+:\s++" + EVENT,
    # the latency format with the option verbose
    r"\s*+(.*?)\s++(\d++)()()\s++(\d++)\s++\d++\s++[0-9a-f]{8}\s++[0-9a-f]{8}\s++\[[0-9a-f]++\]\s++[\d.]++ms\s++\([^)]*+\):\s++" + EVENT,
    # perf script without the CPU
    r"\s*+(?:(.*?)\s\s*+)?(\d++)(?:/(\d++))?()\s++()\d++\.\d++:\s++" + EVENT,
    # perf script without the time
    r"\s*+(?:(.*?)\s\s*+)?(\d++)(?:/(\d++))?()\s++(?:\[(\d++)\]\s++)?(?:\d++\s++)?[\w-]++:(\w++)(:\s.*)",
)))  # fmt: skip
GRAPH_TIME = r"\s*+(?:[\d.]++\s++(?:us\s++)?\|\s++)?"
GRAPH = re.compile(GRAPH_TIME + r"(\d++)\)\s(?:\s*+(\S.*?)-(\d++)\s++\|)?[^/}]*/\* " + EVENT)
GRAPH_SWITCH = re.compile(GRAPH_TIME + r"(\d++)\)\s++\S.*?-\d++\s++=>\s++(\S.*?)-(\d++)\s*$")
GRAPH_CALL = re.compile(GRAPH_TIME + r"\d++\)\s(?:.*[;{}/]|\s*+(?:=+>|<=+)\s\|)\s*$|\s*-{20,}\s*$")
"""A function, or an interrupt (funcgraph-irqs), that begins or ends; the lines around a task switch."""
LOG = re.compile(r"(?:<\d++>)?(?:\S.*?\skernel:\s)?\[\s*+\d++\.\d++\](?:\[\s*+[CT]\d++\])?\s|\S.*?\skernel:\s")
"""The beginning of a line of the kernel's log, in which an oops dumps the buffer."""
NO_THREAD = re.compile(r"\s*+(?:\S.*?\s)?(?:\[\d++\]\s++)?\d++\.\d++:\s++(?:\d++\s++)?[\w-]++:\w++:\s")
FRAME = re.compile(r"\s*=>|\s++(?:0|[0-9a-f]{5,16})(?:\s.*)?$|\s++\S+:\d+\s*$|\s++\[unknown\]")
"""A line of a stack trace or a call chain: nothing is mapped at an address of fewer digits (vm.mmap_min_addr); 0 is what is not known."""
CALLER = re.compile(r"\s*<-\S")
"""What follows a function's name in the function tracer's lines: the function may have the name of an event."""
CPUS_OF = re.compile(r"\s*(\S+): +cpus=\d+\s*$")
FILE = re.compile(r"\s*(\S+): {2,}\S")
"""A file's name before each of its lines, and before a thread's name: trace-cmd report of several files, or of buffers of one file."""
STACKS = frozenset({"kernel_stack", "user_stack", "<stack trace>", "<user stack trace>"})
HEADER = re.compile(
    r"#|(?:\s*\S+: +)?cpus=\d+\s*$|version = \d+\s*$|\s*$|CPU \d+ is empty|CPU:\d+ \[SUBBUFFER START\]"
    r"|Dumping ftrace buffer:|-{20,}|\s*\(ftrace buffer empty\)"
    r"|.*PERF_RECORD_|CPU: \d+\s*$|(?:entries|bytes|commit overrun|read events): \d+\s*$"
    r"|(?:oldest event ts|now ts): +[\d.]+\s*$"
)
DUMP = b"Dumping ftrace buffer:"


class Line(NamedTuple):
    """One line of a known layout.

    Parameters
    ----------
    comm : str
        The thread's name; may be empty.
    thread, process : int
        Their numbers; a process that the line does not have is -1. A thread that it does not have is -2 - its CPU.
    cpu : int
        -1 if the line does not have it.
    name, text : str
        The event's name, and what follows it.
    """

    comm: str
    thread: int
    process: int
    cpu: int
    name: str
    text: str


class Layouts:
    """Lines taken apart, one after the other: in a function graph, an earlier line tells which thread runs on a CPU."""

    def __init__(self) -> None:
        self._last = OTHERS[0]
        self._running: dict[int, tuple[str, int]] = {}

    def split(self, text: str) -> Line | None:
        """Return the parts of a line, None if it is no event."""
        found = FULL.match(text) or self._last.match(text)
        if found is None:
            for pattern in OTHERS:
                found = pattern.match(text)
                if found is not None:
                    self._last = pattern
                    break
        if found is not None:
            return _line(found)
        log = LOG.match(text)
        return self.split(text[log.end() :]) if log else self._graph(text)

    def _graph(self, text: str) -> Line | None:
        found, switch = GRAPH.match(text), GRAPH_SWITCH.match(text)
        if switch:
            self._running[int(switch[1])] = (switch[2], int(switch[3]))
        if found is None:
            return None
        cpu, comm, thread, name, rest = found.groups()
        if thread is None:
            comm, thread = self._running.get(int(cpu), (f"cpu {int(cpu)}", -2 - int(cpu)))
        return Line(comm, int(thread), -1, int(cpu), name, rest.rstrip().removesuffix("*/").rstrip())


def _line(found: re.Match[str]) -> Line:
    comm, first, second, group, cpu, name, rest = found.groups()
    process = int(first) if second else int(group) if group and group.isdigit() else -1
    return Line(comm or "", int(second or first), process, int(cpu) if cpu else -1, name, rest)


def is_no_event(text: str) -> bool:
    """Return whether a line that is no event may stand between events."""
    return any(pattern.match(text) for pattern in (HEADER, FRAME, GRAPH_CALL, GRAPH_SWITCH, LOG))


def _is_call(line: str) -> bool:
    """Return whether a line is a function graph's, without an event."""
    return not GRAPH.match(line) and bool(GRAPH_CALL.match(line) or GRAPH_SWITCH.match(line))


def recognises(head: bytes) -> bool:
    """Return whether text that begins with `head` is of one of these layouts."""
    if b"\0" in head:
        return False
    if head.startswith(b"# tracer:") or DUMP in head:
        return True
    lines = head.decode("utf-8", "replace").split("\n")[:-1] or [head.decode("utf-8", "replace")]
    first = next((line for line in lines if not HEADER.match(line) and not LOST.match(line) and not _is_call(line)), "")
    return Layouts().split(first) is not None or bool(NO_THREAD.match(first))


LOST = re.compile(
    r"CPU:\d+ \[(?:LOST (?:(\d{1,19}) )?EVENTS|(?:(\d{1,19}) )?EVENTS DROPPED)\]|.*PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,19})"
    r"|(?:overrun|dropped events): (\d{1,19})\s*$"
)
OVERWRITTEN = re.compile(r"# entries-in-buffer/entries-written: (\d{1,19})/(\d{1,19})")


def lost(text: str) -> int:
    """Return how many events a line says were lost, at least; 0 if it is no such line."""
    found = OVERWRITTEN.match(text)
    if found:
        return max(int(found[2]) - int(found[1]), 0)
    found = None if text.startswith("#") else LOST.match(text)
    return int(next(filter(None, found.groups()), 1)) if found else 0
