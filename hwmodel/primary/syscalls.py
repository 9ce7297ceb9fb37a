"""The operations of a trace: their beginning, their lock, the step that follows the lock, and their end (docs/model.md section 9)."""

from hwmodel.core import clock, locks, log
from hwmodel.core.ledger import KERNEL, account, counter, latency, record
from hwmodel.core.queue import complete
from hwmodel.core.tables import (
    ADVISE,
    DUP,
    EDGE,
    END,
    EXIT_ZAP,
    INSERT,
    LOCK,
    PIECE,
    PROTECT,
    READY,
    SPLIT_FIRST,
    SPLIT_LAST,
    UNLOCK,
    table,
)  # fmt: skip
from hwmodel.jit import part, routine
from hwmodel.op import (
    BRK,
    EXIT,
    FILE_SHIFT,
    FORK,
    GROWS_DOWN,
    HUGEPAGE,
    HUGETLB,
    MADVISE,
    MMAP,
    MPROTECT,
    MREMAP,
    MUNMAP,
    NOHUGEPAGE,
    SYNC,
)  # fmt: skip
from hwmodel.parts import radix
from hwmodel.primary import advise, epochs, fork, gather, notify, protect, ranges, remap, vmas, zap

SYSCALLS = account("syscall", KERNEL, "entry to and exit from system calls")
PLAIN = counter("ops.syscall", "system calls that change no mapping")
SYNCS = counter("ops.sync", "sync records passed")
UNSUPPORTED = counter("unsupported_ops", "operations that failed or that the chosen kernel lacks")
NAMES = ("mmap", "brk", "munmap", "mprotect", "madvise", "mremap", "fork", "exit")
"""The operations in the order of their kinds, from MMAP on."""
OPS = min([counter(f"ops.{name}", f"{name} operations completed") for name in NAMES])
LATENCY = min([latency(f"op.{name}", f"{name}, entry to exit") for name in NAMES])
"""The first of the operations' counters and latencies."""
CALL = table(
    "op", "since", "first", "last", "failed", "closed", "prot", "advice", "target", "target_last", "child", "mapping", "file", "offset",
    "grows", "next",
)  # fmt: skip
"""A row's operation: its kind and beginning, its pages [first, last), whether it failed, whether its epoch is still to open; its arguments;
the page from which an madvise goes on."""


@part
def pages_of(m, at, args):
    """Return the page count of the operation in queue row `at`, which has `args` ARG records (one more for a large count)."""
    count = m.queue[at].count
    return m.queue[at + args + 1].address if count < 0 else count


@part
def pages_named(m, at):
    """Return how many pages the operation in queue row `at` names; 0 if its kind names none."""
    kind = m.queue[at].kind
    if kind == MMAP or kind == MPROTECT or kind == MADVISE or kind == MREMAP:
        return pages_of(m, at, 1)
    return pages_of(m, at, 0) if kind == MUNMAP else 0


@routine
def begin(m, i):
    """Begin the head record of agent i, an operation."""
    row, call = m.rows[i], m.calls[i]
    op, arg = m.queue[row.head], m.queue[min(row.head + 1, m.queue.size - 1)]
    if op.kind == SYNC:
        if op.count == EDGE:
            m.ctl[0].edge = 1
        else:
            m.counts[i, SYNCS] += 1
        for s in range(m.spaces.size):
            m.spaces[s].epoch += 1
        complete(m, i)
        return
    call.op, call.since, call.failed, row.phase, m.unmaps[i].keep_lock = op.kind, row.clock, 0, LOCK, 1
    call.first = call.last = op.address >> 12
    if op.kind == MMAP:
        call.last += pages_of(m, row.head, 1)
        call.prot, call.mapping, call.file = arg.count & 7, arg.count >> 3 & 7, arg.count >> FILE_SHIFT
        call.grows, call.offset = (arg.count & GROWS_DOWN) != 0, arg.address
    elif op.kind == MUNMAP:
        call.last += pages_of(m, row.head, 0)
        m.unmaps[i].keep_lock = 0
    elif op.kind == MPROTECT or op.kind == MADVISE:
        call.last += pages_of(m, row.head, 1)
        call.prot = call.advice = arg.count
    elif op.kind == MREMAP:
        call.last += pages_of(m, row.head, 1)
        call.target = arg.address >> 12
        call.target_last = call.target + arg.count
    elif op.kind == FORK:
        call.child, call.last = op.count, call.first
    elif op.kind == BRK:
        call.target = (op.address + 4095) >> 12
    if call.op != MADVISE:
        epochs.begin(m, i)
    clock.spend(m, i, SYSCALLS, m.costs[0].syscall)


@part
def lock_mode(call):
    """Return the mode of the mmap lock that an operation needs: WRITE if it changes VMAs."""
    if call.op == MADVISE and call.advice != HUGEPAGE and call.advice != NOHUGEPAGE:
        return locks.READ
    return locks.WRITE


@routine
def lock(m, r):
    """LOCK: take the lock, then choose the operation's next phase."""
    row, call, span, mode = m.rows[r], m.calls[r], m.spans[r], lock_mode(m.calls[r])
    if not locks.acquire(m, r, row.space, mode):
        return
    space = m.spaces[row.space]
    if mode == locks.WRITE:
        space.wlock_first, space.wlock_last = call.first, call.last
        space.wlock_to = space.wlock_to_last = 0
        if call.op == MREMAP:
            space.wlock_to, space.wlock_to_last = call.target, call.target_last
    span.at, row.phase = call.first, UNLOCK
    gather.open_gather(m.gathers[r])
    if vmas.cuts_huge(m, row.space, call.first) or vmas.cuts_huge(m, row.space, call.last):
        call.failed = 1
    elif call.op == MMAP:
        map_range(m, r)
    elif call.op == MUNMAP:
        zap.call(m, r, call.first, call.last, UNLOCK)
    elif call.op == BRK:
        set_break(m, r)
    elif call.op == MPROTECT:
        row.phase = PROTECT
    elif call.op == MADVISE:
        if mode == locks.READ:
            row.phase, call.next = PIECE, call.first
        else:
            ranges.call_splits(m, r, call.first, call.last, ADVISE)
    elif call.op == MREMAP:
        remap.begin(m, r)
    elif call.op == FORK:
        span.at, row.phase = 0, DUP
        clock.spend(m, r, fork.FORKING, m.costs[0].fork)
    elif call.op == EXIT:
        span.at, row.lazy = 0, 1  # its thread has given up the address space (exit_mm)
        notify.call(m, r, notify.RELEASE, 0, radix.REACH, EXIT_ZAP)


@part
def map_range(m, r):
    """Go on with MMAP, the lock held: unmap any mappings in the range first."""
    row, call = m.rows[r], m.calls[r]
    if call.mapping == HUGETLB and (call.first | call.last) & 511:
        call.failed = 1
    elif vmas.intersects(m, row.space, call.first, call.last):
        zap.call(m, r, call.first, call.last, INSERT)
    else:
        row.phase = INSERT


@routine
def set_break(m, r):
    """Go on with BRK, the lock held: grow by a VMA, shrink by an unmapping."""
    row, call, unmapping = m.rows[r], m.calls[r], m.unmaps[r]
    space = m.spaces[row.space]
    old, new = space.brk, call.target
    if old == 0 or old == new:
        space.brk = new
    elif new > old:
        if vmas.intersects(m, row.space, old, new):
            call.failed = 1
            return
        space.brk, row.phase = new, INSERT
        space.wlock_first, space.wlock_last = old, new
        call.first, call.last, call.prot, call.mapping, call.file, call.offset, call.grows = old, new, 3, 0, 0, 0, 0
    else:
        space.brk, unmapping.keep_lock = new, 0
        space.wlock_first, space.wlock_last = new, old
        zap.call(m, r, new, old, UNLOCK)


@routine
def insert(m, r):
    """INSERT: insert the VMA of MMAP or BRK."""
    row, call = m.rows[r], m.calls[r]
    k = vmas.insert(m, row.space, call.first, call.last, call.prot, call.mapping, call.file, call.offset, call.grows)
    if call.op == BRK:
        vmas.merge_at(m, k - 1)  # never with what is above it (do_brk_flags)
    else:
        vmas.merge(m, k)
    epochs.open_epoch(m, r)
    row.phase = UNLOCK
    clock.spend(m, r, vmas.CHANGING, m.costs[0].vma)


@routine
def unlock(m, r):
    """UNLOCK: release the mmap lock; open an epoch that is still closed; a FORK's child is born."""
    row, call = m.rows[r], m.calls[r]
    space = m.spaces[row.space]
    if m.locks[row.space].writer == r:
        space.wlock_first = space.wlock_last = space.wlock_to = space.wlock_to_last = 0
    locks.release(m, r, row.space)
    epochs.open_epoch(m, r)
    if call.op == FORK:
        fork.born(m, row.space, call.child)
    row.phase = END


@routine
def end(m, r):
    """END: complete the operation's record."""
    row, call = m.rows[r], m.calls[r]
    m.counts[r, OPS + call.op - MMAP] += 1
    m.counts[r, UNSUPPORTED] += call.failed
    record(m.hists, LATENCY + call.op - MMAP, row.clock - call.since)
    op = m.queue[row.head]
    log.note(m, log.OPERATION, r, call.since, row.clock, op.address >> 12, pages_named(m, row.head), call.op - MMAP << 1 | call.failed)
    row.phase = READY
    complete(m, r)


@routine
def step(m, r):
    """Do one step of an operation."""
    phase = m.rows[r].phase
    if phase == SPLIT_FIRST or phase == SPLIT_LAST:
        if not ranges.split_boundaries(m, r):
            return
        phase = m.rows[r].phase  # nothing was split: the next phase is in the same step
    if phase == LOCK:
        lock(m, r)
    elif phase == UNLOCK:
        unlock(m, r)
    elif phase == END:
        end(m, r)
    elif phase == INSERT:
        insert(m, r)
    elif phase < PIECE:
        zap.step(m, r)
    elif phase < PROTECT:
        advise.step(m, r)
    elif phase < remap.BEGIN:
        protect.step(m, r)
    elif phase < DUP:
        remap.step(m, r)
    else:
        fork.step(m, r)
