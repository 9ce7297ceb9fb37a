"""Streams over arrays with a stride."""

import functools

import numpy as np

from hwmodel import op
from hwmodel.jit import entry
from hwmodel.trace import Trace
from workloads.synthetic.arrays import place
from workloads.synthetic.drawing import block_trace, fill_in
from workloads.synthetic.parameters import REGION, Common, check_range, workload

KINDS = {"r": op.READ, "w": op.WRITE}


@workload(pages=None, writes=None, seed=None)
def strided(common: Common, pages: int = 16_384, stride: int = 64, streams: str = "rrw") -> Trace:
    """Generate streams that walk through arrays side by side, an element of each in turn, again and again.

    Like the kernels of J. McCalpin's STREAM with a stride of 8 bytes: "rw" is its COPY (a[i] = b[i]) and SCALE, "rrw" its
    ADD and TRIAD (a[i] = b[i] + q * c[i]). Each agent has a contiguous part of the elements, as OpenMP's static schedule deals out such
    a loop. Nothing is drawn.

    Parameters
    ----------
    accesses : int
        Over all streams and agents; a record each. The agents take turns, an element of every stream each.
    pages : int
        Size of each array in pages of 4 KiB; each is a mapping of its own, in memory from the beginning.
    stride : int
        Bytes from an element to the next; a multiple of 8. Every walk begins at the first byte.
    streams : str
        A letter for each stream, which has an array of its own: r reads, w writes. In the order of the accesses.
    """
    if not streams or set(streams) - set(KINDS):
        raise op.TraceError(f"streams must be of the letters r and w, not {streams!r}")
    check_range("pages", pages, 1, REGION // len(streams))
    check_range("stride", stride, 8, pages << op.PAGE_SHIFT)
    if stride % 8:
        raise op.TraceError(f"stride must be a multiple of 8, not {stride}")
    agents = common.users
    elements = -(-(pages << op.PAGE_SHIFT) // stride)
    check_range("elements (pages * 4096 / stride)", elements, agents.size)
    arrays = {f"array {i}": pages << op.PAGE_SHIFT for i in range(len(streams))}
    bases, prelude = place(arrays, filled=arrays)
    walk = stride, np.array(list(bases.values())), np.array([KINDS[letter] for letter in streams])
    parts = np.arange(agents.size + 1) * elements // agents.size
    return block_trace(functools.partial(fill_in, _walk, (*walk, parts, agents)), common, prelude)


@entry
def _walk(ops, first, stride, bases, kinds, parts, agents):
    """Fill in the accesses from `first` on; agent a walks through the elements from parts[a] to parts[a + 1]."""
    stream, step = first % bases.size, first // bases.size
    for i in range(ops.size):
        agent = step % agents.size
        element = parts[agent] + step // agents.size % (parts[agent + 1] - parts[agent])
        op.write(ops[i], bases[stream] + element * stride, 1, 0, kinds[stream], agents[agent])
        stream += 1
        if stream == bases.size:
            stream = 0
            step += 1
