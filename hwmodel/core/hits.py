"""Runs of hits of an engine: issued one by one, or many rounds of them at once (docs/model.md section 15)."""

from hwmodel.core.device import ACCESS, ACCESSES, HITS, book_issue, issue_at, stall_account
from hwmodel.core.queue import next_record
from hwmodel.jit import part, routine


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
            book_issue(m, i, now, at)
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
