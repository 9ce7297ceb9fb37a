"""Common parts of compositions: checked input, and records whose agents, address spaces and files get other numbers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from hwmodel.trace.check import Validator

WORDS = np.dtype("c16")
"""Sixteen bytes that NumPy copies unchanged."""
MOST_FILES = (1 << 31 - t.FILE_SHIFT) - 1
"""Highest file number that fits in a mapping."""


class Numbers:
    """New numbers for the agents, spaces and files of a trace.

    Parameters
    ----------
    trace : Trace
        The trace whose records will be renumbered.
    agents : sequence of int
        The new number of each of its agents.
    spaces : mapping
        The new numbers of its address spaces; spaces not in the mapping keep theirs.
    files : (int, int)
        (number of traces whose files must be told apart, place of this one): file f becomes (f - 1) * traces + place + 1.
    """

    def __init__(self, trace: Trace, agents: Sequence[int], spaces: Mapping[int, int], files: tuple[int, int] = (1, 0)) -> None:
        self.trace = trace
        self.agents = np.zeros(t.AGENTS, np.int64)
        self.agents[: len(agents)] = agents
        self.spaces = np.arange(t.SPACES)
        self.spaces[list(spaces)] = list(spaces.values())
        self._step, self._place = files

    def prelude(self) -> np.ndarray:
        """Return the trace's prelude, renumbered."""
        return self._apply(self.trace.prelude, 0, "prelude record")

    def chunks(self, records: int = 1 << 18) -> Iterator[np.ndarray]:
        """Yield the trace's records, checked and renumbered."""
        before = 0
        for chunk in checked(self.trace, records):
            yield self._apply(chunk, before, "record")
            before += chunk.size

    def _apply(self, ops: np.ndarray, before: int, what: str) -> np.ndarray:
        ops = t.copy_records(ops)
        at = _renumber(ops, self.agents, self.spaces, self._step, self._place)
        if at >= 0:
            where = f"{self.trace.prefix}{what} {before + at}"
            raise t.TraceError(f"{where}: too high a number of a file to tell the files of {self._step} traces apart")
        return ops


def checked(trace: Trace, records: int = 1 << 18) -> Iterator[np.ndarray]:
    """Yield the chunks of a trace, each validated, so that compositions need no checks. Raises TraceError."""
    validator = Validator(trace)
    for chunk in trace.chunks(records):
        validator.check(chunk)
        yield chunk


def finished(trace: Trace) -> Trace:
    """Return a composed trace with its prelude checked: two valid preludes may conflict. Raises TraceError."""
    Validator(trace)
    return trace


def ends(traces: Iterable[Trace]) -> dict[str, int]:
    """Return what the `info` of a trace made of several has of where user memory ends: where that of any of them does."""
    end = max((trace.user_end for trace in traces), default=t.USER_END)
    return {"user_end": end} if end != t.USER_END else {}


def joined(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Join OP arrays, as opaque words: NumPy joins records field by field, 60 times as slowly."""
    return np.concatenate([np.empty(0, WORDS), *(np.ascontiguousarray(piece).view(WORDS) for piece in pieces)]).view(t.OP)


def chosen(ops: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the records of a contiguous OP array that a bool[n] chooses."""
    return np.compress(mask, ops.view(WORDS)).view(t.OP)


def side_by_side(what: str, traces: Sequence[Trace], spaces: Sequence[Mapping[int, int]], same_files: bool) -> list[Numbers]:
    """Return numbers that put the agents of the second trace after those of the first, and so on."""
    total = sum(len(trace.agents) for trace in traces)
    if total > t.AGENTS:
        raise t.TraceError(f"{what}: {total} agents; a trace has at most {t.AGENTS}")
    numbers, first = [], 0
    for place, (trace, mapping) in enumerate(zip(traces, spaces, strict=True)):
        files = (1, 0) if same_files else (len(traces), place)
        numbers.append(Numbers(trace, range(first, first + len(trace.agents)), mapping, files))
        first += len(trace.agents)
    return numbers


def spaces_apart(traces: Iterable[Trace]) -> list[dict[int, int]]:
    """Return mappings that give each trace its own address spaces: the first keeps its numbers, others get the lowest free ones."""
    taken: set[int] = set()
    mappings = []
    for trace in traces:
        own = sorted({agent.space for agent in trace.agents})
        free = (space for space in range(t.SPACES) if space not in taken)
        mapping = dict(zip(own, own if not taken else free, strict=False))
        taken |= set(mapping.values())
        mappings.append(mapping)
    return mappings


def renamed(numbers: Sequence[Numbers]) -> list[t.Agent]:
    """Return the agents of several traces, side by side; a name that an earlier trace has gets the trace's number as a suffix."""
    agents: list[t.Agent] = []
    for place, own in enumerate(numbers):
        known = {agent.name for agent in agents}
        for agent in own.trace.agents:
            name = f"{agent.name}/{place}" if agent.name in known else agent.name
            agents.append(t.Agent(agent.role, int(own.spaces[agent.space]), name))
    return agents


@entry
def _renumber(ops, agents, spaces, step, place):
    """Renumber checked records; return the index of the first whose file number gets too high, or -1."""
    for i in range(ops.size):
        op = ops[i]
        op.agent = agents[op.agent]
        kind = op.kind
        if kind == t.FORK or kind == t.ATTACH or kind == t.DETACH:
            op.count = spaces[op.count]
        elif kind == t.KSM_MERGE:
            ops[i + 1].count = spaces[ops[i + 1].count]
        elif kind == t.MMAP or kind == t.PUNCH:
            operand = _renumbered(kind, ops[i + 1].count, spaces, step, place)
            if operand < 0:
                return i
            ops[i + 1].count = operand
    return -1


@part
def _renumbered(kind, operand, spaces, step, place):
    """Return the operand of an MMAP or a PUNCH with its file renumbered; -1 if the number gets too high."""
    low = 0 if kind == t.PUNCH else operand & ((1 << t.FILE_SHIFT) - 1)
    file = operand if kind == t.PUNCH else operand >> t.FILE_SHIFT
    if kind == t.MMAP and (low >> 3) & 7 == t.XPMEM:
        file = spaces[file - 1] + 1
    elif file > 0:
        file = (file - 1) * step + place + 1
        if step > 1 and file > MOST_FILES:
            return -1
    return file if kind == t.PUNCH else low | file << t.FILE_SHIFT
