"""The bound of all designs: engines look pages up in the CPUs' page table, at no cost; only the kernel's faults take time.

There is no TLB, no notice, no interrupt and no walk. A miss is a request whose fault runs on the CPU of the space's first thread, while the
engine issues on (docs/model.md section 14).
"""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.config import DesignSpec
from hwmodel.config.device import Device
from hwmodel.core import device
from hwmodel.core.ledger import CORE, SERVICE, Book, record
from hwmodel.core.tables import DESIGN, I64, REQUEST, D, P, W
from hwmodel.engine import FAULT_TIME, drive
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
    """The settings of the ideal design.

    Attributes
    ----------
    device : Section
        See the section.
    """

    FORMER: ClassVar[dict[str, str]] = {"device.access_ns": "device.latency_ns, with device.interval_ns,"}

    device: Device = Device()


class State(NamedTuple):
    """The tables of the ideal design: none."""

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


def reach(m: Any, dev: State) -> tuple[int, int]:
    """Return the fewest cycles until a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design.

    Any step may change the page table; a miss reaches its CPU in the cycle in which it is issued.
    """
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
    """Let the kernel's fault resolve engine i's current access, which has missed, or one that is on its way; the engine issues on."""
    r = device.miss(m, i, vpn, kind == WRITE, True)
    if r >= 0:
        device.enter(m, r, FAULT_PHASE, m.due[r])
        fault.call(m, r, vpn, m.misses[r].write, 0, 0, LOOK, NO_RIGHT)


@part
def advance(m, dev, r):
    """Do one step of request r that is not the kernel's."""
    step(m, dev, r)


@routine
def step(m, dev, r):
    """Look again, and hold the slot until the data are there, or take another fault; an access without a right is complete at once."""
    row, miss = m.rows[r], m.misses[r]
    if row.phase == NO_RIGHT:
        fault.count_refused(m, r)
        if device.refuse(m, r) == 0:
            device.release(m, r)
        else:
            fault.call(m, r, miss.vpn, miss.write, 0, 0, LOOK, NO_RIGHT)
    elif is_allowed(m, r, miss.vpn, miss.write):
        record(m.hists, FAULT_TIME, m.due[r] - miss.issued)
        device.found(m, r, 0)
    else:
        fault.call(m, r, miss.vpn, miss.write, 0, 0, LOOK, NO_RIGHT)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, advance, no_notice)
