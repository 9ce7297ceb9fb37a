"""A design that exists for the tests: synchronous engines that share the CPUs' page table, and translate by a look at it, at no cost.

It has no TLB, asks for no notices, and is in no mm_cpumask. A page that is not there, or may not be written, or is not dirty yet, is an
ordered request: the engine itself takes the kernel's fault. A page table may change at any step of any row, so no engine runs ahead.
"""

from typing import Any

from hwmodel.byref import by_reference
from hwmodel.config import DesignSpec
from hwmodel.core.tables import NEVER, READY, D, P, W
from hwmodel.engine import DEVICE_ACCESSES, DEVICE_HITS, DEVICE_MISSES, drive
from hwmodel.jit import entry, part, routine
from hwmodel.op import WRITE
from hwmodel.parts import radix
from hwmodel.primary import access, fault
from hwmodel.secondary.protocol import no_notice, no_phase, no_request


class Spec(DesignSpec):
    """Nothing to set beside the common sections."""


def reach(m: Any, dev: Any) -> tuple[int, int]:
    """Return how soon, in cycles, a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design."""
    return 0, NEVER


@part
def translate(m, dev, i, kind, vpn, now):
    """Look engine i's current access up in the CPUs' page table."""
    row, counts = m.rows[i], m.counts[i]
    pte = radix.get(m, m.spaces[row.space].root, vpn)
    hit = pte & P != 0 and (kind != WRITE or (pte & W != 0 and pte & D != 0))
    if not row.retried:
        row.retried = 1
        counts[DEVICE_ACCESSES] += 1
        counts[DEVICE_HITS] += hit
        counts[DEVICE_MISSES] += not hit
    return access.HIT if hit else access.ORDERED


@routine
def request(m, dev, i, kind, vpn):
    """Let engine i take the fault of its current access; afterwards it looks again."""
    fault.call(m, i, vpn, kind == WRITE, 0, 0, READY, READY)


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, no_phase, no_notice)
