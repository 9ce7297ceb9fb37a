"""Replicates: the same question for several seeds of everything that is random, and how far the answers differ.

Random are the accesses that offloading gives to an engine, and what a generator draws. What two machines do for one seed they do on the
same trace, so a ratio is taken seed by seed and only then summed up: what both have in common drops out of it.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import runs
from hwmodel.arguments import machine_of
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    from hwmodel.measure.result import Result
    from hwmodel.regions import Named
    from hwmodel.trace import Trace

ENOUGH = 10
"""Samples from which on an interval of the median is given: of fewer it would hardly be narrower than they reach."""
PERCENT, DRAWS = 95, 10_000
"""How sure a bootstrap interval is, and the samples drawn for it, always the same ones."""


@dataclass(frozen=True)
class Interval:
    """What several samples say of a figure.

    Attributes
    ----------
    median : float
        Of the samples.
    low, high : float
        The ends of the 95 % bootstrap interval of the median, or the smallest and the largest of fewer than `ENOUGH` samples.
    samples : int
        Their number.
    """

    median: float
    low: float
    high: float
    samples: int

    @property
    def kind(self) -> str:
        """Return what the ends are, in words."""
        return f"{PERCENT} % bootstrap interval of the median" if self.samples >= ENOUGH else "minimum and maximum"

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g} to {self.high:.3g}]"


def interval(values: Iterable[float]) -> Interval:
    """Return the median of samples and an interval; all of it NaN if one of them is.

    From `ENOUGH` samples on the interval has the 2.5th and the 97.5th percentile of the medians of `DRAWS` samples drawn, with replacement,
    from those that are given (the percentile bootstrap). It depends on the values alone, not on their order.

    Raises
    ------
    ConfigError
        If there is no sample.
    """
    sorted_ = np.sort(np.array(list(values), float))
    if not sorted_.size:
        raise ConfigError("interval: there is no sample")
    if np.isnan(sorted_).any():
        return Interval(math.nan, math.nan, math.nan, sorted_.size)
    low, high = sorted_[0], sorted_[-1]
    if sorted_.size >= ENOUGH:
        drawn = np.random.default_rng(0).integers(sorted_.size, size=(DRAWS, sorted_.size))
        beyond = (1 - PERCENT / 100) / 2
        low, high = np.quantile(np.median(sorted_[drawn], axis=1), [beyond, 1 - beyond])
    return Interval(float(np.median(sorted_)), float(low), float(high), sorted_.size)


def ratio(mine: Mapping[int, float], theirs: Mapping[int, float]) -> Interval:
    """Return how many times as large one figure is as another, by seed: the interval of the ratios.

    Parameters
    ----------
    mine, theirs : mapping of int to float
        The two figures by seed (`dict(frame.set_index("seed")[name])` of a sweep). Of a pair that is not positive on both sides there is
        no ratio: the interval is NaN.

    Raises
    ------
    ConfigError
        If they are not of the same seeds.
    """
    one, other = dict(mine), dict(theirs)
    if one.keys() != other.keys():
        raise ConfigError(f"ratio: one side has the seeds {sorted(one)}, the other {sorted(other)}")
    return interval(one[seed] / other[seed] if one[seed] > 0 and other[seed] > 0 else math.nan for seed in one)


@dataclass(frozen=True)
class Replica:
    """The traces of one seed.

    Attributes
    ----------
    seed : int or None
        None: the one there is, of seed 0, if nobody asked for more.
    plain, shared : Trace
        For machines without engines, and with them.
    note : str
        What engines do, in a line (`runs.offloaded`).
    """

    seed: int | None
    plain: "Trace"
    shared: "Trace"
    note: str

    def of(self, machine: Machine) -> "Trace":
        """Return the trace that a machine runs."""
        return self.shared if machine.has_engines else self.plain


def replicas(
    trace: "Trace | str | Callable[[int], Trace]", machines: Iterable[Machine], seeds: Iterable[int] | None, **stream: Any
) -> list[Replica]:
    """Return the traces for each seed.

    Parameters
    ----------
    trace : Trace, str or callable
        The trace or its name; if it has no device agent, each seed offloads other accesses of it. Or a function that makes a trace of a
        seed: ``lambda seed: workloads.zipf(seed=seed)``.
    machines : iterable of Machine
        The machines that will run.
    seeds : iterable of int, optional
        None: one replica, of seed 0.
    **stream
        share, unit, bytes, as `runs.offloaded` takes them.

    Raises
    ------
    ConfigError
        If the seeds are no whole numbers, or one comes twice, or nothing is random.
    """
    machines = list(machines)
    if seeds is None:
        given = runs.trace_of(trace)  # type: ignore[arg-type]  # refuses a function
        return [Replica(None, *runs.offloaded(given, machines, **stream))]
    found = []
    for seed in checked_seeds(seeds):
        plain, shared, note = runs.offloaded(runs.trace_of(trace(seed) if callable(trace) else trace), machines, seed=seed, **stream)
        if shared is plain and not callable(trace):
            raise ConfigError("seeds: nothing is random in a trace that is not offloaded; give a function that makes one of a seed")
        found.append(Replica(seed, plain, shared, note))
    return found


def replicate(
    machine: Machine | str, trace: "Trace | str | Callable[[int], Trace]", seeds: Iterable[int], progress: bool | None = None,
    warmup: int | float = 0, regions: "Named | None" = None, **stream: Any
) -> "dict[int, Result]":
    """Run a machine once for each seed.

    Parameters
    ----------
    machine : Machine or str
        The machine, or the name of a preset.
    trace : Trace, str or callable
        As `replicas` takes it.
    seeds : iterable of int
        Whole numbers, each once.
    progress : bool, optional
        Show progress bars; by default as `hwmodel.simulate` decides.
    warmup, regions
        As `hwmodel.simulate` takes them.
    **stream
        share, unit, bytes: what an engine gets of a trace without device agents (`workloads.offload`).

    Returns
    -------
    dict of int to Result
        By seed, in their order.
    """
    machine = machine_of(machine)
    found = replicas(trace, [machine], seeds, **stream)
    parts = runs.parts([replica.of(machine) for replica in found], warmup, regions)
    return {int(r.seed or 0): runs.simulate(machine, r.of(machine), progress, **parts) for r in found}


def checked_seeds(seeds: Iterable[int]) -> list[int]:
    """Return seeds, each a whole number that comes once; refuse others."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ConfigError(f"seeds: must be a list of whole numbers, not {seeds!r}")
    listed = list(seeds)
    if not listed or any(isinstance(seed, bool) or not isinstance(seed, int | np.integer) for seed in listed):
        raise ConfigError(f"seeds: must be whole numbers, at least one, not {listed}")
    if len(set(listed)) < len(listed):
        raise ConfigError(f"seeds: one of {listed} comes twice")
    return [int(seed) for seed in listed]
