"""An agent's records: its head in the queue, and what it means that one is complete."""

from hwmodel.jit import part
from hwmodel.op import ARG


@part
def next_record(m, i):
    """The head record of agent i leaves its queue; what follows is its next."""
    row = m.rows[i]
    row.head += 1
    while row.head < row.tail and m.queue[row.head].kind == ARG:
        row.head += 1
    row.charged = row.taken = row.retried = 0


@part
def complete(m, i):
    """The head record of agent i ended at the agent's clock."""
    next_record(m, i)
    row = m.rows[i]
    row.done_at = max(row.done_at, row.clock)


@part
def complete_access(m, i):
    """One access of the head record is complete; the last one completes the record."""
    row = m.rows[i]
    row.taken += 1
    row.retried = 0
    if row.taken >= m.queue[row.head].count:
        complete(m, i)
