"""The two-dimensional walk: the guest's tables, each found by a walk of the EPT (docs/model.md 11.3)."""

from hwmodel.core.ledger import WALK
from hwmodel.core.tables import HUGE, PFN, WRITES, W
from hwmodel.jit import routine
from hwmodel.op import WRITE
from hwmodel.parts import bank, paging_caches, radix, tlb
from hwmodel.parts.paging_caches import PDE, entry_line, fill_structure, refer, start_level
from hwmodel.secondary._kvm_notifier import BOOK, NPDE, NTLB
from hwmodel.secondary._kvm_tables import GUEST_TABLES, back, table_page, use_leaf, use_table

WALKS = BOOK.counter("device.walks", "two-dimensional walks, those that end in a violation included", WALK)
WALK_REFS = BOOK.counter("device.walk_refs", "guest and nested entries read by them")
ASSISTS = BOOK.counter(
    "device.dirty_assists", "writes of a vCPU to a page in its first-level TLB that first set the dirty bit of the guest's page table"
)


@routine
def walk_guest(m, dev, i, kind, vpn, held):
    """Return the page of `vpn` as `nested` does, with W only if the guest's leaf is dirty; or -1 after a violation.

    `held`: a write found an entry without write permission in the first-level TLB; an assist if the guest's dirty bit was not set.
    """
    row, vm, write = m.rows[i], dev.vms[m.rows[i].space], kind == WRITE
    last = 2 if vm.large else 1
    level, known = start_level(m, row.banks + PDE, vpn), -1
    if level < 4:
        tag = vpn >> (9 * level)
        known = m.ways[bank.find(m, row.banks + PDE + level - 1, tag, tag)].pfn
    node = radix.table_at(m, vm.guest, vpn, level)
    while True:
        if known < 0:
            known = nested(m, dev, i, table_page(vpn, level), True) >> PFN
            if level < 4:
                fill_structure(m, row.banks + PDE, vpn, level + 1, known)
        at = radix.index(vpn, level)
        m.counts[i, WALK_REFS] += 1
        dev.vcpus[i].walked += refer(m, row.banks, entry_line(known, at), 1)
        if level == last:
            break
        node = use_table(m, node, at)
        known = -1
        level -= 1
    dirty, was_dirty = use_leaf(m, node, at, write)
    if held and not was_dirty:
        m.counts[i, ASSISTS] += 1
        dev.vcpus[i].walked += m.costs[0].assist
    leaf = nested(m, dev, i, vpn, write)
    return leaf if dirty or leaf < 0 else leaf & ~W


@routine
def nested(m, dev, i, gfn, write):
    """Return the host page of `gfn` (pfn << PFN, with W and HUGE of its spte), or -1 and note the violation to resolve."""
    row = m.rows[i]
    k = tlb.look_joint(m, row.banks + NTLB, 0, gfn)
    if k >= 0 and (not write or m.ways[k].rights & WRITES):
        huge = m.ways[k].tag & 1
        return (m.ways[k].pfn + (gfn & 511) * huge) << PFN | (W if m.ways[k].rights & WRITES else 0) | (HUGE if huge else 0)
    root = dev.vms[row.space].ept
    if gfn >= GUEST_TABLES and radix.get(m, root, gfn) == 0:
        back(m, dev.vms[row.space], row.space, gfn)
    node, at, refs, latency = paging_caches.walk(m, row.banks, row.banks + NPDE, root, gfn)
    m.counts[i, WALK_REFS] += refs
    dev.vcpus[i].walked += latency
    spte = m.nodes[node, at]
    if not radix.allows(spte, write):
        dev.vcpus[i].gfn, dev.vcpus[i].gfn_write = gfn, write
        return -1
    huge = 1 if spte & HUGE else 0
    tag = tlb.tag_of(0, gfn, huge)
    bank.fill(m, row.banks + NTLB, tlb.set_of(gfn, huge), tag, spte >> PFN, WRITES if spte & W else 0)
    return ((spte >> PFN) + (gfn & 511) * huge) << PFN | spte & (W | HUGE)
