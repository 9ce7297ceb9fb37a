"""The first part of a trace."""

import functools
from collections.abc import Iterator

import numpy as np

from hwmodel.op import ARG, CONTINUES, OP, TraceError
from hwmodel.trace import Trace
from workloads.compose.numbering import joined


def head(trace: Trace, records: int) -> Trace:
    """Keep the first records of a trace, up to whole operations and accesses.

    Parameters
    ----------
    trace : Trace
        The whole trace; it is read up to the cut.
    records : int
        Most records to keep; exceeded only if the first operation, or access, has more.

    Returns
    -------
    Trace
        Lazy. Has the agents and the initial memory of the whole.

    Raises
    ------
    TraceError
        If `records` is less than 1.
    """
    if records < 1:
        raise TraceError(f"the head of a trace has at least 1 record, not {records}")
    whole = trace.known_size is not None and trace.known_size[0] <= records
    sizes = trace.known_size if whole else None
    info = trace.info | {"head": {"records": records}}
    return Trace(trace.agents, functools.partial(_first, trace, records), trace.prelude, info, trace.name, *(sizes or (None, None)))


def _first(trace: Trace, records: int) -> Iterator[np.ndarray]:
    """Yield whole units and crossing accesses; the last one so far waits, for its second half may begin the next chunk."""
    held, left = np.empty(0, OP), records
    for chunk in trace.chunks():
        held = joined([held, chunk])
        starts = np.flatnonzero((held["kind"] != ARG) & (held["kind"] & CONTINUES == 0))
        done = held.size > left and starts.size > 1
        end = int(starts[starts <= left][-1] if done else starts[-1])
        if done and not end and left == records:
            end = int(starts[1])  # the first is kept, however long
        if end:
            yield held[:end]
        if done:
            return
        held, left = held[end:], left - end
    if held.size and (held.size <= left or left == records):
        yield held
