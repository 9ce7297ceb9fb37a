"""mmu-notifier points: a step ends and leaves a notice in its row; the engine delivers the notice to the design (docs/model.md 8.5).

Linux 6.12 mm/mmu_notifier.c.
"""

from hwmodel.core import clock, log
from hwmodel.core.ledger import COHERENCE, NOTIFICATION, account, counter, latency, record
from hwmodel.core.tables import NOTICE, NOTICE_ARRIVES, table
from hwmodel.jit import part, routine

START, STOP, RELEASE, CLEAR_FLUSH_YOUNG, CLEAR_YOUNG, TEST_YOUNG = range(6)
"""Kinds of notices; from CLEAR_FLUSH_YOUNG on they ask whether the pages were used (mmu_notifier_ops of those names)."""
NOTIFY = account("notify", COHERENCE, "calling mmu notifiers", NOTIFICATION)
INVALIDATE = account("invalidate", COHERENCE, "the callbacks of mmu notifiers: what a subscriber does to its translations", NOTIFICATION)
STARTS = counter("notices.start", "invalidate_range_start notices sent")
STOPS = counter("notices.end", "invalidate_range_end notices sent")
RELEASES = counter("notices.release", "release notices sent")
QUESTIONS = counter("notices.young", "clear_flush_young, clear_young and test_young notices sent")
ROUND_TRIP = latency("notice", "invalidate_range_start, call to return")
NOTIFYING = table("first", "last", "kind", "then", "since", "subscriber", "stage", "at", "young")
"""A row's notice: pages [first, last); its kind; the phase that follows; when the call began. `subscriber` is the number of the one whose
turn it is, and its progress is in `stage` and `at`: both are 0 when the notice arrives. `young` is the answer so far."""


@part
def call(m, r, kind, first, last, then):
    """Let row r's next step tell the space's subscribers; without one, go on with `then` at once. Return whether row r goes on at once."""
    row, notice = m.rows[r], m.notices[r]
    row.phase, notice.young = then, 0
    if m.spaces[row.space].subscribers == 0:
        return True
    row.phase, notice.then, notice.subscriber, notice.at = NOTICE, then, 0, 0
    notice.kind, notice.first, notice.last, notice.stage = kind, first, last, 0
    return False


@routine
def send(m, r):
    """NOTICE: begin the call; the notice arrives when the row is due again."""
    row, notice, counts = m.rows[r], m.notices[r], m.counts[m.rows[r].agent]
    notice.since = clock.time(m, r)
    counts[STARTS if notice.kind == START else STOPS if notice.kind == STOP else RELEASES if notice.kind == RELEASE else QUESTIONS] += 1
    if notice.kind == START:
        log.window_opens(m, r, notice.since)
    row.phase, row.effect = NOTICE_ARRIVES, 1
    clock.spend(m, r, NOTIFY, m.costs[0].notice)


@part
def answer(m, r, young):
    """Add a subscriber's answer (0 or 1) to those before it: whether it has used the pages; the caller finds all in `young`."""
    m.notices[r].young |= young


@part
def end_effect(m, r):
    """Say that the rest of the delivery acts on nobody's private state, so that others may run ahead; not if another subscriber follows."""
    if m.notices[r].subscriber + 1 == m.spaces[m.rows[r].space].subscribers:
        clock.lower(m.rows[r])


@part
def returned(m, r):
    """Go on after a subscriber's callback: with the next one's, or after the last one with the phase that follows.

    test_young asks no further once one has said yes.
    """
    row, notice = m.rows[r], m.notices[r]
    is_known = notice.kind == TEST_YOUNG and notice.young
    if notice.subscriber + 1 < m.spaces[row.space].subscribers and not is_known:
        notice.subscriber, notice.stage, notice.at = notice.subscriber + 1, 0, 0
        return
    clock.lower(row)
    row.phase, now = notice.then, clock.time(m, r)
    log.note(m, log.NOTICE, r, notice.since, now, notice.first, notice.last - notice.first, notice.kind)
    if notice.kind == START:
        record(m.hists, ROUND_TRIP, now - notice.since)
    elif notice.kind == STOP:
        log.window_is_closed(m, r, now, notice.first, notice.last)
