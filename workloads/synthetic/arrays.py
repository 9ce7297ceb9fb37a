"""Arrays of a program, each in a mapping of its own, like large ones from malloc."""

from collections.abc import Container, Mapping

import numpy as np

from hwmodel import op
from workloads.synthetic.drawing import BASE, PROT

APART = 1 << 21
"""Every array begins at a multiple of this, and at least a page after the one before: adjacent mappings would be merged."""


def place(sizes: Mapping[str, int], filled: Container[str] = ()) -> tuple[dict[str, int], np.ndarray]:
    """Place arrays in memory: return their addresses, and the mappings that hold them.

    Parameters
    ----------
    sizes : mapping of str to int
        Bytes of each array, at least 1; in the order in which they are placed.
    filled : container of str
        Arrays filled before the trace: their pages are in memory from the beginning.

    Returns
    -------
    bases : dict of str to int
        Address of the first byte of each.
    prelude : OP[n]
        A private, anonymous, writable mapping for each, in whole pages.

    Raises
    ------
    TraceError
        If user memory is too small for them.
    """
    bases, units, at = {}, [], BASE
    for name, size in sizes.items():
        pages = -(-size >> op.PAGE_SHIFT)
        if at + (pages << op.PAGE_SHIFT) > op.USER_END:
            raise op.TraceError(f"{name}: {size} bytes at {at:#x} pass the end of user memory")
        bases[name] = at
        units += op.mmap_unit(at, pages, PROT, populate=name in filled)
        at += pages + 1 << op.PAGE_SHIFT
        at = -(-at // APART) * APART
    return bases, op.as_records(units)
