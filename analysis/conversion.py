"""Writing a trace in another format, with a progress bar."""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import workloads
from hwmodel.op import COMPUTE, FETCH, READ, WRITE
from hwmodel.simulate import bar
from hwmodel.trace import Trace
from workloads.formats import format_of

EVENTS = "events"
ACCESSES = (READ, WRITE, FETCH, COMPUTE)


def convert(
    trace: Trace,
    out: str | os.PathLike[str],
    format: str | None = None,
    drop: Sequence[str] = (),
    agent: int | None = None,
    lossy: bool = False,
    progress: bool | None = None,
) -> dict[str, int]:
    """Write a trace to a file whose name, or `format`, tells the format.

    Parameters
    ----------
    trace : Trace
        Any trace; checked while it is written.
    out : path
        Written whole or not at all.
    format : str, optional
        hwtrace, csv or champsim.
    drop : sequence of str
        Kinds of records to leave out; "events": all except reads, writes, fetches and compute.
    agent : int, optional
        The agent whose records to write, if the format holds only one agent.
    lossy : bool
        Leave out what the format can't hold.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook.

    Returns
    -------
    dict
        How many records the format could not hold, by kind of loss.

    Raises
    ------
    TraceError
        If the format or a kind is unknown, the format can't hold a record, or one is invalid.
    OSError
        If the file can't be written.
    """
    format_of(out, format)
    if EVENTS in drop:
        trace = workloads.select(trace, ACCESSES)
    if others := [name for name in drop if name != EVENTS]:
        trace = workloads.select(trace, others, keep=False)
    sizes = trace.known_size or (None, None)
    with bar(progress, trace.known_size) as shown:
        source = functools.partial(_counted, trace, shown)
        watched = Trace(trace.agents, source, trace.prelude, trace.info, trace.name, *sizes)
        return workloads.write(watched, out, format, agent, lossy)


def _counted(trace: Trace, shown: Any) -> Iterator[np.ndarray]:
    for chunk in trace.chunks():
        yield chunk
        shown.update(chunk.size)
