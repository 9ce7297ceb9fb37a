"""The data accesses of a recording, all made by an engine, in memory that is there from the beginning: what no CPU can disturb."""

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace


def engine_only(trace: Trace, records: int | None = None) -> Trace:
    """Return a trace of the first data accesses, so many or all, with one engine and a CPU that has nothing to do."""
    chunks, left = [], records
    for chunk in trace.chunks():
        data = chunk[(chunk["kind"] & ~op.CONTINUES) <= op.WRITE][:left]
        chunks.append(data)
        left = None if left is None else left - data.size
        if left == 0:
            break
    ops = np.concatenate(chunks)
    ops["agent"], ops["gap"], ops["kind"] = 1, 0, ops["kind"] & ~op.CONTINUES
    pages = np.unique(ops["address"] >> 12)
    ends = np.flatnonzero(np.diff(pages, append=pages[-1] + 2) > 1)
    prelude, first = [], 0
    for end in ends.tolist():
        prelude += op.mmap_unit(int(pages[first]) << 12, end - first + 1, op.PROT_READ | op.PROT_WRITE, populate=True)
        first = end + 1
    return Trace.from_records([op.Agent("cpu", 0, "cpu"), op.Agent("device", 0, "engine")], ops, prelude, trace.info, trace.name)
