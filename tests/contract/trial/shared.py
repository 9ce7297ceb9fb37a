"""A design that exists for the tests: engines that share the CPUs' page table, and translate by a look at it, at no cost.

It has no TLB, asks for no notices, and is in no mm_cpumask. A page that is not there, or may not be written, or is not dirty yet, is a
miss: the first thread's CPU takes the kernel's fault. A page table may change at any step of any row, so no engine runs ahead.
"""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.config import DesignSpec
from hwmodel.config.device import Device
from hwmodel.core import device
from hwmodel.core.ledger import CORE, SERVICE, Book
from hwmodel.core.tables import DESIGN, I64, REQUEST, D, P, W
from hwmodel.engine import drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import radix
from hwmodel.primary import access, fault
from hwmodel.secondary.protocol import engine_rows, first_cpu, no_notice, no_request

LOOK, NO_RIGHT = range(DESIGN, DESIGN + 2)
BOOK = Book(CORE)
STALL = BOOK.account("stall_fault", SERVICE, "engine stalled, its oldest miss in a page fault")
FAULT_PHASE = BOOK.phase("fault", STALL, "the kernel's fault, until a look finds the page")


class Spec(DesignSpec):
    """What every engine has."""

    device: Device = Device()


class State(NamedTuple):
    """No tables of its own."""

    nothing: np.ndarray  # int64[1]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding."""
    return machine.get("device.window")


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Give requests their CPU."""
    for _, row in engine_rows(m):
        if row.role == REQUEST:
            row.effect, row.cpu = 1, first_cpu(m, row.space)
    return State(np.zeros(1, I64))


def reach(m: Any, dev: Any) -> tuple[int, int]:
    """Return how soon, in cycles, a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design."""
    return 0, 0


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
    m.counts[i, device.ACCESSES] += 1
    m.counts[i, device.HITS] += 1
    return access.HIT


@routine
def request(m, dev, i, kind, vpn):
    """Let a request take the fault of engine i's current access; the engine issues on."""
    r = device.miss(m, i, vpn, kind == WRITE, False)
    device.enter(m, r, FAULT_PHASE, m.due[r])
    fault.call(m, r, vpn, kind == WRITE, 0, 0, LOOK, NO_RIGHT)


@part
def advance(m, dev, r):
    """LOOK: look again. NO_RIGHT: give the access up."""
    miss = m.misses[r]
    if m.rows[r].phase == NO_RIGHT:
        m.counts[m.rows[r].agent, fault.COUNT_SEGV] += 1
        fault.note_segv(m, m.rows[r].index)
        device.release(m, r)
    elif is_allowed(m, r, miss.vpn, miss.write):
        device.found(m, r, device.UNMEASURED)
    else:
        fault.call(m, r, miss.vpn, miss.write, 0, 0, LOOK, NO_RIGHT)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, advance, no_notice)
