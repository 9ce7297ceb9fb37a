"""Splitting a huge leaf into a table, with its notice and its flush (docs/model.md 6.2, 6.3; Linux 6.12 mm/huge_memory.c).

__split_huge_pmd sends its notice before it looks: where a VMA is cut, Linux calls it whether or not a huge page is there.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import counter
from hwmodel.core.tables import FLAG_MASK, HUGE, PFN, SPLIT, SPLIT_DONE, SPLIT_END, SPLIT_SET, TABLE, ZERO, table
from hwmodel.jit import part, routine
from hwmodel.parts import radix
from hwmodel.primary import notify, shootdown

SPLITS = counter("huge_splits", "huge leaves split into tables")
SPLITTING = table("vpn", "then", "account")
"""A row's split: the first page of the huge page, the phase that follows, the account of its work."""


@part
def call(m, r, vpn, then, account):
    """Let row r's next step split the huge page at `vpn`; then the row goes on with `then`. Its work is booked to `account`.

    Return False.
    """
    splitting = m.splits[r]
    m.rows[r].phase, splitting.then, splitting.account, splitting.vpn = SPLIT, then, account, vpn >> 9 << 9
    return False


@routine
def split(m, space, vpn):
    """Replace a huge leaf by a table of 512 ptes with the same rights: the table that was laid by for it (pgtable_trans_huge_withdraw)."""
    root = m.spaces[space].root
    leaf = radix.get(m, root, vpn)
    flags, pfn = leaf & FLAG_MASK & ~HUGE, leaf >> PFN
    radix.give_back(m, 1)
    node = radix.new_node(m)
    for k in range(512):
        m.nodes[node, k] = flags if flags & ZERO else (pfn + k) << PFN | flags
    radix.put(m, root, vpn, 2, node << PFN | TABLE)


@routine
def step(m, r):
    """Do one step of a split."""
    row, base, phase = m.rows[r], m.splits[r].vpn, m.rows[r].phase
    if phase == SPLIT:
        if not notify.call(m, r, notify.START, base, base + 512, SPLIT_SET):
            return
        phase = SPLIT_SET
    if phase == SPLIT_SET:
        if radix.get(m, m.spaces[row.space].root, base) & HUGE:
            split(m, row.space, base)
            m.counts[row.agent, SPLITS] += 1
            shootdown.call(m, r, base, base + 512, 1, 1, 0, SPLIT_END)
            clock.spend(m, r, m.splits[r].account, m.costs[0].table)
            return
        phase = SPLIT_END
    if phase == SPLIT_END and not notify.call(m, r, notify.STOP, base, base + 512, SPLIT_DONE):
        return
    row.phase = m.splits[r].then
