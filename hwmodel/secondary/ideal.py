"""The bound of all designs: engines look pages up in the CPUs' page table, at no cost; only the kernel's faults take time.

There is no TLB, no notice, no interrupt and no walk. A miss is a request whose fault runs on the CPU of the space's first thread, while the
engine issues on (docs/model.md section 14).
"""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.config import DesignSpec, Nanoseconds, Section, cost_ns, setting
from hwmodel.core import clock
from hwmodel.core.ledger import CORE, SERVICE, Book, record
from hwmodel.core.queue import next_record, vacant_request
from hwmodel.core.tables import DESIGN, ENGINE, NEVER, VACANT, D, P, W, cost_row, cost_table, table
from hwmodel.engine import ACCESS as ISSUE
from hwmodel.engine import DEVICE_ACCESSES, DEVICE_HITS, DEVICE_MISSES, FAULT_TIME, drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import radix
from hwmodel.primary import access, fault
from hwmodel.secondary.protocol import engine_rows, first_cpu, no_notice, no_request

ACCESS_COST = "access_device"
"""The cost of an engine's access."""
LOOK, REPLAY, NO_RIGHT = range(DESIGN, DESIGN + 3)
BOOK = Book(CORE)
STALL = BOOK.account("stall_fault", SERVICE, "engine stalled, its misses in page faults")


class Device(Section):
    """What is left of an engine whose translation costs nothing."""

    window: int = setting(
        8, "count", "misses that an engine may have in flight; nothing is known: it is the bound of an ideal", "E",
        ge=1, le=128, low=1, high=128,
    )  # fmt: skip
    access_ns: Nanoseconds = cost_ns(88, "access_device", "one access of an engine, in its turn", "E", low=0.3, high=700)


class Spec(DesignSpec):
    """The settings of the ideal design.

    Attributes
    ----------
    device : Section
        See the section.
    """

    device: Device = Device()


COSTS = cost_table(Spec)
MISSED = table("vpn", "write", "issued")
"""A request: its page and right, and when it first missed."""


class State(NamedTuple):
    """The misses in flight, and the costs."""

    misses: np.ndarray  # MISSED[row]
    costs: np.ndarray  # COSTS[1]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding."""
    return machine.get("device.window")


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Give engines their cost of an access and requests their CPU; return the design's own tables."""
    costs = cost_row(COSTS, machine.costs())
    for _, row in engine_rows(m):
        if row.role == ENGINE:
            row.access_cost = costs["access_device"][0]
        else:
            row.effect, row.cpu = 1, first_cpu(m, row.space)
    return State(np.zeros(m.rows.size, MISSED), costs)


def reach(m: Any, dev: State) -> tuple[int, int]:
    """Return the fewest cycles until a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design.

    Any step may change the page table. A miss reaches its CPU when its issue is over.
    """
    return 0, dev.costs[0].access_device


@part
def is_allowed(m, r, vpn, write):
    """Return whether the page table lets row r access `vpn`, without a change to it."""
    pte = radix.get(m, m.spaces[m.rows[r].space].root, vpn)
    return pte & P != 0 and (not write or (pte & W != 0 and pte & D != 0))


@part
def translate(m, dev, i, kind, vpn, now):
    """Look engine i's current access up in the CPUs' page table."""
    if not is_allowed(m, i, vpn, kind == WRITE):
        return access.ORDERED
    m.counts[i, DEVICE_ACCESSES] += 1
    m.counts[i, DEVICE_HITS] += 1
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Give the rest of engine i's record, whose access missed, to a vacant request and issue on; stall if there is none."""
    row, counts, cost, r = m.rows[i], m.counts[i], dev.costs[0].access_device, vacant_request(m, i)
    if r < 0:
        clock.block(m, i, STALL)
        return
    its, miss, op = m.rows[r], dev.misses[r], m.queue[row.head]
    n = op.count - row.taken
    counts[DEVICE_ACCESSES] += n
    counts[DEVICE_MISSES] += 1
    counts[DEVICE_HITS] += n - 1
    its.phase, its.index, miss.vpn, miss.write, miss.issued = LOOK, op.index, vpn, kind == WRITE, row.clock
    m.due[r] = row.clock + cost  # the first access misses; the engine issues the others meanwhile
    clock.spend(m, i, ISSUE, n * cost)
    next_record(m, i)
    row.done_at = max(row.done_at, row.clock)


@part
def advance(m, dev, r):
    """Do one step of request r that is not the kernel's."""
    step(m, dev, r)


@routine
def step(m, dev, r):
    """Look again, and complete the record or take the fault; a fault is followed by another access of the page."""
    row, miss = m.rows[r], dev.misses[r]
    if row.phase == REPLAY:
        row.phase = LOOK
        m.due[r] += dev.costs[0].access_device
    elif row.phase == NO_RIGHT:
        m.counts[row.agent, fault.COUNT_SEGV] += 1
        fault.note_segv(m, row.index)
        complete(m, r)
    elif is_allowed(m, r, miss.vpn, miss.write):
        record(m.hists, FAULT_TIME, m.due[r] - miss.issued)
        complete(m, r)
    else:
        fault.call(m, r, miss.vpn, miss.write, 0, 0, REPLAY, NO_RIGHT)


@part
def complete(m, r):
    """Complete the request's record; an engine that has stalled goes on."""
    row, now = m.rows[r], m.due[r]
    engine = m.rows[row.agent]
    engine.done_at = max(engine.done_at, now)
    row.phase, m.due[r] = VACANT, NEVER
    if engine.blocked and engine.wait_account == STALL:
        clock.wake(m, row.agent, now)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, advance, no_notice)
