"""The operations of a trace: their beginning, their lock, the step that follows the lock, and their end (docs/model.md section 9)."""

from hwmodel.core import clock, locks
from hwmodel.core.ledger import account, counter, latency, record
from hwmodel.core.queue import complete
from hwmodel.core.tables import (
    ADVISE,
    DUP,
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

SYSCALLS, VMAS, FORKING = account("syscall"), account("vma"), account("fork")
UNSUPPORTED, SYNCS = counter("unsupported_ops"), counter("ops.sync")
OPS = counter("ops.mmap")
"""Operations are counted, and timed, in the order MMAP BRK MUNMAP MPROTECT MADVISE MREMAP FORK EXIT of their kinds."""
LATENCY = latency("op.mmap")


@part
def pages_of(m, at, args):
    """Return the page count of the operation in queue row `at`, which has `args` ARG records (one more for a large count)."""
    count = m.queue[at].count
    return m.queue[at + args + 1].address if count < 0 else count


@routine
def begin(m, i):
    """Begin the head record of agent i, an operation."""
    row = m.rows[i]
    op, arg = m.queue[row.head], m.queue[min(row.head + 1, m.queue.size - 1)]
    if op.kind == SYNC:
        m.counts[i, SYNCS] += 1
        for s in range(m.spaces.size):
            m.spaces[s].epoch += 1
        complete(m, i)
        return
    row.op, row.op_from, row.failed, row.phase, row.keep_lock = op.kind, row.clock, 0, LOCK, 1
    row.first = row.last = op.address >> 12
    if op.kind == MMAP:
        row.last += pages_of(m, row.head, 1)
        row.prot, row.mapping, row.file = arg.count & 7, arg.count >> 3 & 7, arg.count >> FILE_SHIFT
        row.grows, row.offset = (arg.count & GROWS_DOWN) != 0, arg.address
    elif op.kind == MUNMAP:
        row.last += pages_of(m, row.head, 0)
        row.keep_lock = 0
    elif op.kind == MPROTECT or op.kind == MADVISE:
        row.last += pages_of(m, row.head, 1)
        row.prot = row.advice = arg.count
    elif op.kind == MREMAP:
        row.last += pages_of(m, row.head, 1)
        row.target = arg.address >> 12
        row.target_last = row.target + arg.count
    elif op.kind == FORK:
        row.child, row.last = op.count, row.first
    elif op.kind == BRK:
        row.target = (op.address + 4095) >> 12
    if row.op != MADVISE:
        epochs.begin(m, i)
    clock.spend(m, i, SYSCALLS, m.costs[0].syscall)


@part
def lock_mode(row):
    """Return the mode of the mmap lock that an operation needs: WRITE if it changes VMAs."""
    if row.op == MADVISE and row.advice != HUGEPAGE and row.advice != NOHUGEPAGE:
        return locks.READ
    return locks.WRITE


@routine
def lock(m, r):
    """LOCK: take the lock, then choose the operation's next phase."""
    row, mode = m.rows[r], lock_mode(m.rows[r])
    if not locks.acquire(m, r, row.space, mode):
        return
    space = m.spaces[row.space]
    if mode == locks.WRITE:
        space.wlock_first, space.wlock_last = row.first, row.last
        space.wlock_to = space.wlock_to_last = 0  # a writer that downgraded has left its own range
        if row.op == MREMAP:
            space.wlock_to, space.wlock_to_last = row.target, row.target_last
    row.at, row.phase = row.first, UNLOCK
    gather.open_gather(row)
    if vmas.cuts_huge(m, row.space, row.first) or vmas.cuts_huge(m, row.space, row.last):
        row.failed = 1
    elif row.op == MMAP:
        map_range(m, r)
    elif row.op == MUNMAP:
        zap.unmap(m, r, row.first, row.last, UNLOCK)
    elif row.op == BRK:
        set_break(m, r)
    elif row.op == MPROTECT:
        row.phase = PROTECT
    elif row.op == MADVISE:
        if mode == locks.READ:
            row.phase, row.piece_next = PIECE, row.first
        else:
            ranges.split_ends(row, row.first, row.last, ADVISE)
    elif row.op == MREMAP:
        remap.begin(m, r)
    elif row.op == FORK:
        row.at, row.phase = 0, DUP
        clock.spend(m, r, FORKING, m.costs[0].fork)
    elif row.op == EXIT:
        row.at, row.lazy = 0, 1  # its thread has given up the address space (exit_mm)
        notify.tell(m, r, notify.RELEASE, 0, radix.REACH, EXIT_ZAP)


@part
def map_range(m, r):
    """Go on with MMAP, the lock held: unmap any mappings in the range first."""
    row = m.rows[r]
    if row.mapping == HUGETLB and (row.first | row.last) & 511:
        row.failed = 1
    elif vmas.intersects(m, row.space, row.first, row.last):
        zap.unmap(m, r, row.first, row.last, INSERT)
    else:
        row.phase = INSERT


@routine
def set_break(m, r):
    """Go on with BRK, the lock held: grow by a VMA, shrink by an unmapping."""
    row = m.rows[r]
    space = m.spaces[row.space]
    old, new = space.brk, row.target
    if old == 0 or old == new:
        space.brk = new
    elif new > old:
        if vmas.intersects(m, row.space, old, new):
            row.failed = 1
            return
        space.brk, row.phase = new, INSERT
        space.wlock_first, space.wlock_last = old, new
        row.first, row.last, row.prot, row.mapping, row.file, row.offset, row.grows = old, new, 3, 0, 0, 0, 0
    else:
        space.brk, row.keep_lock = new, 0
        space.wlock_first, space.wlock_last = new, old
        zap.unmap(m, r, new, old, UNLOCK)


@routine
def insert(m, r):
    """INSERT: insert the VMA of MMAP or BRK."""
    row = m.rows[r]
    k = vmas.insert(m, row.space, row.first, row.last, row.prot, row.mapping, row.file, row.offset, row.grows)
    if row.op == BRK:
        vmas.merge_at(m, k - 1)  # never with what is above it (do_brk_flags)
    else:
        vmas.merge(m, k)
    epochs.open_epoch(m, r)
    row.phase = UNLOCK
    clock.spend(m, r, VMAS, m.costs[0].vma)


@routine
def unlock(m, r):
    """UNLOCK: release the mmap lock; open an epoch that is still closed; a FORK's child is born."""
    row = m.rows[r]
    space = m.spaces[row.space]
    if m.locks[row.space].writer == r:
        space.wlock_first = space.wlock_last = space.wlock_to = space.wlock_to_last = 0
    locks.release(m, r, row.space)
    epochs.open_epoch(m, r)
    if row.op == FORK:
        fork.born(m, row.space, row.child)
    row.phase = END


@routine
def end(m, r):
    """END: complete the operation's record."""
    row = m.rows[r]
    m.counts[r, OPS + row.op - MMAP] += 1
    m.counts[r, UNSUPPORTED] += row.failed
    record(m.hists, LATENCY + row.op - MMAP, row.clock - row.op_from)
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
