"""The state of a machine: structured arrays, one for each table of the hardware or the kernel.

Columns are int64: Numba's unsigned plus signed wraps silently. A machine is one NamedTuple of tables; values that exist once
stand in the one-row table CTL; costs and geometry are data too, so that changing one compiles nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hwmodel.config.common import Common
from hwmodel.config.section import Section, declared
from hwmodel.jit import JIT_OFF

I64 = np.int64
NEVER = 1 << 60
"""A time that never comes."""
EDGE = NEVER
"""The count of a SYNC that is no record of the trace: a part of the run ends there."""


class Row(np.void):
    """A row of a table where the JIT is off: as NumPy's record, whose attributes take three times as long."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except ValueError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def table(*columns: str) -> np.dtype:
    """Return a row type of int64 columns.

    Raises
    ------
    ValueError
        If a column has the name of a method of NumPy's records, which would hide it where the JIT is off.
    """
    for name in columns:
        if hasattr(np.record, name):
            raise ValueError(f"a column can't be named {name!r}: numpy's records have a method of that name")
    return np.dtype((Row if JIT_OFF else np.record, [(name, I64) for name in columns]))


CPU, ENGINE, REQUEST, KERNEL = 0, 1, 2, 3
"""Roles of a row: a CPU, a secondary engine, an outstanding request of an engine, a thread of the kernel on a CPU to itself."""

# Ordered work pending for the head access of a READY row (0: none): page walk, dirty-bit update, fault for lack of the right to fetch
WALK, DIRTY, NO_EXECUTE = 1, 2, 3
# The reason why a row is blocked, if the engine must look for its end (locks and acknowledgements wake their waiters by themselves)
NO_REASON, GATE, BIRTH, EPOCH, OPENER = 0, 1, 2, 3, 4

# Phases of the engine's and the kernel's chains; a design's own phases begin at DESIGN
READY, DONE, VACANT, ASLEEP, RELEASE = 0, 1, 2, 3, 4
FAULT, FAULT_LOCKED, COMMIT, COW_SET, COW_END, COW_DONE, ALLOC, PAGE_AWAY = 10, 11, 12, 13, 14, 15, 16, 17
SPLIT, SPLIT_SET, SPLIT_END, SPLIT_DONE = 20, 21, 22, 23
NOTICE, NOTICE_ARRIVES, FLUSH, FLUSH_ARRIVES, FLUSH_ACKED = 30, 31, 32, 33, 34
LOCK, UNLOCK, END = 40, 41, 42
SPLIT_FIRST, SPLIT_LAST, CUT, ZAP, ZAPPED, FREE_TABLES, FREE_PAGES, INSERT = 50, 51, 52, 53, 54, 55, 56, 57
PIECE, AGE, AGED, ADVISE = 60, 61, 62, 63
PROTECT, PROTECT_CUT, CHANGE, CHANGED = 70, 71, 72, 73
REMAP, MOVE, MOVE_END, MOVED = 80, 81, 82, 83
DUP, COPY, EXIT_ZAP, EXIT_VMAS = 90, 91, 92, 93
DESIGN = 100
PROCESS = 120
"""A request's phases below DESIGN and from here on run in process context on its server CPU."""

STEP_NODES, STEP_FRAMES, STEP_LINKS, STEP_ENTRIES, STEP_VMAS = 24, 1560, 1040, 520, 8
"""The most rows of a growing table that one step takes: two huge pages, of a guest's tables, and the frames skipped to align them; the
reverse map of one; a table's pages."""

CTL = table(
    "cpus", "engines", "agents", "outstanding", "spaces",  # rows: CPUs up to cpus, engines up to engines, kernel threads up to agents,
                                                           # then outstanding for each engine
    "window", "latency", "interval",  # of an engine: accesses in flight, cycles of each, cycles between two issues; core.device
    "shift", "runahead", "fed", "references", "total", "waiting", "poised", "now", "latest",  # block = index >> shift; total: or NEVER
    "events", "pause", "sampled",  # core.log: a mask of kinds; from when on the loop asks whether to pause; the next sample; NEVER
    "node_top", "node_free", "frame_top", "frame_free", "block_free", "frame_limit", "free",
    "exhausted", "starving", "reclaimer",  # the row that can't have memory, plus 1; rows that wait for it; the row that reclaims it, or -1
    "link_top", "link_free", "entry_top", "entry_free", "vma_count", "anon_vmas",
    "edge", "first_segv", "first_alone",  # edge: a part of the run has ended in this step
    "logged", "watched", "known", "found",  # core.log: rows of the log in use; the counter watched, or -1; its value so far; moments found
    "thp", "fault_around", "gather_pages", "ceiling", "stack_limit", "stack_guard",  # pages
    "bau", "per_socket", "stlb_huge",
)  # fmt: skip
"""The values that exist once. thp: 0 never, 1 madvise, 2 always."""

def cost_table(section: type[Section]) -> np.dtype:
    """Return a row type with a column for each cost that a section's settings give, in cycles (docs/model.md section 13)."""
    return table(*(about.cost for _, about in declared(section) if about.cost))


def cost_row(columns: np.dtype, costs: Mapping[str, int]) -> np.ndarray:
    """Return a table of one row with the costs that it has columns for."""
    row = np.zeros(1, columns)
    for name in columns.names:
        row[name] = costs[name]
    return row


COSTS = cost_table(Common)
"""The costs that every machine has; a design's own are in its tables."""

ROW = table(
    "role", "agent", "space", "unused", "cpu",
    "group", "reach", "banks", "socket",  # its identity; cpu: the row on which its kernel code runs
    "head", "tail", "room", "charged", "taken", "retried", "missed1", "missed2", "want", "block", "why",  # its queue and its head record
    "phase", "effect", "clock", "done_at", "busy_until", "wait_from", "wait_until", "wait_account", "blocked", "served",
    "owned", "own_from", "woken", "wake_at",
    "loads", "in_mask", "lazy", "local_gen",  # whether its CPU loads its space; mm_cpumask of that space
    "away", "leave", "resume",  # its CPU is in a guest: what it costs an interrupt to take it out, and to put it back
    "lock", "lock_mode", "lock_since", "granted",  # the lock it waits for: mode 1 read, 2 write
    "index",  # the record of a request
)  # fmt: skip
"""A context row, an agent or one outstanding request of an engine: who it is and when it acts. What a chain knows of a row is in a table of
the chain's own, with as many rows."""

QUEUED = table("kind", "address", "count", "gap", "index", "epoch")
"""One record of an agent as the engine queues it; ARG records follow their operation."""
SPACE = table(
    "root", "epoch", "opened", "born", "subscribers", "brk", "tlb_gen", "wlock_first", "wlock_last", "wlock_to", "wlock_to_last"
)
"""An address space; its root is -1 after its exit; `subscribers` says how many hear of its notices."""
VMA = table(
    "space", "first", "last", "prot", "mapping", "file", "offset", "advice", "grows", "accounted", "anon", "forked", "dontcopy",
)  # fmt: skip
"""Pages [first, last) of a space, sorted by (space, first); anon: the number of its anon_vma (0: none); forked: a fork made that;
dontcopy: a fork leaves it out (VM_DONTCOPY)."""
FRAME = table("refs", "owner", "more", "cached")
"""A page frame: references; its first mapping (space << 40 | vpn, -1 none) and further ones (LINK row, -1); 1 if in the page cache."""
LINK = table("owner", "more")
"""A further mapping of a frame."""
ENTRY = table("pte", "more")
"""A page, or huge page, in the gather of a range operation."""
BANK = table("offset", "mask", "ways", "tick")
"""One set-associative array: its ways are rows [offset, offset + (mask + 1) * ways) of the table of ways."""
WAY = table("tag", "pfn", "rights", "used")
LOCKROW = table("writer", "readers", "waiting")

# pte: flags, and from bit PFN on the frame or the next table
P, W, A, D, HUGE, ZERO, NONE, LAZY, TABLE, X, AWAY = 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024
PFN = 12
FLAG_MASK = (1 << PFN) - 1

# Rights of a translation in a TLB, beyond reading: writes without a look at the pte (which is dirty), fetches
WRITES, EXECUTES = 1, 2


class Machine(NamedTuple):
    """Agents, time, and the primary MMU that every design shares."""

    ctl: np.ndarray  # CTL[1]
    costs: np.ndarray  # COSTS[1]
    policy: np.ndarray  # policy.POLICY[1]
    due: np.ndarray  # int64[row]  the time at which the row acts next
    rows: np.ndarray  # ROW[row]  CPUs, engines, kernel threads, requests
    faults: np.ndarray  # fault.FAULTED[row]
    splits: np.ndarray  # split.SPLITTING[row]
    notices: np.ndarray  # notify.NOTIFYING[row]
    flushes: np.ndarray  # shootdown.FLUSHED[row]
    calls: np.ndarray  # syscalls.CALL[row]
    spans: np.ndarray  # ranges.SPAN[row]
    unmaps: np.ndarray  # zap.UNMAP[row]
    gathers: np.ndarray  # gather.GATHER[row]
    wants: np.ndarray  # memory.WANT[row]
    devices: np.ndarray  # device.DEVICE[row]
    misses: np.ndarray  # device.MISS[row]
    flights: np.ndarray  # int64[engine, window]  times of its last hits, in a circle
    queue: np.ndarray  # QUEUED[n]  records not yet begun; an agent's are [head, tail)
    ledger: np.ndarray  # int64[agent, account]
    serving: np.ndarray  # int64[agent, account]  of the ledger, what was done for requests
    counts: np.ndarray  # int64[agent, counter]
    hists: np.ndarray  # int64[latency, HEAD + BUCKETS]
    spent: np.ndarray  # int64[row, phase]  of a row's miss, up to its mark
    phases: np.ndarray  # int64[path * phases + phase, HEAD + BUCKETS]  of misses that are resolved
    shares: np.ndarray  # int64[path, bucket, phase]  the phases' sums of the misses whose latency is in the bucket
    stalls: np.ndarray  # int64[phase]  the account of an engine that a miss stalls in it
    spaces: np.ndarray  # SPACE[space]
    vmas: np.ndarray  # VMA[n]
    nodes: np.ndarray  # int64[node, 512]  page-table pages of all spaces, EPTs and page caches
    frames: np.ndarray  # FRAME[pfn]
    links: np.ndarray  # LINK[n]
    entries: np.ndarray  # ENTRY[n]
    banks: np.ndarray  # BANK[n]
    ways: np.ndarray  # WAY[n]
    locks: np.ndarray  # LOCKROW[n]  the mmap lock of space s is s; a design's own follow
    pending: np.ndarray  # int64[agent, row]  IPI of a row: 0 none, -1 in flight, else arrival + 1: it waits for the end of a handler
    files: np.ndarray  # int64[file]  root of its page cache, -1: none yet
    log: np.ndarray  # log.EVENT[n]  in the order of their ends
    omitted: np.ndarray  # int64[kind of event]  what the log had no room for
    stretches: np.ndarray  # int64[n, 2]  the times [from, to] that are recorded
    moments: np.ndarray  # int64[n]  when the watched counter has increased
    opened: np.ndarray  # int64[row, 1 + depth]  how many windows a row has open, and since when
    holds: np.ndarray  # int64[row, lock]  since when a row has a lock
