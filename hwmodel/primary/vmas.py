"""VMAs: a table sorted by (space, first page); inserting, cutting, merging, removing (docs/model.md 5.1).

Rules of merging: Linux 6.18 mm/vma.c is_mergeable_vma, is_mergeable_anon_vma, find_mergeable_anon_vma; mm/rmap.c anon_vma_fork.
"""

from hwmodel.core.ledger import KERNEL, account
from hwmodel.core.tables import X
from hwmodel.jit import part, routine
from hwmodel.op import HUGETLB, PRIVATE, PROT_EXEC, PROT_WRITE, SHARED, SHARED_FILE

CHANGING = account("vma", KERNEL, "inserting, cutting, merging and removing VMAs")


@part
def copy_row(m, to, at):
    """Copy row `at` to row `to`."""
    a, b = m.vmas[to], m.vmas[at]
    a.space, a.first, a.last, a.prot, a.mapping = b.space, b.first, b.last, b.prot, b.mapping
    a.file, a.offset, a.advice, a.grows, a.accounted = b.file, b.offset, b.advice, b.grows, b.accounted
    a.anon, a.forked, a.dontcopy = b.anon, b.forked, b.dontcopy


@routine
def above(m, space, page):
    """Return the row of the first VMA of `space` that ends after `page`, or, if there is none, the row where one would be inserted."""
    low, high = 0, m.ctl[0].vma_count
    while low < high:
        mid = (low + high) >> 1
        v = m.vmas[mid]
        if v.space < space or (v.space == space and v.last <= page):
            low = mid + 1
        else:
            high = mid
    return low


@part
def is_of(m, k, space):
    """Return whether row k is a VMA of `space`."""
    return k < m.ctl[0].vma_count and m.vmas[k].space == space


@part
def find(m, space, page):
    """Return the row of the VMA that holds `page`, or -1."""
    k = above(m, space, page)
    return k if is_of(m, k, space) and m.vmas[k].first <= page else -1


@part
def intersects(m, space, first, last):
    """Return whether a VMA of `space` has pages in [first, last)."""
    k = above(m, space, first)
    return is_of(m, k, space) and m.vmas[k].first < last


@part
def cuts_huge(m, space, page):
    """Return whether an end at `page` would cut a VMA of huge pages inside one of them, which Linux refuses."""
    k = find(m, space, page)
    return page & 511 != 0 and k >= 0 and m.vmas[k].mapping == HUGETLB


@part
def is_shared(v):
    """Return whether a write to this VMA goes to the file or the shared memory itself."""
    return v.mapping == SHARED or v.mapping == SHARED_FILE


@part
def execute_bit(v):
    """Return X, as a pte of this VMA has it, if the VMA may be fetched from, else 0 (NX; Linux 6.18 arch/x86/mm/pgprot.c)."""
    return X if v.prot & PROT_EXEC else 0


@routine
def open_row(m, k):
    """Make room at row k."""
    ctl = m.ctl[0]
    for j in range(ctl.vma_count, k, -1):
        copy_row(m, j, j - 1)
    ctl.vma_count += 1


@routine
def close_row(m, k):
    """Remove row k."""
    ctl = m.ctl[0]
    ctl.vma_count -= 1
    for j in range(k, ctl.vma_count):
        copy_row(m, j, j + 1)


@routine
def cut(m, k, page):
    """Cut row k in two at `page`, which lies inside it."""
    open_row(m, k)
    copy_row(m, k, k + 1)
    left, right = m.vmas[k], m.vmas[k + 1]
    left.last = page
    right.offset += page - right.first
    right.first = page


@part
def goes_on(a, b):
    """Return whether VMA b continues VMA a, with any rights and anon_vma: the test of anon_vma_compatible."""
    if a.space != b.space or a.last != b.first or a.mapping != b.mapping or a.mapping == HUGETLB or a.file != b.file:
        return False
    if a.advice != b.advice or a.grows != b.grows or a.accounted != b.accounted:
        return False
    return b.offset == a.offset + a.last - a.first


@part
def may_share(a, b):
    """Return whether two VMAs may have one anon_vma: both have that one, or only one has any, which comes from no parent."""
    return a.anon == b.anon or (a.anon == 0 and not b.forked) or (b.anon == 0 and not a.forked)


@routine
def merge_at(m, k):
    """Merge rows k and k + 1 if they may be one VMA, and return whether they were merged."""
    if k < 0 or k + 1 >= m.ctl[0].vma_count:
        return False
    a, b = m.vmas[k], m.vmas[k + 1]
    if a.prot != b.prot or not goes_on(a, b) or not may_share(a, b):
        return False
    a.last, a.anon = b.last, max(a.anon, b.anon)
    close_row(m, k + 1)
    return True


@routine
def merge(m, k):
    """Merge row k with its left, then its right neighbour, and return the row in which the VMA is then."""
    if merge_at(m, k - 1):
        k -= 1
    merge_at(m, k)
    return k


@routine
def insert(m, space, first, last, prot, mapping, file, offset, grows):
    """Add a VMA where none is, merged with none, and return its row. The offset of anonymous memory is its first page.

    The parameters are more than eight, since they are the columns of a VMA.
    """
    k = above(m, space, first)
    open_row(m, k)
    v = m.vmas[k]
    v.space, v.first, v.last, v.prot, v.mapping = space, first, last, prot, mapping
    v.file, v.offset, v.advice, v.grows, v.anon, v.forked = file, offset if file > 0 else first, 0, grows, 0, 0
    v.dontcopy, v.accounted = 0, is_private(v) and prot & PROT_WRITE != 0
    return k


@part
def is_private(v):
    """Return whether a VMA's memory is charged to its address space when it may be written: not shared memory, nor hugetlb pages."""
    return not is_shared(v) and v.mapping != HUGETLB


@routine
def move(m, k, first, target, target_last):
    """Add a VMA [target, target_last), where none is, as a copy of row k from page `first` on; return its row. Linux's copy_vma."""
    at = above(m, m.vmas[k].space, target)
    open_row(m, at)
    k += at <= k
    copy_row(m, at, k)
    v = m.vmas[at]
    v.offset = target if v.mapping == PRIVATE and v.anon == 0 else v.offset + first - v.first
    v.first, v.last = target, target_last
    return merge(m, at)


@routine
def extend(m, k, last):
    """Extend row k to `last` and merge it with a VMA that begins there, even if its anon_vma comes from a parent (vma_merge_extend)."""
    forked = m.vmas[k].forked
    m.vmas[k].last, m.vmas[k].forked = last, 0
    merge_at(m, k)
    m.vmas[k].forked = forked


@routine
def protect(m, k, prot):
    """Give row k other rights, with its accounting, and merge it (mm/mprotect.c mprotect_fixup).

    Private memory is charged when it becomes writable; anonymous memory that was never touched, no longer once it ceases to be writable.
    """
    v = m.vmas[k]
    if prot & PROT_WRITE:
        v.accounted |= is_private(v) and not v.prot & PROT_WRITE
    elif v.mapping == PRIVATE and v.anon == 0:
        v.accounted = 0
    v.prot = prot
    merge(m, k)


@part
def new_anon(m):
    """Return the number of a new anon_vma."""
    m.ctl[0].anon_vmas += 1
    return m.ctl[0].anon_vmas


@routine
def prepare(m, k):
    """Give row k an anon_vma for its first anonymous page: of the right or left neighbour, if they could be one VMA later, or a new one."""
    v = m.vmas[k]
    if v.anon:
        return
    if k + 1 < m.ctl[0].vma_count and goes_on(v, m.vmas[k + 1]) and not m.vmas[k + 1].forked:
        v.anon = m.vmas[k + 1].anon
    if v.anon == 0 and k > 0 and goes_on(m.vmas[k - 1], v) and not m.vmas[k - 1].forked:
        v.anon = m.vmas[k - 1].anon
    if v.anon == 0:
        v.anon = new_anon(m)


@part
def inherit(m, k):
    """Give row k, a copy of a parent's VMA, its own anon_vma beside the parent's (anon_vma_fork)."""
    if m.vmas[k].anon:
        m.vmas[k].anon, m.vmas[k].forked = new_anon(m), 1


@routine
def hull(m, space, first, last):
    """Return the first and the last page, exclusive, that VMAs of the space have in [first, last); (first, first) if none has any."""
    k = above(m, space, first)
    low = high = first
    if is_of(m, k, space) and m.vmas[k].first < last:
        low = max(first, m.vmas[k].first)
    while is_of(m, k, space) and m.vmas[k].first < last:
        high = min(last, m.vmas[k].last)
        k += 1
    return low, high


@routine
def remove(m, space, first, last):
    """Remove the pages [first, last) from the space's VMAs, and return how many VMAs were removed or cut."""
    changed = 0
    k = above(m, space, first)
    while is_of(m, k, space) and m.vmas[k].first < last:
        changed += 1
        if m.vmas[k].first < first:
            cut(m, k, first)
            k += 1
        if m.vmas[k].last > last:
            cut(m, k, last)
        close_row(m, k)
    return changed


@routine
def grow(m, space, page):
    """Extend the stack VMA above down to `page`, which lies in none, if limit and guard gap allow it; return its row, or -1.

    Linux 6.12 mm/mmap.c expand_downwards, acct_stack_growth: the limit is on the whole VMA; the gap is kept only to a VMA that can be
    accessed and is no stack itself. The stack has an anon_vma from then on.
    """
    k, ctl = above(m, space, page), m.ctl[0]
    if not is_of(m, k, space) or not m.vmas[k].grows or m.vmas[k].last - page > ctl.stack_limit:
        return -1
    if k > 0 and m.vmas[k - 1].space == space and page - m.vmas[k - 1].last < ctl.stack_guard:
        if m.vmas[k - 1].prot and not m.vmas[k - 1].grows:
            return -1
    pages = m.vmas[k].first - page
    if pages > m.vmas[k].offset:
        return -1
    m.vmas[k].first, m.vmas[k].offset = page, m.vmas[k].offset - pages
    prepare(m, k)
    return k


@routine
def isolate(m, k, first, last):
    """Cut row k so that its part in [first, last) is a VMA of its own, and return that VMA's row."""
    if m.vmas[k].first < first:
        cut(m, k, first)
        k += 1
    if m.vmas[k].last > last:
        cut(m, k, last)
    return k
