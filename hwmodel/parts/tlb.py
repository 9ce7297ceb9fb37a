"""TLBs of two page sizes: a tag is (address space, page, size); a first level has a bank for each size, a second level one for both."""

from hwmodel.jit import part, routine
from hwmodel.parts import bank

ASID_SHIFT = 40


@part
def tag_of(asid, vpn, huge):
    """Return the tag of the 4 KiB or 2 MiB page that holds `vpn`."""
    return asid << ASID_SHIFT | (vpn >> (9 * huge)) << 1 | huge


@part
def set_of(vpn, huge):
    """Return the index that selects the set."""
    return vpn >> (9 * huge)


@part
def look_split(m, small, asid, vpn):
    """Return the way of `vpn` in the bank `small` or in the bank of huge pages after it, or -1."""
    k = bank.look(m, small, vpn, tag_of(asid, vpn, 0))
    if k < 0 and m.banks[small + 1].tick > 0:
        k = bank.look(m, small + 1, vpn >> 9, tag_of(asid, vpn, 1))
    return k


@part
def look_joint(m, b, asid, vpn):
    """Return the way of `vpn` in a bank that holds both sizes, or -1."""
    k = bank.look(m, b, vpn, tag_of(asid, vpn, 0))
    if k < 0:
        k = bank.look(m, b, vpn >> 9, tag_of(asid, vpn, 1))
    return k


@routine
def drop_page(m, small, joint, vpn):
    """Drop the 4 KiB and the 2 MiB entry of `vpn` from a first level (asid 0) and, if joint >= 0, from the second."""
    for huge in range(2):
        bank.drop(m, small + huge, set_of(vpn, huge), tag_of(0, vpn, huge))
        if joint >= 0:
            bank.drop(m, joint, set_of(vpn, huge), tag_of(0, vpn, huge))


@routine
def drop_range(m, b, asid, first, last):
    """Drop every entry of `asid` that intersects pages [first, last), of either size, from a joint bank."""
    row = m.banks[b]
    entries = (row.mask + 1) * row.ways
    if last - first > entries:
        for k in range(row.offset, row.offset + entries):
            tag = m.ways[k].tag
            if tag >= 0 and tag >> ASID_SHIFT == asid:
                huge = tag & 1
                page = (tag & (1 << ASID_SHIFT) - 1) >> 1 << (9 * huge)
                if page < last and page + (1 << (9 * huge)) > first:
                    m.ways[k].tag, m.ways[k].used = -1, 0
        return
    for vpn in range(first, last):
        bank.drop(m, b, vpn, tag_of(asid, vpn, 0))
    for page in range(first >> 9, ((last - 1) >> 9) + 1):
        bank.drop(m, b, page, tag_of(asid, page << 9, 1))


@routine
def drop_sets(m, b, asid, first, last):
    """Drop every entry of `asid`, whatever its page and size, in the sets of pages [first, last) of a joint bank."""
    row = m.banks[b]
    for index in range(first, min(last, first + row.mask + 1)):
        at = row.offset + (index & row.mask) * row.ways
        for k in range(at, at + row.ways):
            if m.ways[k].tag >= 0 and m.ways[k].tag >> ASID_SHIFT == asid:
                m.ways[k].tag, m.ways[k].used = -1, 0


@routine
def drop_asid(m, b, asid):
    """Drop every entry of `asid`."""
    row = m.banks[b]
    for k in range(row.offset, row.offset + (row.mask + 1) * row.ways):
        if m.ways[k].tag >= 0 and m.ways[k].tag >> ASID_SHIFT == asid:
            m.ways[k].tag, m.ways[k].used = -1, 0
