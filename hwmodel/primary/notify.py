"""mmu-notifier points: a step ends and leaves a notice in its row; the engine delivers the notice to the design (docs/model.md 8.5).

Linux 6.12 mm/mmu_notifier.c.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import COHERENCE, NOTIFICATION, account, counter, latency, record
from hwmodel.core.tables import NOTICE, NOTICE_ARRIVES, REQUEST, table
from hwmodel.jit import part, routine

START, STOP, RELEASE = 0, 1, 2
NOTIFY = account("notify", COHERENCE, "calling mmu notifiers", NOTIFICATION)
INVALIDATE = account("invalidate", COHERENCE, "the callbacks of mmu notifiers: what a subscriber does to its translations", NOTIFICATION)
STARTS = counter("notices.start", "invalidate_range_start notices sent")
STOPS = counter("notices.end", "invalidate_range_end notices sent")
RELEASES = counter("notices.release", "release notices sent")
ROUND_TRIP = latency("notice", "invalidate_range_start, call to return")
NOTIFYING = table("first", "last", "kind", "then", "since", "stage", "at")
"""A row's notice: pages [first, last); START, STOP or RELEASE; the phase that follows; when the call began. The subscriber's progress is in
`stage` and `at`: `stage` is 0 when the notice arrives."""


@part
def call(m, r, kind, first, last, then):
    """Let row r's next step tell the space's subscriber; without one, go on with `then` at once. Return whether row r goes on at once."""
    row, notice = m.rows[r], m.notices[r]
    row.phase = then
    if m.spaces[row.space].subscribers == 0:
        return True
    row.phase, notice.then = NOTICE, then
    notice.kind, notice.first, notice.last, notice.stage = kind, first, last, 0
    return False


@routine
def send(m, r):
    """NOTICE: begin the call; the notice arrives when the row is due again."""
    row, notice = m.rows[r], m.notices[r]
    notice.since = clock.time(m, r)
    m.counts[row.agent, STARTS if notice.kind == START else STOPS if notice.kind == STOP else RELEASES] += 1
    row.phase, row.effect = NOTICE_ARRIVES, 1
    clock.spend(m, r, NOTIFY, m.costs[0].notice)


@part
def returned(m, r):
    """Go on after a notice with which the subscriber is done."""
    row, notice = m.rows[r], m.notices[r]
    row.effect = 1 if row.role == REQUEST else 0
    row.phase = notice.then
    if notice.kind == START:
        record(m.hists, ROUND_TRIP, clock.time(m, r) - notice.since)
