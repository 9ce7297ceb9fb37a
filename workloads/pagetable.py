"""Hash tables of pages: structured arrays of a power of two slots with a column `page`, EMPTY in free slots."""

from hwmodel.jit import part

EMPTY = -1


@part
def find_page(table, page):
    """Return the slot of a page, or the empty slot where it belongs."""
    mask = table.size - 1
    slot = (page ^ page >> 16) * 40503 & mask
    while table[slot].page != EMPTY and table[slot].page != page:
        slot = (slot + 1) & mask
    return slot
