"""KVM's tables: the sptes of an EPT, and the guest's own page tables with their bits (docs/model.md 11.1, 11.3, 11.4)."""

from hwmodel.core.tables import FLAG_MASK, HUGE, PFN, TABLE, A, D, P, W
from hwmodel.jit import part, routine
from hwmodel.parts import radix
from hwmodel.primary import fault, frames, kinds, memory, vmas

GUEST_TABLES = (1 << 35) + (1 << 27)
"""First host page of the memslot with the guest's own page tables, above every page that a trace can name: level 1, then 2, 3, 4, each
as one linear table."""
LEVELS = 4  # of the guest's tables and of an EPT
HAND, FEWEST = 40, 5
"""Tables in a vCPU's hand when it is filled, which it is at a violation that finds fewer than FEWEST: KVM_ARCH_NR_OBJS_PER_MEMORY_CACHE,
and PT64_ROOT_MAX_LEVEL (Linux 6.18 arch/x86/kvm/mmu/mmu.c mmu_topup_memory_caches; 2.6.27 asks for 8)."""
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
    """Put a page of the guest's tables into memory and the EPT, at no cost: the guest's kernel built these tables before the run.

    So it can't wait for memory; where there is none, memory is exhausted.
    """
    root, k = m.spaces[space].root, vmas.find(m, space, gfn)
    pte = radix.get(m, root, gfn)
    if not memory.is_there(m, 1 + 2 * (LEVELS - 1), 0):
        m.ctl[0].exhausted = memory.BEFORE_TIME
        return
    if pte == 0:
        huge = kinds.huge_possible(m, m.vmas[k], space, gfn) and memory.is_there(m, 513 + 2 * (LEVELS - 1), 1)
        radix.make(m, root, gfn, 2 if huge else 1)
        if huge:
            radix.set_aside(m, 1)
        leaf = frames.take_block(m) << PFN | HUGE | P if huge else frames.take(m) << PFN | P
        pte = fault.map_leaf(m, space, gfn, leaf) | W | D
        radix.put(m, root, gfn, 2 if huge else 1, pte)
        vmas.prepare(m, k)
    set_spte(m, vm.ept, gfn, pte)


@part
def use_table(m, node, at):
    """Return the table that entry `at` of a guest's table names, made if missing; the walk sets A, the only bit of such an entry."""
    if m.nodes[node, at] == 0:
        m.nodes[node, at] = radix.new_node(m) << PFN | TABLE
        radix.give_back(m, 1)  # its page is the guest's (back)
    return m.nodes[node, at] >> PFN


@part
def use_leaf(m, node, at, write):
    """Set A, and D for a write, in a leaf of the guest's tables; return (whether it is dirty now, whether it was before)."""
    entry = m.nodes[node, at]
    m.nodes[node, at] = entry | A | (D if write else 0)
    return write or entry & D != 0, entry & D != 0
