"""The scenario language of the recordings of Linux: lists of operations on memory, as records of a trace.

An operation is a letter and numbers, in pages of 4 KiB from the start of a region (docs/conformance.md has all letters).
"""

from collections.abc import Callable, Sequence

import numpy as np

from hwmodel import op
from hwmodel.modelled import not_modelled
from hwmodel.op import TraceError
from hwmodel.trace import Trace

BASE = 0x700000000000
"""The address of page 0 in the recordings."""
MOST = 1 << 22
"""Pages of the region: the memory slot of the recordings has 16 GiB."""
RW = op.PROT_READ | op.PROT_WRITE
MEMFD, FILE = 1, 2
"""The numbers of the two files of a scenario."""
MAIN, ENGINE, CHILDREN = 0, 1, 2
"""Agents: the process's thread, the engine whose notifier is attached, its children, each once, then a second thread, and the file."""
ADVICE = {"H": op.NOHUGEPAGE, "T": op.HUGEPAGE, "D": op.DONTNEED, "F": op.FREE, "P": op.PAGEOUT, "C": op.COLD, "B": op.COLLAPSE}
PROTECTION = {"R": op.PROT_READ, "W": RW, "N": 0}
OUTSIDE = {
    "y": "msync", "O": "madvise POPULATE_WRITE", "E": "madvise POPULATE_READ", "h": "a khugepaged scan", "J": "madvise MERGEABLE",
    "j": "madvise UNMERGEABLE", "k": "a KSM scan", "m": "mlock", "u": "munlock", "p": "a pin by io_uring", "q": "an unpin by io_uring",
    "A": "reclaim of a memory cgroup", "z": "the limit of a memory cgroup", "e": "userfaultfd", "Q": "write protection by userfaultfd",
    "Y": "mremap DONTUNMAP",
}  # fmt: skip
"""What a trace has no record for, by letter."""
Units = list[tuple[int, int, int, int, int]]


class RefusedError(Exception):
    """An operation that a trace can't express, or that the model does not do; the message names it."""


def _mapped(mapping: int, file: int = 0, **options: bool) -> Callable[..., Units]:
    def unit(agent: int, a: int, n: int, b: int) -> Units:
        offset = a if file == MEMFD else b
        return op.mmap_unit(BASE + a * op.PAGE, n, RW, mapping, file, offset if file else 0, agent=agent, **options)

    return unit


def _touched(kind: int, is_strided: bool = False) -> Callable[..., Units]:
    def unit(agent: int, a: int, n: int, b: int) -> Units:
        return [(BASE + (a + k * (b if is_strided else 1)) * op.PAGE, 1, 0, kind, agent) for k in range(n)]

    return unit


def _paged(kind: int, args: Callable[[int, int, int], Sequence[tuple[int, int]]]) -> Callable[..., Units]:
    return lambda agent, a, n, b: op.paged_unit(kind, BASE + a * op.PAGE, n, args(a, n, b), agent)


UNITS: dict[str, Callable[..., Units]] = {
    "M": _mapped(op.PRIVATE), "S": _mapped(op.SHARED_FILE, MEMFD), "G": _mapped(op.PRIVATE, grows_down=True), "x": _mapped(op.HUGETLB),
    "f": _mapped(op.PRIVATE_FILE, FILE), "g": _mapped(op.SHARED_FILE, FILE),
    "r": _touched(op.READ), "w": _touched(op.WRITE), "i": _touched(op.WRITE), "l": _touched(op.READ, True), "s": _touched(op.WRITE, True),
    "U": _paged(op.MUNMAP, lambda a, n, b: ()), "V": _paged(op.MREMAP, lambda a, n, b: [(BASE + b * op.PAGE, n)]),
    "L": _paged(op.MREMAP, lambda a, n, b: [(BASE + a * op.PAGE, b)]),
    "Z": lambda agent, a, n, b: op.paged_unit(op.PUNCH, a, n, [(0, MEMFD)], agent),
    **{letter: _paged(op.MADVISE, lambda a, n, b, advice=advice: [(0, advice)]) for letter, advice in ADVICE.items()},  # type: ignore[misc]
    **{letter: _paged(op.MPROTECT, lambda a, n, b, prot=prot: [(0, prot)]) for letter, prot in PROTECTION.items()},  # type: ignore[misc]
}  # fmt: skip
"""The records of an operation, by its letter; called with the agent and the three numbers."""
LETTERS = frozenset({*UNITS, *OUTSIDE, "K", "X"})


def parse(text: str) -> tuple[str, str, tuple[int, int, int]]:
    """Return who does an operation ("", "c" the child, "t" the second thread), its letter and its numbers; raise TraceError."""
    words = text.split()
    who = words[0][0] if words and len(words[0]) == 2 and words[0][0] in "ct" else ""
    letter = words[0][len(who) :] if words else ""
    if letter not in LETTERS or len(words) > 4 or not all(word.isdecimal() and len(word) < 12 for word in words[1:]):
        raise TraceError(f"operation {text!r}: must be a letter of docs/conformance.md and up to three numbers of pages")
    if any(int(word) > MOST for word in words[1:]):
        raise TraceError(f"operation {text!r}: the region has {MOST:,} pages")
    a, n, b = (*map(int, words[1:]), 0, 0, 0)[:3]
    if (letter in UNITS and not n) or (who and letter in "KX"):
        raise TraceError(f"operation {text!r}: " + ("must say how many pages" if not who else "only the first thread forks and kills"))
    return who, letter, (a, n, b)


class Scene:
    """A scenario's processes and threads; it turns operations into records, in order.

    Parameters
    ----------
    ops : sequence of str
        All operations.
    has_helper : bool
        Whether there is a second thread.
    """

    def __init__(self, ops: Sequence[str], has_helper: bool) -> None:
        self._parsed = [parse(text) for text in ops]
        self._children, self._living = 0, False
        self._has_helper = has_helper
        self._forks = sum(letter == "K" for _, letter, _ in self._parsed)
        if any(who == "t" for who, _, _ in self._parsed) and not has_helper:
            raise TraceError("an operation of a second thread in a mode without one")

    def trace(self) -> Trace:
        """Return the trace whose agents the operations need, without its records."""
        forks = self._forks
        agents = [op.Agent("cpu", 0, "main"), op.Agent("device", 0, "engine")]
        agents += [op.Agent("cpu", 1 + k, f"child{k}") for k in range(forks)]
        agents += [op.Agent("cpu", 0, "helper")] * self._has_helper
        pages = max((b + n for _, letter, (_, n, b) in self._parsed if letter in "fg"), default=0)
        prelude = None
        if pages:  # the recorded file was in the page cache
            prelude = op.as_records(op.mmap_unit(BASE, pages, RW, op.SHARED_FILE, FILE, agent=len(agents), populate=True))
            agents.append(op.Agent("cpu", 1 + forks, "page cache"))
        return Trace(agents, lambda: iter(()), prelude, {"program": "scenario"})

    def begin(self) -> np.ndarray:
        """Return the records before the first operation: every thread has run."""
        threads = (MAIN, self._helper) if self._has_helper else (MAIN,)
        return op.as_records([(0, 1, 0, op.COMPUTE, agent) for agent in threads])

    @property
    def _helper(self) -> int:
        return CHILDREN + self._forks

    def records(self, k: int) -> tuple[np.ndarray, int]:
        """Return the records of operation k and the agent that issues them; raise RefusedError, or TraceError if it makes no sense."""
        who, letter, numbers = self._parsed[k]
        if letter in OUTSIDE:
            raise RefusedError(OUTSIDE[letter])
        if (letter == "X" or who == "c") and not self._living:
            raise TraceError(f"operation {k}: there is no child")
        if letter == "K" and self._living:
            raise TraceError(f"operation {k}: there is a child already")
        agent = {"": MAIN, "t": self._helper, "c": CHILDREN + self._children - 1}[who]
        if letter == "K":
            self._children, self._living = self._children + 1, True
            return op.as_records([(0, self._children, 0, op.FORK, MAIN)]), MAIN
        if letter == "X":
            self._living, child = False, CHILDREN + self._children - 1
            return op.as_records([(0, 0, 0, op.EXIT, child)]), child
        units = op.as_records(UNITS[letter](agent, *numbers))
        reason = not_modelled(units, 0)
        if reason:
            raise RefusedError(reason)
        return units, agent
