"""Records on their way into the engine: each agent's queue, the epochs; and the initial mappings, before time 0."""

from hwmodel import op as t
from hwmodel.byref import by_reference
from hwmodel.core.order import opens
from hwmodel.core.tables import EDGE, HUGE, PFN, ZERO, A, D, P, W
from hwmodel.engine import is_short
from hwmodel.jit import entry, part
from hwmodel.parts import radix
from hwmodel.primary import fault, fork, frames, memory, vmas
from hwmodel.primary.kinds import page_of


@entry
def feed(tables, queue, chunk, row_of, edges):
    """Move the agents' remaining records into `queue`, and append to each agent's part its records of a chunk of the trace.

    Before a record at which a part of the run begins comes a SYNC of the same agent, which is no record of the trace.

    Parameters
    ----------
    queue : QUEUED[at least left + chunk.size]
    chunk : OP[n]
    row_of : int64[agent of the trace]
        The row that each agent has.
    edges : int64[n]
        Ascending: the records of the chunk at which parts of the run begin.
    """
    m = by_reference(tables)
    ctl, passed = m.ctl[0], 0
    make_room(m, queue, chunk, row_of, edges)
    for k in range(chunk.size):
        op = chunk[k]
        row = m.rows[row_of[op.agent]]
        while passed < edges.size and edges[passed] == k:
            passed += 1
            put_edge(m, queue, row)
        q, space, kind = queue[row.tail], m.spaces[row.space], op.kind & ~t.CONTINUES
        q.kind, q.address, q.count, q.gap, q.index, q.epoch = op.kind, op.address, op.count, op.gap, ctl.fed, space.opened
        row.tail += 1
        ctl.fed += 1
        if kind <= t.FETCH:
            ctl.references += op.count
        elif kind == t.SYNC:
            open_all(m)
        elif opens(kind):
            space.opened += 1


@part
def put_edge(m, queue, row):
    """Append to an agent's part of the queue the SYNC at which a part of the run ends."""
    q, ctl = queue[row.tail], m.ctl[0]
    q.kind, q.address, q.count, q.gap, q.index, q.epoch = t.SYNC, 0, EDGE, 0, ctl.fed, m.spaces[row.space].opened
    row.tail += 1
    ctl.fed += 1
    open_all(m)


@part
def open_all(m):
    """Number the next epoch of every address space."""
    for s in range(m.spaces.size):
        m.spaces[s].opened += 1


@part
def make_room(m, queue, chunk, row_of, edges):
    """Compact each agent's unconsumed records into its new segment of `queue`, sized for old plus new records."""
    for i in range(m.ctl[0].agents):
        m.rows[i].room = m.rows[i].tail - m.rows[i].head
    for k in range(chunk.size):
        m.rows[row_of[chunk[k].agent]].room += 1
    for k in edges:
        m.rows[row_of[chunk[k].agent]].room += 1
    at = 0
    for i in range(m.ctl[0].agents):
        row = m.rows[i]
        end = at
        for k in range(row.head, row.tail):
            copy(queue[end], m.queue[k])
            end += 1
        row.head, row.tail = at, end
        at += row.room


@part
def copy(to, q):
    """Copy one queued record to another."""
    to.kind, to.address, to.count, to.gap, to.index, to.epoch = q.kind, q.address, q.count, q.gap, q.index, q.epoch


@entry
def load_spaces(tables):
    """Load every agent's address space into its CPU from the beginning, unless a fork has yet to make that space."""
    m = by_reference(tables)
    for c in range(m.ctl[0].agents):
        row = m.rows[c]
        if not row.unused and m.spaces[row.space].born:
            fork.enter_mask(m, c, row.space)


@entry
def declare(tables, space, ops, k):
    """Declare the unit at row k of a prelude (the initial mappings): a VMA, or the program break."""
    m = by_reference(tables)
    op = ops[k]
    if op.kind == t.BRK:
        new = (op.address + 4095) >> 12
        old = m.spaces[space].brk
        if 0 < old < new:
            vmas.merge_at(m, vmas.insert(m, space, old, new, 3, t.PRIVATE, 0, 0, 0) - 1)
        elif new < old:
            vmas.remove(m, space, new, old)
        m.spaces[space].brk = new
        return
    arg = ops[k + 1]
    first, pages = op.address >> 12, op.count if op.count >= 0 else ops[k + 2].address
    grows = 1 if arg.count & t.GROWS_DOWN else 0
    vmas.remove(m, space, first, first + pages)
    prot, mapping, file = arg.count & 7, arg.count >> 3 & 7, arg.count >> t.FILE_SHIFT
    vmas.merge(m, vmas.insert(m, space, first, first + pages, prot, mapping, file, arg.address, grows))


@entry
def populate(tables, space, first, last):
    """Map pages of [first, last) that a VMA holds, as far as the tables have room; return the first page not done."""
    m = by_reference(tables)
    root, at = m.spaces[space].root, first
    while at < last and m.ctl[0].exhausted == 0:
        if is_short(m):
            return at
        k = vmas.find(m, space, at)
        v = m.vmas[k]
        huge = v.mapping == t.HUGETLB
        if not memory.is_there(m, pages_for(m, v, root, at), huge):
            m.ctl[0].exhausted = memory.BEFORE_TIME
        elif huge:
            radix.make(m, root, at, 2)
            radix.set_aside(m, 1)
            block = frames.take_block(m) << PFN | HUGE | P
            pte = fault.map_leaf(m, space, at, block) | (W | D if v.prot & t.PROT_WRITE else 0) | vmas.execute_bit(v)
            radix.put(m, root, at, 2, pte)
            vmas.prepare(m, k)
            at += 512
        else:
            pte = page_for(m, k, space, at)
            radix.make(m, root, at, 1)
            radix.put(m, root, at, 1, pte)
            at += 1
    return last


@part
def pages_for(m, v, root, at):
    """Return the frames that populating page `at`, or its huge page, takes, tables included."""
    if v.mapping == t.HUGETLB:
        return 512 + radix.missing(m, root, at, 2) + 1
    anonymous = is_private(v) and v.prot & t.PROT_WRITE
    absent = not is_private(v) or v.mapping == t.PRIVATE_FILE
    new = anonymous or (absent and frames.cached(m, v.file, page_of(v, at)) < 0)
    return radix.missing(m, root, at, 1) + (1 if new else 0)


@part
def is_private(v):
    """Return whether a VMA's own pages come from its writes."""
    return v.mapping == t.PRIVATE or v.mapping == t.PRIVATE_FILE


@part
def page_for(m, k, space, vpn):
    """Return the pte of a populated page of row k: a private writable page is written, others are as after a read."""
    v = m.vmas[k]
    if is_private(v) and v.prot & t.PROT_WRITE:
        vmas.prepare(m, k)
        return fault.map_leaf(m, space, vpn, frames.take(m) << PFN | P) | W | D | vmas.execute_bit(v)
    if v.mapping == t.PRIVATE:
        return P | A | ZERO | vmas.execute_bit(v)
    if frames.cached(m, v.file, page_of(v, vpn)) < 0:
        frames.cache(m, v.file, page_of(v, vpn), frames.take(m))
    return fault.map_cached(m, v, space, vpn) | (W if not is_private(v) and v.prot & t.PROT_WRITE else 0)
