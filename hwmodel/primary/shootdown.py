"""TLB flushes of an address space and the interrupts they send (docs/model.md section 8).

Linux 6.12 arch/x86/mm/tlb.c flush_tlb_mm_range, flush_tlb_func; kernel/smp.c smp_call_function_many_cond: the initiator flushes its
own TLB while the interrupts travel, then waits for all answers.
"""

from hwmodel.core import clock, log
from hwmodel.core.ledger import COHERENCE, SHOOTDOWN, account, counter, latency, record
from hwmodel.core.tables import CPU, DONE, FLUSH, FLUSH_ACKED, FLUSH_ARRIVES, NEVER, REQUEST, table
from hwmodel.jit import part, routine
from hwmodel.op import CONTINUES, EXIT, MMAP
from hwmodel.parts import bank, tlb
from hwmodel.parts.paging_caches import DTLB, ITLB, PDE, PML4E, STLB

FLUSHING = account("flush", COHERENCE, "local TLB flushes", SHOOTDOWN)
SENDING = account("ipi_send", COHERENCE, "sending inter-processor interrupts, with the requests that come before them", SHOOTDOWN)
WAITING = account("ipi_wait", COHERENCE, "waiting for their acknowledgement", SHOOTDOWN)
RESPONDING = account("ipi_respond", COHERENCE, "answering TLB-flush interrupts of other CPUs", SHOOTDOWN)
FULL = counter("flushes.full", "TLB flushes of a whole address space")
RANGED = counter("flushes.ranged", "TLB flushes page by page")
PAGES = counter("flushes.pages", "pages flushed by ranged flushes")
SENT, ACKED = counter("ipis.sent", "interrupts sent for TLB flushes and kicks"), counter("ipis.acked", "interrupts answered")
DURATION = latency("shootdown", "TLB flushes with remote targets, decision to last acknowledgement")
FLUSHED = table("first", "last", "stride", "full", "tables", "then", "gen", "since", "far", "local", "sent", "stage", "missing", "answered")
"""A row's flush: pages [first, last) by `stride`, or all; whether tables are freed; the phase that follows; its generation and beginning;
whether far CPUs are among the targets; cycles left of the local flush; when the interrupts were sent, which hop class arrives next; answers
that are missing, and when the last one so far came."""
IN_FLIGHT = -1
"""In the table of pending interrupts: sent and not yet arrived (the targets are those at the moment of sending)."""


@part
def call(m, r, first, last, stride, freed, full, then):
    """Let row r's next step flush pages [first, last) of its space; then the row goes on with `then`. Return False."""
    flush = m.flushes[r]
    m.rows[r].phase, flush.then = FLUSH, then
    flush.first, flush.last, flush.stride = first, last, stride
    flush.full, flush.tables = full, freed
    return False


@part
def is_target(m, r, c):
    """Return whether CPU c must hear of row r's flush."""
    row, flush, cpu = m.rows[r], m.flushes[r], m.rows[c]
    return c != row.cpu and cpu.in_mask == 1 and cpu.space == row.space and (cpu.lazy == 0 or flush.tables == 1)


@part
def is_far(m, r, c):
    """Return whether CPU c is on another socket than row r's."""
    return m.ctl[0].bau == 0 and m.rows[c].socket != m.rows[m.rows[r].cpu].socket


@routine
def start(m, r):
    """FLUSH: choose a full or a ranged flush, flush on this CPU, send the interrupts."""
    row, flush, ctl, costs = m.rows[r], m.flushes[r], m.ctl[0], m.costs[0]
    space, counts = m.spaces[row.space], m.counts[row.agent]
    pages = (flush.last - flush.first) // flush.stride
    if pages > ctl.ceiling:
        flush.full = 1
    space.tlb_gen += 1
    flush.gen, flush.since = space.tlb_gen, clock.time(m, r)
    counts[FULL] += flush.full
    if not flush.full:
        counts[RANGED] += 1
        counts[PAGES] += pages
    near = far = others = 0
    for c in range(ctl.agents):
        others += c != row.cpu and m.rows[c].in_mask == 1 and m.rows[c].space == row.space
        if is_target(m, r, c):
            m.pending[c, r] = IN_FLIGHT
            if is_far(m, r, c):
                far += 1
            else:
                near += 1
    here = m.rows[row.cpu]
    flush.local = 0
    if here.in_mask and here.space == row.space and (not here.lazy or flush.tables or others == 0):
        flush.local = flush_here(m, row.cpu, r, costs.flush_fixed)
    row.phase = flush.then
    if near + far == 0:
        note_alone(m, r)
        clock.spend(m, r, FLUSHING, flush.local)
        note_flush(m, r, clock.time(m, r), 0)
        return
    counts[SENT] += near + far
    if ctl.bau:
        clock.spend(m, r, SENDING, costs.bau_send)
    else:
        clock.spend(m, r, SENDING, costs.ipi_send + (near + far - 1) * costs.ipi_send_more)
    flush.sent, flush.far = clock.time(m, r), far > 0
    flush.answered, flush.missing, row.effect, row.phase = 0, 0, 1, FLUSH_ARRIVES
    overlap_until(m, r, flush.sent + (costs.bau if ctl.bau else costs.ipi_delivery if near else costs.ipi_delivery + costs.ipi_far))
    flush.stage = 0 if near else 1


@part
def note_alone(m, r):
    """Remember the first operation whose flush interrupts nobody since every other thread of the address space is done, but for an EXIT."""
    row, ctl, done = m.rows[r], m.ctl[0], False
    for c in range(ctl.cpus):
        done |= c != r and m.rows[c].phase == DONE and m.rows[c].space == row.space and m.rows[c].unused == 0
    if done and row.role == CPU:
        op = m.queue[row.head]
        if op.kind & CONTINUES == 0 and op.kind >= MMAP and op.kind != EXIT:
            ctl.first_alone = min(ctl.first_alone, op.index)


@part
def overlap_until(m, r, arrival):
    """Go on with the local flush until the interrupts arrive; then wait."""
    flush = m.flushes[r]
    piece = max(0, min(flush.local, arrival - clock.time(m, r)))
    clock.spend(m, r, FLUSHING, piece)
    flush.local -= piece
    clock.wait(m, r, WAITING, arrival)


@routine
def arrive(m, r):
    """FLUSH_ARRIVES: let the interrupts of one hop class arrive."""
    row, flush, ctl, costs = m.rows[r], m.flushes[r], m.ctl[0], m.costs[0]
    now = m.due[r]
    for c in range(ctl.agents):
        if m.pending[c, r] == IN_FLIGHT and is_far(m, r, c) == flush.stage:
            if m.rows[c].owned:
                m.pending[c, r] = now + 1
                flush.missing += 1
            else:
                m.pending[c, r] = 0
                respond(m, c, now, r)
    if flush.stage == 0 and flush.far:
        flush.stage = 1
        overlap_until(m, r, flush.sent + costs.ipi_delivery + costs.ipi_far)
        return
    clock.lower(row)
    clock.spend(m, r, FLUSHING, flush.local)
    row.phase = FLUSH_ACKED
    if flush.missing > 0:
        clock.block(m, r, WAITING)
    else:
        finish(m, r)


@part
def finish(m, r):
    """Wait until the last answer arrives, all CPUs having answered, and go on."""
    flush = m.flushes[r]
    clock.wait(m, r, WAITING, flush.answered)
    m.rows[r].phase, end = flush.then, clock.time(m, r)
    record(m.hists, DURATION, end - flush.since)
    note_flush(m, r, end, 1)


@routine
def acked(m, r):
    """FLUSH_ACKED: go on after the last acknowledgement that a handler's end delayed; its arrival woke the row."""
    row, flush = m.rows[r], m.flushes[r]
    row.phase = flush.then
    end = flush.answered if row.role == REQUEST else row.wait_until
    record(m.hists, DURATION, end - flush.since)
    note_flush(m, r, end, 1)


@part
def note_flush(m, r, end, remote):
    """Note the flush of row r, with interrupts to others or without."""
    flush = m.flushes[r]
    note_pages(m, log.FLUSH, r, flush, flush.since, end, flush.full | remote << 1)


@part
def note_pages(m, kind, r, flush, begin, end, detail):
    """Note an event of row r that is about the pages of a flush: none of their own if all are flushed."""
    log.note(m, kind, r, begin, end, -1 if flush.full else flush.first, 0 if flush.full else flush.last - flush.first, detail)


@routine
def respond(m, c, arrival, r):
    """Let CPU c answer the flush of row r."""
    flush, cpu, costs = m.flushes[r], m.rows[c], m.costs[0]
    cycles = costs.ipi_respond + flush_here(m, c, r, 0)  # the fixed cost of a range is the initiator's only
    after = 0
    if cpu.away:
        after = cpu.resume  # the handler runs, and answers, between the two
        cycles += cpu.leave + after
    end = clock.steal(m, c, RESPONDING, arrival, cycles)
    note_pages(m, log.IPI, c, flush, end - cycles, end, r << 1)
    m.counts[m.rows[r].agent, ACKED] += 1
    flush.answered = max(flush.answered, end - after + costs.ipi_ack)


@routine
def flush_here(m, c, r, fixed):
    """Do on CPU c the flush that row r asks for; return its cycles, for a range `fixed` and those of each page (flush_tlb_func)."""
    cpu, flush, costs = m.rows[c], m.flushes[r], m.costs[0]
    space = m.spaces[m.rows[r].space]
    if not cpu.in_mask:
        return 0
    if cpu.lazy:
        cpu.in_mask = 0
        empty_tlbs(m, c)
        return costs.flush_full
    if cpu.local_gen >= space.tlb_gen:
        return 0
    behind = space.tlb_gen - cpu.local_gen
    cpu.local_gen = space.tlb_gen
    if flush.full or behind != 1 or flush.gen != space.tlb_gen:
        empty_tlbs(m, c)
        return costs.flush_full
    pages = (flush.last - flush.first + flush.stride - 1) // flush.stride
    if cpu.role == CPU:
        for k in range(pages):
            tlb.drop_page(m, cpu.banks + ITLB, -1, flush.first + k * flush.stride)
            tlb.drop_page(m, cpu.banks + DTLB, cpu.banks + STLB, flush.first + k * flush.stride)
        for b in range(cpu.banks + PDE, cpu.banks + PML4E + 1):
            bank.empty(m, b)
    return fixed + pages * costs.flush_page


@routine
def empty_tlbs(m, c):
    """Drop all translations of CPU c (an engine's own are its design's and stay)."""
    if m.rows[c].role == CPU:
        for b in range(m.rows[c].banks + ITLB, m.rows[c].banks + PML4E + 1):
            bank.empty(m, b)


@routine
def answer_pending(m, c, r):
    """Let CPU c, no longer owned, answer the flush of row r that waited; wake the row at the last answer."""
    row, flush = m.rows[r], m.flushes[r]
    arrival = m.pending[c, r] - 1
    m.pending[c, r] = 0
    respond(m, c, arrival, r)
    flush.missing -= 1
    if flush.missing == 0 and row.phase == FLUSH_ACKED:  # else the interrupts to the far CPUs are still on their way
        clock.wake(m, r, flush.answered)


@part
def earliest_pending(m, c):
    """Return the row whose interrupt has waited longest on CPU c, or -1."""
    best, since = -1, NEVER
    for r in range(m.rows.size):
        if 0 < m.pending[c, r] < since:
            best, since = r, m.pending[c, r]
    return best
