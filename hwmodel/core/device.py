"""The engine of a device: it issues accesses, has some of them in flight, and goes on while misses are resolved (docs/model.md section 15).

An access needs a slot of the engine's window from its issue until its data are there. A hit has it for the latency L; a miss has it until
its request has the translation, and for L more. Issues are at least the interval I apart, and in order, so hits complete in order too: the
times of the last issues are all that must be kept.
"""

from typing import Any

import numpy as np

from hwmodel.core.ledger import WORK, account, counter
from hwmodel.core.queue import next_record, vacant_request
from hwmodel.core.tables import DONE, NEVER, RELEASE, VACANT, table
from hwmodel.jit import part, routine

ACCESS = account("access", WORK, "data accesses that hit the first-level TLB; for a device: until the next could be issued if none missed")
ACCESSES = counter("device.accesses", "accesses of device agents")
HITS = counter("device.tlb.hits", "device accesses that hit the first-level TLB at the first look-up")
MISSES = counter("device.tlb.misses", "device accesses that did not")
DUPLICATES = counter("device.tlb.duplicates", "of these, misses on a page of which the engine had a miss in flight already")
DEVICE = table("held", "next", "last", "waits")
"""A row's engine: slots that misses hold; the place of its next hit among the last ones; the time of its latest issue; whether it waits
until it can issue."""
MISS = table("vpn", "write", "issued", "joined", "stall")
"""A row's miss: its page and right; when it was issued; how many other accesses have joined it; the account of an engine that it stalls."""


@part
def slot_at(m, i, held):
    """Return when engine i has a slot for a hit, if so many are held by misses; NEVER if a miss must go first."""
    ctl, at = m.ctl[0], m.devices[i].next - (m.ctl[0].window - held)
    if held >= ctl.window:
        return NEVER
    return m.flights[i - ctl.cpus, at + ctl.window if at < 0 else at] + m.ctl[0].latency


@part
def issue_at(m, i, held):
    """Return when engine i can issue its next access, if so many slots are held by misses."""
    return max(m.devices[i].last + m.ctl[0].interval, slot_at(m, i, held))


@part
def next_issue(m, i, now, limit):
    """Return when engine i, which has come to `now`, issues its next access; if that is not before `limit`, the engine waits."""
    device, at = m.devices[i], issue_at(m, i, m.devices[i].held)
    device.waits = 1 if at >= limit else 0
    if at <= now:
        return now
    if at < limit:
        book(m, i, now, at, issue_at(m, i, 0))
    return at


@part
def last_data(m, i):
    """Return when the latest hit of engine i has its data."""
    ctl, at = m.ctl[0], m.devices[i].next - 1
    return m.flights[i - ctl.cpus, at + ctl.window if at < 0 else at] + m.ctl[0].latency


@routine
def stall_account(m, i):
    """Return the account of engine i's time while a miss keeps it waiting: that of its oldest request."""
    ctl = m.ctl[0]
    first = ctl.agents + (i - ctl.cpus) * ctl.outstanding
    oldest = -1
    for r in range(first, first + ctl.outstanding):
        if m.rows[r].phase != VACANT and (oldest < 0 or m.misses[r].issued < m.misses[oldest].issued):
            oldest = r
    return m.misses[oldest].stall


@part
def book(m, i, since, until, free):
    """Book engine i's time: what comes before `free`, when it could have issued if none had missed, is access, the rest a stall."""
    access = min(max(free, since), until)
    m.ledger[i, ACCESS] += access - since
    if access < until:
        m.ledger[i, stall_account(m, i)] += until - access


@routine
def settle(m, i, now):
    """Book the time of an engine that waits for a slot, or for the end of its last accesses, up to now."""
    row = m.rows[i]
    if now > row.clock and (m.devices[i].waits or row.phase == DONE):
        book(m, i, row.clock, now, last_data(m, i) if row.phase == DONE else issue_at(m, i, 0))
        row.clock = now


@routine
def land(m, i, until):
    """Book the time that engine i, which waits for the order of the trace, has its last hits still in flight, up to `until` at the most."""
    row = m.rows[i]
    end = min(last_data(m, i), until)
    if end > row.clock:
        m.ledger[i, ACCESS] += end - row.clock
        row.clock = end


def land_all(m: Any) -> None:
    """Book the time that the last hits of each engine are still in flight at the end of a run."""
    ctl = m.ctl[0]
    if ctl.window:
        engines = slice(ctl.cpus, ctl.engines)
        rest = np.maximum(m.flights.max(axis=1)[: ctl.engines - ctl.cpus] + ctl.latency - m.rows["clock"][engines], 0)
        m.ledger[engines, ACCESS] += rest
        m.rows["clock"][engines] += rest


@part
def issue(m, i, now):
    """Note a hit that engine i issues now."""
    ctl, device = m.ctl[0], m.devices[i]
    m.flights[i - ctl.cpus, device.next] = device.last = now
    device.next = 0 if device.next + 1 == ctl.window else device.next + 1


@part
def take_hits(m, i, limit, now):
    """Issue the accesses of engine i's record, whose page was just hit, that begin before `limit`; return when the last one is issued."""
    row, device = m.rows[i], m.devices[i]
    op = m.queue[row.head]
    n, taken, slots = op.count - row.taken, 1, m.ctl[0].window - device.held
    issue(m, i, now)
    while taken < n:
        if taken == 2 * slots and n - taken > slots:
            skipped = skip(m, i, slots, (n - taken) // slots, limit)
            taken += skipped * slots
            now = device.last
        at = issue_at(m, i, device.held)
        if taken == n or at >= limit:
            break
        if at > now:
            book(m, i, now, at, issue_at(m, i, 0))
        issue(m, i, at)
        now = at
        taken += 1
    m.counts[i, ACCESSES] += taken - 1
    m.counts[i, HITS] += taken - 1
    row.taken += taken
    row.retried = 0
    if row.taken == op.count:
        next_record(m, i)
        row.done_at = max(row.done_at, now + m.ctl[0].latency)
    return now


@routine
def skip(m, i, slots, rounds, limit):
    """Issue at once as many rounds of `slots` hits as begin before `limit`, at most so many; return the number of rounds.

    After two rounds on their own the issues of a run repeat every `slots` accesses, in max(slots * I, L) cycles: each waits for the one
    before it, or for the slot of the one a round before.
    """
    ctl, device = m.ctl[0], m.devices[i]
    least = slots * ctl.interval
    cycles = max(least, ctl.latency)
    if cycles > 0:
        rounds = min(rounds, (limit - 1 - device.last) // cycles)
    for k in range(1, slots + 1):
        at = device.next - k
        m.flights[i - ctl.cpus, at + ctl.window if at < 0 else at] += rounds * cycles
    device.last += rounds * cycles
    m.ledger[i, ACCESS] += rounds * (least if device.held else cycles)
    if device.held and cycles > least:
        m.ledger[i, stall_account(m, i)] += rounds * (cycles - least)
    return rounds


@routine
def miss(m, i, vpn, write, merges):
    """Issue engine i's current access, which has missed; return the request that must resolve it, or -1 if it has joined another.

    The access holds its slot. `merges`: a miss joins a request of its page that has the right it needs.
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
    m.counts[i, ACCESSES] += 1
    m.counts[i, MISSES] += 1
    m.counts[i, DUPLICATES] += known
    device.held += 1
    device.last = now
    index = m.queue[row.head].index
    row.retried = 0
    row.taken += 1
    if row.taken == m.queue[row.head].count:
        next_record(m, i)
        row.done_at = max(row.done_at, now)
    if taker >= 0:
        m.misses[taker].joined += 1
        return -1
    r = vacant_request(m, i)
    its = m.misses[r]
    m.rows[r].index, its.vpn, its.write, its.issued, its.joined, m.due[r] = index, vpn, write, now, 0, now
    return r


@part
def found(m, r):
    """Let request r, which has its translation now, hold its slot until its data are there."""
    m.rows[r].phase, m.misses[r].stall = RELEASE, ACCESS
    m.due[r] += m.ctl[0].latency


@routine
def release(m, r):
    """RELEASE: give up the slots of request r, whose accesses are complete; an engine that waits for a slot looks again."""
    e, now = m.rows[r].agent, m.due[r]
    engine, device = m.rows[e], m.devices[e]
    device.held -= 1 + m.misses[r].joined
    engine.done_at = max(engine.done_at, now)
    m.rows[r].phase, m.due[r] = VACANT, NEVER
    if device.waits:
        m.due[e] = max(engine.clock, now)
