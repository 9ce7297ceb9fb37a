"""What the `detail` of an event says, by its kind: a number in the log, words in a frame."""

from collections.abc import Callable, Sequence

import numpy as np

from hwmodel.core import log
from hwmodel.core.ledger import Book
from hwmodel.core.locks import WRITE
from hwmodel.primary import syscalls

NOTICES = ("start", "end", "release", "clear_flush_young", "clear_young", "test_young")
"""The kinds of notices, by number (primary.notify)."""
ACCESS = ("read", "write", "fetch")


class Naming:
    """Puts the details of events into words.

    Parameters
    ----------
    book : Book
        The machine's; it names phases and paths.
    locks : sequence of str
        The name of each lock.
    rows : sequence of str
        The label of each agent; kept in `rows`.
    """

    def __init__(self, book: Book, locks: Sequence[str], rows: Sequence[str]) -> None:
        self._paths, self._phases = book.paths, tuple(book.phases)
        self._locks, self.rows = tuple(locks), tuple(rows)
        self._says: dict[int, Callable[[int], str]] = {
            log.FAULT: lambda n: self._paths[n],
            log.PHASE: lambda n: self._phases[n],
            log.CPU_FAULT: lambda n: ACCESS[n],
            log.NOTICE: lambda n: NOTICES[n],
            log.FLUSH: lambda n: ("full" if n & 1 else "ranged") + (", remote" if n & 2 else ""),
            log.LOCK: self._lock,
            log.WAIT: self._lock,
            log.OPERATION: lambda n: syscalls.NAMES[n >> 1] + (" (failed)" if n & 1 else ""),
            log.MISS: self._miss,
            log.JOIN: self._miss,
        }

    def words(self, events: np.ndarray, agent_of: np.ndarray) -> list[str]:
        """Return the words of each event.

        Parameters
        ----------
        events : EVENT[n]
            Of the log.
        agent_of : int64[row]
            The agent of each row.
        """
        kinds, details = events["kind"].tolist(), events["detail"].tolist()
        pairs = set(zip(kinds, details, strict=True))
        known = {pair: self._words(*pair, agent_of) for pair in pairs}
        return [known[pair] for pair in zip(kinds, details, strict=True)]

    def _words(self, kind: int, detail: int, agent_of: np.ndarray) -> str:
        if kind == log.IPI:
            return f"{'kick' if detail & 1 else 'flush'} by {self.rows[agent_of[detail >> 1]]}"
        return self._says[kind](detail) if kind in self._says else ""

    def _lock(self, n: int) -> str:
        name = self._locks[n >> 2] if n >> 2 < len(self._locks) else f"lock {n >> 2}"
        return f"{name}, {'write' if n & 3 == WRITE else 'read'}"

    def _miss(self, n: int) -> str:
        return ACCESS[n & 1] + (" (lacks the right)" if n & 2 else "")
