"""Verdicts: which of two machines translates at less cost, by how much, and how sure that is.

What is compared is the translation overhead against the bound (`analysis.overhead`), seed by seed, in the machines' own window and with
dependent accesses, and with these, if asked for, at the ends of the range of the data's latency: a verdict that flips there is none. The
interval comes from the seeds alone. Most costs are estimates; if they have been drawn from their ranges (`analysis.uncertainty`), a verdict
has the share of the draws and the band of the ratio, and there is none if the band has room for either machine.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from analysis.overhead import Overhead
from analysis.points import DEPENDENT, Point
from analysis.replicates import Interval, interval, ratio

if TYPE_CHECKING:
    from analysis.uncertainty import Band, Probability, Uncertainty

CLOSE = 1.05
"""A factor below which two overheads count as equal, by the median of the seeds."""
SLIGHT = 1.2
"""A factor below which a difference may come from the estimates among the settings: most of their ranges are wider by far."""
NUMBERS = ("difference_ns", "factor_low", "factor_median", "factor_high")
"""The columns of a table that has a `Duel`: the median of the differences, less than 0 where the first costs less; the factor."""
DRAWN = ("draws", "first_cheaper", "ratio_low", "ratio_median", "ratio_high")
"""The columns of a table that has a `Drawn`: draws, the share in which the first costs less, its overhead as many times the second's."""
WINDOWS = ("", "dependent_")
"""What the names of these columns begin with: in the machines' own window, and with dependent accesses if that is another one."""


class Drawn(NamedTuple):
    """What the draws of uncertain costs say of two machines in their own window.

    Parameters
    ----------
    winner : str
        The machine that costs less, over the whole band from the 5th to the 95th percentile; empty if there is none.
    chance : Probability
        The share of the draws in which the first costs less.
    ratio : Band
        The overhead of the first, as many times the second's; NaN if one is not above 0 in every draw.
    text : str
        In words.
    """

    winner: str
    chance: "Probability"
    ratio: "Band"
    text: str

    @property
    def numbers(self) -> dict[str, float]:
        """Return it as a table has it, by the names of `DRAWN`."""
        return dict(zip(DRAWN, (self.chance.draws, self.chance.value, *self.ratio), strict=True))


class Duel(NamedTuple):
    """Two machines in one window.

    Parameters
    ----------
    window : str
        What the windows are, in words.
    difference : Interval
        Overhead of the first less that of the second, in ns per access of the engines, over the seeds.
    factor : Interval
        The larger overhead, as many times the smaller one; NaN if one is not above 0, so that there is no ratio.
    """

    window: str
    difference: Interval
    factor: Interval

    @property
    def sign(self) -> int:
        """Return -1 if the first costs less, 1 if the second does, 0 if the seeds differ about it or there is no difference that counts."""
        low, high = self.difference.low, self.difference.high
        return 0 if self.is_close else -1 if high < 0 else int(low > 0)

    @property
    def is_close(self) -> bool:
        """Return whether the two differ by less than `CLOSE`, or not at all."""
        return self.factor.median < CLOSE or self.difference.low == self.difference.high == 0

    @property
    def numbers(self) -> dict[str, float]:
        """Return the difference and the factor as a table has them."""
        found = self.factor
        return dict(zip(NUMBERS, (self.difference.median, found.low, found.median, found.high), strict=True))

    @property
    def by(self) -> str:
        """Return by how much the better one is better, with the interval if there is more than one seed."""
        if not math.isnan(self.factor.median):
            return f"by {_told(self.factor, 'x')}"
        low, high = sorted((abs(self.difference.low), abs(self.difference.high)))
        return f"by {_told(Interval(abs(self.difference.median), low, high, self.difference.samples), ' ns per access')}"


@dataclass(frozen=True)
class Verdict:
    """What is to be said of two machines on one workload.

    Parameters
    ----------
    first, second : str
        The machines.
    duels : tuple of Duel
        In their own window, then with dependent accesses if that is another one.
    ends : tuple of Duel
        With dependent accesses and data that take as long as the ends of that setting's range say.
    drawn : Drawn, optional
        What draws of all that is uncertain say.
    """

    first: str
    second: str
    duels: tuple[Duel, ...]
    ends: tuple[Duel, ...] = ()
    drawn: Drawn | None = None

    @property
    def winner(self) -> str:
        """Return the machine that costs less in one window at least, and nowhere more, and in the draws; empty if undecided."""
        return self._ahead if self.drawn is None or self.drawn.winner == self._ahead else ""

    @property
    def _ahead(self) -> str:
        """Return the machine that costs less with the machines' own values; empty if that is undecided."""
        signs = {duel.sign for duel in self.duels if not duel.is_close} | {duel.sign for duel in self.ends if not duel.is_close}
        return {frozenset({-1}): self.first, frozenset({1}): self.second}.get(frozenset(signs), "") if self._told else ""

    @property
    def numbers(self) -> dict[str, float]:
        """Return what a table has of each window (`NUMBERS`), the names beginning as `WINDOWS` says."""
        each = zip(WINDOWS, self.duels, strict=False)
        found = {prefix + name: value for prefix, duel in each for name, value in duel.numbers.items()}
        return found | (self.drawn.numbers if self.drawn else {})

    @property
    def is_full(self) -> bool:
        """Return whether there is a difference in every window."""
        return len(self._told) == len(self.duels)

    @property
    def is_slight(self) -> bool:
        """Return whether the larger overhead is less than `SLIGHT` times the smaller one in every window."""
        return all(duel.factor.median < SLIGHT for duel in self.duels)

    @property
    def _told(self) -> list[Duel]:
        return [duel for duel in self.duels if not duel.is_close]

    def _each(self, duels: Iterable[Duel]) -> str:
        return "; ".join(f"{self.first if duel.sign < 0 else self.second} {duel.by} with {duel.window}" for duel in duels)

    def __str__(self) -> str:
        if self.drawn is None:
            return self._of_values()
        if self._ahead and not self.winner:
            return f"undecided: costs may be elsewhere in their ranges ({self._of_values()}; {self.drawn.text})"
        return f"{self._of_values()}; {self.drawn.text}"

    def _of_values(self) -> str:
        """Return what is to be said with the machines' own values."""
        told = self._told
        unsure = [duel.window for duel in told if duel.sign == 0]
        if not told:
            return f"no difference of {100 * CLOSE - 100:.0f} %"
        if unsure:
            return f"undecided: the sign changes with the seed ({', '.join(unsure)})"
        if len({duel.sign for duel in told}) > 1:
            return f"undecided: the sign changes with the window ({self._each(told)})"
        if not self._ahead:
            others = [duel for duel in self.ends if not duel.is_close and duel.sign != told[0].sign]
            return f"undecided: the sign changes with how long data take ({self._each([*told, *others])})"
        if not self.is_full:
            return f"{self._ahead} {told[0].by} with {told[0].window}; no difference of {100 * CLOSE - 100:.0f} % otherwise"
        others = "".join(f"; {duel.by.removeprefix('by ')} with {duel.window}" for duel in told[1:])
        return f"{self._ahead} {told[0].by}{others}"


def verdicts(points: Sequence[Point], draws: "Uncertainty | None" = None) -> Iterator[Verdict]:
    """Yield the verdict of each pair of machines of one trace that have an overhead, in order; draws, if there are any, are of these."""
    groups = {configured: {p.machine: p for p in points if p.overheads and p.configured is configured} for configured in (True, False)}
    for first, second in itertools.combinations(groups[True], 2):
        pairs = [(group[first], group[second]) for group in groups.values() if first in group and second in group]
        ends = [_duel_at(ns, *pair) for pair in pairs for ns in pair[0].ends if ns in pair[1].ends]
        drawn = _drawn(draws, first, second) if draws is not None else None
        yield Verdict(first, second, tuple(_duel(*pair) for pair in pairs), tuple(ends), drawn)


def basis(points: Sequence[Point], draws: int = 0) -> str:
    """Return the sentence that says what verdicts rest on; `draws` of uncertain costs are in them."""
    seeds = max((len(point.overheads) for point in points), default=0)
    ends = sorted({ns for point in points for ns in point.ends})
    kind = next((point.per_access.kind for point in points if point.per_access), "")
    told = "one seed: no interval" if seeds < 2 else f"{seeds} seeds ([{kind}])"
    varied = f", and on data that take {ends[0]:,g} and {ends[-1]:,g} ns" if ends else ""
    counts = f"A difference counts from a factor of {CLOSE} on"
    if not draws:
        return f"Verdicts rest on {told}{varied}; no other setting is varied, though most are estimates. {counts}."
    band = "a ratio's band from the 5th to the 95th percentile has to be on one side of 1"
    return f"Verdicts rest on {told}{varied}, and on {draws} draws of every uncertain cost with one seed: {band}. {counts}."


def _drawn(draws: "Uncertainty", first: str, second: str) -> Drawn:
    chance = draws.probability(first, second)
    return Drawn(draws.winner(first, second), chance, draws.ratio(first, second), draws.told(first, second))


def _duel(first: Point, second: Point) -> Duel:
    windows = sorted({int(point.window or 0) for point in (first, second)})
    told = f"{' and '.join(map(str, windows))} in flight" if windows != [DEPENDENT] else "dependent accesses"
    return _compared(told, first.overheads, second.overheads)


def _duel_at(ns: float, first: Point, second: Point) -> Duel:
    return _compared(f"dependent accesses and data in {ns:,g} ns", {0: first.ends[ns]}, {0: second.ends[ns]})


def _compared(told: str, first: dict[int, Overhead], second: dict[int, Overhead]) -> Duel:
    mine, theirs = ({seed: one.per_access_ns for seed, one in costs.items()} for costs in (first, second))
    difference = interval(mine[seed] - theirs[seed] for seed in mine)
    return Duel(told, difference, ratio(theirs, mine) if difference.median < 0 else ratio(mine, theirs))


def _told(found: Interval, unit: str) -> str:
    interval_ = f" [{_number(found.low)} to {_number(found.high)}]" if found.samples > 1 else ""
    return f"{_number(found.median)}{unit}{interval_}"


def _number(value: float) -> str:
    """Return a number with two digits or, from 100 on, without a fraction."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1.2 else f"{value:.3g}"
