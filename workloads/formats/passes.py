"""Passes over a recording, for every reader: a first pass for its agents and initial memory, then one for each iteration."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from hwmodel.op import Agent, count_references
from hwmodel.trace import Trace
from workloads.formats import losses
from workloads.streams import Source


class Pass(Protocol):
    """One pass over a recording."""

    agents: list[Agent]
    cut: list[str]

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the records."""

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after a complete pass with `watch`."""


def two_passes(source: Source, begin: Callable[[bool], Pass]) -> Trace:
    """Return the trace of a recording, read again by `begin(watch)` at every iteration; `watch` tells whether to note which memory is used.

    Raises TraceError if the recording is damaged. If it is cut short, a TraceWarning says where; if `source` is strict, the error does.
    What else is lost is told by a TraceWarning each, with a count.
    """
    first = begin(True)
    records = references = 0
    for chunk in first.chunks():
        records, references = records + chunk.size, references + count_references(chunk)
    if first.cut:
        source.warn_cut("; ".join(first.cut))
    prelude, info = first.finish()
    losses.tell(source.name, info)
    if first.cut:
        info["cut_short"] = first.cut
    return Trace(first.agents, functools.partial(_again, begin), prelude, info, source.name, records, references)


def _again(begin: Callable[[bool], Pass]) -> Iterator[np.ndarray]:
    yield from begin(False).chunks()
