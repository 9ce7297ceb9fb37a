"""The memory in the hand of a fault: taken before the page is zeroed or copied, put in place at COMMIT, or given back (docs/model.md 6)."""

from hwmodel.core.tables import HUGE, PFN, P
from hwmodel.jit import part, routine
from hwmodel.parts import radix
from hwmodel.primary import frames
from hwmodel.primary.kinds import fills, level_of, takes_block, takes_page


@part
def need(m, v, root, vpn, kind):
    """Return the frames that a fault of this kind takes, page tables included."""
    level = level_of(kind)
    pages = 512 if takes_block(kind) else 1 if takes_page(kind) else 0
    tables = radix.missing(m, root, vpn, 1) if level == 1 else radix.missing(m, root, vpn, 2) + 1 if level == 2 else 0
    return pages + tables + (1 if fills(m, v, vpn, kind) else 0)


@routine
def take(m, v, root, fault):
    """Take the memory of a fault into its hand and return how many page tables were made; upper tables hang already, and stay.

    A huge leaf has a table laid by, with which it can be split (pgtable_trans_huge_deposit): no split has to ask for memory.
    """
    kind, level = fault.kind, level_of(fault.kind)
    if takes_block(kind):
        fault.page = frames.take_block(m) << PFN | HUGE | P
    elif takes_page(kind):
        fault.page = frames.take(m) << PFN | P
    if fills(m, v, fault.vpn, kind):
        fault.cached = frames.take(m) << PFN | P
    if level == 0:
        return 0
    made = radix.make(m, root, fault.vpn, 2)
    lacks = level == 1 and radix.leaf_level(m, root, fault.vpn) != 1
    if lacks or level == 2:
        fault.tables = 1
        radix.set_aside(m, 1)
    return made + lacks


@part
def give_back(m, fault):
    """Free the memory that is left in the hand of a fault."""
    if fault.page & HUGE:
        frames.release_block(m, fault.page >> PFN)
    elif fault.page:
        frames.release(m, fault.page >> PFN)
    if fault.cached:
        frames.release(m, fault.cached >> PFN)
    radix.give_back(m, fault.tables)
    fault.page = fault.cached = fault.tables = 0


@part
def lacks(m, v, root, fault):
    """Return whether a table or a page of the page cache is gone, or another one is needed, that the fault has not in its hand."""
    level, hung = level_of(fault.kind), radix.leaf_level(m, root, fault.vpn)
    if level > 0 and (hung == 0 or (level == 1 and hung == 2 and not fault.tables)):
        return True
    return not fault.cached and fills(m, v, fault.vpn, fault.kind)
