"""What must hold of a machine's tables between two steps: everything is mapped, counted and listed exactly once.

`findings` judges the tables by one another: reference counts and the reverse map by the page tables, free lists by what is reachable,
page tables by the VMAs; what EPTs and TLBs hold is judged in `stale`. It reads the columns only; no kernel is called.
"""

from typing import NamedTuple

import numpy as np

from hwmodel.core.tables import (
    AWAY,
    COW_DONE,
    COW_END,
    DESIGN,
    DONE,
    FLUSH,
    FLUSH_ACKED,
    FLUSH_ARRIVES,
    HUGE,
    KERNEL,
    NONE,
    NOTICE,
    NOTICE_ARRIVES,
    PFN,
    READY,
    TABLE,
    VACANT,
    ZERO,
    P,
    W,
    X,
)  # fmt: skip
from hwmodel.op import HUGETLB, PROT_EXEC, PROT_WRITE, SHARED, SHARED_FILE
from hwmodel.primary.frames import SPACE_SHIFT

ZERO_PAGE, APART = 512, -2
"""Frames below ZERO_PAGE can be kept out of use, with APART as their owner: their numbers then mean the zero page, huge or not."""
SEVERAL = 3
"""Findings of one kind that are listed; a number says how many more there are."""


class Tree(NamedTuple):
    """A radix table, read from its root."""

    nodes: np.ndarray  # node of every table, as often as it is reached
    vpn: np.ndarray  # first page of each leaf
    pte: np.ndarray
    pages: np.ndarray  # 1, or 512 of a huge leaf
    odd: list  # entries that may not be where they are


def frames_apart(m):
    """Keep the first frames out of use, before anything is mapped."""
    assert not m.frames["refs"].any()
    m.ctl["frame_top"] = ZERO_PAGE
    m.frames["refs"][:ZERO_PAGE], m.frames["owner"][:ZERO_PAGE], m.frames["more"][:ZERO_PAGE] = 1, APART, -1


def findings(m, dev=None, quiet=True):
    """What is wrong, as text; `quiet`: no operation, fault or flush is under way."""
    spaces = {s: read_tree(m, row.root) for s, row in enumerate(m.spaces) if row.root >= 0}
    files = {f: read_tree(m, root) for f, root in enumerate(m.files) if root >= 0}
    vms = {s: read_tree(m, vm.ept) for s, vm in enumerate(getattr(dev, "vms", ())) if vm.ept > 0}
    found = []
    for kind, trees in (("space", spaces), ("file", files), ("EPT of space", vms)):
        found += [f"{kind} {n}: {odd}" for n, tree in trees.items() for odd in tree.odd]
    guests = [read_tree(m, vm.guest) for vm in getattr(dev, "vms", ()) if vm.ept > 0]
    found += node_findings(m, [*spaces.values(), *files.values(), *vms.values(), *guests])
    found += memory_findings(m, dev, list(spaces.values()), list(vms.values()))
    found += frame_findings(m, spaces, files)
    found += list_findings(m)
    found += vma_findings(m)
    found += rights_findings(m, spaces, files, quiet)
    if quiet:
        found += held_findings(m, dev)
    return found


def listed(text, items):
    """One line for each of the first few items."""
    items = list(items)
    more = [f"... and {len(items) - SEVERAL} more like it"] if len(items) > SEVERAL else []
    return [text.format(*(item if isinstance(item, tuple) else (item,))) for item in items[:SEVERAL]] + more


# the trees


def read_tree(m, root):
    """Everything below a root."""
    nodes, bases = np.array([root]), np.zeros(1, np.int64)
    reached, leaves, odd = [], [], []
    for level in (4, 3, 2, 1):
        reached.append(nodes)
        row, column = np.nonzero(m.nodes[nodes])
        entry, vpn = m.nodes[nodes[row], column], bases[row] + (column << 9 * (level - 1))
        is_table = entry & TABLE != 0
        wrong = is_table if level == 1 else ~is_table & ((entry & HUGE == 0) | (level > 2))
        wrong |= (level == 1) & (entry & HUGE != 0)
        odd += listed(f"at level {level}, page {{:#x}} has the entry {{:#x}}", zip(vpn[wrong], entry[wrong], strict=True))
        leaves.append((vpn[~is_table], entry[~is_table], np.full((~is_table).sum(), 512 if level == 2 else 1)))
        nodes, bases = entry[is_table] >> PFN, vpn[is_table]
    vpn, pte, pages = (np.concatenate(column) for column in zip(*leaves, strict=True))
    return Tree(np.concatenate(reached), vpn, pte, pages, odd)


def pages_of(tree):
    """(page, frame) of every 4 KiB page that a frame backs, present or not."""
    kept = tree.pte & (ZERO | AWAY) == 0
    start, first, n = tree.vpn[kept], tree.pte[kept] >> PFN, tree.pages[kept]
    within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    return np.repeat(start, n) + within, np.repeat(first, n) + within


def chain(rows, column, first, most):
    """The rows of a linked list, as far as it makes sense: one longer than `most` runs in a circle."""
    found, at = [], int(first)
    while 0 <= at < len(rows) and len(found) <= most:
        found.append(at)
        at = int(rows[at][column])
    return found


def node_findings(m, trees):
    """Each page-table page hangs in one place of one tree, or is free, empty but for the list."""
    top = int(m.ctl[0].node_top)
    free = chain(m.nodes, 0, m.ctl[0].node_free, top)
    used = np.bincount(np.concatenate([tree.nodes for tree in trees]), minlength=top)
    listed_free = np.bincount(np.array(free, np.int64), minlength=top)[:top]
    yield from listed("node {} is reached {} times and free {} times",
                      ((n, used[n], listed_free[n]) for n in np.flatnonzero(used + listed_free != 1)))  # fmt: skip
    yield from listed("free node {} is not empty", (n for n in free if m.nodes[n, 1:].any()))


# frames


def in_hands(m):
    """Frames that faults have taken and not yet used."""
    leaves = [int(leaf) for fault in m.faults for leaf in (fault.page, fault.cached) if leaf]
    return [(leaf >> PFN) + k for leaf in leaves for k in range(512 if leaf & HUGE else 1)]


def memory_findings(m, dev, spaces, vms):
    """What is free is what neither pages nor page tables have, hung up, laid by for a huge leaf, or in a hand."""
    ctl = m.ctl[0]
    used = int((m.frames["refs"][: ctl.frame_top] > 0).sum()) + len(in_hands(m))
    used -= int((m.frames["owner"][: ctl.frame_top] == APART).sum())
    tables = sum(tree.nodes.size for tree in [*spaces, *vms]) + sum(int((tree.pages == 512).sum()) for tree in spaces)
    tables += int(m.faults["tables"].sum()) + int(getattr(dev, "vcpus", np.zeros(1, [("tables", np.int64)]))["tables"].sum())
    if ctl.free != ctl.frame_limit - used - tables:
        yield f"{ctl.free} frames are said to be free, but of {ctl.frame_limit} {used} are used and {tables} page tables"


def held_back(m):
    """Frames that a gather or a copy on write keeps after their ptes are gone, as often as it does."""
    held = []
    for r, batch in enumerate(m.gathers):
        if batch.pages > 0:
            ptes = [int(m.entries[k].pte) for k in chain(m.entries, "more", batch.entry, m.entries.size)]
            held += [(pte >> PFN) + k for pte in ptes for k in range(512 if pte & HUGE else 1)]
        old = int(m.faults[r].old)
        if is_replacing(m, r) and old and not old & ZERO:
            held += [(old >> PFN) + k for k in range(512 if old & HUGE else 1)]
    return np.array(held, np.int64)


def is_replacing(m, r):
    """Is the row between COW_SET and COW_DONE? A thread of the kernel that keeps an old page always is."""
    phase = m.rows[r].phase
    if m.rows[r].role == KERNEL:
        return True
    flushing = phase in (FLUSH, FLUSH_ARRIVES, FLUSH_ACKED) and m.flushes[r].then == COW_END
    telling = phase in (NOTICE, NOTICE_ARRIVES) and m.notices[r].then == COW_DONE
    return flushing or telling or phase in (COW_END, COW_DONE)


def frame_findings(m, spaces, files):
    """References and reverse map are what the page tables, the page cache, gathers and copies say."""
    top = int(m.ctl[0].frame_top)
    frames = m.frames[:top]
    mappings = [(s, *pages_of(tree)) for s, tree in spaces.items()]
    owner = np.concatenate([vpn | s << SPACE_SHIFT for s, vpn, _ in mappings])
    pfn = np.concatenate([pfn for *_, pfn in mappings])
    cache = np.concatenate([np.zeros(0, np.int64), *(tree.pte >> PFN for tree in files.values())])
    if max(pfn.max(initial=-1), cache.max(initial=-1)) >= top:
        yield "a page table maps a frame that was never handed out"
        return
    refs = sum(np.bincount(part, minlength=top) for part in (pfn, cache, held_back(m)))
    refs += frames["owner"] == APART
    yield from listed("frame {} has {} references, but {} things refer to it",
                      ((n, frames[n].refs, refs[n]) for n in np.flatnonzero(frames["refs"] != refs)))  # fmt: skip
    times = np.bincount(cache, minlength=top)
    yield from listed("frame {} is in the page cache {} times, but is marked {}",
                      ((n, times[n], frames[n].cached) for n in np.flatnonzero(times != frames["cached"])))  # fmt: skip
    free = free_frames(m)
    times = np.bincount(np.array(free, np.int64), minlength=top)
    times += np.bincount(np.array(in_hands(m), np.int64), minlength=top)
    yield from listed("frame {} has {} references and is free {} times",
                      ((n, frames[n].refs, times[n]) for n in np.flatnonzero(times != (frames["refs"] == 0))))  # fmt: skip
    judged = sorted(zip(pfn.tolist(), owner.tolist(), strict=True))
    mapped = sorted(reverse_map(m, set(free)))
    for text, these in (("lacks", set(judged) - set(mapped)), ("has", set(mapped) - set(judged))):
        yield from listed(f"the reverse map {text} frame {{}} at space {{}}, page {{:#x}}",
                          ((n, o >> SPACE_SHIFT, o & (1 << SPACE_SHIFT) - 1) for n, o in sorted(these)))  # fmt: skip
    if len(mapped) != len(set(mapped)):
        yield "the reverse map lists a mapping twice"


def free_frames(m):
    """The frames on the free list, then those of free blocks."""
    ctl, most = m.ctl[0], m.frames.size
    blocks = chain(m.frames, "more", ctl.block_free, most)
    return chain(m.frames, "more", ctl.frame_free, most) + [first + k for first in blocks for k in range(512)]


def reverse_map(m, free):
    """(frame, owner) of every entry of the reverse map; free frames have none, and use the column for their list."""
    for pfn in range(int(m.ctl[0].frame_top)):
        frame = m.frames[pfn]
        if frame.owner >= 0:
            yield pfn, int(frame.owner)
        if pfn not in free:
            yield from ((pfn, int(m.links[k].owner)) for k in chain(m.links, "more", frame.more, m.links.size))


def list_findings(m):
    """Each further mapping and each gather entry is in one list: its owner's or the free one."""
    ctl, free = m.ctl[0], set(free_frames(m))
    links = chain(m.links, "more", ctl.link_free, m.links.size)
    for pfn in range(int(ctl.frame_top)):
        if pfn not in free:
            links += chain(m.links, "more", m.frames[pfn].more, m.links.size)
    entries = chain(m.entries, "more", ctl.entry_free, m.entries.size)
    for r, batch in enumerate(m.gathers):
        if batch.pages > 0:
            mine = chain(m.entries, "more", batch.entry, m.entries.size)
            entries += mine
            if len(mine) != batch.pages or mine[-1] != batch.last_entry:
                yield f"row {r} gathered {batch.pages} pages up to {batch.last_entry}, but its list is {mine}"
    for name, rows, top in (("link", links, int(ctl.link_top)), ("gather entry", entries, int(ctl.entry_top))):
        times = np.bincount(np.array(rows, np.int64), minlength=top)
        yield from listed(f"{name} {{}} is in {{}} lists", ((k, times[k]) for k in np.flatnonzero(times != 1)))


# VMAs, rights


def vma_findings(m):
    """VMAs are sorted, apart, whole and merged (docs/model.md 5.1); a space that is gone has none."""
    v = m.vmas[: m.ctl[0].vma_count]
    yield from listed("VMA {} is empty", np.flatnonzero(v["first"] >= v["last"]))
    huge = v["mapping"] == HUGETLB
    yield from listed("VMA {} cuts a huge page", np.flatnonzero(huge & ((v["first"] | v["last"]) & 511 != 0)))
    yield from listed("VMA {} is of a space that is gone", np.flatnonzero(m.spaces["root"][v["space"]] < 0))
    a, b = v[:-1], v[1:]
    same = a["space"] == b["space"]
    yield from listed("VMAs {} and the next are out of order, or overlap",
                      np.flatnonzero((a["space"] > b["space"]) | (same & (a["last"] > b["first"]))))  # fmt: skip
    alike = same & (a["last"] == b["first"]) & (a["offset"] + a["last"] - a["first"] == b["offset"])
    for column in ("prot", "mapping", "file", "advice", "grows", "accounted"):
        alike &= a[column] == b[column]
    alike &= (a["anon"] == b["anon"]) | ((a["anon"] == 0) & (b["forked"] == 0)) | ((b["anon"] == 0) & (a["forked"] == 0))
    alike &= (a["grows"] == 0) & (a["mapping"] != HUGETLB)  # stacks that grew until they met stay two
    below_heap = np.isin(a["last"], m.spaces["brk"])  # a break does not merge with what it meets
    yield from listed("VMA {} and the next are alike and not merged", np.flatnonzero(alike & ~below_heap))
    yield from listed("VMA {} has no anonymous page, but a parent's", np.flatnonzero((v["anon"] == 0) & (v["forked"] != 0)))
    shared = np.isin(v["mapping"], (SHARED, SHARED_FILE))
    private = (v["anon"] | v["accounted"]) != 0
    yield from listed("VMA {} is shared, but accounted, or has anonymous pages", np.flatnonzero(shared & private))
    yield from listed("VMA {} has an anon_vma that was never made", np.flatnonzero(v["anon"] > m.ctl[0].anon_vmas))


def rights_findings(m, spaces, files, quiet):
    """Every leaf lies in one VMA, allows no more than that, and maps the page of the file that it must."""
    vmas = m.vmas[: m.ctl[0].vma_count]
    copies = np.bincount(np.concatenate([pages_of(tree)[1] for tree in spaces.values()]), minlength=m.frames.size)
    cached = {(f, int(page)): int(pte) >> PFN for f, tree in files.items() for page, pte in zip(tree.vpn, tree.pte, strict=True)}
    for s, tree in spaces.items():
        v = vmas[vmas["space"] == s]
        at = np.searchsorted(v["first"], tree.vpn, "right") - 1
        inside = (at >= 0) & (tree.vpn + tree.pages <= v["last"][at]) if v.size else np.zeros(at.size, bool)
        calm = ~being_changed(m, s, tree) if not quiet else np.ones(at.size, bool)
        yield from listed(f"space {s}: page {{:#x}} is mapped, but no VMA holds all of it", tree.vpn[calm & ~inside])
        for vpn, pte, pages, k, is_calm in zip(tree.vpn[inside], tree.pte[inside], tree.pages[inside], at[inside], calm[inside],
                                               strict=True):  # fmt: skip
            for wrong in leaf_findings(m, v[k], int(vpn), int(pte), int(pages), copies, cached, is_calm):
                yield f"space {s}: page {vpn:#x} {wrong}"


def being_changed(m, s, tree):
    """Which leaves does an operation under way have in its hands?"""
    busy = np.zeros(tree.vpn.size, bool)
    for row, call, span in zip(m.rows, m.calls, m.spans, strict=True):
        if row.space == s and row.phase not in (READY, DONE, VACANT) and row.phase < DESIGN:
            for first, last in ((span.first, span.last), (call.first, call.last), (call.target, call.target_last)):
                busy |= (tree.vpn < last) & (tree.vpn + tree.pages > first)
    return busy


def leaf_findings(m, v, vpn, pte, pages, copies, cached, calm):
    """What is wrong with one leaf of the VMA v."""
    shared = v.mapping in (SHARED, SHARED_FILE)
    if pte & AWAY:
        if pte & (P | HUGE | ZERO | NONE) or (calm and pte & W and not v.prot & PROT_WRITE):
            yield f"is away, with flags {pte & (1 << PFN) - 1:#x} in a VMA of rights {v.prot}"
        return
    if calm and (bool(pte & P) != (v.prot != 0) or bool(pte & NONE) == bool(pte & P)):
        yield f"has flags {pte & (1 << PFN) - 1:#x} in a VMA of rights {v.prot}"
    if calm and pte & P and pte & W and not v.prot & PROT_WRITE:
        yield "may be written, its VMA not"
    if calm and pte & P and bool(pte & X) != bool(v.prot & PROT_EXEC):
        yield "may be fetched from, its VMA not" if pte & X else "may not be fetched from, its VMA may"
    if pte & ZERO:
        if pte & W or pte >> PFN or shared:
            yield "is the zero page, but writable, shared or a frame"
        return
    first = pte >> PFN
    if pages == 512 and first & 511:
        yield f"is huge, but frame {first} begins no block"
    if pte & W and not shared and (copies[first : first + pages] > 1).any():
        yield "may be written in private, but others map its frame"
    elif pte & W and not shared and (m.frames["refs"][first : first + pages] > 1).any():
        yield "may be written in private, but its frame has other references"
    page = cached.get((int(v.file), vpn - int(v.first) + int(v.offset))) if v.file else None
    if shared or m.frames[first].cached:
        if page != first or (pte & W and not shared):
            yield f"maps frame {first} for the page of a file that is in frame {page}, or may write to it"
    elif not v.anon:
        yield "is an anonymous page in a VMA that says it has none"


def held_findings(m, dev):
    """At rest no lock is held or waited for, no interrupt is on its way, no window is open."""
    locks = m.locks
    yield from listed("lock {} is held or waited for",
                      np.flatnonzero((locks["writer"] >= 0) | (locks["readers"] != 0) | (locks["waiting"] != 0)))  # fmt: skip
    yield from listed("an interrupt for row {} of row {} is pending", zip(*np.nonzero(m.pending), strict=True))
    for table, column in (("gms", "active"), ("vms", "in_progress")):
        if hasattr(dev, table):
            yield from listed(f"space {{}}: {column} windows are open", np.flatnonzero(getattr(dev, table)[column]))
