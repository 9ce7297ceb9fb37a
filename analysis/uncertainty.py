"""How far the estimates among the settings leave a comparison open: every uncertain cost is drawn at once; `uncertainty`, `Uncertainty`."""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.axes import latin_hypercube
from analysis.experiments import experiment
from analysis.metrics import Metric
from analysis.overhead import Figure
from analysis.ranges import Quantity, quantities, setting_of
from analysis.terms import EQUAL, Terms, on_equal_terms
from hwmodel import html
from hwmodel.arguments import machines_of
from hwmodel.config.errors import suggestion
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.trace import Trace

OVERHEAD = "overhead_ns_per_access"
"""The figure that decides by default."""
ENDS = (5, 50, 95)
"""The percentiles of a band."""
FEWEST = 20
"""Draws that a band needs, so that one of them at least lies beyond each of its ends."""


class Probability(NamedTuple):
    """A share of the draws, with the band (Wilson, 95 %) in which it would be with many more of them.

    Draws of a Latin hypercube are spread more evenly than independent ones, for which the band is meant: it is rather too wide.
    """

    value: float
    low: float
    high: float
    draws: int

    def __str__(self) -> str:
        return f"{100 * self.value:.3g} % of {self.draws} draws ({100 * self.low:.3g} to {100 * self.high:.3g} %)"


class Band(NamedTuple):
    """The 5th, 50th and 95th percentile of the draws."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True, eq=False, repr=False)
class Uncertainty:
    """A figure of some machines for every draw of their uncertain costs.

    Attributes
    ----------
    frame : DataFrame
        A row for each draw and machine: draw, machine, and the figure by its name.
    drawn : DataFrame
        A row for each draw, a column for each quantity that was drawn: a setting in its unit, a sum in ns.
    figure : Metric or Figure
        The figure; less of it is better.
    notes : tuple of str
        The terms; what engines do of the workload; of what was drawn, how each was.
    """

    frame: "pd.DataFrame"
    drawn: "pd.DataFrame"
    figure: Metric | Figure
    notes: tuple[str, ...]

    @property
    def machines(self) -> tuple[str, ...]:
        """Return the machines, in order."""
        return tuple(dict.fromkeys(self.frame["machine"]))

    def of(self, machine: str) -> "pd.Series":
        """Return the figure of a machine by draw.

        Raises
        ------
        ConfigError
            If there is no such machine.
        """
        if machine not in self.machines:
            raise ConfigError(f"{machine}: there is no such machine{suggestion(machine, self.machines)}")
        return self.frame[self.frame["machine"] == machine].set_index("draw")[self.figure.name]

    def probability(self, a: str, b: str) -> Probability:
        """Return the share of the draws in which `a` costs less than `b`; a draw in which they are equal is none."""
        from scipy.stats import binomtest

        less = self.of(a) < self.of(b)
        band = binomtest(int(less.sum()), len(less)).proportion_ci(method="wilson")
        return Probability(float(less.mean()), float(band.low), float(band.high), len(less))

    def ratio(self, a: str, b: str) -> Band:
        """Return how many times the figure of `b` that of `a` is; NaN if one of them is not above 0 in every draw."""
        mine, theirs = self.of(a), self.of(b)
        return _band(mine / theirs) if (mine > 0).all() and (theirs > 0).all() else Band(*[math.nan] * 3)

    def difference(self, a: str, b: str) -> Band:
        """Return the figure of `a` less that of `b`, draw by draw."""
        return _band(self.of(a) - self.of(b))

    def winner(self, a: str, b: str) -> str:
        """Return the machine that costs less; empty if the difference changes its sign within the band, or is 0."""
        found = self.difference(a, b)
        return a if found.high < 0 else b if found.low > 0 else ""

    def verdict(self, a: str, b: str) -> str:
        """Return in words which machine costs less, in how many draws, and by how much."""
        told = self.told(a, b)
        return told if self.winner(a, b) else f"undecided: {told}"

    def told(self, a: str, b: str) -> str:
        """Return in words which machine costs less in more of the draws, in how many, and by how much."""
        if (self.of(a) == self.of(b)).all():
            return f"{a} and {b} cost the same in all {len(self.drawn)} draws"
        first, second = (a, b) if self.probability(a, b).value >= self.probability(b, a).value else (b, a)
        found = self.ratio(first, second)
        by = f"ratio {found}" if not math.isnan(found.median) else f"difference {self.difference(first, second)} {_unit(self.figure)}"
        return f"{first} is cheaper than {second} in {self.probability(first, second)}; {by.rstrip()}"

    def plot(self, axes: Any = None) -> Any:
        """Draw the ratio of each pair of machines, or the figure of one alone, over the share of the draws that are below it.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw; by default in a picture of its own.

        Returns
        -------
        Axes
            Of the picture ``.figure``.
        """
        from analysis.plots.draws import draw_draws

        pairs = list(itertools.combinations(self.machines, 2))
        if not pairs:
            return draw_draws({one: self.of(one) for one in self.machines}, None, self.figure.title, axes)
        if any(math.isnan(self.ratio(*pair).median) for pair in pairs):
            lines = {f"{a} less {b}": self.of(a) - self.of(b) for a, b in pairs}
            return draw_draws(lines, 0.0, f"difference of {self.figure.title}", axes)
        title = f"ratio of {self.figure.title.rpartition(', ')[0] or self.figure.title}"
        return draw_draws({f"{a} / {b}": self.of(a) / self.of(b) for a, b in pairs}, 1.0, title, axes)

    def __str__(self) -> str:
        pairs = itertools.combinations(self.machines, 2)
        told = [f"{self.verdict(a, b)}." for a, b in pairs] or [f"{one}: {_band(self.of(one))}" for one in self.machines]
        return "\n".join(told)

    def __repr__(self) -> str:
        return f"<Uncertainty of {', '.join(self.machines)}: {len(self.drawn)} draws of {len(self.drawn.columns)} quantities>\n{self}"

    def _repr_html_(self) -> str:
        table = html.table(["", *(f"{end} %" for end in ENDS)], [(one, *_band(self.of(one))) for one in self.machines])
        return html.lines(*str(self).splitlines()) + html.block(self.figure.title, table)


def uncertainty(
    machines: Any,
    workload: "Trace | str | Callable[..., Trace]",
    *,
    draws: int = 200,
    seed: int = 0,
    figure: str | Metric = OVERHEAD,
    keep: Iterable[str] = (),
    terms: Terms = EQUAL,
    warmup: int | float = 0,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    threads: int = 2,
    progress: bool | None = None,
) -> Uncertainty:
    """Run machines for many draws of all that is uncertain in them, and say which costs less in how many.

    Drawn are the settings whose unit is ns or cycles, and the lines of caches that page tables have: costs, that somebody would have to
    measure. Not drawn are sizes, counts, ways, windows and words, which are choices of a design and are swept (`analysis.experiment`), and
    the clock. What the user has set himself stays.

    A setting is drawn from low to high of its provenance where these are given, evenly by its logarithm if both are above 0 and high is
    three times low or more; else by its letter: V +-10 %, S +-25 %, M times or over 1.5, E times or over 2, the last two by the logarithm.
    An end that is free is 0, and less than half a cycle is free. The lines of a cache are rounded to a power of two of sets.

    What several machines have with one name and one value, as the CPUs, the memory, the kernel and the device, is drawn once for all of
    them. Sums that are better known than their parts (`Machine.sums`) are drawn as sums, by the logarithm: the parts are drawn too, and
    then scaled together, so they may leave their own ranges. The draws are a Latin hypercube.

    Parameters
    ----------
    machines : mapping of str to Machine, iterable, or one
        Machines or names of presets.
    workload : Trace, str or callable
        One workload, as `analysis.experiment` takes it.
    draws : int
        The number of draws, each a run of every machine and of its bound.
    seed : int
        Of the draws: the same seed gives the same ones.
    figure : str or Metric
        What is compared, less being better: a name as for `analysis.experiment`.
    keep : iterable of str
        Settings that stay as they are.
    terms : Terms
        On which machines are compared; those of `analysis.compare` by default. ``Terms(as_built=True)`` leaves each as it is.
    warmup, share, unit, bytes, store, executor, threads, progress
        As `analysis.experiment` takes them.

    Raises
    ------
    ConfigError
        If a name or number is invalid, nothing is uncertain, or a machine does not have the figure.
    TraceError
        If the trace is invalid.
    """
    check_draws(draws)
    chosen, notes = on_equal_terms(machines_of(machines), terms)
    return drawn_on_terms(
        chosen, single(workload), draws, seed, keep, notes, warmup=warmup, metrics=[figure], store=store, executor=executor,
        threads=threads, progress=progress, share=share, unit=unit, bytes=bytes, title="uncertainty",
    )  # fmt: skip


def check_draws(draws: int) -> None:
    """Refuse a number of draws of which no band could be told."""
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < FEWEST:
        raise ConfigError(f"draws: must be a whole number from {FEWEST} on, not {draws!r}")


def drawn_on_terms(
    chosen: "dict[str, Machine]", workload: Any, draws: int, seed: int, keep: Iterable[str], notes: Sequence[str], **options: Any
) -> Uncertainty:
    """Return the outcome of draws for machines that are on equal terms already; options are those of `analysis.experiment`."""
    uncertain = quantities(chosen, keep)
    points, drawn = drawn_points(uncertain, draws, seed)
    asked = experiment(chosen, workload, points, terms=None, **options)
    found = asked.metrics[0]
    frame = asked.frame.reindex(columns=["machine", found.name])
    frame.insert(0, "draw", [number for _ in chosen for number in range(draws)])
    have_the_figure(frame, found.name)
    told = [f"{one.name}{_shared(one, chosen)}: {one.range.low:g} to {one.range.high:g}, {one.range.told}." for one in uncertain]
    return Uncertainty(frame, drawn, found, (*notes, *asked.notes, *told))


def drawn_points(uncertain: Sequence[Quantity], draws: int, seed: int) -> "tuple[list[dict[str, Any]], pd.DataFrame]":
    """Return the points of an experiment for draws of quantities, and the quantities' numbers."""
    import pandas as pd

    sums = [one for one in uncertain if one.sum]
    plain = [one for one in uncertain if not one.sum]
    places = [(number, -1) for number in range(len(uncertain))]
    places += [(number, part) for number, one in enumerate(uncertain) if one.sum for part in range(len(one.ranges))]
    sample = latin_hypercube({str(place): (0.0, 1.0) for place in places}, draws, seed)
    points, rows = [], []
    for unit in sample:
        at = {one.name: unit[str((number, -1))] for number, one in enumerate(uncertain)}
        numbers = {(owner, one.range.setting): one.range.number(at[one.name]) for one in plain for owner in one.owners}
        point = {setting_of(owner, name): value for one in plain for owner in one.owners for name, value in one.at(at[one.name]).items()}
        for one in sums:
            number = uncertain.index(one)
            parts = [unit[str((number, part))] for part in range(len(one.ranges))]
            less = {off.setting: numbers.get((one.owners[0], off.setting), off.value) for off in one.less}
            values = one.at(at[one.name], parts, less)
            point |= {setting_of(owner, name): value for owner in one.owners for name, value in values.items()}
        points.append(point)
        rows.append({one.name: one.range.number(at[one.name]) for one in uncertain})
    return points, pd.DataFrame(rows)


def single(workload: Any) -> Any:
    """Return a workload as an experiment takes it; refuse several."""
    from analysis.traces import sources_of

    sources = sources_of(workload)
    if len(sources) > 1:
        raise ConfigError(f"workload: must be one, not {len(sources)} ({', '.join(sources)})")
    return {label: source.given for label, source in sources.items()}


def have_the_figure(frame: "pd.DataFrame", name: str) -> None:
    """Refuse machines that have no such figure."""
    without = list(dict.fromkeys(frame.loc[frame[name].isna(), "machine"]))
    if without:
        raise ConfigError(f"figure: {', '.join(without)} has no {name} on this workload: its engines do nothing, or it can have none")


def _shared(one: Quantity, machines: "dict[str, Machine]") -> str:
    """Return whose a quantity is, if not every machine's."""
    return "" if len(one.owners) == len(machines) else f" ({', '.join(one.owners)})"


def _band(values: "pd.Series") -> Band:
    return Band(*(float(values.quantile(end / 100)) for end in ENDS))


def _unit(figure: Metric | Figure) -> str:
    """Return the unit in a figure's title: what follows its last comma."""
    return figure.title.rpartition(", ")[2] if ", " in figure.title else ""
