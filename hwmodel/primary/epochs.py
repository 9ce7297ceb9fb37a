"""The step that opens an operation's epoch: the first after which all accesses that are legal after the call succeed (docs/model.md 3.6).

An operation that only takes rights away opens its epoch at its beginning: an access recorded after it needs none of them. An operation
that gives a right opens it at the step that brings the right; one that does both, at the later of the two.
"""

from hwmodel.jit import part, routine
from hwmodel.op import BRK, EXIT, FORK, MMAP, MPROTECT, MREMAP
from hwmodel.primary import vmas


@routine
def begin(m, r):
    """Open the epoch of row r's operation, which begins, unless the operation gives a right that a later step of it brings."""
    m.calls[r].closed = 1
    if not gives(m, r):
        open_epoch(m, r)


@routine
def open_epoch(m, r):
    """Open the epoch of row r's operation, if it has one that is still closed: accesses recorded after it may begin."""
    if m.calls[r].closed:
        m.calls[r].closed = 0
        m.spaces[m.rows[r].space].epoch += 1


@part
def gives(m, r):
    """Return whether some access is legal after the operation and not legal, or not sure to stay so, at its beginning."""
    call, space = m.calls[r], m.rows[r].space
    if call.op == MMAP:
        return True
    if call.op == FORK or call.op == EXIT:
        return False
    last = call.last
    if call.op == BRK:
        last = m.spaces[space].brk
        if last == 0 or call.target >= last:
            return call.target > last > 0
    elif call.op == MREMAP and (call.target != call.first or call.target_last > last):
        return True
    elif call.op == MPROTECT and adds_right(m, r):
        return True
    return is_below_stack(m, space, last)


@part
def adds_right(m, r):
    """Return whether a VMA in the range of an MPROTECT lacks a right that the call asks for."""
    call, space = m.calls[r], m.rows[r].space
    k = vmas.above(m, space, call.first)
    while vmas.is_of(m, k, space) and m.vmas[k].first < call.last:
        if call.prot & ~m.vmas[k].prot:
            return True
        k += 1
    return False


@part
def is_below_stack(m, space, last):
    """Return whether the first VMA that ends after `last` grows: it may grow into, or nearer to, a range ending there that goes."""
    k = vmas.above(m, space, last)
    return vmas.is_of(m, k, space) and m.vmas[k].grows != 0
