"""Common parts of the programs: a run of the algorithm, which fills in records, and a trace that can be run any number of times."""

import functools
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.jit import part
from hwmodel.trace import Trace
from workloads.synthetic.arrays import place
from workloads.synthetic.parameters import Common, workload

ROOM = 1 << 16
"""Most records that a kernel fills in before it returns."""
WORD = 8
"""Bytes of an element, unless stated otherwise."""

DEAL = np.dtype((np.record, [
    ("first", "i8"),       # the agent of the first items
    ("agents", "i8"),
    ("grain", "i8"),       # consecutive items for one agent
]))  # fmt: skip

program = functools.partial(workload, accesses=None, pages=None, writes=None, grain=64)
"""The decorator of a program: the amount of work follows from its own parameters."""


class Run:
    """One run of a program, which continues as its records are taken.

    Parameters
    ----------
    kernel : callable
        ``kernel(ops, state, deal, *arrays)`` fills in records, changes its state and arrays, and returns how many; 0 at the end.
    state : record array of one
        The program's progress.
    deal : DEAL[1]
        The assignment of work to agents.
    arrays : dict of str to ndarray
        In the order of the kernel's arguments; arrays that the program writes are this run's own.
    """

    def __init__(
        self, kernel: Callable[..., int], state: np.ndarray, deal: np.ndarray, arrays: dict[str, np.ndarray]
    ) -> None:
        self.state, self.arrays = state, arrays
        self._kernel, self._deal = kernel, deal

    def __iter__(self) -> Iterator[np.ndarray]:
        """Continue the run, OP array by OP array; at the end `arrays` and `state` have the result."""
        ops = np.empty(ROOM, op.OP)
        while filled := self._kernel(ops, self.state, self._deal, *self.arrays.values()):
            yield op.copy_records(ops[:filled])


class ProgramTrace(Trace):
    """The trace of a program whose result can be inspected.

    Parameters
    ----------
    agents, prelude, info
        As for `Trace`.
    start : callable
        Begins a run.
    """

    def __init__(
        self, agents: Iterable[op.Agent], start: Callable[[], Run], prelude: np.ndarray, info: dict[str, Any]
    ) -> None:
        super().__init__(agents, functools.partial(_records, start), prelude, info)
        self._start = start

    def run(self) -> Run:
        """Begin a separate run: iterate over it, then inspect its arrays."""
        return self._start()


def program_trace(
    start: Callable[[dict[str, int], np.ndarray], Run], sizes: dict[str, int], filled: Container[str], common: Common
) -> ProgramTrace:
    """Return the trace of a program.

    Parameters
    ----------
    start : callable
        (address of each array, DEAL[1]) -> a run.
    sizes : dict of str to int
        Bytes of each array; each has a mapping of its own.
    filled : container of str
        The arrays that are in memory when the program begins.
    common : Common
        The agents that access memory share the work; the trace's info has the addresses of the arrays beside the arguments.

    Raises
    ------
    TraceError
        If an argument is out of range.
    """
    workers = common.users
    bases, prelude = place(sizes, filled)
    deal = np.array([(workers[0], workers.size, common.grain)], DEAL)
    arrays = {name: {"address": bases[name], "bytes": sizes[name]} for name in sizes}
    return ProgramTrace(common.agents, functools.partial(start, bases, deal), prelude, common.described | {"arrays": arrays})


def _records(start: Callable[[], Run]) -> Iterator[np.ndarray]:
    yield from start()


@part
def whose(deal, item):
    """Return the agent that does an item of work."""
    d = deal[0]
    return d.first + item // d.grain % d.agents


@part
def put(ops, filled, address, kind, agent):
    """Append an access; return the number of records."""
    op.write(ops[filled], address, 1, 0, kind, agent)
    return filled + 1


@part
def meet(ops, filled, deal):
    """Append a barrier of several agents, none for one agent; return the number of records."""
    if deal[0].agents == 1:
        return filled
    op.write(ops[filled], 0, 0, 0, op.SYNC, deal[0].first)
    return filled + 1
