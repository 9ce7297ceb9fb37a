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
    m.rows[r].closed = 1
    if not gives(m, m.rows[r]):
        open_epoch(m, r)


@routine
def open_epoch(m, r):
    """Open the epoch of row r's operation, if it has one that is still closed: accesses recorded after it may begin."""
    row = m.rows[r]
    if row.closed:
        row.closed = 0
        m.spaces[row.space].epoch += 1


@part
def gives(m, row):
    """Return whether some access is legal after the operation and not legal, or not sure to stay so, at its beginning."""
    if row.op == MMAP:
        return True
    if row.op == FORK or row.op == EXIT:
        return False
    last = row.last
    if row.op == BRK:
        last = m.spaces[row.space].brk
        if last == 0 or row.target >= last:
            return row.target > last > 0
    elif row.op == MREMAP and (row.target != row.first or row.target_last > last):
        return True
    elif row.op == MPROTECT and adds_right(m, row):
        return True
    return is_below_stack(m, row.space, last)


@part
def adds_right(m, row):
    """Return whether a VMA in the range of an MPROTECT lacks a right that the call asks for."""
    k = vmas.above(m, row.space, row.first)
    while vmas.is_of(m, k, row.space) and m.vmas[k].first < row.last:
        if row.prot & ~m.vmas[k].prot:
            return True
        k += 1
    return False


@part
def is_below_stack(m, space, last):
    """Return whether the first VMA that ends after `last` grows: it may grow into, or nearer to, a range ending there that goes."""
    k = vmas.above(m, space, last)
    return vmas.is_of(m, k, space) and m.vmas[k].grows != 0
