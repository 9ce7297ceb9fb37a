"""A bank: a set-associative array with least-recently-used replacement. Every TLB, walk cache and cache of the model is one.

A hit sets the way's `used` to the bank's next tick; a fill takes the way that already has the tag, else the one used longest ago
(an empty way has used 0).
"""

import numpy as np

from hwmodel.core.tables import BANK, WAY
from hwmodel.jit import part


def build(geometry: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return empty banks of the given (entries, ways), and their ways; a bank of 0 entries has no ways, so it never hits.

    Returns
    -------
    banks : BANK[len(geometry)]
    ways : WAY[sum of entries]
    """
    banks = np.zeros(len(geometry), BANK)
    offset = 0
    for bank, (entries, ways) in zip(banks, geometry, strict=True):
        bank.offset = offset
        if entries:
            bank.mask, bank.ways = entries // ways - 1, ways
        offset += entries
    table = np.zeros(offset, WAY)
    table["tag"] = -1
    return banks, table


@part
def find(m, b, index, tag):
    """Return the row of the way that holds `tag`, or -1, without marking it as used."""
    bank = m.banks[b]
    at = bank.offset + (index & bank.mask) * bank.ways
    for k in range(at, at + bank.ways):
        if m.ways[k].tag == tag:
            return k
    return -1


@part
def look(m, b, index, tag):
    """Return the row of the way that holds `tag`, now marked as the most recently used, or -1."""
    k = find(m, b, index, tag)
    if k >= 0:
        bank = m.banks[b]
        bank.tick += 1
        m.ways[k].used = bank.tick
    return k


@part
def fill(m, b, index, tag, pfn, rights):
    """Put an entry in, unless the bank is absent (it has no ways)."""
    bank = m.banks[b]
    if bank.ways == 0:
        return
    at = bank.offset + (index & bank.mask) * bank.ways
    victim, least = at, m.ways[at].used
    for k in range(at, at + bank.ways):
        way = m.ways[k]
        if way.tag == tag:
            victim = k
            break
        if way.used < least:
            victim, least = k, way.used
    way = m.ways[victim]
    bank.tick += 1
    way.tag, way.pfn, way.rights, way.used = tag, pfn, rights, bank.tick


@part
def drop(m, b, index, tag):
    """Drop one entry."""
    k = find(m, b, index, tag)
    if k >= 0:
        m.ways[k].tag, m.ways[k].used = -1, 0


@part
def empty(m, b):
    """Drop every entry."""
    bank = m.banks[b]
    if bank.tick > 0:
        for k in range(bank.offset, bank.offset + (bank.mask + 1) * bank.ways):
            m.ways[k].tag, m.ways[k].used = -1, 0
        bank.tick = 0  # ticks only order the ways, and none is in use any more


@part
def probe_fill(m, b, line, tag):
    """Look up a line of a cache, allocating it on a miss, and return whether it hit."""
    if look(m, b, line, tag) >= 0:
        return True
    fill(m, b, line, tag, 0, 0)
    return False
