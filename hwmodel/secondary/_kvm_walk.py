"""The two-dimensional walk: the guest's tables, each found by a walk of the EPT (docs/model.md 11.3)."""

from hwmodel.jit import part, routine
from hwmodel.ledger import counter
from hwmodel.op import WRITE
from hwmodel.parts import bank, radix, tlb
from hwmodel.parts.walker import NPDE, NTLB, PDE, entry_line, fill_structure, refer, start_level
from hwmodel.tables import HUGE, PFN, TABLE, P, W

WALK_REFS = counter("device.walk_refs")
GUEST_TABLES = 0x6_0000_0000
"""First host page of the memslot with the guest's own page tables: level 1, then 2, 3, 4, each as one linear table."""
LEVEL_PAGES = (1 << 26, 1 << 17, 1 << 8, 1)


@part
def table_page(vpn, level):
    """The guest-physical page of the guest's table of `level` for `vpn`."""
    page = GUEST_TABLES + (vpn >> (9 * level))
    if level > 1:
        page += LEVEL_PAGES[0]
    if level > 2:
        page += LEVEL_PAGES[1]
    if level > 3:
        page += LEVEL_PAGES[2]
    return page


@routine
def walk_guest(m, dev, i, kind, vpn):
    """The page of `vpn` as `nested` returns it, or -1 after a violation."""
    row, last = m.rows[i], 2 if m.ctl[0].guest_huge else 1
    level, known = start_level(m, row.banks + PDE, vpn), -1
    if level < 4:
        tag = vpn >> (9 * level)
        known = m.ways[bank.find(m, row.banks + PDE + level - 1, tag, tag)].pfn
    while level >= last:
        if known < 0:
            leaf = nested(m, dev, i, table_page(vpn, level), True)
            if leaf < 0:
                return leaf
            known = leaf >> PFN
            if level < 4:
                fill_structure(m, row.banks + PDE, vpn, level + 1, known)
        reference(m, i, entry_line(known, radix.index(vpn, level)), 1)
        known = -1
        level -= 1
    return nested(m, dev, i, vpn, kind == WRITE)


@part
def reference(m, i, line, guest):
    """One reference of a walk of vCPU i."""
    row = m.rows[i]
    m.counts[i, WALK_REFS] += 1
    row.walked += refer(m, row.banks, line, guest)


@routine
def nested(m, dev, i, gfn, write):
    """The host page of `gfn` (pfn << PFN, with W and HUGE as its spte), or -1 and a violation to resolve."""
    row = m.rows[i]
    k = tlb.look_joint(m, row.banks + NTLB, 0, gfn)
    if k >= 0 and (not write or m.ways[k].w):
        huge = m.ways[k].tag & 1
        return (m.ways[k].pfn + (gfn & 511) * huge) << PFN | (W if m.ways[k].w else 0) | (HUGE if huge else 0)
    root = dev.vms[row.space].ept
    level = start_level(m, row.banks + NPDE, gfn)
    node = radix.table_at(m, root, gfn, level)
    if node < 0:
        level, node = 4, root
    while True:
        at = radix.index(gfn, level)
        reference(m, i, entry_line(node, at), 0)
        spte = m.nodes[node, at]
        if not spte & TABLE:
            break
        fill_structure(m, row.banks + NPDE, gfn, level, spte >> PFN)
        node = spte >> PFN
        level -= 1
    if not spte & P or (write and not spte & W):
        row.gfn, row.gfn_write = gfn, write
        return -1
    huge = 1 if spte & HUGE else 0
    tag = tlb.tag_of(0, gfn, huge)
    bank.fill(m, row.banks + NTLB, tlb.set_of(gfn, huge), tag, spte >> PFN, 1 if spte & W else 0)
    return ((spte >> PFN) + (gfn & 511) * huge) << PFN | spte & (W | HUGE)
