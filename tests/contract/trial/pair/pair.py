"""A design that exists for the tests: an engine has two one-entry TLBs, for even and odd pages, each a subscriber of its own.

Notices visit the TLB of even pages and then that of odd ones (docs/model.md 8.5). Each misses on its own, holds nothing of an open window,
and tells who asks whether it was used. A request asks first, in one way or another, what a kernel that ages pages would ask.
"""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.config import DesignSpec, Nanoseconds, Section, cost_ns
from hwmodel.config.device import Device
from hwmodel.core import clock, device
from hwmodel.core.ledger import CORE, SERVICE, Book
from hwmodel.core.tables import DESIGN, HUGE, I64, NEVER, PFN, REQUEST, WRITES, ZERO, D, P, W, cost_row, cost_table
from hwmodel.engine import drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import bank, radix, tlb
from hwmodel.primary import access, fault, notify
from hwmodel.secondary.protocol import engine_rows, first_cpu, no_request

ASKED, LOOK, NO_RIGHT = range(DESIGN, DESIGN + 3)
BOOK = Book(CORE)
STALL = BOOK.account("stall_fault", SERVICE, "engine stalled, its oldest miss on a CPU")
FAULT_PHASE = BOOK.phase("fault", STALL, "the kernel's fault, until a look finds the page")
YOUNG = BOOK.counter("pair.young", "misses whose question was answered with yes")


class Tlbs(Section):
    """The callbacks."""

    even_ns: Nanoseconds = cost_ns(100, "even", "a callback of the TLB of even pages", "E", low=1, high=1000)
    odd_ns: Nanoseconds = cost_ns(200, "odd", "a callback of the TLB of odd pages", "E", low=1, high=1000)


class Spec(DesignSpec):
    """The costs of both, and what every engine has."""

    tlbs: Tlbs = Tlbs()
    device: Device = Device()


COSTS = cost_table(Spec)


class State(NamedTuple):
    """The TLBs."""

    banks: np.ndarray  # int64[row, 2]  the TLB of even, of odd pages
    used: np.ndarray  # int64[row, 2]  whether its entry was used since it was last asked about
    windows: np.ndarray  # int64[space, 2]  windows that are open
    costs: np.ndarray  # COSTS[1]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding."""
    return machine.get("device.window")


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the TLBs."""
    return [(1, 1)] * 2 * engines


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Subscribe the TLBs of a space's engines, twice."""
    banks, used = np.zeros((2, m.rows.size, 2), I64)
    for r, row in engine_rows(m):
        banks[r] = first_bank + 2 * (row.agent - m.ctl[0].cpus) + np.arange(2)
        row.group, m.spaces[row.space].subscribers = row.agent, 2
        if row.role == REQUEST:
            row.effect, row.cpu = 1, first_cpu(m, row.space)
    return State(banks, used, np.zeros((m.spaces.size, 2), I64), cost_row(COSTS, machine.costs()))


def reach(m: Any, dev: State) -> tuple[int, int]:
    """Return how soon, in cycles, a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design."""
    return NEVER, 0


@part
def translate(m, dev, i, kind, vpn, now):
    """Look engine i's current access up in its TLB."""
    k = tlb.look_joint(m, dev.banks[i, vpn & 1], m.rows[i].space, vpn)
    if k < 0 or (kind == WRITE and m.ways[k].rights & WRITES == 0):
        return access.ORDERED
    m.counts[i, device.ACCESSES] += 1
    m.counts[i, device.HITS] += 1
    dev.used[i, vpn & 1] = 1
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Ask whether the page was used; the kind of the question goes by the page."""
    r = device.miss(m, i, vpn, kind == WRITE, False)
    device.enter(m, r, FAULT_PHASE, m.due[r])
    notify.call(m, r, notify.CLEAR_FLUSH_YOUNG + vpn % 3, vpn, vpn + 1, ASKED)


@part
def advance(m, dev, r):
    """ASKED: take the answer. LOOK: take the page into the TLB; or have it faulted in, or wait while a window is open."""
    row, miss = m.rows[r], m.misses[r]
    vpn, write = miss.vpn, miss.write
    pte = radix.get(m, m.spaces[row.space].root, vpn)
    if row.phase == NO_RIGHT:
        m.counts[row.agent, fault.COUNT_SEGV] += 1
        fault.note_segv(m, row.index)
        device.release(m, r)
        return
    m.counts[row.agent, YOUNG] += m.notices[r].young and row.phase == ASKED
    if not pte & P or (write and not (pte & W and pte & D)):
        fault.call(m, r, vpn, write, 0, 0, LOOK, NO_RIGHT)
        return
    if dev.windows[row.space, vpn & 1] > 0:
        row.phase, m.due[r] = LOOK, NEVER
        return
    page = (pte >> PFN) + (vpn & 511 if pte & HUGE and not pte & ZERO else 0)
    bank.fill(m, dev.banks[row.agent, vpn & 1], vpn, tlb.tag_of(row.space, vpn, 0), page, WRITES if write else 0)
    dev.used[row.agent, vpn & 1] = 1
    device.found(m, r, device.UNMEASURED)


@routine
def deliver(m, dev, r):
    """Do one step of the callback of one TLB of every engine in row r's space."""
    row, notice = m.rows[r], m.notices[r]
    odd = notice.subscriber
    if notice.stage == 0:
        dev.windows[row.space, odd] += 1 if notice.kind == notify.START else -1 if notice.kind == notify.STOP else 0
        cycles, now = dev.costs[0].odd if odd else dev.costs[0].even, clock.time(m, r)
        for i in range(m.ctl[0].cpus, m.ctl[0].engines):
            if m.rows[i].space == row.space:
                see(m, dev, r, i)
                if notice.kind == notify.START:
                    cycles = max(cycles, device.last_use(m, i) - now)
        if notice.kind == notify.STOP:
            wake(m, row.space, odd, now)
        notice.stage = 1
        notify.end_effect(m, r)
        clock.spend(m, r, notify.INVALIDATE, cycles)
    else:
        notify.returned(m, r)


@part
def wake(m, space, odd, now):
    """Let the requests that waited for a window of these pages look again."""
    for r in range(m.ctl[0].agents, m.rows.size):
        if m.rows[r].phase == LOOK and m.due[r] == NEVER and m.rows[r].space == space and m.misses[r].vpn & 1 == odd:
            m.due[r] = now


@part
def see(m, dev, r, i):
    """Do what the notice in row r asks of the one TLB of engine i."""
    notice = m.notices[r]
    b, kind = dev.banks[i, notice.subscriber], notice.kind
    page = m.ways[m.banks[b].offset].tag - tlb.tag_of(m.rows[i].space, 0, 0) >> 1
    if kind == notify.START or kind == notify.RELEASE:
        tlb.drop_range(m, b, m.rows[i].space, notice.first, notice.last)
    elif kind > notify.RELEASE and notice.first <= page < notice.last:
        notify.answer(m, r, dev.used[i, notice.subscriber])
        dev.used[i, notice.subscriber] *= kind == notify.TEST_YOUNG


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, advance, deliver)
