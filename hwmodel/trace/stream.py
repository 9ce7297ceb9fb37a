"""`Trace`: agents and a re-iterable stream of op records.

The record itself is in `hwmodel.op`, the check in `hwmodel.trace.check`, the file format in `hwmodel.trace.file`.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from hwmodel import html
from hwmodel.op import ARG, FORK, OP, SPACES, USER_END, USER_ENDS, Agent, TraceError, as_agents, as_records, count_references
from hwmodel.trace import file
from hwmodel.trace.check import Validator


class Trace:
    """Records of one or more agents, streamed any number of times in constant memory.

    Parameters
    ----------
    agents : iterable of Agent
        Agent i issues the records with ``agent == i``.
    source : callable
        Returns a fresh iterator of OP arrays, of any sizes; no array ends within a unit.
    prelude : OP[n], optional
        MMAP and BRK units of the memory that exists before the first record.
    info : dict, optional
        Where the trace is from, as values that JSON can hold; and ``user_end`` if its user memory does not end at 2^47.
    name : str
        The file, for error messages.
    records, references : int, optional
        The numbers of records and of references where known; otherwise the first use counts them in a separate pass.
    """

    def __init__(
        self,
        agents: Iterable[Agent],
        source: Callable[[], Iterator[np.ndarray]],
        prelude: np.ndarray | None = None,
        info: dict[str, Any] | None = None,
        name: str = "",
        records: int | None = None,
        references: int | None = None,
    ) -> None:
        self.agents = as_agents(agents)
        self.prelude = np.empty(0, OP) if prelude is None else as_records(prelude)
        self.info = dict(info or {})
        self.name = name
        self._source = source
        self._size = None if records is None or references is None else (records, references)
        self._forked: frozenset[int] | None = None

    def __len__(self) -> int:
        """Return the number of records, with the ARG records and without the prelude."""
        return self._sizes()[0]

    def __repr__(self) -> str:
        agents = ", ".join(f"{agent.name} ({agent.role}, space {agent.space})" for agent in self.agents)
        return f"<Trace {self.name or self.info.get('program', '')!s}: {agents}>"

    def _repr_html_(self) -> str:
        """Return what is known without a pass over the trace, and a table of the agents."""
        size = self.known_size
        known = f"{size[0]:,} records, {size[1]:,} references" if size else "records: not counted yet"
        told = [f"{key}: {value}" for key, value in self.info.items() if isinstance(value, str | int | float) and str(value)]
        rows = [(number, agent.role, agent.space, agent.name) for number, agent in enumerate(self.agents)]
        agents = html.table(("agent", "role", "address space", "name"), rows, "agents")
        return html.block(f"Trace {self.name or self.info.get('program', '')!s}", html.lines(known, "; ".join(told)), agents)

    @property
    def prefix(self) -> str:
        """Return the beginning of an error message about the trace."""
        return f"{self.name}: " if self.name else ""

    @property
    def user_end(self) -> int:
        """Return where its user memory ends: `info["user_end"]`, one of `hwmodel.op.USER_ENDS`; 2^47 if it has none.

        Raises TraceError if user memory can't end there.
        """
        end = self.info.get("user_end", USER_END)
        if type(end) is not int or end not in USER_ENDS:
            ends = ", ".join(f"{known:#x}" for known in USER_ENDS)
            raise TraceError(f"{self.prefix}user_end: user memory ends at one of {ends}, not at {repr(end)[:40]}")
        return end

    @property
    def references(self) -> int:
        """Return the number of reads, writes and fetches: the sum of the counts of their records."""
        return self._sizes()[1]

    @property
    def known_size(self) -> tuple[int, int] | None:
        """Return (records, references) if they are known without a pass over the trace, else None."""
        return self._size

    @property
    def forked(self) -> frozenset[int]:
        """Return the address spaces that FORK records make, from the pass that counts the records or from a separate one."""
        if self._forked is None:
            self._look()
        return self._forked or frozenset()

    def chunks(self, records: int = 1 << 18) -> Iterator[np.ndarray]:
        """Iterate over the records, in order.

        Parameters
        ----------
        records : int
            The most records of an array, except where one unit has more.

        Yields
        ------
        OP[n], n > 0
            Never ends within a unit; must not be written to.
        """
        if records < 1:
            raise TraceError(f"a chunk has at least 1 record, not {records}")
        for piece in self._source():
            start = 0
            while start < piece.size:
                end = _unit_boundary(piece, start, start + records)
                yield piece[start:end]
                start = end

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a trace file (`.hwtrace`: Parquet), checked, completely or not at all; see `hwmodel.trace.file.save`."""
        file.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trace":
        """Open a trace file, whose records are read when iterated over; see `hwmodel.trace.file.load`."""
        return cls(*file.load(path))

    @classmethod
    def from_records(
        cls,
        agents: Iterable[Agent],
        records: np.ndarray | Iterable[tuple[int, ...]],
        prelude: np.ndarray | Iterable[tuple[int, ...]] | None = None,
        info: dict[str, Any] | None = None,
        name: str = "",
    ) -> "Trace":
        """Return a trace of an OP array, or of (address, count, gap, kind, agent) tuples, in memory; neither copied nor checked."""
        ops = as_records(records)
        prelude = None if prelude is None else as_records(prelude)
        return cls(agents, functools.partial(_one, ops), prelude, info, name, ops.size, count_references(ops))

    def _sizes(self) -> tuple[int, int]:
        if self._size is None:
            self._look()
        return self._size or (0, 0)

    def _look(self) -> None:
        """Read the whole trace once, for its numbers of records and references and the spaces it forks."""
        records = references = 0
        children: set[int] = set()
        for chunk in self._source():
            records, references = records + chunk.size, references + count_references(chunk)
            children.update(int(child) for child in chunk["count"][chunk["kind"] == FORK] if 0 <= child < SPACES)
        self._size = self._size or (records, references)
        self._forked = frozenset(children)


def validate(trace: Trace) -> None:
    """Check a whole trace, in one pass.

    Raises
    ------
    TraceError
        At the first invalid record: names the file, the record (from 0) and the reason.
    """
    validator = Validator(trace)
    for chunk in trace.chunks():
        validator.check(chunk)


def _unit_boundary(ops: np.ndarray, start: int, end: int) -> int:
    """Return the last index <= end where a unit that begins after `start` begins; if none, the first such index after `end`."""
    if end >= ops.size:
        return ops.size
    cut = end
    while cut > start and ops[cut]["kind"] == ARG:
        cut -= 1
    if cut > start:
        return cut
    while end < ops.size and ops[end]["kind"] == ARG:
        end += 1
    return end


def _one(ops: np.ndarray) -> Iterator[np.ndarray]:
    if ops.size:
        yield ops
