"""Why one machine costs more than another: the difference of their overheads by cause, counts times what each costs.

Accounts that stand for the same thing are one cause, whatever a design calls them: those of hardware and of software that serves engines by
their family, those of coherence by their role, those of the kernel, which all machines have, one by one. Roles say what is counted. Both
are declared with the accounts and counters themselves (`hwmodel.core.ledger`), so a new design has its causes without a word here.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from analysis.metrics import overheads_frame
from analysis.points import DEPENDENT, Point
from analysis.tables import cell
from hwmodel import html
from hwmodel.config.errors import suggestion
from hwmodel.core import ledger
from hwmodel.machine import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.core.ledger import Book

WORK = "the program itself, against the bound's"
WHOLE = {ledger.HARDWARE: ledger.WALK, ledger.SERVICE: ledger.TRAP}
"""Families that are one cause each, and the role of the counters that belong to it."""
ROLES = {
    ledger.NOTIFICATION: ("mmu notifiers and their callbacks", ("notices.start",)),
    ledger.SHOOTDOWN: ("TLB shootdowns and kicks", ("ipis.sent",)),
}
"""Roles of accounts that are one cause each, by its name, and the counters that belong to it."""
COUNTED = {ledger.HARDWARE: ("cpu.walks",), "fault": ("faults.",)}
"""More counters of a family, or those of an account of the kernel; a name that ends in a dot stands for all that begin with it."""
MOSTLY = 0.8
"""From this share on something is said to be on one side."""

SMALL = 0.01
"""Causes of at most this share of the largest number are summed up in one sentence."""


@dataclass(frozen=True)
class Part:
    """What a cause takes of one machine's overhead.

    Attributes
    ----------
    engine, cpu : int
        Cycles on either side, beyond the bound's.
    count : int or None
        How often it happened, beyond the bound's; None if nothing counts it.
    noun : str
        What is counted.
    accounts : tuple of str
        The accounts.
    """

    engine: int = 0
    cpu: int = 0
    count: int | None = None
    noun: str = ""
    accounts: tuple[str, ...] = ()

    @property
    def cycles(self) -> int:
        """Return the cycles on both sides."""
        return self.engine + self.cpu

    def told(self, clock: float) -> str:
        """Return it in words, of a clock with so many ns in a cycle."""
        if not self.cycles:
            return "nothing"
        if not self.count or self.count < 0 or self.cycles < 0:
            return _time(self.cycles * clock) + self._side(clock)
        return f"{cell(self.count)} {self.noun} at {_time(self.cycles * clock / self.count)}{self._side(clock / self.count)}"

    def _side(self, clock: float) -> str:
        """Return where the time is: on one side mostly, or how much on each."""
        share = self.engine / self.cycles
        if 0 <= share <= 1 and not 1 - MOSTLY < share < MOSTLY:
            return " on the engines" if share >= MOSTLY else " on the CPUs"
        return f" ({_time(self.engine * clock)} on the engines, {_time(self.cpu * clock)} on the CPUs)"


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The difference of the translation overhead of two machines, by cause.

    Attributes
    ----------
    frame : DataFrame
        A row for each cause, the largest first: cause; count_a and ns_each_a, count_b and ns_each_b, missing where nothing is counted;
        difference_ms, first less second, and share, of the whole difference; cycles_a and cycles_b, which add up to the overheads of the
        two, exactly; accounts, the names of all that are in it.
    machines : tuple of str
        The two machines.
    totals_ms : tuple of float
        Their overheads.
    window : str
        In which window, in words.
    sides : tuple of (Part, Part)
        The same rows as they were counted.
    clocks : tuple of float
        Nanoseconds of a cycle of either.
    """

    frame: "pd.DataFrame"
    machines: tuple[str, str]
    totals_ms: tuple[float, float]
    window: str
    sides: tuple[tuple[Part, Part], ...]
    clocks: tuple[float, float]

    @property
    def difference_ms(self) -> float:
        """Return the overhead of the first less that of the second."""
        return self.totals_ms[0] - self.totals_ms[1]

    def plot(self, axes: Any = None) -> Any:
        """Draw a waterfall: from the second machine's overhead, cause by cause, to the first one's.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw; by default in a picture of its own.

        Returns
        -------
        Axes
            Of the picture ``.figure``.
        """
        from analysis.plots.waterfall import draw_waterfall

        return draw_waterfall(self.frame, self.machines, self.totals_ms, axes)

    def __str__(self) -> str:
        a, b = self.machines
        more = "slower" if self.difference_ms > 0 else "faster"
        totals = " against ".join(_time(1e6 * total) for total in self.totals_ms)
        lines = [f"{a} is {more} than {b} by {_time(1e6 * abs(self.difference_ms))} ({totals} of translation overhead, {self.window}):"]
        if not self.difference_ms:
            lines = [f"{a} and {b} have the same translation overhead, {totals} ({self.window})."]
        return "\n".join([*lines, *(f"- {line}" for line in self._lines())])

    def _lines(self) -> Iterator[str]:
        least = SMALL * max(map(abs, (*self.totals_ms, *self.frame["difference_ms"])), default=0.0)
        left = []
        for row, pair in zip(self.frame.to_dict("records"), self.sides, strict=True):
            if abs(row["difference_ms"]) <= least:
                left.append(row["difference_ms"])
                continue
            told = " against ".join(part.told(clock) for part, clock in zip(pair, self.clocks, strict=True))
            share = "" if math.isnan(row["share"]) else f" ({row['share']:.0f} %)"
            yield f"{row['cause']}, {_signed(row['difference_ms'])}{share}: {told}."
        if any(left):
            yield f"{len(left)} smaller cause{'s' * (len(left) > 1)}, {_signed(sum(left))}."

    def __repr__(self) -> str:
        return f"<Explanation of {self.machines[0]} against {self.machines[1]}>\n{self}"

    def _repr_html_(self) -> str:
        shown = self.frame.drop(columns=["cycles_a", "cycles_b"])
        return html.block(str(self).splitlines()[0], html.of_frame(shown, "causes"))


def explain(points: Sequence[Point], a: str, b: str, dependent: bool = False) -> Explanation:
    """Return why one machine's overhead is another one than a second's, as `Comparison.explain` says.

    Parameters
    ----------
    points : sequence of Point
        Those of a comparison.
    a, b : str
        The two machines.
    dependent : bool
        With dependent accesses, not in the machines' own window.

    Raises
    ------
    ConfigError
        If there is no such machine, or it has no overhead in that window.
    """
    import pandas as pd

    pair = [_point(points, name, dependent) for name in (a, b)]
    parts = [_parts(point) for point in pair]
    clocks = [point.result.ns_per_cycle for point in pair]
    rows = [(cause, [part.get(cause, Part()) for part in parts]) for cause in dict.fromkeys([*parts[0], *parts[1]])]
    totals = [sum(part.cycles for part in part_by_cause.values()) * clock for part_by_cause, clock in zip(parts, clocks, strict=True)]
    whole = totals[0] - totals[1]
    rows.sort(key=lambda row: -abs(_difference(row[1], clocks)))
    columns = ["cause", "count_a", "ns_each_a", "count_b", "ns_each_b", "difference_ms", "share", "cycles_a", "cycles_b", "accounts"]
    frame = pd.DataFrame([_row(cause, two, clocks, whole) for cause, two in rows], columns=columns)
    frame = frame.astype({"count_a": "Int64", "count_b": "Int64"})
    windows = dict.fromkeys(point.window for point in pair)
    window = "with dependent accesses" if dependent else f"{' and '.join(map(str, windows))} in flight"
    sides = tuple((two[0], two[1]) for _, two in rows)
    return Explanation(frame, (a, b), (totals[0] / 1e6, totals[1] / 1e6), window, sides, (clocks[0], clocks[1]))


def _point(points: Sequence[Point], name: str, dependent: bool) -> Point:
    known = dict.fromkeys(point.machine for point in points)
    if name not in known:
        raise ConfigError(f"explain: there is no machine {name}{suggestion(name, known)}")
    those = [point for point in points if point.machine == name and point.bound is not None]
    found = [point for point in those if (point.window == DEPENDENT if dependent else point.configured)]
    if not found:
        where = " with dependent accesses" if dependent else ""
        raise ConfigError(f"explain: {name} has no overhead{where}: it did not run beside a bound")
    return found[0]


def _parts(point: Point) -> dict[str, Part]:
    """Return what each cause takes of a machine's overhead."""
    book, found = point.result.book, dict[str, Part]()
    bound = point.bound
    assert bound is not None  # only points with one are chosen
    for row in overheads_frame([point]).to_dict("records"):
        name, side = str(row["account"]), str(row["side"])
        owner = book if name in book.accounts else bound.book
        cause = _cause(owner, name)
        before = found.get(cause) or Part(0, 0, *_counted(point, owner, name))
        accounts = tuple(dict.fromkeys([*before.accounts, name]))
        changed: dict[str, Any] = {side: getattr(before, side) + int(row["cycles"])}
        found[cause] = replace(before, accounts=accounts, **changed)
    return found


def _cause(book: "Book", name: str) -> str:
    """Return the cause that an account belongs to."""
    about = book.accounts[name]
    if about.family == ledger.WORK:
        return WORK
    if about.role in ROLES:
        return ROLES[about.role][0]
    return ledger.FAMILIES[about.family] if about.family != ledger.KERNEL else about.says.partition(",")[0]


def _counted(point: Point, book: "Book", name: str) -> tuple[int | None, str]:
    """Return how often what an account is for has happened, beyond the bound's, and what that is called."""
    about = book.accounts[name]
    wanted = ROLES[about.role][1] if about.role in ROLES else COUNTED.get(about.family if about.family in WHOLE else name, ())
    counters = [other for other in point.result.book.counters if _is_meant(other, wanted)]
    own = point.result.book.counters_of(WHOLE.get(about.family, "")) if about.family in WHOLE else []
    if not own and not counters:
        return None, ""
    count = sum(_of(point.result.counters, other) - _of(point.bound.counters if point.bound else {}, other) for other in [*own, *counters])
    says = point.result.book.counters[(own or counters)[0]].says.partition(",")[0]
    return count, says if len(own) + len(counters) == 1 or own else name + "s"


def _is_meant(counter: str, wanted: Iterable[str]) -> bool:
    return any(counter.startswith(name) if name.endswith(".") else counter == name for name in wanted)


def _of(counters: Mapping[str, int], name: str) -> int:
    return counters[name] if name in counters else 0


def _row(cause: str, two: Sequence[Part], clocks: Sequence[float], whole: float) -> dict[str, Any]:
    row: dict[str, Any] = {"cause": cause}
    for letter, part, clock in zip("ab", two, clocks, strict=True):
        row |= {f"count_{letter}": part.count, f"ns_each_{letter}": _each(part, clock), f"cycles_{letter}": part.cycles}
    difference = _difference(two, clocks)
    accounts = ", ".join(dict.fromkeys(name for part in two for name in part.accounts))
    return row | {"difference_ms": difference / 1e6, "share": 100 * difference / whole if whole else math.nan, "accounts": accounts}


def _difference(two: Sequence[Part], clocks: Sequence[float]) -> float:
    """Return the difference in ns."""
    return two[0].cycles * clocks[0] - two[1].cycles * clocks[1]


def _each(part: Part, clock: float) -> float:
    return part.cycles * clock / part.count if part.count and part.count > 0 else math.nan


def _signed(ms: float) -> str:
    return f"{'+' if ms >= 0 else '-'}{_time(1e6 * abs(ms))}"


def _time(ns: float) -> str:
    """Return a time with its unit, three digits."""
    for unit, scale in (("ms", 1e6), ("us", 1e3)):
        if abs(ns) >= scale:
            return f"{ns / scale:,.3g} {unit}" if abs(ns) < 1000 * scale else f"{ns / scale:,.0f} {unit}"
    return f"{ns:.3g} ns"
