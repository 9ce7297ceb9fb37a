"""Common steps of operations on a range: its pieces, a table or a huge page a step, and the splits where its ends cut VMAs."""

from hwmodel.core.ledger import KERNEL, account
from hwmodel.core.tables import ADVISE, SPLIT_FIRST, SPLIT_LAST, table
from hwmodel.jit import part, routine
from hwmodel.op import HUGEPAGE, HUGETLB
from hwmodel.parts import radix
from hwmodel.primary import split, vmas

CLEARING = account("clear", KERNEL, "clearing, changing or moving ptes in a range operation")
SPAN = table("first", "last", "at", "cut_first", "cut_last", "then")
"""The pages [first, last) on which a row's operation works, from `at` on; where it cuts VMAs, and the phase after the splits there."""
NOTHING_LEFT, IN_TABLE, WHOLE_HUGE, CUT_HUGE = 0, 1, 2, 3


@routine
def piece(m, root, at, last):
    """Return the piece on which a step on [at, last) works: its kind, its first page, the end of its table or huge page."""
    while at < last:
        skip = radix.reach_end(m, root, at)
        if skip <= at:
            base = at >> 9 << 9
            if radix.leaf_level(m, root, at) == 1:
                return IN_TABLE, at, min(last, base + 512)
            whole = at == base and base + 512 <= last
            return WHOLE_HUGE if whole else CUT_HUGE, at, base + 512
        at = skip
    return NOTHING_LEFT, last, last


@routine
def has_leaf(m, root, at, end):
    """Return whether the level-1 table of [at, end) maps any of these pages."""
    node = radix.table_at(m, root, at, 1)
    for vpn in range(at, end):
        if m.nodes[node, vpn & 511] != 0:
            return True
    return False


@part
def call_splits(m, r, first, last, then):
    """Let row r's next steps split huge pages, or look for them, where VMAs are cut at the ends of [first, last). Return False."""
    span = m.spans[r]
    span.cut_first, span.cut_last, span.then, m.rows[r].phase = first, last, then, SPLIT_FIRST
    return False


@routine
def split_boundaries(m, r):
    """SPLIT_FIRST, SPLIT_LAST: split, or look for, the huge page at an end that is cut; return whether none is left to split."""
    row, span = m.rows[r], m.spans[r]
    if row.phase == SPLIT_FIRST:
        row.phase = SPLIT_LAST
        if is_cut_inside(m, r, span.cut_first, 0):
            split.call(m, r, span.cut_first, SPLIT_LAST, CLEARING)
            return False
    row.phase = span.then
    if is_cut_inside(m, r, span.cut_last, span.cut_first):
        split.call(m, r, span.cut_last, span.then, CLEARING)
        return False
    return True


@routine
def is_cut_inside(m, r, page, first):
    """Return whether a VMA, taken as cut at `first` already, is to be cut at `page` inside 2 MiB of its own that have a table.

    Linux's split_huge_pmd_if_needed and mm_find_pmd: the table is one of level 2, whatever its entry.
    """
    base, space = page >> 9 << 9, m.rows[r].space
    k = vmas.find(m, space, page)
    if base == page or k < 0 or max(m.vmas[k].first, first) > base or m.vmas[k].last < base + 512:
        return False
    if m.spans[r].then == ADVISE and (m.vmas[k].mapping == HUGETLB or m.vmas[k].advice == (1 if m.calls[r].advice == HUGEPAGE else 2)):
        return False
    return radix.table_at(m, m.spaces[space].root, page, 2) >= 0
