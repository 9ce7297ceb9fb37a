"""mmu-notifier points: a step ends and leaves a notice in its row; the engine delivers the notice to the design (docs/model.md 8.5).

Linux 6.12 mm/mmu_notifier.c. A row's notice: pages [note_first, note_last), note_end 0 start, 1 end, 2 release.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import account, counter, latency, record
from hwmodel.core.tables import NOTICE, NOTICE_ARRIVES, REQUEST
from hwmodel.jit import part, routine

START, STOP, RELEASE = 0, 1, 2
NOTIFY = account("notify")
STARTS, STOPS, RELEASES = counter("notices.start"), counter("notices.end"), counter("notices.release")
ROUND_TRIP = latency("notice")



@part
def tell(m, r, kind, first, last, then):
    """Let row r's next step tell the space's subscriber; without one, go on with `then` at once. Return whether row r goes on at once."""
    row = m.rows[r]
    row.phase = then
    if m.spaces[row.space].subscribers == 0:
        return True
    row.phase, row.note_then = NOTICE, then
    row.note_end, row.note_first, row.note_last, row.note_stage = kind, first, last, 0
    return False


@routine
def send(m, r):
    """NOTICE: begin the call; the notice arrives when the row is due again."""
    row = m.rows[r]
    row.note_from = clock.time(m, r)
    m.counts[row.agent, STARTS if row.note_end == START else STOPS if row.note_end == STOP else RELEASES] += 1
    row.phase, row.effect = NOTICE_ARRIVES, 1
    clock.spend(m, r, NOTIFY, m.costs[0].notice)


@part
def returned(m, r):
    """Go on after a notice with which the subscriber is done."""
    row = m.rows[r]
    row.effect = 1 if row.role == REQUEST else 0
    row.phase = row.note_then
    if row.note_end == START:
        record(m.hists, ROUND_TRIP, clock.time(m, r) - row.note_from)
