"""A thread of the kernel that moves pages of memory, as migration does: while it copies one its pte says that the page is away.

Linux 6.18 mm/migrate.c: try_to_migrate_one sets the entries, with a notice and a flush, remove_migration_pte puts the page back wherever
an entry says that it is away. No design of the house has such a thread; the tests give one to any of them, with the JIT off.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from hwmodel.core import clock
from hwmodel.core.ledger import IDLE
from hwmodel.core.tables import ASLEEP, AWAY, DESIGN, DONE, HUGE, KERNEL, NONE, PAGE_AWAY, PFN, ZERO, P, W, X
from hwmodel.engine import drive
from hwmodel.op import PROT_WRITE
from hwmodel.parts import radix
from hwmodel.primary import away, frames, memory, notify, ranges, shootdown, vmas
from hwmodel.secondary import protocol
from tests.audit.tables import read_tree
from tests.support.designs import Design

WAKE, SET, TAKE, COPY, BACK = ASLEEP, DESIGN, DESIGN + 1, DESIGN + 2, DESIGN + 3
MOVABLE = P | AWAY | HUGE | ZERO


class Mover:
    """Moves a page every so often, until the other agents are done.

    Parameters
    ----------
    first, every : int
        When it moves the first page, and how many cycles after a move it takes the next.
    copy : int
        The cycles for which a page is away.
    most : int
        How many pages it moves.

    Attributes
    ----------
    moved, gone, written, waited : int
        Pages put back; pages that nobody mapped any more when they should have been; pages that might be written when they were;
        rows that waited for them.
    """

    def __init__(self, first: int, every: int, copy: int, most: int = 1) -> None:
        self.first, self.every, self.copy, self.most = first, every, copy, most
        self.moved = self.gone = self.written = self.waited = 0
        self.at = (0, 0)
        self.old = self.rounds = 0

    @contextlib.contextmanager
    def working_for(self, design: Design) -> Iterator["Mover"]:
        """Give the machines of a design this thread."""
        module = design.module
        build, advance = module.build, getattr(module, "advance", protocol.no_phase)

        def build_with_thread(machine: Any, m: Any, first_bank: int) -> Any:
            r = m.ctl[0].engines
            m.rows[r].blocked, m.due[r], m.rows[r].wait_until = 0, 0, 0
            return build(machine, m, first_bank)

        def step(m: Any, dev: Any, r: int) -> None:
            if m.rows[r].role == KERNEL:
                self.step(m, r)
            else:
                advance(m, dev, r)

        def run(m: Any, dev: Any) -> int:
            return drive(m, dev, module.translate, module.request, protocol.no_request, step, protocol.no_notice)

        replaced: dict[str, Callable[..., Any]] = {"threads": lambda machine: 1, "build": build_with_thread}
        replaced |= {"advance": step} if hasattr(module, "advance") else {"run": run}
        with contextlib.ExitStack() as stack:
            for name, function in replaced.items():
                stack.enter_context(mock.patch.object(module, name, function))
            yield self

    def step(self, m: Any, r: int) -> None:
        """Take the next step of the thread, row r."""
        phase = m.rows[r].phase
        if phase == WAKE:
            self.pick(m, r)
        elif phase == SET:
            self.set_away(m, r)
        elif phase == TAKE:
            self.take(m, r)
        elif phase == COPY:
            self.begin_copy(m, r)
        else:
            self.put_back(m, r)

    def pick(self, m: Any, r: int) -> None:
        """Choose a page and tell the notifier; without one, or before its time, sleep on, for ever once the others are done."""
        now, others = clock.time(m, r), m.rows[: m.ctl[0].engines]
        if self.rounds == self.most or all(row.phase == DONE for row in others):
            m.rows[r].phase = ASLEEP
            clock.block(m, r, IDLE)
            return
        self.rounds += now >= self.first
        found = candidates(m) if now >= self.first else []
        if not found:
            clock.wait(m, r, IDLE, self.first if now < self.first else now + self.every)
            return
        self.at = found[self.rounds * 7 % len(found)]
        m.rows[r].space = self.at[0]
        if notify.call(m, r, notify.START, self.at[1], self.at[1] + 1, SET):
            self.set_away(m, r)

    def set_away(self, m: Any, r: int) -> None:
        """Say that the page is away, if it still can be moved, and flush; the page loses its mapping."""
        space, vpn = self.at
        self.old = -1
        if self.at in candidates(m):
            root = m.spaces[space].root
            pte = int(radix.get(m, root, vpn))
            self.old = pte >> PFN
            radix.put(m, root, vpn, 1, pte & ~P | AWAY)
            frames.unmapped(m, self.old, space, vpn)
            m.faults[r].old = self.old << PFN | P
            shootdown.call(m, r, vpn, vpn + 1, 1, 0, 0, TAKE)
        elif notify.call(m, r, notify.STOP, vpn, vpn + 1, COPY):
            self.begin_copy(m, r)

    def take(self, m: Any, r: int) -> None:
        """Take the page, whose last reference is the thread's now, into the hand; close the window."""
        m.frames[self.old].refs = 0
        m.faults[r].cached, m.faults[r].old = m.faults[r].old, 0
        if notify.call(m, r, notify.STOP, self.at[1], self.at[1] + 1, COPY):
            self.begin_copy(m, r)

    def begin_copy(self, m: Any, r: int) -> None:
        """Take a new page and copy to it; without memory for it the old one will be put back."""
        m.rows[r].phase = BACK
        if self.old >= 0 and memory.is_there(m, 1, 0):
            m.faults[r].page = frames.take(m) << PFN | P
        clock.spend(m, r, ranges.CLEARING, self.copy if self.old >= 0 else self.every)

    def put_back(self, m: Any, r: int) -> None:
        """Put the page back wherever an entry says that it is away; then the faults on these may go on."""
        m.rows[r].phase = WAKE
        if self.old < 0:
            clock.spend(m, r, ranges.CLEARING, self.every)
            return
        hand = m.faults[r]
        leaf = hand.page or hand.cached
        places = away_places(m, self.old)
        for space, vpn, pte in places:
            new = restored(m, space, vpn, pte, leaf >> PFN, len(places) == 1)
            self.written += new & W != 0
            radix.put(m, m.spaces[space].root, vpn, 1, new)
            frames.mapped(m, leaf >> PFN, space, vpn)
        self.moved += bool(places)
        self.gone += not places
        for spare in (hand.page, hand.cached):
            if spare and (spare != leaf or not places):
                frames.release(m, spare >> PFN)
        hand.page = hand.cached = 0
        self.waited += int((m.rows["phase"] == PAGE_AWAY).sum())
        away.wake(m, self.old, clock.time(m, r))
        clock.wait(m, r, IDLE, clock.time(m, r) + self.every)


def candidates(m: Any) -> list[tuple[int, int]]:
    """(space, page) of every page that can be moved: anonymous, mapped once and nobody else's."""
    found = []
    for space, row in enumerate(m.spaces):
        tree = read_tree(m, row.root) if row.root >= 0 else None
        for vpn, pte in zip(tree.vpn, tree.pte, strict=True) if tree else ():
            frame = m.frames[pte >> PFN]
            if pte & MOVABLE == P and frame.refs == 1 and not frame.cached and frame.owner >= 0 and vpn < 1 << 35:
                found.append((space, int(vpn)))
    return found


def away_places(m: Any, number: int) -> list[tuple[int, int, int]]:
    """(space, page, pte) of every pte that says that the page of this number is away."""
    trees = [(space, read_tree(m, row.root)) for space, row in enumerate(m.spaces) if row.root >= 0]
    return [(space, int(vpn), int(pte)) for space, tree in trees for vpn, pte in zip(tree.vpn, tree.pte, strict=True)
            if pte & AWAY and pte >> PFN == number]  # fmt: skip


def restored(m: Any, space: int, vpn: int, pte: int, pfn: int, alone: bool) -> int:
    """The pte of a page that is back: with the rights of its VMA, and W if the entry has kept it."""
    flags = pte & (1 << PFN) - 1 & ~(AWAY | X) | P
    k = vmas.find(m, space, vpn)
    if k < 0:  # an operation is about to clear it
        return pfn << PFN | flags & ~W
    v = m.vmas[k]
    flags |= vmas.execute_bit(v)
    if not (v.prot & PROT_WRITE and alone):
        flags &= ~W
    return pfn << PFN | (flags if v.prot else flags & ~P | NONE)
