"""The loop: the row with the smallest (due, id) acts, and takes private steps ahead; notices are delivered at one site."""

from hwmodel.core import clock, device, hits, log, order
from hwmodel.core.ledger import IDLE, ORDER_WAIT, WORK, account, latency
from hwmodel.core.queue import next_record
from hwmodel.core.tables import (
    ASLEEP,
    BIRTH,
    CPU,
    DESIGN,
    DIRTY,
    DONE,
    EPOCH,
    FLUSH,
    FLUSH_ACKED,
    FLUSH_ARRIVES,
    KERNEL,
    NEVER,
    NO_EXECUTE,
    NOTICE,
    NOTICE_ARRIVES,
    READY,
    RELEASE,
    REQUEST,
    SPLIT,
    STEP_ENTRIES,
    STEP_FRAMES,
    STEP_LINKS,
    STEP_NODES,
    STEP_VMAS,
    VACANT,
    WALK,
)  # fmt: skip
from hwmodel.jit import part, routine
from hwmodel.op import COMPUTE, CONTINUES, FETCH, SYSCALL
from hwmodel.primary import access, fault, memory, notify, shootdown, split, syscalls

FINISHED, NEED_INPUT, NEED_ROOM, DEADLOCK, EXHAUSTED, TOO_LATE, PART_ENDS, PAUSED = range(8)
INSTRUCTION = account("instruction", WORK, "instructions: gaps, COMPUTE records, fetches")
FAULT_TIME = latency("fault", "resolution of a secondary miss that needed software, first miss to the access, retries included")


@part
def drive(m, dev, translate, request, may_act, advance, deliver):
    """Run until the trace ends or Python must do something, and return the reason; the kernels are a design's (secondary/protocol.py)."""
    ctl = m.ctl[0]
    while True:
        i = earliest(m)
        if i < 0 or (m.due[i] >= ctl.pause and log.must_pause(m, m.due[i])):
            return PAUSED if i >= 0 else FINISHED if all_done(m) else DEADLOCK
        row, ctl.now = m.rows[i], m.due[i]
        if row.phase == READY:
            head = row.head
            ahead(m, dev, i, horizon(m, i), translate)
            if m.due[i] > ctl.now or row.head != head:  # the row may no longer be first, and its next step may touch shared state
                if ctl.waiting > 0:
                    order.release_waiting(m)
                if row.clock >= ctl.latest:
                    return TOO_LATE
                continue
            if not order.known(m, i):
                return NEED_INPUT
            if is_short(m):
                return NEED_ROOM
            turn(m, dev, i, request)
        else:
            if row.phase == ASLEEP and all_done(m):
                return FINISHED
            if is_short(m):
                return NEED_ROOM
            chain(m, dev, i, may_act, advance, deliver)
        if row.owned and not row.effect:
            m.due[i] = NEVER  # the row's own message was on the way until now; the row parks
        if ctl.waiting > 0 and (row.role != REQUEST or row.phase == VACANT):  # what a request does is no record's end until it is over
            order.release_waiting(m)
        if ctl.starving > 0:
            memory.serve(m)
        if ctl.exhausted:
            return EXHAUSTED
        if ctl.edge:
            return PART_ENDS
        if row.clock >= ctl.latest or m.rows[row.cpu].busy_until >= ctl.latest:
            return TOO_LATE


@part
def earliest(m):
    """Return the row that acts next: smallest due, then smallest id; -1 if none can act."""
    best, due = -1, NEVER
    for j in range(m.due.size):
        if m.due[j] < due:
            best, due = j, m.due[j]
    return best


@part
def horizon(m, i):
    """Return the time up to which row i may run ahead (its lookahead): no other row can affect it earlier.

    While a row with `effect` waits for a lock (`poised`), any row's step may release the lock: no row runs ahead. Nor beyond a sample.
    """
    group, reach, limit, mine = m.rows[i].group, m.rows[i].reach, m.ctl[0].sampled, m.ctl[0].sampled
    for j in range(m.due.size):
        if j != i:
            first = m.due[j] + (i < j)
            mine = min(mine, first)
            limit = min(limit, first if m.rows[j].effect or m.rows[j].group == group else m.due[j] + reach)
    return max(limit, mine) if m.ctl[0].runahead and m.ctl[0].poised == 0 else mine


@part
def ahead(m, dev, i, limit, translate):
    """Take row i's private steps until `limit`: gaps, computation, system calls, and hits in its TLBs."""
    if m.rows[i].role == CPU:
        take_records(m, dev, i, limit, cpu_access, translate)
    elif not device.is_stopped(m, i):
        take_records(m, dev, i, limit, engine_access, translate)


@part
def take_records(m, dev, i, limit, take_access, translate):
    """Take the private steps of row i's records until `limit`; `take_access` takes those of an access, as a CPU or as an engine."""
    row, ctl = m.rows[i], m.ctl[0]
    space, gate = m.spaces[row.space], (row.block + 1) << ctl.shift
    now, until = row.clock, 0
    while row.head < row.tail and row.want == 0:
        op = m.queue[row.head]
        if op.index >= gate or now >= limit:
            break
        if not row.charged:
            row.charged = 1
            if op.gap > 0:
                now = take_gap(m, i, now)
                continue
        kind = op.kind & ~CONTINUES
        if op.epoch > space.epoch or not space.born:
            break
        if kind <= FETCH:
            now, until = take_access(m, dev, i, op, limit, now, translate)
            if until > now:
                break
        elif kind == COMPUTE or kind == SYSCALL:
            now = take_computation(m, i, kind, now)
        else:
            break
    row.clock = now
    m.due[i] = max(now, until)


@part
def cpu_access(m, dev, i, op, limit, now, translate):
    """Look CPU i's head access up; return the time after what that allows, twice."""
    kind = op.kind & ~CONTINUES
    found = access.look_up(m, i, kind, op.address >> 12, op.kind & CONTINUES != 0)
    if found == access.HIT:
        now = take_hits(m, i, kind == FETCH, limit, now)
    elif found == access.REFILLED:
        now = refilled(m, i, now)
    else:
        m.rows[i].want = max(m.rows[i].want, WALK)  # the look-up may know better
    return now, now


@part
def engine_access(m, dev, i, op, limit, now, translate):
    """Issue engine i's head access; return the time after what was issued, and when the next can be if that is not before `limit`."""
    at = device.next_issue(m, i, now, limit)
    if at >= limit:
        return now, at
    found = translate(m, dev, i, op.kind & ~CONTINUES, op.address >> 12, at)
    if found == access.HIT:
        at = hits.take_hits(m, i, limit, at)
    elif found == access.REFILLED:
        at = refilled(m, i, at)
    else:
        m.rows[i].want = WALK  # `request` knows which work it is
    return at, at


@part
def refilled(m, i, now):
    """Book the look-up of row i's second level, which has refilled the first; return the time after it."""
    m.ledger[i, access.STLB_TIME] += m.costs[0].stlb_hit
    return now + m.costs[0].stlb_hit


@part
def take_gap(m, i, now):
    """Take the instructions before row i's record; return the time after them."""
    cycles = m.queue[m.rows[i].head].gap * m.costs[0].instruction
    m.ledger[i, INSTRUCTION] += cycles
    return now + cycles


@part
def take_hits(m, i, fetch, limit, now):
    """Take the accesses of CPU i's record, whose page was just hit, that begin before `limit`; return the time after them."""
    row, costs = m.rows[i], m.costs[0]
    op = m.queue[row.head]
    cost = costs.instruction if fetch else costs.access
    n = op.count - row.taken
    if n * cost > limit - now:  # a division costs more than the rest of a hit
        n = (limit - now + cost - 1) // cost
    now += n * cost
    m.ledger[i, INSTRUCTION if fetch else device.ACCESS] += n * cost
    m.counts[i, access.ACCESSES] += n - 1
    m.counts[i, access.ITLB_HITS if fetch else access.DTLB_HITS] += n - 1
    row.taken += n
    row.retried = 0
    if row.taken == op.count:
        next_record(m, i)
        row.done_at = max(row.done_at, now)
    return now


@part
def take_computation(m, i, kind, now):
    """Take row i's record of instructions or system calls; return the time after it."""
    row, costs, count = m.rows[i], m.costs[0], m.queue[m.rows[i].head].count
    cost = count * (costs.instruction if kind == COMPUTE else costs.syscall)
    m.ledger[i, INSTRUCTION if kind == COMPUTE else syscalls.SYSCALLS] += cost
    m.counts[i, syscalls.PLAIN] += count if kind == SYSCALL else 0
    next_record(m, i)
    row.done_at = max(row.done_at, now + cost)
    return now + cost


@part
def turn(m, dev, i, request):
    """Do the ordered step that row i, which is first, needs for its head record."""
    row, ctl = m.rows[i], m.ctl[0]
    if row.head == row.tail or m.queue[row.head].index >= (row.block + 1) << ctl.shift:
        order.enter(m, i)
        return
    op, space = m.queue[row.head], m.spaces[row.space]
    kind = op.kind & ~CONTINUES
    if not space.born:
        order.hold_back(m, i, BIRTH, IDLE)
    elif op.epoch > space.epoch:
        order.hold_back(m, i, EPOCH, ORDER_WAIT)
    elif kind <= FETCH:
        if row.role != CPU:
            row.want = 0
            request(m, dev, i, kind, op.address >> 12)
        elif row.want == DIRTY:
            access.set_dirty(m, i, op.address >> 12)
        elif row.want == NO_EXECUTE:
            access.refuse_fetch(m, i, op.address >> 12)
        else:
            access.walk(m, i, kind, op.address >> 12)
    elif not order.opens(kind) or order.may_open(m, i):
        syscalls.begin(m, i)


@part
def chain(m, dev, i, may_act, advance, deliver):
    """Do one step of the chain that row i is in; a request asks its design first."""
    row = m.rows[i]
    phase = row.phase
    if row.role == REQUEST:
        clock.catch_up(m, i)
        if not may_act(m, dev, i):
            return
    if phase >= DESIGN or phase == ASLEEP:
        advance(m, dev, i)
    elif phase == NOTICE_ARRIVES:
        deliver(m, dev, i)
    elif phase == RELEASE:
        device.release(m, i)
    else:
        kernel_step(m, i, phase)


@routine
def kernel_step(m, i, phase):
    """Do one step of the kernel's own chains."""
    if phase < SPLIT:
        fault.step(m, i)
    elif phase < NOTICE:
        split.step(m, i)
    elif phase == NOTICE:
        notify.send(m, i)
    elif phase == FLUSH:
        shootdown.start(m, i)
    elif phase == FLUSH_ARRIVES:
        shootdown.arrive(m, i)
    elif phase == FLUSH_ACKED:
        shootdown.acked(m, i)
    else:
        syscalls.step(m, i)


@part
def is_short(m):
    """Return whether a step, or a page mapped before time 0, may need more rows of a table than are free; Python then doubles it."""
    ctl = m.ctl[0]
    return (
        ctl.node_top + STEP_NODES > m.nodes.shape[0]
        or ctl.frame_top + STEP_FRAMES > m.frames.size
        or ctl.link_top + STEP_LINKS > m.links.size
        or ctl.entry_top + STEP_ENTRIES > m.entries.size
        or ctl.vma_count + STEP_VMAS > m.vmas.size
    )


@part
def all_done(m):
    """Return whether every agent is done, every thread of the kernel asleep, and every request vacant."""
    for j in range(m.rows.size):
        row = m.rows[j]
        if row.phase != (VACANT if row.role == REQUEST else ASLEEP if row.role == KERNEL else DONE):
            return False
    return True
