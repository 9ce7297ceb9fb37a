"""KVM's tables: the sptes of an EPT, and the guest's own page tables with their bits (docs/model.md 11.1, 11.3, 11.4)."""

from hwmodel.core.tables import FLAG_MASK, HUGE, PFN, TABLE, A, D, P, W
from hwmodel.jit import part, routine
from hwmodel.parts import radix
from hwmodel.primary import fault, frames, vmas

GUEST_TABLES = (1 << 35) + (1 << 27)
"""First host page of the memslot with the guest's own page tables, above every page that a trace can name: level 1, then 2, 3, 4, each
as one linear table."""
LEVEL_PAGES = (1 << 26, 1 << 17, 1 << 8, 1)


@part
def table_page(vpn, level):
    """Return the guest-physical page of the guest's table of `level` for `vpn`."""
    page = GUEST_TABLES + (vpn >> (9 * level))
    if level > 1:
        page += LEVEL_PAGES[0]
    if level > 2:
        page += LEVEL_PAGES[1]
    if level > 3:
        page += LEVEL_PAGES[2]
    return page


@routine
def set_spte(m, ept, gfn, pte):
    """Set the spte of a page to the page, size and write permission of the CPU's pte; return how many tables were made."""
    level = 2 if pte & HUGE else 1
    made = radix.make(m, ept, gfn, level)
    if level == 2:
        drop_table(m, ept, gfn)
    radix.put(m, ept, gfn, level, pte & ~FLAG_MASK | P | pte & (W | HUGE))
    return made


@part
def drop_table(m, ept, gfn):
    """Free the table of level 1 that a huge spte replaces."""
    node = radix.table_at(m, ept, gfn, 1)
    if node >= 0:
        for k in range(512):
            m.nodes[node, k] = 0
        radix.free_tables(m, ept, gfn, 1)


@routine
def back(m, vm, space, gfn):
    """Put a page of the guest's tables into memory and the EPT, at no cost: the guest's kernel built these tables before the run."""
    root, k = m.spaces[space].root, vmas.find(m, space, gfn)
    pte = radix.get(m, root, gfn)
    if pte == 0:
        level = 2 if fault.huge_possible(m, m.vmas[k], space, gfn) else 1
        radix.make(m, root, gfn, level)
        if level == 2:
            pte = fault.map_block(m, space, gfn) | W | D
        else:
            pfn = frames.take(m)
            frames.mapped(m, pfn, space, gfn)
            pte = pfn << PFN | P | W | A | D
        radix.put(m, root, gfn, level, pte)
        vmas.prepare(m, k)
    set_spte(m, vm.ept, gfn, pte)


@part
def use_table(m, node, at):
    """Return the table that entry `at` of a guest's table names, made if missing; the walk sets A, the only bit of such an entry."""
    if m.nodes[node, at] == 0:
        m.nodes[node, at] = radix.new_node(m) << PFN | TABLE
    return m.nodes[node, at] >> PFN


@part
def use_leaf(m, node, at, write):
    """Set A, and D for a write, in a leaf of the guest's tables; return (whether it is dirty now, whether it was before)."""
    entry = m.nodes[node, at]
    m.nodes[node, at] = entry | A | (D if write else 0)
    return write or entry & D != 0, entry & D != 0
