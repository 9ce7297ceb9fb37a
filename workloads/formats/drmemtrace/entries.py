"""The entries of a drmemtrace file: a kernel appends the accesses, and stops at entries that Python must handle."""

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part

ENTRY = np.dtype((np.record, [("what", "<i2"), ("bytes_", "<i2"), ("addr", "<i8")]))
"""An entry: 12 bytes, packed; the file format calls its columns type, size and addr. The size is unsigned; kernels mask it."""
READ, WRITE, PREFETCH, PREFETCH_LAST = 0, 1, 2, 9
INSTR, INSTR_LAST, BUNDLE, FLUSH, FLUSH_LAST = 10, 16, 17, 18, 21
THREAD, THREAD_EXIT, PROCESS, HEADER, FOOTER, HARDWARE_PREFETCH, MARKER = 22, 23, 24, 25, 26, 27, 28
NO_FETCH, MAYBE_FETCH, SYSENTER, HINT, HINT_LAST, ENCODING, TAKEN, UNTAKEN = 29, 30, 31, 32, 46, 47, 48, 49
STAMP, CALL_ID, CALL_ARGUMENT, CALL_RESULT, FILE_TYPE, MARKED_VERSION, PAGE_SIZE, NUMBER, CALL_FAILED = 2, 4, 6, 7, 9, 12, 18, 25, 30
SYSCALL_BASE = 1 << 32
"""A traced function whose number is at least this is a system call."""
ROOM = 32  # most records of an entry: 8 instructions of a bundle, or an access of 64 KiB
MOST_PAGES = 18
END, FULL, STOP, STRANGE, NON_CANONICAL = 0, 1, 2, 3, 4

STATE = np.dtype((np.record, [
    ("filled", "i8"),      # records in the batch
    ("agent", "i8"),       # of the current thread, -1 if not known yet
    ("pending", "i8"),     # 1: a system call waits for its end
    ("function", "i8"),    # the traced function that the next arguments belong to
    ("next_pc", "i8"),     # end of the latest instruction
    ("pc", "i8"),          # beginning of the latest instruction
    ("kernel", "i8"),      # number of accesses at kernel addresses
    ("prefetches", "i8"),
    ("flushes", "i8"),
    ("user_end", "i8"),    # where user memory ends; the kernel's begins as far from the end of all
]))  # fmt: skip


@entry
def entries(rows, at, ops, state, threads):
    """Append the accesses of entries from `at` on; return (the next entry, the reason for stopping)."""
    s = state[0]
    reason = END
    while at < rows.size:
        if s.filled + ROOM > ops.size:
            reason = FULL
            break
        e = rows[at]
        reason = _one(e, ops, s, threads)
        if reason != END:
            break
        at += 1
    return at, reason


@part
def _one(e, ops, s, threads):
    """Handle one entry; return a reason to stop at it, or END."""
    kind, size = e.what, int(e.bytes_) & 0xFFFF
    if kind == READ or kind == WRITE:
        return _access(e.addr, max(size, 1), op.READ if kind == READ else op.WRITE, ops, s)
    if (kind >= INSTR and kind <= INSTR_LAST) or kind == SYSENTER or kind == TAKEN or kind == UNTAKEN:
        return _fetch(e.addr, size, ops, s)
    if kind == MAYBE_FETCH or kind == NO_FETCH:
        return STOP if s.pending or s.agent < 0 else _fetch(e.addr, size, ops, s) if kind == MAYBE_FETCH and e.addr != s.pc else END
    if kind == BUNDLE:
        return _bundle(e.addr, size, ops, s)
    if (kind >= PREFETCH and kind <= PREFETCH_LAST) or (kind >= HINT and kind <= HINT_LAST) or kind == HARDWARE_PREFETCH:
        s.prefetches += 1
        return END
    if kind >= FLUSH and kind <= FLUSH_LAST:
        s.flushes += 1
        return END
    if kind == ENCODING:
        return END
    if kind == THREAD:
        return _thread(e.addr, s, threads)
    if kind == MARKER:
        return _marker(size, e.addr, s)
    return STOP if kind >= THREAD_EXIT and kind <= FOOTER else STRANGE


@part
def _marker(kind, value, s):
    """Handle a marker; return STOP for those that Python must handle: time stamps, all of system calls, what the file is."""
    if kind == CALL_ID:
        s.function = value
    if kind == CALL_ID or kind == CALL_ARGUMENT or kind == CALL_RESULT:
        return STOP if s.function >= SYSCALL_BASE else END
    if kind == FILE_TYPE or kind == PAGE_SIZE or kind == MARKED_VERSION:
        return STOP
    return STOP if kind == STAMP or kind == NUMBER or kind == CALL_FAILED else END


@part
def _thread(tid, s, threads):
    """Switch to a thread; return STOP if it is not known yet or a system call is pending."""
    if s.pending:
        return STOP
    for agent in range(threads.size):
        if threads[agent] == tid:
            s.agent = agent
            return END
    return STOP


@part
def _fetch(pc, length, ops, s):
    """Append the fetch of an instruction."""
    reason = _access(pc, max(length, 1), op.FETCH, ops, s)
    if reason == END:
        s.pc = pc
        s.next_pc = pc + length
    return reason


@part
def _bundle(lengths, count, ops, s):
    """Append consecutive instructions, whose lengths are a byte each."""
    if count < 1 or count > 8:
        return STRANGE
    if s.pending or s.agent < 0:
        return STOP
    if s.next_pc + count * 255 >= s.user_end:
        return NON_CANONICAL
    reason = END
    for i in range(count):
        if reason == END:
            reason = _fetch(s.next_pc, lengths >> 8 * i & 0xFF, ops, s)
    return reason


@part
def _access(address, size, kind, ops, s):
    """Append an access, one record per page."""
    if s.pending or s.agent < 0:
        return STOP
    if address >= -s.user_end and address <= -size:
        s.kernel += 1
        return END
    if address < 0 or address > s.user_end - size:
        return NON_CANONICAL
    s.filled = op.write_access(ops, s.filled, address, size, kind, s.agent)
    return END
