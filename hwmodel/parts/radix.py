"""A radix table of 4 levels x 512 entries: CPU page tables, EPTs and page caches alike, all in one pool of nodes.

An entry is 0 (absent), a table (node << PFN | TABLE) or a leaf with flags of `tables`; at level 2 a leaf is a huge page.
"""

from hwmodel.core.tables import AWAY, HUGE, PFN, TABLE, ZERO, P, W
from hwmodel.jit import part, routine

REACH = 1 << 36
"""The number of pages that one root translates."""


@part
def index(vpn, level):
    """Return the index of the entry of `vpn` in its table of `level`."""
    return (vpn >> (9 * (level - 1))) & 511


@routine
def new_node(m):
    """Take an empty table, a page of memory, and return it: the one freed last, else the next never used."""
    ctl = m.ctl[0]
    ctl.free -= 1
    if ctl.node_free >= 0:
        node = ctl.node_free
        ctl.node_free = m.nodes[node, 0]
        m.nodes[node, 0] = 0
        return node
    ctl.node_top += 1
    return ctl.node_top - 1


@part
def free_node(m, node):
    """Put an empty table on the free list."""
    ctl = m.ctl[0]
    m.nodes[node, 0] = ctl.node_free
    ctl.node_free = node
    ctl.free += 1


@part
def set_aside(m, tables):
    """Take the memory of so many tables that are not hung up: in somebody's hand, or laid by to split a huge leaf."""
    m.ctl[0].free -= tables


@part
def give_back(m, tables):
    """Free the memory of tables that were set aside: nobody needs them, or `new_node`, which takes its own, hangs them up."""
    m.ctl[0].free += tables


@part
def table_at(m, root, vpn, level):
    """Return the node of the table of `level` that `vpn` falls in, or -1."""
    node = root
    for above in range(4, level, -1):
        entry = m.nodes[node, index(vpn, above)]
        if not entry & TABLE:
            return -1
        node = entry >> PFN
    return node


@part
def leaf_level(m, root, vpn):
    """Return the level of the leaf of `vpn`, or of its place: 1 if there is a table of level 1, else 2 (0: no table of level 2)."""
    node = table_at(m, root, vpn, 2)
    if node < 0:
        return 0
    return 1 if m.nodes[node, index(vpn, 2)] & TABLE else 2


@part
def get(m, root, vpn):
    """Return the leaf that maps `vpn`, of either size, or 0."""
    node = table_at(m, root, vpn, 2)
    if node < 0:
        return 0
    entry = m.nodes[node, index(vpn, 2)]
    if entry & TABLE:
        return m.nodes[entry >> PFN, index(vpn, 1)]
    return entry


@part
def put(m, root, vpn, level, leaf):
    """Write the leaf of `vpn` at `level`, whose table exists."""
    m.nodes[table_at(m, root, vpn, level), index(vpn, level)] = leaf


@part
def update(m, root, vpn, pte):
    """Write the pte of `vpn` anew, in its place: it is of the size that it was."""
    put(m, root, vpn, 2 if pte & HUGE else 1, pte)


@part
def allows(pte, write):
    """Return whether a read, or a write, may use the pte; the dirty bit is not asked."""
    return pte & P != 0 and (not write or pte & W != 0)


@part
def has_frame(pte):
    """Return whether a leaf maps a frame: it is neither the zero page nor away."""
    return pte & (ZERO | AWAY) == 0


@routine
def make(m, root, vpn, level):
    """Make the tables of `vpn` down to `level` that are missing, and return how many were made."""
    node, made = root, 0
    for above in range(4, level, -1):
        i = index(vpn, above)
        entry = m.nodes[node, i]
        if not entry & TABLE:
            entry = new_node(m) << PFN | TABLE
            m.nodes[node, i] = entry
            made += 1
        node = entry >> PFN
    return made


@part
def missing(m, root, vpn, level):
    """Return how many tables of `vpn` down to `level` are missing."""
    node = root
    for above in range(4, level, -1):
        entry = m.nodes[node, index(vpn, above)]
        if not entry & TABLE:
            return above - level
        node = entry >> PFN
    return 0


@part
def reach_end(m, root, vpn):
    """Return the first page after the largest absent subtree that holds `vpn`, or `vpn` itself if it has a level-2 entry."""
    node = root
    for above in range(4, 1, -1):
        entry = m.nodes[node, index(vpn, above)]
        if not entry & TABLE:
            if above == 2 and entry != 0:
                return vpn
            span = 9 * (above - 1)
            return ((vpn >> span) + 1) << span
        node = entry >> PFN
    return vpn


@routine
def free_tables(m, root, base, level):
    """Unhook and free the table of `level` whose first page is `base`, if there is one, and return whether there was one."""
    above = table_at(m, root, base, level + 1)
    if above < 0:
        return False
    i = index(base, level + 1)
    entry = m.nodes[above, i]
    if not entry & TABLE:
        return False
    m.nodes[above, i] = 0
    free_node(m, entry >> PFN)
    return True
