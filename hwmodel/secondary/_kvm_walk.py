"""The two-dimensional walk: the guest's tables, each found by a walk of the EPT; and who may walk (docs/model.md 11.3)."""

from hwmodel.core import device
from hwmodel.core.ledger import WALK
from hwmodel.core.tables import HUGE, NEVER, PFN, WRITES, W
from hwmodel.jit import part, routine
from hwmodel.parts import bank, paging_caches, radix, tlb
from hwmodel.parts.paging_caches import DTLB, PDE, entry_line, fill_structure, refer, start_level
from hwmodel.primary import access
from hwmodel.secondary._kvm_notifier import NPDE, NTLB
from hwmodel.secondary._kvm_phases import BEGIN, BOOK, IN_LINE, REFERENCES, VIOLATION_PATH, WALKING
from hwmodel.secondary._kvm_tables import GUEST_TABLES, back, table_page, use_leaf, use_table

WALKS = BOOK.counter("device.walks", "two-dimensional walks, those that end in a violation included", WALK)
WALK_REFS = BOOK.counter("device.walk_refs", "guest and nested entries read by them")
ASSISTS = BOOK.counter(
    "device.dirty_assists", "writes of a vCPU to a page in its first-level TLB that first set the dirty bit of the guest's page table"
)


@routine
def queue_walk(m, dev, r):
    """Let request r wait in line for a walker of its vCPU; if one is free, its walk begins at once."""
    i, now = m.rows[r].agent, m.due[r]
    dev.requests[r].exited = 0
    m.rows[r].phase, m.due[r] = IN_LINE, NEVER
    first = next_in_line(m, dev, i)
    if first >= 0:
        m.due[first] = now
        begin_walk(m, dev, first)


@routine
def next_in_line(m, dev, i):
    """Return the request of vCPU i whose walk is next to begin, if a walker is free: the one issued first; or -1."""
    first, best, busy = m.ctl[0].agents + (i - m.ctl[0].cpus) * m.ctl[0].outstanding, -1, 0
    for r in range(first, first + m.ctl[0].outstanding):
        phase = m.rows[r].phase
        busy += phase == BEGIN or phase == WALKING
        if phase == IN_LINE and (best < 0 or m.misses[r].issued < m.misses[best].issued):
            best = r
    return best if busy < dev.vms[m.rows[i].space].walkers else -1


@routine
def begin_walk(m, dev, r):
    """BEGIN: make all references of request r's walk; what it finds goes into the TLBs when the last one is over."""
    i, miss, q = m.rows[r].agent, m.misses[r], dev.requests[r]
    m.counts[i, WALKS] += 1
    held = miss.write and access.find_first_level(m, m.rows[i].banks + DTLB, miss.vpn) >= 0
    q.leaf = walk_guest(m, dev, r, held)
    m.rows[r].phase = WALKING
    device.enter(m, r, REFERENCES, m.due[r])
    m.due[r] += q.walked


@routine
def end_walk(m, dev, r):
    """WALKING: fill the TLBs with what the walk of request r has found, which frees its walker; the access has its translation."""
    i, vpn, leaf, now = m.rows[r].agent, m.misses[r].vpn, dev.requests[r].leaf, m.due[r]
    huge = 1 if dev.vms[m.rows[i].space].large and leaf & HUGE else 0
    page = (leaf >> PFN) - (vpn & 511) * huge
    access.fill_levels(m, i, m.rows[i].banks + DTLB, vpn, huge, page, WRITES if leaf & W else 0)
    device.found(m, r, VIOLATION_PATH if dev.requests[r].exited else device.UNMEASURED)
    first = next_in_line(m, dev, i)
    if first >= 0:
        m.due[first] = now
        begin_walk(m, dev, first)


@part
def walk_anew(m, dev, i, at):
    """Let the requests of vCPU i that wait in line begin their walks at `at`, as many as there are walkers."""
    r = next_in_line(m, dev, i)
    while r >= 0:
        m.rows[r].phase, m.due[r] = BEGIN, at
        r = next_in_line(m, dev, i)


@routine
def walk_guest(m, dev, r, held):
    """Return the page of request r as `nested` does, with W only if the guest's leaf is dirty; or -1 after a violation.

    `held`: a write found an entry without write permission in the first-level TLB; an assist if the guest's dirty bit was not set.
    """
    i, vpn, write = m.rows[r].agent, m.misses[r].vpn, m.misses[r].write
    row, vm, q = m.rows[i], dev.vms[m.rows[i].space], dev.requests[r]
    q.walked = 0
    last = 2 if vm.large else 1
    level, known = start_level(m, row.banks + PDE, vpn), -1
    if level < 4:
        tag = vpn >> (9 * level)
        known = m.ways[bank.find(m, row.banks + PDE + level - 1, tag, tag)].pfn
    node = radix.table_at(m, vm.guest, vpn, level)
    while True:
        if known < 0:
            known = nested(m, dev, r, table_page(vpn, level), True) >> PFN
            if level < 4:
                fill_structure(m, row.banks + PDE, vpn, level + 1, known)
        at = radix.index(vpn, level)
        m.counts[i, WALK_REFS] += 1
        q.walked += refer(m, row.banks, entry_line(known, at), 1)
        if level == last:
            break
        node = use_table(m, node, at)
        known = -1
        level -= 1
    dirty, was_dirty = use_leaf(m, node, at, write)
    if held and not was_dirty:
        m.counts[i, ASSISTS] += 1
        q.walked += m.costs[0].assist
    leaf = nested(m, dev, r, vpn, write)
    return leaf if dirty or leaf < 0 else leaf & ~W


@routine
def nested(m, dev, r, gfn, write):
    """Return the host page of `gfn` (pfn << PFN, with W and HUGE of its spte), or -1 and note the violation to resolve."""
    row, q = m.rows[m.rows[r].agent], dev.requests[r]
    k = tlb.look_joint(m, row.banks + NTLB, 0, gfn)
    if k >= 0 and (not write or m.ways[k].rights & WRITES):
        huge = m.ways[k].tag & 1
        return (m.ways[k].pfn + (gfn & 511) * huge) << PFN | (W if m.ways[k].rights & WRITES else 0) | (HUGE if huge else 0)
    root = dev.vms[row.space].ept
    if gfn >= GUEST_TABLES and radix.get(m, root, gfn) == 0:
        back(m, dev.vms[row.space], row.space, gfn)
    node, at, refs, latency = paging_caches.walk(m, row.banks, row.banks + NPDE, root, gfn)
    m.counts[row.agent, WALK_REFS] += refs
    q.walked += latency
    spte = m.nodes[node, at]
    if not radix.allows(spte, write):
        q.gfn, q.gfn_write = gfn, write
        return -1
    huge = 1 if spte & HUGE else 0
    tag = tlb.tag_of(0, gfn, huge)
    bank.fill(m, row.banks + NTLB, tlb.set_of(gfn, huge), tag, spte >> PFN, WRITES if spte & W else 0)
    return ((spte >> PFN) + (gfn & 511) * huge) << PFN | spte & (W | HUGE)
