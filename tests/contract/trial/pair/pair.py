"""A design that exists for the tests: an engine has two one-entry TLBs, for even and odd pages, each a subscriber of its own.

Notices visit the TLB of even pages and then that of odd ones (docs/model.md 8.5). Each misses on its own, holds nothing of an open window,
and tells who asks whether it was used. An engine that misses asks first, in one way or another, what a kernel that ages pages would ask.
"""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.config import DesignSpec, Nanoseconds, Section, cost_ns
from hwmodel.core import clock
from hwmodel.core.ledger import CORE, Book
from hwmodel.core.queue import complete_access
from hwmodel.core.tables import DESIGN, HUGE, I64, PFN, READY, WRITES, ZERO, D, P, W, cost_row, cost_table
from hwmodel.engine import DEVICE_ACCESSES, DEVICE_HITS, DEVICE_MISSES, drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import CONTINUES, WRITE
from hwmodel.parts import bank, radix, tlb
from hwmodel.primary import access, fault, notify
from hwmodel.secondary.protocol import no_request

ASKED = DESIGN
BOOK = Book(CORE)
YOUNG = BOOK.counter("pair.young", "misses whose question was answered with yes")


class Tlbs(Section):
    """The callbacks."""

    even_ns: Nanoseconds = cost_ns(100, "even", "a callback of the TLB of even pages", "E", low=1, high=1000)
    odd_ns: Nanoseconds = cost_ns(200, "odd", "a callback of the TLB of odd pages", "E", low=1, high=1000)


class Spec(DesignSpec):
    """The costs of both."""

    tlbs: Tlbs = Tlbs()


COSTS = cost_table(Spec)


class State(NamedTuple):
    """The TLBs."""

    banks: np.ndarray  # int64[row, 2]  the TLB of even, of odd pages
    used: np.ndarray  # int64[row, 2]  whether its entry was used since it was last asked about
    windows: np.ndarray  # int64[space, 2]  windows that are open
    costs: np.ndarray  # COSTS[1]


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the TLBs."""
    return [(1, 1)] * 2 * engines


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Subscribe the TLBs of a space's engines, twice."""
    banks, used = np.zeros((2, m.rows.size, 2), I64)
    for unit, row in enumerate(m.rows[m.ctl[0].cpus : m.ctl[0].agents]):
        banks[row.agent] = first_bank + 2 * unit, first_bank + 2 * unit + 1
        m.spaces[row.space].subscribers = 2
    return State(banks, used, np.zeros((m.spaces.size, 2), I64), cost_row(COSTS, machine.costs()))


@part
def translate(m, dev, i, kind, vpn, now):
    """Look engine i's current access up in its TLB."""
    row, counts = m.rows[i], m.counts[i]
    k = tlb.look_joint(m, dev.banks[i, vpn & 1], row.space, vpn)
    hit = k >= 0 and (kind != WRITE or m.ways[k].rights & WRITES != 0)
    if not row.retried:
        row.retried = 1
        counts[DEVICE_ACCESSES] += 1
        counts[DEVICE_HITS] += hit
        counts[DEVICE_MISSES] += not hit
    if not hit:
        return access.ORDERED
    dev.used[i, vpn & 1] = 1
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Ask whether the page was used; the kind of the question goes by the page."""
    notify.call(m, i, notify.CLEAR_FLUSH_YOUNG + vpn % 3, vpn, vpn + 1, ASKED)


@part
def advance(m, dev, i):
    """ASKED: take the answer; then the fault, or the page: it goes into the TLB, or is used this once if a window is open."""
    row, op = m.rows[i], m.queue[m.rows[i].head]
    vpn, write = op.address >> 12, op.kind & ~CONTINUES == WRITE
    m.counts[i, YOUNG] += m.notices[i].young
    row.phase = READY
    pte = radix.get(m, m.spaces[row.space].root, vpn)
    if not pte & P or (write and not (pte & W and pte & D)):
        fault.call(m, i, vpn, write, 0, 0, READY, READY)
    elif dev.windows[row.space, vpn & 1] > 0:
        complete_access(m, i)
    else:
        page = (pte >> PFN) + (vpn & 511 if pte & HUGE and not pte & ZERO else 0)
        bank.fill(m, dev.banks[i, vpn & 1], vpn, tlb.tag_of(row.space, vpn, 0), page, WRITES if write else 0)


@routine
def deliver(m, dev, r):
    """Do one step of the callback of one TLB of every engine in row r's space."""
    row, notice = m.rows[r], m.notices[r]
    odd = notice.subscriber
    if notice.stage == 0:
        dev.windows[row.space, odd] += 1 if notice.kind == notify.START else -1 if notice.kind == notify.STOP else 0
        for i in range(m.ctl[0].cpus, m.ctl[0].agents):
            if m.rows[i].space == row.space:
                see(m, dev, r, i)
        notice.stage = 1
        notify.end_effect(m, r)
        clock.spend(m, r, notify.INVALIDATE, dev.costs[0].odd if odd else dev.costs[0].even)
    else:
        notify.returned(m, r)


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
