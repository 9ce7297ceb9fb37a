"""With the JIT off: after the steps of a run that touch either side, no secondary translation says anything that the page table does not.

A pte changes inside a window only, when all translations of its page are gone and none can be made; so at any moment every translation
that a device could use has the frame of the CPUs' pte, and no right that it has not. That is all the notifiers are for.
"""

import contextlib
from unittest import mock

import numpy as np

from hwmodel.parts.walker import DTLB, DTLB_HUGE, NTLB, STLB
from hwmodel.primary import frames, notify
from hwmodel.secondary import gru, kvm_ept
from hwmodel.tables import ENGINE, HUGE, PFN, TABLE, P, W

STEPS = ((gru, "request"), (gru, "advance"), (gru, "deliver"), (kvm_ept, "request"), (kvm_ept, "advance"), (kvm_ept, "deliver"))
"""What a design does in its steps, dev being the second argument."""
KERNEL = ((notify, "send"), (frames, "drop"), (frames, "drop_block"))
"""Where the kernel calls the notifiers, and where it frees pages."""


@contextlib.contextmanager
def watched():
    """Check all runs meanwhile."""
    latest = []

    def checked(step):
        def wrapper(m, *arguments):
            result = step(m, *arguments)
            if hasattr(arguments[0], "banks") or hasattr(arguments[0], "vms"):
                latest[:] = [arguments[0]]
            if latest:
                check(m, latest[0])
            return result

        return wrapper

    with contextlib.ExitStack() as patches:
        for module, name in STEPS + KERNEL:
            patches.enter_context(mock.patch.object(module, name, checked(getattr(module, name))))
        yield


def check(m, dev):
    """Every translation that could be used agrees with the page table."""
    for space, vpn, pfn, may_write in translations(m, dev):
        pte, inside = leaf(m, int(m.spaces["root"][space]), vpn)
        assert pte & P, f"page {vpn:#x} of space {space} is not mapped, but a device has frame {pfn}"
        if pfn:  # 0 is the zero page's, too
            assert (pte >> PFN) + inside == pfn, f"page {vpn:#x} of space {space} has another frame than {pfn}"
        assert pte & W or not may_write, f"page {vpn:#x} of space {space} may not be written, but a device may"


def translations(m, dev):
    """(space, page, frame, whether it may be written) of all entries of secondary TLBs and EPTs, the first page for a huge one."""
    if hasattr(dev, "banks"):
        for bank in dev.banks:
            yield from entries(m, bank, None)
        return
    for row in m.rows[m.rows["role"] == ENGINE]:
        if not row.flush_pending:  # else it forgets them before it enters its guest
            for bank in (DTLB, DTLB_HUGE, STLB, NTLB):
                yield from entries(m, row.banks + bank, int(row.space))
    for space, ept in enumerate(dev.vms["ept"]):
        if ept:
            yield from sptes(m, int(ept), space)


def entries(m, bank, space):
    """The translations of a bank; of a shared one each has its space in its tag."""
    row = m.banks[bank]
    ways = m.ways[row.offset : row.offset + (row.mask + 1) * row.ways]
    for way in ways[ways["tag"] >= 0]:
        page = (int(way.tag) & (1 << 40) - 1) >> 1
        yield int(way.tag) >> 40 if space is None else space, page << 9 * (int(way.tag) & 1), int(way.pfn), bool(way.w)


def sptes(m, node, space, vpn=0, level=4):
    """The leaves of an EPT."""
    for at in np.flatnonzero(m.nodes[node]):
        entry, page = int(m.nodes[node, at]), vpn | int(at) << 9 * (level - 1)
        if entry & TABLE:
            yield from sptes(m, entry >> PFN, space, page, level - 1)
        else:
            yield space, page, entry >> PFN, bool(entry & W)


def leaf(m, root, vpn):
    """(entry, page within it) of a page in a radix table."""
    entry = root << PFN | TABLE
    for level in (4, 3, 2, 1):
        if entry & TABLE:
            entry = int(m.nodes[entry >> PFN, vpn >> 9 * (level - 1) & 511])
    return entry, vpn & 511 if entry & HUGE else 0
