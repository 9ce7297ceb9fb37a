"""Which accesses a step completed, wherever it did: in `translate`, in `request`, in a step of a chain, in a request's replay.

An access is complete when its agent's head record moves on (`head`, `taken`), or, if a request took it over or it joined one, when that
request is vacant again, or has its translation and only waits for its data. At that moment the page table must allow it: P, and for a
write W and D (but for a design that keeps track of what is dirty itself). The one exception is an access without a right, which `segv`
counts, in the step that completes it or before; and then no VMA may allow it. Hits of a CPU's own TLB may lag behind the page table, and
are judged elsewhere (`tests.audit.stale`).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hwmodel.core.tables import RELEASE, VACANT
from hwmodel.op import CONTINUES, FETCH, PROT_EXEC, PROT_READ, PROT_WRITE, READ, WRITE
from hwmodel.primary.fault import COUNT_SEGV
from tests.audit.stale import Tree

RIGHTS = {READ: PROT_READ, WRITE: PROT_WRITE, FETCH: PROT_EXEC}


class Access(NamedTuple):
    """The accesses of a record that a step completed, or that a request took over."""

    row: int
    space: int
    kind: int
    page: int

    def told(self) -> str:
        """Who accesses what."""
        return f"row {self.row}'s {'write to' if self.kind == WRITE else 'read of'} page {self.page:#x} of space {self.space}"


class Uses:
    """Follows the accesses of a run.

    Parameters
    ----------
    dirty : bool
        A write needs the pte's dirty bit.
    """

    def __init__(self, dirty: bool) -> None:
        self.dirty = dirty
        self.begin()

    def begin(self) -> None:
        """Another run begins."""
        self.places: list[tuple[int, int]] = []
        self.segvs: list[int] = []
        self.owed: dict[int, int] = {}
        self.hits: set[int] = set()
        self.taken_over: dict[int, list[Access]] = {}
        self.joined: list[int] = []
        self.busy: list[bool] = []

    def go_on(self, m: Any) -> None:
        """The engine is called, perhaps with another queue: nothing was done meanwhile."""
        self.places, self.segvs, self.busy, self.joined = self._places(m), self._segvs(m), self._busy(m), self._joined(m)

    def before_look_up(self, m: Any, i: int) -> None:
        """What the latest look-up of row i let through is complete."""
        place = int(m.rows["head"][i]), int(m.rows["taken"][i])
        if i in self.hits:
            self.hits.discard(i)
            self.places[i] = place

    def hit(self, m: Any, i: int, kind: int, page: int) -> Iterator[str]:
        """A look-up lets row i's head access through."""
        self.hits.add(i)
        access = Access(i, int(m.rows["space"][i]), kind, page)
        if i >= m.ctl[0].cpus and not self._is_allowed(m, access):
            yield self._complaint(m, access)

    def look(self, m: Any) -> Iterator[str]:
        """A step is over: what did it complete?"""
        places, segvs, busy = self._places(m), self._segvs(m), self._busy(m)
        if (places, segvs, busy) == (self.places, self.segvs, self.busy) and not self.hits:
            return
        before, self.places = self.places, places
        joined = self._joined(m)
        joins = {k + len(places) for k, (was, now) in enumerate(zip(self.joined, joined, strict=True)) if now > was}
        self.joined = joined
        begun = {k + len(places) for k, (was, now) in enumerate(zip(self.busy, busy, strict=True)) if now and not was}
        ended = [k + len(places) for k, (was, now) in enumerate(zip(self.busy, busy, strict=True)) if was and not now]
        counted = {i for i, (was, now) in enumerate(zip(self.segvs, segvs, strict=True)) if now > was}
        for i in counted:
            self.owed[i] = self.owed.get(i, 0) + segvs[i] - self.segvs[i]
        hits, self.segvs, self.busy, self.hits = self.hits, segvs, busy, set()
        for r in ended:
            for access in sorted(self.taken_over.pop(r), key=lambda access: -access.kind):  # what has no right is the writes
                yield from self._judge(m, access, counted)
        for i, place in enumerate(places):
            if place != before[i]:
                yield from self._advanced(m, i, before[i], place, i in hits, begun, joins, counted)
            elif i in counted and not ended:
                yield from self._without_causes(m, i, place[0])

    def _places(self, m: Any) -> list[tuple[int, int]]:
        n = m.ctl[0].agents
        return list(zip(m.rows["head"][:n].tolist(), m.rows["taken"][:n].tolist(), strict=True))

    def _segvs(self, m: Any) -> list[int]:
        return m.counts[:, COUNT_SEGV].tolist()

    def _busy(self, m: Any) -> list[bool]:
        return [phase not in (VACANT, RELEASE) for phase in m.rows["phase"][m.ctl[0].agents :].tolist()]

    def _joined(self, m: Any) -> list[int]:
        return m.misses["joined"][m.ctl[0].agents :].tolist()

    def _access(self, m: Any, i: int, k: int) -> Access:
        record = m.queue[k]
        return Access(i, int(m.rows["space"][i]), int(record.kind) & ~CONTINUES, int(record.address) >> 12)

    def _advanced(self, m: Any, i: int, before: tuple[int, int], now: tuple[int, int], was_hit: bool, begun: set[int],
                  joins: set[int], counted: set[int]) -> Iterator[str]:  # fmt: skip
        """Row i's head record moved on."""
        for k in range(before[0], now[0] + (now[1] > 0)):
            access = self._access(m, i, k)
            if access.kind > FETCH or (was_hit and k == before[0]):
                continue
            index = int(m.queue[k].index)
            takers = [r for r in begun if int(m.rows["index"][r]) == index and int(m.rows["agent"][r]) == i]
            joins_one = [r for r in joins if int(m.rows["agent"][r]) == i and int(m.misses["vpn"][r]) == access.page]
            if takers:
                self.taken_over[takers[0]] = [access]
            elif joins_one:
                self.taken_over[joins_one[0]].append(access)
            else:
                yield from self._judge(m, access, counted)

    def _judge(self, m: Any, access: Access, counted: set[int]) -> Iterator[str]:
        if self.owed.get(access.row, 0) > 0:
            self.owed[access.row] -= 1
            if access.row in counted:
                yield from self._without_cause(m, access)
        elif not self._is_allowed(m, access):
            yield self._complaint(m, access)

    def _is_allowed(self, m: Any, access: Access) -> bool:
        return Tree(m).allows(access.space, access.page, access.kind == WRITE, self.dirty, access.kind == FETCH)

    def _complaint(self, m: Any, access: Access) -> str:
        return f"{access.told()} is complete; {Tree(m).told(access.space, access.page)}"

    def _without_causes(self, m: Any, i: int, k: int) -> Iterator[str]:
        """A segv was counted in a step that completed nothing: row i's head record, or one that a request has, must have no right."""
        taken = [access for accesses in self.taken_over.values() for access in accesses if access.row == i]
        found = [list(self._without_cause(m, access)) for access in (taken or [self._access(m, i, k)])]
        if all(found):
            yield from found[0]

    def _without_cause(self, m: Any, access: Access) -> Iterator[str]:
        """A segv was counted: does a VMA allow the access all the same? (A stack that has just grown may have come too late.)"""
        v = m.vmas[: m.ctl[0].vma_count]
        here = v[(v["space"] == access.space) & (v["first"] <= access.page) & (access.page < v["last"]) & (v["grows"] == 0)]
        if access.kind <= FETCH and any(prot & RIGHTS[access.kind] for prot in here["prot"].tolist()):
            yield f"{access.told()} is given up as one without a right, but its VMA has the rights {here['prot'].tolist()}"
