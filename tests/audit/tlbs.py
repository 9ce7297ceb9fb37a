"""What TLBs and walk caches may hold: nothing that the tables behind them do not, once every flush is through."""

import numpy as np

from hwmodel.parts.tlb import ASID_SHIFT
from hwmodel.parts.walker import DTLB, ITLB, NTLB, PDE, STLB
from hwmodel.tables import CPU, DESIGN, DONE, ENGINE, FAULT, FAULT_LOCKED, READY, VACANT, P, W
from tests.audit.tables import leaf_at, listed, read_tree


def tlb_findings(m, dev=None):
    """Entries that nothing stands behind, of every space in which no operation, split or copy on write is under way."""
    calm = {s: read_tree(m, row.root) for s, row in enumerate(m.spaces) if not row.dead and is_calm(m, s)}
    found = []
    for r, row in enumerate(m.rows[: m.ctl[0].agents]):
        tree = calm.get(int(row.space))
        if tree is None or row.unused:
            continue
        if row.role == CPU and row.in_mask and row.local_gen == m.spaces[row.space].tlb_gen:
            for bank in (*range(ITLB, STLB + 1),):
                found += entry_findings(m, f"CPU {r}, bank {bank}", row.banks + bank, 0, tree)
            found += table_findings(m, f"CPU {r}", row.banks + PDE, tree)
        elif row.role == ENGINE and hasattr(dev, "vms") and not row.flush_pending:
            for bank in (*range(DTLB, STLB + 1), NTLB):
                found += entry_findings(m, f"vCPU {r}, bank {bank}", row.banks + bank, 0, tree)
    for chiplet, bank in enumerate(getattr(dev, "banks", ())):
        for s, space in enumerate(m.spaces):
            if space.dead or s in calm:
                found += entry_findings(m, f"chiplet {chiplet}", bank, s, calm.get(s))
    return found


def is_calm(m, s):
    """Is no row of the space in the middle of changing its tables?"""
    rows = [row for row in m.rows if row.space == s]
    return all(row.phase in (READY, DONE, VACANT) or FAULT <= row.phase <= FAULT_LOCKED or row.phase >= DESIGN for row in rows)


def entries(m, bank):
    """The ways in use of a bank."""
    b = m.banks[bank]
    ways = m.ways[b.offset : b.offset + (b.mask + 1) * b.ways]
    return ways[ways["tag"] >= 0]


def entry_findings(m, name, bank, asid, tree):
    """Entries of an address space whose leaf is gone, another frame's, or may not be written."""
    ways = entries(m, bank)
    ways = ways[ways["tag"] >> ASID_SHIFT == asid]
    huge = ways["tag"] & 1 != 0
    vpn = ((ways["tag"] & (1 << ASID_SHIFT) - 1) >> 1) << np.where(huge, 9, 0)
    if tree is None:
        return listed(f"{name}: page {{:#x}} of space {asid}, which is gone", vpn)
    leaf, frame, is_huge = leaf_at(tree, vpn)
    wrong = (leaf & P == 0) | (frame != ways["pfn"]) | ((ways["w"] != 0) & (leaf & W == 0)) | (huge & ~is_huge)
    return listed(f"{name}: page {{:#x}} is frame {{}} (w {{}}), its leaf is {{:#x}}",
                  zip(vpn[wrong], ways["pfn"][wrong], ways["w"][wrong], leaf[wrong], strict=True))  # fmt: skip


def table_findings(m, name, pde, tree):
    """Walk caches name the tables that are there."""
    for level in (1, 2, 3):
        for way in entries(m, pde + level - 1):
            page = int(way.tag) << 9 * level
            if tree.named.get((level, page)) != way.pfn:
                yield f"{name}: the table of level {level} at page {page:#x} is not node {way.pfn}"
