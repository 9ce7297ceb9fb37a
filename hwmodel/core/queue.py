"""An agent's queue of records: its head record, the completion of a record or of one of its accesses, a request that may take one over."""

from hwmodel.core.tables import VACANT
from hwmodel.jit import part
from hwmodel.op import ARG


@part
def next_record(m, i):
    """Remove the head record of agent i, with its ARG records, from the queue; the next record becomes the head."""
    row = m.rows[i]
    row.head += 1
    while row.head < row.tail and m.queue[row.head].kind == ARG:
        row.head += 1
    row.charged = row.taken = row.retried = 0


@part
def complete(m, i):
    """Complete the head record of agent i at the agent's clock."""
    next_record(m, i)
    row = m.rows[i]
    row.done_at = max(row.done_at, row.clock)


@part
def complete_access(m, i):
    """Complete one access of the head record; the last access completes the record."""
    row = m.rows[i]
    row.taken += 1
    row.retried = 0
    if row.taken >= m.queue[row.head].count:
        complete(m, i)


@part
def vacant_request(m, i):
    """Return the lowest vacant request of engine i, or -1 if all are outstanding."""
    ctl = m.ctl[0]
    first = ctl.agents + (i - ctl.cpus) * ctl.outstanding
    for r in range(first, first + ctl.outstanding):
        if m.rows[r].phase == VACANT:
            return r
    return -1
