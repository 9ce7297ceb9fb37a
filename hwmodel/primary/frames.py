"""Page frames: references, reverse map, single frames and blocks of 512 (docs/model.md 5.3), and the page cache (5.4).

Whoever takes a frame has asked `memory` whether there is one.
"""

from hwmodel.core.tables import PFN, P
from hwmodel.jit import part, routine
from hwmodel.parts import radix

SPACE_SHIFT = 40


@part
def owner_of(space, vpn):
    """Return the name of a mapping in the reverse map."""
    return space << SPACE_SHIFT | vpn


@part
def reset(m, pfn):
    """Clear a frame: nothing refers to it."""
    frame = m.frames[pfn]
    frame.refs, frame.owner, frame.more, frame.cached = 0, -1, -1, 0


@routine
def take(m):
    """Take a frame without references and return it: the one freed last, else the next never used, else one of the block freed last."""
    ctl = m.ctl[0]
    ctl.free -= 1
    pfn = ctl.frame_free
    if pfn < 0 and ctl.frame_top < ctl.frame_limit:
        pfn = ctl.frame_top
        ctl.frame_top += 1
    else:
        if pfn < 0:
            break_block(m)
            pfn = ctl.frame_free
        ctl.frame_free = m.frames[pfn].more
    reset(m, pfn)
    return pfn


@routine
def break_block(m):
    """Put the frames of the free block that was freed last on the free list, lowest first."""
    ctl = m.ctl[0]
    first = ctl.block_free
    ctl.block_free = m.frames[first].more
    for pfn in range(first, first + 512):
        push(m, pfn)


@part
def has_block(m):
    """Return whether 512 aligned frames are free or were never used."""
    ctl = m.ctl[0]
    return ctl.block_free >= 0 or ((ctl.frame_top + 511) >> 9 << 9) + 512 <= ctl.frame_limit


@routine
def take_block(m):
    """Take 512 aligned frames without references and return the first one: the block freed last, else the next never used."""
    ctl = m.ctl[0]
    ctl.free -= 512
    first = ctl.block_free
    if first >= 0:
        ctl.block_free = m.frames[first].more
    else:
        first = (ctl.frame_top + 511) >> 9 << 9
        for pfn in range(ctl.frame_top, first):
            push(m, pfn)
        ctl.frame_top = first + 512
    for pfn in range(first, first + 512):
        reset(m, pfn)
    return first


@part
def push(m, pfn):
    """Put a frame on the free list."""
    m.frames[pfn].more = m.ctl[0].frame_free
    m.frames[pfn].owner = -1
    m.ctl[0].frame_free = pfn


@part
def release(m, pfn):
    """Free a frame that nothing refers to."""
    push(m, pfn)
    m.ctl[0].free += 1


@part
def release_block(m, first):
    """Free a block to which nothing refers."""
    ctl = m.ctl[0]
    m.frames[first].more, m.frames[first].owner = ctl.block_free, -1
    ctl.block_free = first
    ctl.free += 512


@part
def mapped(m, pfn, space, vpn):
    """Record a pte that maps the frame: one reference, one entry of the reverse map."""
    frame = m.frames[pfn]
    frame.refs += 1
    if frame.owner < 0:
        frame.owner = owner_of(space, vpn)
    else:
        ctl = m.ctl[0]
        link = ctl.link_free
        if link >= 0:
            ctl.link_free = m.links[link].more
        else:
            link = ctl.link_top
            ctl.link_top += 1
        m.links[link].owner, m.links[link].more = owner_of(space, vpn), frame.more
        frame.more = link


@routine
def unmapped(m, pfn, space, vpn):
    """Remove the entry of a pte that is gone from the reverse map; the pte's reference stays with the caller."""
    frame, owner, ctl = m.frames[pfn], owner_of(space, vpn), m.ctl[0]
    link = frame.more
    if frame.owner == owner:
        if link < 0:
            frame.owner = -1
            return
        frame.owner, frame.more = m.links[link].owner, m.links[link].more
    else:
        before = -1
        while m.links[link].owner != owner:
            before, link = link, m.links[link].more
        if before < 0:
            frame.more = m.links[link].more
        else:
            m.links[before].more = m.links[link].more
    m.links[link].more = ctl.link_free
    ctl.link_free = link


@routine
def moved(m, pfn, space, vpn, to):
    """Move the reverse map's entry of a pte that moved within its space."""
    frame, owner = m.frames[pfn], owner_of(space, vpn)
    if frame.owner == owner:
        frame.owner = owner_of(space, to)
        return
    link = frame.more
    while m.links[link].owner != owner:
        link = m.links[link].more
    m.links[link].owner = owner_of(space, to)


@routine
def drop(m, pfn):
    """Give back one reference; the last one frees the frame."""
    frame = m.frames[pfn]
    frame.refs -= 1
    if frame.refs == 0:
        release(m, pfn)


@routine
def drop_block(m, first):
    """Give back one reference on each frame of a huge page."""
    free = 0
    for pfn in range(first, first + 512):
        m.frames[pfn].refs -= 1
        free += m.frames[pfn].refs == 0
    if free == 512:
        release_block(m, first)
        return
    for pfn in range(first, first + 512):
        if m.frames[pfn].refs == 0:
            release(m, pfn)


@part
def block_is_exclusive(m, first):
    """Return whether each frame of a huge page has just one reference."""
    for pfn in range(first, first + 512):
        if m.frames[pfn].refs != 1:
            return False
    return True


@routine
def cached(m, file, page):
    """Return the frame of a page of a file, or -1 if the page cache does not hold that page."""
    if m.files[file] < 0:
        return -1
    entry = radix.get(m, m.files[file], page)
    return entry >> PFN if entry & P else -1


@routine
def cache(m, file, page, pfn):
    """Put a frame into the page cache as a page of a file. The cache's own tables are no memory of the machine's (5.3)."""
    made = 0
    if m.files[file] < 0:
        m.files[file] = radix.new_node(m)
        made = 1
    m.frames[pfn].refs, m.frames[pfn].cached = 1, 1
    made += radix.make(m, m.files[file], page, 1)
    radix.put(m, m.files[file], page, 1, pfn << PFN | P)
    radix.give_back(m, made)
