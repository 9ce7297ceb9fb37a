"""The auditor of a run: after every step, is every translation true, every window empty, every access that is complete allowed?

With the JIT off kernels are functions in their modules' globals, and there the auditor stands between the engine and them. Running ahead
is off: it changes no result (rule 14), and without it nothing happens between two steps. What a translation may say when is told in
`tests.audit.stale`, which accesses are complete when in `tests.audit.uses`, whose data are in flight in `tests.audit.flight`.
Windows: from the return of a start notice to the arrival of its end, the design holds nothing of the range at all (docs/model.md 11.4: KVM
retries; 10.3: GRU kills drop-ins in flight), and an end has the range of its start.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from unittest import mock

from hwmodel import engine
from hwmodel.core import clock
from hwmodel.core.tables import NOTICE_ARRIVES
from hwmodel.parts import bank
from hwmodel.primary import access, notify
from tests.audit import tables
from tests.audit.flight import Flights
from tests.audit.held import Banks
from tests.audit.stale import Stale, told
from tests.audit.uses import Uses
from tests.support.designs import Design

EVERYTHING = (0, 1 << 40)
MOST_STEPS = 100
"""Steps for each record and access, on average; a run that takes more will never end."""
BETWEEN = 40
"""Steps between two looks at the kernel's tables, which take a while."""


class Broken(AssertionError):  # noqa: N818  (a finding, not a failure of the test)
    """A rule of the contract does not hold."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


class Audit:
    """Watches the runs of a design.

    Parameters
    ----------
    design : Design
    rules : collection of str
        What it looks for: names of `tests.contract.rules.AUDITED`. That a run ends it always looks for.
    at_once : bool
        The first finding ends the run; if not, the first of each rule is kept in `found`.

    Attributes
    ----------
    steps, hits, notices : int
        What it has seen: steps of this run; look-ups that hit, and notices that arrived, of all runs.
    subscribed : bool
        Has any space asked for notices?
    """

    def __init__(self, design: Design, rules: Collection[str], at_once: bool = True) -> None:
        self.design, self.rules, self.at_once = design, rules, at_once
        self.found: dict[str, Broken] = {}
        self.steps = self.limit = 0
        self.hits = self.notices = 0
        self.subscribed = False
        self.dev: Any = None
        self.used: tuple[int, int] | None = None
        self.open: dict[int, list[tuple[int, int, int]]] = {}
        self.ending: set[int] = set()
        self.released: set[int] = set()
        self.stale = Stale(design.name)
        self.uses, self.flights = Uses(self.stale.holder.dirty), Flights()

    def begin(self, records: int) -> None:
        """A run of so many records and accesses begins."""
        self.steps, self.limit = 0, 500 + MOST_STEPS * records
        self.open, self.ending, self.released = {}, set(), set()
        self.stale.begin()
        self.uses.begin()
        self.flights.begin()

    def report(self, rule: str, findings: Iterable[str]) -> None:
        """Findings of a rule, if it is looked for; they are made as they are asked for."""
        if rule in self.rules and rule not in self.found:
            for what in findings:
                if self.at_once:
                    raise Broken(rule, what)
                self.found.setdefault(rule, Broken(rule, what))

    @contextlib.contextmanager
    def watching(self) -> Iterator["Audit"]:
        """Stand between the engine and its kernels."""
        module = self.design.module
        hooks = [
            (module, "run", self._run), (engine, "earliest", self._earliest), (bank, "look", self._look),
            (access, "look_up", self._translate), (module, "translate", self._translate),
        ]  # fmt: skip
        if hasattr(module, "deliver"):
            hooks.append((module, "deliver", self._deliver))
        with contextlib.ExitStack() as stack:
            for owner, name, hook in hooks:
                stack.enter_context(mock.patch.object(owner, name, hook(getattr(owner, name))))
            yield self

    # where it stands

    def _run(self, run: Any) -> Any:
        def hook(m: Any, dev: Any) -> int:
            self.dev = dev
            self.subscribed |= bool(m.spaces["subscribers"].any())
            self.uses.go_on(m)
            why = run(m, dev)
            self._look_at(m)
            return why

        return hook

    def _earliest(self, earliest: Any) -> Any:
        def hook(m: Any) -> int:
            self._count("steps")
            self._look_at(m)
            return earliest(m)

        return hook

    def _count(self, what: str) -> None:
        self.steps += 1
        if self.steps > self.limit:
            raise Broken("it_ends", f"not after {self.steps} {what}")

    def _look(self, look: Any) -> Any:
        def hook(m: Any, b: int, index: int, tag: int) -> int:
            k = look(m, b, index, tag)
            if k >= 0:
                self.used = b, k
            return k

        return hook

    def _translate(self, translate: Any) -> Any:
        def hook(m: Any, *arguments: Any) -> int:
            i, kind, vpn = (int(argument) for argument in arguments[-4:-1])
            self._count("steps and look-ups")
            self.uses.before_look_up(m, i)
            self.flights.issued(m, i)
            self.used = None
            found = translate(m, *arguments)
            if found == access.HIT:
                self.hits += 1
                if self.used:
                    self.report("never_stale", self.stale.of_use(m, i, *self.used, kind, vpn))
                self.report("complete_when_allowed", self.uses.hit(m, i, kind, vpn))
                self.flights.hit(m, i, vpn)
            return found

        return hook

    def _deliver(self, deliver: Any) -> Any:
        def hook(m: Any, dev: Any, r: int) -> None:
            row, told = m.rows[r], m.notices[r]
            kind, notice = int(told.kind), (int(row.space), int(told.first), int(told.last))
            if kind == notify.STOP and r not in self.ending:  # it may wait for a lock and come again
                self.ending.add(r)
                self._close(r, notice)
            deliver(m, dev, r)
            if row.phase != NOTICE_ARRIVES:
                self.notices += 1
                self.ending.discard(r)
                if kind == notify.START:
                    self.open.setdefault(r, []).append(notice)
                    self.report("no_data_in_flight", self.flights.returned(*notice, int(clock.time(m, r))))
                elif kind == notify.RELEASE:
                    self.released.add(notice[0])

        return hook

    def _close(self, r: int, notice: tuple[int, int, int]) -> None:
        mine = self.open.get(r, [])
        if not mine or mine[-1] != notice:
            self.report("windows_are_empty", [f"row {r} ends a window {notice}, it has open {mine} (space, first, last)"])
        if mine:
            mine.pop()

    # what it looks at

    def _look_at(self, m: Any) -> None:
        self.report("never_stale", self.stale.findings(m, self.dev))
        self.report("windows_are_empty", self._in_windows(m))
        self.report("complete_when_allowed", self.uses.look(m))
        self.report("no_data_in_flight", list(self.flights.look(m)))
        if self.steps % BETWEEN == 0:
            self.report("tables_agree", tables.findings(m, self.dev, quiet=False))

    def at_the_end(self, m: Any, dev: Any) -> None:
        """The run is over."""
        self.report("tables_agree", tables.findings(m, dev))

    def _in_windows(self, m: Any) -> Iterator[str]:
        """What the design holds of a window that is open, or of a space that was released."""
        windows = [window for mine in self.open.values() for window in mine] + [(space, *EVERYTHING) for space in self.released]
        for one in self.stale.holder.translations(Banks(m), self.dev) if windows else ():
            for space, first, last in windows:
                if one.space == space and one.first < last and one.first + one.pages > first:
                    yield f"{told(one)}, and a window [{first:#x}, {last:#x}) is open"
