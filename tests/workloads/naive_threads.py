"""Thread recordings parsed as plainly as can be: what is read of them without their calls."""

import struct

from hwmodel import op
from workloads.formats.threads.log import (
    ARGUMENT,
    BEGIN,
    CALL,
    END,
    EXEC,
    FETCH,
    INITIAL,
    MAPPED_FILE,
    PROGRAM,
    READ,
    SAME,
    THREAD,
    THREAD_END,
    WRITE,
)

KIND = {READ: op.READ, WRITE: op.WRITE, FETCH: op.FETCH}


class BadError(Exception):
    """An entry makes no sense."""


def parse(data):
    """(accesses as (kind, address, agent), byte of the entry that makes no sense or None, whether it is cut short)."""
    entries = [struct.unpack_from("<qIHBB", data, at) for at in range(16, len(data) - 15, 16)]
    found, state = [], {"agents": {}, "made": 0, "free": [], "begun": False, "replaced": False}
    at = 0
    while at < len(entries):
        try:
            if entries[at][3] == END and not (state["begun"] and entries[at][4] & INITIAL):
                return found, None, False
            size = _access(entries, at, found, state) if entries[at][3] <= FETCH else _other(entries, at, state)
        except BadError:
            return found, 16 + 16 * at, False
        if not size:
            break
        at += size
    return found, None, not state["replaced"]


def _access(entries, at, found, state):
    """Append an access; how many entries it is."""
    address, number, thread, kind, _ = entries[at]
    count, used = 1, 1
    size = number
    if kind == FETCH:
        size, count = number & 0xFFFF, number >> 16
    else:
        size = number if number < 1 << 31 else number - (1 << 32)
        while at + used < len(entries) and size % 8 == 0 and size < 64:
            a, n, th, k, marks = entries[at + used]
            if (a, th, k) != (address + size, thread, kind) or not marks & SAME or not 1 <= n <= 8:
                break
            size, used = size + n, used + 1
        behind = entries[at + used] if at + used < len(entries) else (0,) * 5
        if kind == READ and behind[:4] == (address, size, thread, WRITE) and behind[4] & SAME:
            kind, used = WRITE, used + 1
    number = number if number < 1 << 31 else number - (1 << 32)
    count = number >> 16 if kind == FETCH else 1
    if thread not in state["agents"] or not 1 <= size <= 15 * 4096 or not 0 <= address <= op.USER_END - size or count < 1:
        raise BadError
    pages = range((address >> 12) + 1, ((address + size - 1) >> 12) + 1)
    if count > 1 and pages:
        raise BadError
    found += [(KIND[kind], address, state["agents"][thread])] * count
    found += [(KIND[kind] | op.CONTINUES, page << 12, state["agents"][thread]) for page in pages]
    return used


def _other(entries, at, state):
    """How many entries one that is no access is with its arguments, 0 if they are not all there."""
    address, number, thread, kind, marks = entries[at]
    args = entries[at + 1 : at + 7] if kind == CALL else []
    if kind > END or kind == ARGUMENT or [entry[1:4] for entry in args] != [(i, thread, ARGUMENT) for i in range(len(args))]:
        raise BadError
    if kind == CALL and len(args) < 6:
        return 0
    if state["begun"] and (kind in (PROGRAM, BEGIN) or marks & INITIAL):
        raise BadError
    if kind in (CALL, THREAD_END) and thread not in state["agents"]:
        raise BadError
    if kind == CALL and marks & INITIAL and not _maps([entry[0] for entry in args], address):
        raise BadError
    if kind == THREAD:
        is_new = state["made"] < op.AGENTS
        state["agents"][thread] = state["made"] if is_new else state["free"].pop(0)
        state["made"] += is_new
    elif kind == THREAD_END:
        state["free"].append(state["agents"].pop(thread))
    elif kind == CALL:
        state["replaced"] = state["replaced"] and number not in (59, 322)
    assert kind in (THREAD, THREAD_END, CALL, MAPPED_FILE, PROGRAM, BEGIN, EXEC, END)
    state["begun"] |= kind == BEGIN
    state["replaced"] |= kind == EXEC
    return 1 + len(args)


def _maps(args, result):
    """Whether an mmap that returned `result` can have been."""
    _, length, _, flags, _, offset = args
    flags &= (1 << 32) - 1
    pages = -(-length // 4096)
    huge = flags & 0x40000 and not flags & 1 and flags >> 26 in (0, 21)
    if huge:
        pages = -(-pages // 512) * 512
    offset_ok = huge or flags & 0x20 or 0 <= offset >> 12
    return 0 < length and result >= 0 and pages < 1 << 31 and result + pages * 4096 <= op.USER_END and offset_ok
