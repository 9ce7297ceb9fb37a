"""The op record: its layout, kinds and units.

A record is 16 bytes. An operation with more operands is followed by ARG records; together they are one *unit*:

========  ==================================  ===========================================================
kind      record                              ARG records
========  ==================================  ===========================================================
READ ...  address of the first access; count  none (READ, WRITE and FETCH: `count` accesses of one page)
COMPUTE   count = instructions                none
MMAP      address; count = pages              count = prot | mapping << 3 | grows_down << 6 |
                                              populate << 7 | file << 8;
                                              address = file offset in pages
BRK       address = new break, in bytes       none
MUNMAP    address; count = pages              none
MPROTECT  address; count = pages              count = prot
MADVISE   address; count = pages              count = Linux's advice number
MREMAP    old address; count = old pages      address = new address; count = new pages
FORK      count = the child's address space   none
PUNCH     address = file offset and           count = file
          count, both in pages
SWAP_FREE address; count = pages              none
MIGRATE   address; count = pages              count = the memory node they move to
KSM_MERGE address; count = pages              address, count = address and address space of the
                                              pages with the same contents
ATTACH    count = the address space whose     none
DETACH    notifier list is joined or left
GUEST     address; count = pages              count = kind << 24 | operand; address = MREMAP's new one
DIRTY_LOG address; count = pages              none
SYSCALL   count = consecutive system calls    none
========  ==================================  ===========================================================

SWAP_FREE frees the swap slots of pages that are swapped out. GUEST is a guest's operation on its own page tables: `kind`
is MMAP, MUNMAP, MPROTECT or MREMAP, `operand` the protection of the first and third. DIRTY_LOG write-protects a range in the
secondary page tables, as a hypervisor does before each pass of a live migration. An MMAP of XPMEM maps another process's pages: `file` is
that address space + 1, the offset its first page there.

A page count that does not fit in 31 bits is written as -1, and one more ARG, the last, holds the count as its address.
`gap` counts the instructions since the agent's previous record that have no record. CONTINUES is or-ed into READ, WRITE
or FETCH for the second half of an access that crosses into the next page.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hwmodel.jit import part
from hwmodel.output import encodable

OP = np.dtype((np.record, [("address", "i8"), ("count", "i4"), ("gap", "i2"), ("kind", "i1"), ("agent", "i1")]))
"""One record of a trace: 16 bytes, signed columns."""
COLUMNS = ("address", "count", "gap", "kind", "agent")

READ, WRITE, FETCH, COMPUTE = 0, 1, 2, 3
MMAP, BRK, MUNMAP, MPROTECT, MADVISE, MREMAP, FORK, EXIT = 8, 9, 10, 11, 12, 13, 14, 15
PUNCH, SWAP_FREE, MIGRATE, KSM_MERGE, ATTACH, DETACH, GUEST, SYNC, SYSCALL = 16, 17, 18, 19, 20, 21, 22, 23, 24
DIRTY_LOG = 25
ARG = 31
CONTINUES = 64
MOST_COUNT = (1 << 31) - 1
"""The largest count of a record."""

NAMES = {
    READ: "read", WRITE: "write", FETCH: "fetch", COMPUTE: "compute", MMAP: "mmap", BRK: "brk", MUNMAP: "munmap",
    MPROTECT: "mprotect", MADVISE: "madvise", MREMAP: "mremap", FORK: "fork", EXIT: "exit", PUNCH: "punch",
    SWAP_FREE: "swap_free", MIGRATE: "migrate", KSM_MERGE: "ksm_merge", ATTACH: "attach", DETACH: "detach",
    GUEST: "guest", SYNC: "sync", SYSCALL: "syscall", DIRTY_LOG: "dirty_log", ARG: "arg",
}  # fmt: skip
VMA_CHANGING = frozenset({MMAP, BRK, MUNMAP, MPROTECT, MREMAP, FORK, EXIT, ATTACH, DETACH})
"""The kinds that open an epoch of their address space."""
ARGS = {MMAP: 1, MPROTECT: 1, MADVISE: 1, MREMAP: 1, PUNCH: 1, MIGRATE: 1, KSM_MERGE: 1, GUEST: 1}
"""The number of ARG records after a kind; a kind that is not listed has none."""
PAGED = frozenset({MMAP, MUNMAP, MPROTECT, MADVISE, MREMAP, PUNCH, SWAP_FREE, MIGRATE, KSM_MERGE, GUEST, DIRTY_LOG})
"""The kinds whose count is a number of pages."""

PAGE_SHIFT = 12
PAGE = 1 << PAGE_SHIFT
USER_END = 1 << 47
"""User addresses lie in [0, USER_END), unless a trace says otherwise (`Trace.user_end`): x86-64 with four levels of tables."""
USER_ENDS = (USER_END, 1 << 48, 1 << 56)
"""Where user memory may end: also arm64 with four levels (Documentation/arch/arm64/memory.rst); x86-64 with five (5level-paging.rst)."""
MOST_USER_END = USER_ENDS[-1]
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
PRIVATE, SHARED, PRIVATE_FILE, SHARED_FILE, HUGETLB, XPMEM = 0, 1, 2, 3, 4, 5
"""Mappings of MMAP: anonymous private or shared, a file private or shared, private huge pages of 2 MiB, another process's memory."""
GROWS_DOWN = 1 << 6
POPULATE = 1 << 7
"""In a prelude: every page of the mapping is in memory, and mapped, from the beginning."""
FILE_SHIFT = 8
GUEST_SHIFT = 24
"""The lowest bit of the kind in the operand of GUEST."""
DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, COLD, PAGEOUT, COLLAPSE = 4, 8, 14, 15, 20, 21, 25
"""The advice numbers of MADVISE; other advice has no effect in the model and is recorded as SYSCALL."""
SPACES = AGENTS = 128
"""Address spaces and agents of a trace are numbered from 0 and are fewer than this."""


class TraceError(ValueError):
    """A trace that cannot be used; the message names the file, if any, the record and the reason."""


class TraceWarning(UserWarning):
    """A trace that can be used but is not whole; the message names the file, where it ends and why."""


@dataclass(frozen=True)
class Agent:
    """An issuer of records: a CPU thread or a device.

    Parameters
    ----------
    role : "cpu" or "device"
        A device issues only reads, writes, compute, sync, attach, detach and guest records.
    space : int
        Number of its address space, in [0, 128).
    name : str
        Shown in results and errors.
    """

    role: Literal["cpu", "device"]
    space: int
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", encodable(self.name))
        if self.role not in ("cpu", "device"):
            raise TraceError(f"agent {self.name!r}: role must be 'cpu' or 'device', not {self.role!r}")
        if not 0 <= self.space < SPACES:
            raise TraceError(f"agent {self.name!r}: space must be in [0, {SPACES}), not {self.space}")


def as_agents(agents: Iterable[Agent]) -> tuple[Agent, ...]:
    """Return the agents of a trace; raise TraceError if there is none or if there are too many."""
    agents = tuple(agents)
    if not 0 < len(agents) <= AGENTS:
        raise TraceError(f"a trace has 1 to {AGENTS} agents, not {len(agents)}")
    return agents


def as_records(records: np.ndarray | Iterable[tuple[int, ...]]) -> np.ndarray:
    """Return the OP array of (address, count, gap, kind, agent) tuples, or an OP array as it is."""
    if isinstance(records, np.ndarray):
        if records.dtype != OP or records.ndim != 1:
            raise TraceError(f"records must be an OP[n] array, not {records.dtype}{list(records.shape)}")
        return records.view(OP)
    return np.array([tuple(record) for record in records], OP)


def copy_records(ops: np.ndarray) -> np.ndarray:
    """Return a copy of an OP array. NumPy's own copy goes field by field: 3.5 ms, where plain words take 0.1 ms."""
    return np.ascontiguousarray(ops).view(np.int64).copy().view(OP)


def count_references(ops: np.ndarray) -> int:
    """Return the number of reads, writes and fetches in an OP array."""
    return int(ops["count"].sum(where=(ops["kind"] & ~CONTINUES) <= FETCH, dtype=np.int64))


def user_end_of(address: int) -> int:
    """Return where user memory ends that has an address, the least that is possible."""
    return next((end for end in USER_ENDS if address < end), MOST_USER_END)


def mmap_unit(
    address: int,
    pages: int,
    prot: int,
    mapping: int = PRIVATE,
    file: int = 0,
    offset: int = 0,
    grows_down: bool = False,
    agent: int = 0,
    populate: bool = False,
) -> list[tuple[int, int, int, int, int]]:
    """Return the records of one MMAP, as tuples; nine parameters, as the operation has so many operands.

    Parameters
    ----------
    address : int
        First byte, page aligned.
    pages : int
        Size in pages of 4 KiB.
    prot : int
        PROT_READ | PROT_WRITE | PROT_EXEC.
    mapping : int
        PRIVATE, SHARED, PRIVATE_FILE, SHARED_FILE or HUGETLB.
    file, offset : int
        File number (0: none; a shared anonymous mapping has one) and offset in pages.
    grows_down : bool
        A stack.
    agent : int
        The agent that maps.
    populate : bool
        In a prelude: the pages are mapped from the beginning.
    """
    flags = prot | mapping << 3 | (GROWS_DOWN if grows_down else 0) | (POPULATE if populate else 0) | file << FILE_SHIFT
    return paged_unit(MMAP, address, pages, [(offset, flags)], agent)


def paged_unit(
    kind: int, address: int, pages: int, args: Iterable[tuple[int, int]] = (), agent: int = 0, gap: int = 0
) -> list[tuple[int, int, int, int, int]]:
    """Return the records of one operation on `pages` pages, as tuples; `args` are the (address, count) of its ARG records."""
    fits = pages <= MOST_COUNT
    unit = [(address, pages if fits else -1, gap, kind, agent)]
    unit += [(first, second, 0, ARG, agent) for first, second in args]
    return unit if fits else [*unit, (pages, 0, 0, ARG, agent)]


def pages_of(ops: np.ndarray, at: int) -> int:
    """Return the page count of the operation at index `at` of an OP array."""
    count = int(ops["count"][at])
    return count if count != -1 else int(ops["address"][at + 1 + ARGS.get(int(ops["kind"][at]), 0)])


@part
def args_of(kind):
    """Return the number of ARG records after `kind`, without the one of a large page count."""
    if kind == MMAP or kind == MPROTECT or kind == MADVISE or kind == MREMAP or kind == PUNCH:
        return 1
    return 1 if kind == MIGRATE or kind == KSM_MERGE or kind == GUEST else 0


@part
def is_paged(kind):
    """Return whether `count` is a page count (-1 if an ARG record holds the page count)."""
    if kind == MMAP or kind == MUNMAP or kind == MPROTECT or kind == MADVISE or kind == MREMAP or kind == PUNCH:
        return True
    return kind == SWAP_FREE or kind == MIGRATE or kind == KSM_MERGE or kind == GUEST or kind == DIRTY_LOG


@part
def page_count(ops, i):
    """Return the page count of the operation at `i`."""
    op = ops[i]
    return op.count if op.count != -1 else ops[i + 1 + args_of(op.kind)].address


@part
def write(to, address, count, gap, kind, agent):
    """Fill a record."""
    to.address = address
    to.count = count
    to.gap = gap
    to.kind = kind
    to.agent = agent


@part
def write_access(ops, filled, address, size, kind, agent):
    """Write an access of `size` bytes at ops[filled], a record for each page; return the number of records then filled."""
    write(ops[filled], address, 1, 0, kind, agent)
    filled += 1
    page = (address >> PAGE_SHIFT) + 1
    while page << PAGE_SHIFT < address + size:
        write(ops[filled], page << PAGE_SHIFT, 1, 0, kind | CONTINUES, agent)
        filled += 1
        page += 1
    return filled
