"""The engine of a device: it issues accesses, has some of them in flight, and goes on while misses are resolved (docs/model.md section 15).

An access needs a slot of the engine's window from its issue until its data are there. A hit has it for the latency L; a miss has it until
its request has the translation, and for L more. Issues are at least the interval I apart, and in order, so hits complete in order too: the
times of the last issues are all that must be kept.
"""

from hwmodel.core import log
from hwmodel.core.ledger import WORK, account, bucket_of, counter, record
from hwmodel.core.queue import next_record, vacant_request
from hwmodel.core.tables import DONE, NEVER, RELEASE, VACANT, table
from hwmodel.jit import part, routine

ACCESS = account("access", WORK, "data accesses that hit the first-level TLB; for a device: until the next could be issued if none missed")
ACCESSES = counter("device.accesses", "accesses of device agents")
HITS = counter("device.tlb.hits", "device accesses that hit the first-level TLB at the first look-up")
MISSES = counter("device.tlb.misses", "device accesses that did not")
DUPLICATES = counter("device.tlb.duplicates", "of these, misses on a page of which the engine had a miss in flight already")
DEVICE = table("held", "next", "last", "waits", "oldest", "halted", "cause", "stops", "taker")
"""A row's engine: slots that misses hold; the place of its next hit among the last ones; the time of its latest issue; whether it waits
until it can issue; its oldest request, if there is any (`held` is above 0); until when a design has halted it, and the account of that
time; whether it may not issue, for a request is to have its CPU; the request that has it, plus 1."""
MISS = table("vpn", "write", "issued", "joined", "readers", "awaits", "stage", "mark", "lacks")
"""A row's miss: its page and right; when it was issued; how many other accesses have joined it, and how many of these read where it writes;
the account of its own latest wait; the phase that it is in, and since when it is in that, or in which time before now or after it that
began; whether the first look-up found an entry that lacks the right."""
COUNTED_HIT, COUNTED_MISS = 1, 2
"""An engine's `retried` if its first look-up has counted the access; it is 0 if `miss` is to count it."""
UNMEASURED = -1
"""The path of a miss that no latency counts."""


@part
def slot_at(m, i, held):
    """Return when engine i has a slot for a hit, if so many are held by misses; NEVER if a miss must go first."""
    ctl, at = m.ctl[0], m.devices[i].next - (m.ctl[0].window - held)
    if held >= ctl.window:
        return NEVER
    return m.flights[i - ctl.cpus, at + ctl.window if at < 0 else at] + m.ctl[0].latency


@part
def free_at(m, i, held):
    """Return when engine i could issue its next access if so many slots were held by misses, and nothing had halted it."""
    return max(m.devices[i].last + m.ctl[0].interval, slot_at(m, i, held))


@part
def issue_at(m, i, held):
    """Return when engine i can issue its next access, if so many slots are held by misses."""
    return max(free_at(m, i, held), m.devices[i].halted)


@part
def next_issue(m, i, now, limit):
    """Return when engine i, which has come to `now`, issues its next access; if that is not before `limit`, the engine waits."""
    device, at = m.devices[i], issue_at(m, i, m.devices[i].held)
    device.waits = 1 if at >= limit else 0
    if at <= now:
        return now
    if at < limit:
        book_issue(m, i, now, at)
    return at


@part
def last_data(m, i):
    """Return when the latest hit of engine i has its data."""
    ctl, at = m.ctl[0], m.devices[i].next - 1
    return m.flights[i - ctl.cpus, at + ctl.window if at < 0 else at] + m.ctl[0].latency


@routine
def last_use(m, i):
    """Return when the last of engine i's data in flight are there, of hits and of misses that are resolved."""
    first = m.ctl[0].agents + (i - m.ctl[0].cpus) * m.ctl[0].outstanding
    last = last_data(m, i)
    for r in range(first, first + m.ctl[0].outstanding):
        if m.rows[r].phase == RELEASE:
            last = max(last, m.due[r])
    return last


@routine
def find_oldest(m, i):
    """Find engine i's oldest request: the first that was issued, the lowest of several."""
    ctl, device = m.ctl[0], m.devices[i]
    first = ctl.agents + (i - ctl.cpus) * ctl.outstanding
    device.oldest = -1
    for r in range(first, first + ctl.outstanding):
        if m.rows[r].phase != VACANT and (device.oldest < 0 or m.misses[r].issued < m.misses[device.oldest].issued):
            device.oldest = r


@part
def stall_account(m, i):
    """Return the account of engine i's time while its oldest request keeps it waiting."""
    oldest = m.devices[i].oldest
    return ACCESS if m.rows[oldest].phase == RELEASE else m.stalls[m.misses[oldest].stage]


@part
def book(m, i, since, until, free):
    """Book engine i's time: what comes before `free`, when it could have issued otherwise, is access; then it is halted, or stalls."""
    access = min(max(free, since), until)
    halted = min(max(m.devices[i].halted, access), until)
    m.ledger[i, ACCESS] += access - since
    m.ledger[i, m.devices[i].cause] += halted - access
    if halted < until:
        m.ledger[i, stall_account(m, i)] += until - halted


@part
def book_issue(m, i, since, at):
    """Book the time until engine i issues its next access."""
    device = m.devices[i]
    if device.held == 0 and device.halted <= since:
        m.ledger[i, ACCESS] += at - since
    else:
        book(m, i, since, at, free_at(m, i, 0))


@part
def settle(m, i, now):
    """Book the time of an engine that waits for a slot up to now."""
    row = m.rows[i]
    if now > row.clock and m.devices[i].waits:
        book_wait(m, i, now)


@routine
def book_wait(m, i, now):
    """Book the time of an engine that waits up to now."""
    row = m.rows[i]
    if m.devices[i].stops:
        m.ledger[i, ACCESS] += now - row.clock
    else:
        book(m, i, row.clock, now, free_at(m, i, 0))
    row.clock = now


@part
def settle_now(m, r):
    """Book the time of request r's engine up to this step, for what it is booked to may change."""
    settle(m, m.rows[r].agent, m.ctl[0].now)


@routine
def halt(m, i, now, until, account):
    """Let engine i, if it is not done, issue nothing until `until`, which is booked to `account`."""
    device = m.devices[i]
    if m.rows[i].phase != DONE:
        settle(m, i, now)
        if until > device.halted:
            device.halted, device.cause = until, account


@routine
def land(m, i, until):
    """Book the time that engine i, which waits for the order of the trace, has its last hits still in flight, up to `until` at the most."""
    row = m.rows[i]
    end = min(last_data(m, i), until)
    if end > row.clock:
        m.ledger[i, ACCESS] += end - row.clock
        row.clock = end


@routine
def is_empty(m, i):
    """Return whether all accesses of engine i are complete; if not, it waits for them, and looks again."""
    row, device = m.rows[i], m.devices[i]
    if device.held > 0:
        device.waits, m.due[i] = 1, NEVER
        return False
    if last_data(m, i) > row.clock:
        land(m, i, NEVER)
        m.due[i] = row.clock
        return False
    return True


@routine
def drain(m, i, at):
    """Return when engine i's data in flight are there, but not before `at`; it does nothing of its own until then."""
    row, at = m.rows[i], max(at, last_use(m, i))
    if not row.blocked and row.phase != DONE:
        settle(m, i, min(at, m.due[i]))
        if at > row.clock:
            m.ledger[i, ACCESS] += at - row.clock
            row.clock = at
    return at


@part
def is_stopped(m, i):
    """Return whether engine i may issue and compute nothing; it waits then, until it may."""
    device = m.devices[i]
    device.waits = device.stops
    if device.stops:
        m.due[i] = NEVER
    return device.stops


@part
def stop(m, i):
    """Let engine i issue and compute nothing more, for a request is to have its CPU once the data in flight are there."""
    settle(m, i, m.ctl[0].now)
    m.devices[i].stops = 1
    if m.devices[i].waits:
        m.due[i] = NEVER


@part
def take(m, r):
    """Give request r its engine's CPU from now on: what it waits until `give_back` is time of that CPU, too."""
    engine = m.rows[m.rows[r].agent]
    settle_now(m, r)
    m.devices[m.rows[r].agent].taker = r + 1
    engine.busy_until = max(engine.busy_until, m.due[r])


@part
def give_back(m, r):
    """Give engine and CPU back to the program, from when request r is due on."""
    i = m.rows[r].agent
    device = m.devices[i]
    device.stops = device.taker = 0
    if device.waits:
        m.due[i] = max(m.rows[i].clock, m.due[r])


@routine
def miss(m, i, vpn, write, merges):
    """Issue engine i's current access, which has missed; return the request that must resolve it, or -1 if it has joined another.

    The access holds its slot. `merges`: a miss joins a request of its page that has the right it needs. What the first look-up has
    counted (`retried`) is not counted again; an access that it counted as a hit, but that lacks a right, is no duplicate.
    """
    row, device, now, taker = m.rows[i], m.devices[i], m.rows[i].clock, -1
    first = m.ctl[0].agents + (i - m.ctl[0].cpus) * m.ctl[0].outstanding
    known = 0
    for r in range(first, first + m.ctl[0].outstanding):
        phase = m.rows[r].phase
        if phase != VACANT and phase != RELEASE and m.misses[r].vpn == vpn:
            known = 1
            if merges and taker < 0 and m.misses[r].write >= write:
                taker = r
    m.counts[i, ACCESSES] += row.retried == 0
    m.counts[i, MISSES] += row.retried == 0
    m.counts[i, DUPLICATES] += known and row.retried != COUNTED_HIT
    device.held += 1
    device.last = now
    index, lacks = m.queue[row.head].index, row.retried == COUNTED_HIT
    row.retried = 0
    row.taken += 1
    if row.taken == m.queue[row.head].count:
        next_record(m, i)
        row.done_at = max(row.done_at, now)
    if taker >= 0:
        m.misses[taker].joined += 1
        m.misses[taker].readers += m.misses[taker].write > write
        log.note(m, log.JOIN, i, now, now, vpn, 1, write | lacks << 1)
        return -1
    r = vacant_request(m, i)
    its = m.misses[r]
    if device.held == 1 or (m.misses[device.oldest].issued == now and r < device.oldest):
        device.oldest = r
    m.rows[r].index, its.vpn, its.write, its.issued, m.due[r] = index, vpn, write, now, now
    its.joined = its.readers = its.stage = 0
    its.mark, its.lacks = now, lacks
    for stage in range(m.spent.shape[1]):
        m.spent[r, stage] = 0
    return r


@routine
def refuse(m, r):
    """Give up the accesses of request r, which have no right, but for those that read where it writes; return how many are left.

    The request goes on for these, as one of a read; an engine that waits for a slot looks again.
    """
    e, miss = m.rows[r].agent, m.misses[r]
    if miss.readers == 0:
        leave_phase(m, r, m.due[r])
        return 0
    settle_now(m, r)
    m.devices[e].held -= 1 + miss.joined - miss.readers
    miss.write, miss.joined, miss.readers = 0, miss.readers - 1, 0
    look_again(m, e, m.due[r])
    return miss.joined + 1


@part
def leave_phase(m, r, at):
    """Add up what the miss of request r took of the phase that it is in, which ends at `at`."""
    its = m.misses[r]
    m.spent[r, its.stage] += at - its.mark
    if at != its.mark:
        log.note(m, log.PHASE, r, its.mark, at, its.vpn, 1, its.stage)


@part
def enter(m, r, stage, at):
    """Let the miss of request r be in the phase `stage` from `at` on."""
    its = m.misses[r]
    if its.stage != stage:
        if m.stalls[its.stage] != m.stalls[stage] and m.devices[m.rows[r].agent].oldest == r:
            settle_now(m, r)
        leave_phase(m, r, at)
        its.stage, its.mark = stage, at


@routine
def found(m, r, path):
    """Let request r, which has its translation now, hold its slot until its data are there; note what its phases on this path took.

    UNMEASURED has no latency, and its phases are not noted.
    """
    its, stages = m.misses[r], m.spent.shape[1]
    settle_now(m, r)
    leave_phase(m, r, m.due[r])
    if path >= 0:
        log.note(m, log.FAULT, r, its.issued, m.due[r], its.vpn, 1, path)
        shares = m.shares[path, bucket_of(m.due[r] - its.issued)]
        for stage in range(stages):
            took = m.spent[r, stage]
            if took > 0:
                record(m.phases, path * stages + stage, took)
                shares[stage] += took
    m.rows[r].phase = RELEASE
    m.due[r] += m.ctl[0].latency


@routine
def release(m, r):
    """RELEASE: give up the slots of request r, whose accesses are complete; an engine that waits for a slot looks again."""
    e, now = m.rows[r].agent, m.due[r]
    engine, device, its = m.rows[e], m.devices[e], m.misses[r]
    settle(m, e, now)
    log.note(m, log.MISS, r, its.issued, now, its.vpn, 1, its.write | its.lacks << 1)
    device.held -= 1 + its.joined
    engine.done_at = max(engine.done_at, now)
    m.rows[r].phase, m.due[r] = VACANT, NEVER
    if r == device.oldest:
        find_oldest(m, e)
    look_again(m, e, now)


@part
def look_again(m, e, now):
    """Let engine e, if it waits for a slot, look again whether it has one."""
    if m.devices[e].waits and not m.devices[e].stops:
        m.due[e] = max(m.rows[e].clock, now)
