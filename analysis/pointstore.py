"""A store of an experiment's finished points: an SQLite file, a row for each, found by what it is of.

The key is a hash of all that a result follows from: the machine's settings, the trace's content, the call's warm-up and regions, the
version of the model. (A seed is in the trace: it has other records or another info.) A row has the whole result (`Result.save`), so that
other metrics of the same points compute nothing. A row is written in one transaction when its point is finished: a killed process loses
the points in progress, and two processes may use one store (write-ahead log), each of whose rows is there once.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hwmodel.machine import ConfigError, Machine
from hwmodel.version import model_version

if TYPE_CHECKING:
    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace

APPLICATION = 0x68776D70
"""What SQLite's header says a file is of: "hwmp"."""
WAIT = 30.0
"""Seconds for which a write waits for another program's."""
INSERT = "INSERT OR IGNORE INTO points (key, machine, result) VALUES (?, ?, ?)"
MANY = 500
"""Keys of one question: SQLite takes only so many."""


class PointStore:
    """A store of finished points, open.

    Parameters
    ----------
    path : str or PathLike
        The file; it is made if there is none.
    version : str, optional
        Of the model; that of this process by default.

    Raises
    ------
    ConfigError
        If the file is no store, is of another version of the model, can't be opened, is locked for too long, or the disk is full; here and
        in every method.
    """

    def __init__(self, path: str | os.PathLike[str], version: str | None = None) -> None:
        self.path, self.version = os.fspath(path), version or model_version()
        with self._told():
            self._database = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def __enter__(self) -> "PointStore":
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def __len__(self) -> int:
        """Return the number of points."""
        with self._told():
            return int(self._database.execute("SELECT count(*) FROM points").fetchone()[0])

    def known(self, keys: Iterable[str]) -> set[str]:
        """Return those of some keys whose points are here."""
        keys, found = list(keys), set[str]()
        with self._told():
            for first in range(0, len(keys), MANY):
                part = keys[first : first + MANY]
                marks = ", ".join("?" * len(part))
                found.update(key for (key,) in self._database.execute(f"SELECT key FROM points WHERE key IN ({marks})", part))
        return found

    def get(self, key: str) -> "Result":
        """Return a point that is here."""
        from hwmodel.measure.result import Result
        from hwmodel.measure.saved import from_bytes

        with self._told():
            row = self._database.execute("SELECT result FROM points WHERE key = ?", (key,)).fetchone()
        return from_bytes(Result, row[0], self.path)

    def put(self, results: "Mapping[str, Result]") -> None:
        """Keep finished points, all or none; what is here already stays as it is."""
        from hwmodel.measure.saved import to_bytes

        rows = [(key, result.machine.name, to_bytes(result)) for key, result in results.items()]
        with self._told(), self._writing():
            self._database.executemany(INSERT, rows)

    def take(self, other: str | os.PathLike[str]) -> None:
        """Copy the points of another store, all or none; those that are here already stay as they are."""
        if not os.path.exists(other):
            raise ConfigError(f"{os.fspath(other)}: there is no such store")
        with PointStore(other, self.version) as source, self._told(), self._writing():
            self._database.executemany(INSERT, source._rows())

    def key(self, machine: Machine, content: str, parts: Mapping[str, Any]) -> str:
        """Return the key of a point: of a machine, a trace (`content_of`), and the call's warm-up and regions."""
        regions = parts.get("regions")
        call = {"warmup": repr(parts.get("warmup", 0)), "regions": sorted(dict(regions).items()) if regions else []}
        told = {"machine": machine.described(), "trace": content, "call": call, "version": self.version}
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=int).encode()).hexdigest()

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        with self._told():
            yield from self._database.execute("SELECT key, machine, result FROM points")

    def _prepare(self) -> None:
        """Make the tables of a new file; refuse a file of others, or of another version."""
        with self._writing():
            (application,) = self._database.execute("PRAGMA application_id").fetchone()
            (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and application != APPLICATION:
                raise ConfigError(f"{self.path}: is no store of points, but another program's database")
            if not tables:
                self._database.execute(f"PRAGMA application_id = {APPLICATION}")
                self._database.execute("CREATE TABLE about (version TEXT NOT NULL)")
                self._database.execute("CREATE TABLE points (key TEXT PRIMARY KEY, machine TEXT NOT NULL, result BLOB NOT NULL)")
                self._database.execute("INSERT INTO about VALUES (?)", (self.version,))
            (written,) = self._database.execute("SELECT version FROM about").fetchone()
        if written != self.version:
            raise ConfigError(f"{self.path}: holds points of version {written} of the model, and this is {self.version}; use another file")
        self._log_ahead()

    def _log_ahead(self) -> None:
        """Switch to a write-ahead log; SQLite does not wait for others here, so this does."""
        self._database.execute("PRAGMA synchronous = NORMAL")
        until = time.monotonic() + WAIT
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Do all of it in one transaction, or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in one line what SQLite complains of."""
        try:
            yield
        except sqlite3.Error as error:
            raise ConfigError(f"{self.path}: {_reason(error)}") from None


@contextlib.contextmanager
def opened_store(paths: Any) -> Iterator[PointStore]:
    """Yield the store of a path; of several paths the first one's, with the points of all."""
    several = list(paths) if isinstance(paths, list | tuple) else [paths]
    if not several or not all(isinstance(path, str | os.PathLike) for path in several):
        raise ConfigError(f"store: must be a path, or a list of paths, not {paths!r}")
    with PointStore(several[0]) as store:
        for other in several[1:]:
            store.take(other)
        yield store


def content_of(trace: "Trace") -> str:
    """Return a hash of all that a run takes of a trace: agents, prelude, info and every record, in one pass over it."""
    digest = hashlib.blake2b(digest_size=32)
    head = {"agents": [asdict(agent) for agent in trace.agents], "info": trace.info}
    digest.update(json.dumps(head, sort_keys=True, default=repr).encode())
    digest.update(b"\0" + trace.prelude.tobytes() + b"\0")
    for chunk in trace.chunks():
        digest.update(chunk.tobytes())
    return digest.hexdigest()


def _reason(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"another program has locked this store for more than {WAIT:g} s"
    if primary == sqlite3.SQLITE_FULL:
        return "the disk is full; the points that were stored before are kept"
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"is no store of points, or is damaged ({error})"
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return f"this store can't be written ({error})"
    return f"the store failed ({error})"
