"""The kinds of page faults: which one a fault is, and what follows from the kind alone (docs/model.md section 6, FAULT, and 6.1).

Linux 6.12 mm/memory.c do_anonymous_page, do_wp_page, do_fault; mm/huge_memory.c.
"""

from hwmodel.core.tables import HUGE, PFN, ZERO
from hwmodel.jit import part, routine
from hwmodel.op import HUGETLB, PRIVATE, PRIVATE_FILE, PROT_EXEC, PROT_READ, PROT_WRITE
from hwmodel.parts import radix
from hwmodel.primary import frames, vmas

ZEROED, ANON, FILE, FILE_COW, REUSE, COW, HUGE_ZEROED, HUGE_ANON, HUGE_REUSE, HUGE_COPY, HUGE_ZERO_COW = range(1, 12)


@part
def kind_of(m, v, space, fault, pte):
    """Return the kind of a fault on this pte; 0: its huge page must be split first."""
    return of_absent(m, v, space, fault) if pte == 0 else of_present(m, v, pte, fault.small)


@routine
def of_absent(m, v, space, fault):
    """Return the kind of a fault without a pte."""
    if v.mapping == HUGETLB:
        return HUGE_ANON
    if v.mapping == PRIVATE:
        if huge_possible(m, v, space, fault.vpn) and not (fault.write and fault.small):
            return HUGE_ANON if fault.write else HUGE_ZEROED
        return ANON if fault.write else ZEROED
    return FILE_COW if fault.write and v.mapping == PRIVATE_FILE else FILE


@routine
def huge_possible(m, v, space, vpn):
    """Return whether an absent page of this VMA may be faulted in as a huge page."""
    thp, base = m.ctl[0].thp, vpn >> 9 << 9
    if v.advice == 2 or thp == 0 or (thp == 1 and v.advice != 1):
        return False
    return v.first <= base and base + 512 <= v.last and radix.leaf_level(m, m.spaces[space].root, vpn) != 1


@routine
def of_present(m, v, pte, small):
    """Return the kind of a write fault on a read-only pte; 0: its huge page must be split first."""
    if vmas.is_shared(v):
        return REUSE
    if pte & HUGE:
        if pte & ZERO:
            return 0 if small else HUGE_ZERO_COW
        if frames.block_is_exclusive(m, pte >> PFN):
            return HUGE_REUSE
        return HUGE_COPY if v.mapping == HUGETLB else 0
    if not pte & ZERO and m.frames[pte >> PFN].refs == 1 and not m.frames[pte >> PFN].cached:
        return REUSE
    return COW


@part
def takes_block(kind):
    """Return whether a fault of this kind takes a block of 512 frames."""
    return kind == HUGE_ANON or kind == HUGE_COPY or kind == HUGE_ZERO_COW


@part
def takes_page(kind):
    """Return whether a fault of this kind takes a frame for its page."""
    return kind == ANON or kind == FILE_COW or kind == COW


@part
def level_of(kind):
    """Return the level at which a fault of this kind puts a leaf where none was; 0: there was one."""
    if kind == HUGE_ANON or kind == HUGE_ZEROED:
        return 2
    return 0 if kind == REUSE or kind == HUGE_REUSE or is_copy(kind) else 1


@part
def is_copy(kind):
    """Return whether a fault of this kind replaces a page; it then goes on even if the page need no longer be replaced."""
    return kind == COW or kind == HUGE_COPY or kind == HUGE_ZERO_COW


@part
def right_of(fault):
    """Return the right that the access needs."""
    return PROT_WRITE if fault.write else PROT_EXEC if fault.execute else PROT_READ


@routine
def work_of(m, v, kind, pte, vpn):
    """Return the cycles of zeroing, copying and filling the page cache."""
    costs = m.costs[0]
    if kind == ANON:
        return costs.zero_page
    if kind == HUGE_ANON or kind == HUGE_ZERO_COW:
        return costs.zero_huge
    if kind == HUGE_COPY:
        return costs.copy_huge
    if kind == COW:
        return costs.zero_page if pte & ZERO else costs.copy_page
    if kind == FILE or kind == FILE_COW:
        fill = costs.cache_page if fills(m, v, vpn, kind) else 0
        return fill + (costs.copy_page if kind == FILE_COW else 0)
    return 0


@part
def fills(m, v, vpn, kind):
    """Return whether a fault of this kind brings its page into the page cache."""
    return (kind == FILE or kind == FILE_COW) and frames.cached(m, v.file, page_of(v, vpn)) < 0


@part
def page_of(v, vpn):
    """Return the page of its file that a file mapping has at `vpn`."""
    return v.offset + vpn - v.first
