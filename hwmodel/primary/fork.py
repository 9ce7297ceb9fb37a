"""fork and exit: VMAs and page tables of an address space copied, or removed (docs/model.md 9.6, 9.7; mm/memory.c copy_page_range)."""

from hwmodel.core import clock
from hwmodel.core.ledger import KERNEL, account
from hwmodel.core.tables import (
    COPY,
    DONE,
    DUP,
    EXIT_VMAS,
    EXIT_ZAP,
    NEVER,
    PFN,
    UNLOCK,
    A,
    W,
)  # fmt: skip
from hwmodel.jit import part, routine
from hwmodel.op import HUGETLB, PRIVATE, PRIVATE_FILE
from hwmodel.parts import radix
from hwmodel.primary import frames, gather, memory, notify, ranges, shootdown, vmas, zap

FORKING = account("fork", KERNEL, "copying an address space")


@routine
def dup(m, r):
    """DUP: copy the next VMA of the parent; of a private one that has anonymous pages, copy the page tables too."""
    row, call, span = m.rows[r], m.calls[r], m.spans[r]
    k = vmas.above(m, row.space, span.at)
    while vmas.is_of(m, k, row.space) and m.vmas[k].dontcopy:
        k += 1
    if not vmas.is_of(m, k, row.space):
        shootdown.call(m, r, 0, radix.REACH, 1, 1, 1, UNLOCK)  # flush_tlb_mm counts tables as freed
        return
    to = vmas.above(m, call.child, m.vmas[k].first)
    vmas.open_row(m, to)
    if to <= k:
        k += 1
    vmas.copy_row(m, to, k)
    m.vmas[to].space = call.child
    vmas.inherit(m, to)
    v = m.vmas[k]
    private = v.mapping == PRIVATE or v.mapping == PRIVATE_FILE or v.mapping == HUGETLB
    span.at = v.last
    if private and v.anon:
        span.at = span.first = v.first
        span.last = v.last
        notify.call(m, r, notify.START, v.first, v.last, COPY)
    clock.spend(m, r, vmas.CHANGING, m.costs[0].vma)


@routine
def copy(m, r):
    """COPY: write-protect one table or huge leaf and share it with the child."""
    row, call, span = m.rows[r], m.calls[r], m.spans[r]
    root, child = m.spaces[row.space].root, m.spaces[call.child].root
    kind, at, end = ranges.piece(m, root, span.at, span.last)
    span.at = at
    if kind == ranges.NOTHING_LEFT:
        span.at = span.last
        if notify.call(m, r, notify.STOP, span.first, span.last, DUP):
            dup(m, r)
        return
    if not memory.ask(m, r, tables_for(m, root, child, at, end, kind), 0):
        return
    span.at, leaves, made = end, 0, 0
    if kind == ranges.IN_TABLE:
        node = radix.table_at(m, root, at, 1)
        for vpn in range(at, end):
            pte = m.nodes[node, vpn & 511]
            if pte != 0:
                leaves += 1
                m.nodes[node, vpn & 511] = pte & ~W
                made += radix.make(m, child, vpn, 1)
                radix.put(m, child, vpn, 1, shared(m, call.child, pte, vpn, 1))
    else:
        leaves = 1
        pte = radix.get(m, root, at)
        radix.put(m, root, at, 2, pte & ~W)
        made = radix.make(m, child, at, 2)
        radix.set_aside(m, 1)
        radix.put(m, child, at, 2, shared(m, call.child, pte, at, 512))
    costs = m.costs[0]
    clock.spend(m, r, FORKING, leaves * costs.fork_pte + made * costs.table + costs.table_scan)


@routine
def tables_for(m, root, child, at, end, kind):
    """Return how many tables the child takes for the piece [at, end): those missing, and for a huge leaf one laid by (copy_huge_pmd)."""
    if kind != ranges.IN_TABLE:
        return radix.missing(m, child, at, 2) + 1
    return radix.missing(m, child, at, 1) if ranges.has_leaf(m, root, at, end) else 0


@part
def shared(m, child, pte, vpn, pages):
    """Return the child's pte, counted as a mapping of its frames."""
    if radix.has_frame(pte):
        for k in range(pages):
            frames.mapped(m, (pte >> PFN) + k, child, vpn + k)
    return pte & ~(W | A)


@routine
def born(m, parent, child):
    """Complete the child's address space: its agents may run, and its CPUs have it loaded."""
    space = m.spaces[child]
    space.born, space.brk = 1, m.spaces[parent].brk
    for c in range(m.ctl[0].agents):
        enter_mask(m, c, child)


@routine
def enter_mask(m, c, space):
    """Load `space` into the CPU of an agent of that space (or of an engine that loads it)."""
    row = m.rows[c]
    if row.space == space and row.loads:
        row.in_mask, row.lazy, row.local_gen = 1, row.phase == DONE, m.spaces[space].tlb_gen


@routine
def exit_zap(m, r):
    """EXIT_ZAP: clear one table or huge leaf of the dying space; flush a full gather, whole, and free it."""
    row, span = m.rows[r], m.spans[r]
    kind, at, end = ranges.piece(m, m.spaces[row.space].root, span.at, radix.REACH)
    span.at = at
    if kind == ranges.NOTHING_LEFT:
        exit_tables(m, r)
        return
    zap.clear_part(m, r, at, end, kind, 1, EXIT_ZAP)


@part
def exit_tables(m, r):
    """Free all page tables but the root; lazy CPUs must hear of that too. Then flush the gather (exit_mmap, tlb_finish_mmu, fullmm)."""
    row, batch = m.rows[r], m.gathers[r]
    freed = zap.free_between(m, r, 0, radix.REACH, 0, NEVER)
    if vmas.intersects(m, row.space, 0, NEVER):
        gather.cover_slot(batch, 0)
    if gather.call(m, r, 1, EXIT_VMAS):
        exit_vmas(m, r)
        return
    clock.spend(m, r, gather.FREEING, freed * m.costs[0].table)


@routine
def exit_vmas(m, r):
    """EXIT_VMAS: remove the VMAs, the root and the rest of mm_cpumask."""
    row, costs = m.rows[r], m.costs[0]
    removed = vmas.remove(m, row.space, 0, NEVER)
    radix.free_node(m, m.spaces[row.space].root)
    m.spaces[row.space].root = -1
    for c in range(m.ctl[0].agents):
        if m.rows[c].in_mask and m.rows[c].space == row.space:
            m.rows[c].in_mask = 0
    row.phase = UNLOCK
    clock.spend(m, r, vmas.CHANGING, removed * costs.vma)
    clock.spend(m, r, gather.FREEING, costs.table)


@routine
def step(m, r):
    """Do one step of fork or exit."""
    phase = m.rows[r].phase
    if phase == DUP:
        dup(m, r)
    elif phase == COPY:
        copy(m, r)
    elif phase == EXIT_ZAP:
        exit_zap(m, r)
    elif phase == EXIT_VMAS:
        exit_vmas(m, r)
