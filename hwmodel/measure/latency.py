"""`Latency`: the distribution that one log-linear histogram holds."""

import math
import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from hwmodel import html
from hwmodel.core.ledger import BUCKETS, HEAD, LINEAR

FEW = 10
"""A percentile rests on few if fewer measurements than this lie beyond it."""
HALF = 32
"""Buckets for each power of two from LINEAR on."""


def bucket_bounds(bucket: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest value that a bucket counts.

    Parameters
    ----------
    bucket : int64[n] or int
        Numbers of buckets, in [0, BUCKETS).

    Returns
    -------
    low, high : int64[n]
        Both inclusive, in cycles.
    """
    bucket = np.asarray(bucket, np.int64)
    shift = np.maximum(bucket - LINEAR, 0) // HALF + 1
    step = np.where(bucket < LINEAR, 1, np.int64(1) << shift)
    low = np.where(bucket < LINEAR, bucket, ((bucket - LINEAR) % HALF + HALF) * step)
    return low, low + (step - 1)


def columns(unit: str) -> tuple[str, ...]:
    """Return the heads of a table of latencies, with the unit of each."""
    return "measured", f"mean, {unit}", f"p50, {unit}", f"p99, {unit}", f"longest, {unit}"


@dataclass(frozen=True)
class Percentile:
    """One percentile of a distribution: its value, how exactly it is known, and how many measurements it rests on.

    Attributes
    ----------
    value : float
        The highest value of its bucket, but never more than the maximum.
    low, high : float
        The percentile lies in [low, high]: the bucket's ends, but not beyond the minimum and the maximum.
    beyond : int
        How many measurements the longest (100 - percent) % are, rounded up, at least 1; 0 of an empty distribution.
    """

    value: float
    low: float
    high: float
    beyond: int

    @property
    def rests_on_few(self) -> bool:
        """Return whether fewer than `FEW` measurements lie beyond it: another run's few longest would move it."""
        return self.beyond < FEW


@dataclass(frozen=True, eq=False)
class Latency:
    """A distribution of latencies, in cycles; `.ns` is the same distribution in nanoseconds.

    Parameters
    ----------
    kind : str
        A key of ``result.book.latencies``.
    row : int64[HEAD + BUCKETS]
        Count, sum, minimum and maximum, then the count of each bucket (``hwmodel.core.ledger.bucket_of``).
    ns_per_cycle : float
        1000 / the machine's clock in MHz.
    unit : "cycles" or "ns"
        The unit of every latency that the object returns.

    Notes
    -----
    Count, mean, minimum and maximum are exact. A percentile is known to the width of a bucket: one cycle below 64
    cycles, less than 3.2 % above; `quantile` says how exactly, and on how many measurements it rests. An empty distribution
    has a count of 0, and NaN for everything else.
    """

    kind: str
    row: np.ndarray
    ns_per_cycle: float
    unit: str = "cycles"

    @property
    def ns(self) -> "Latency":
        """Return the same distribution in nanoseconds."""
        return Latency(self.kind, self.row, self.ns_per_cycle, "ns")

    @property
    def count(self) -> int:
        """Return the number of latencies measured."""
        return int(self.row[0])

    @property
    def mean(self) -> float:
        """Return the mean latency."""
        return self._scaled(int(self.row[1]) / self.count) if self.count else math.nan

    @property
    def min(self) -> float:
        """Return the shortest latency."""
        return self._scaled(int(self.row[2])) if self.count else math.nan

    @property
    def max(self) -> float:
        """Return the longest latency."""
        return self._scaled(int(self.row[3])) if self.count else math.nan

    def percentile(self, percent: float) -> float:
        """Return the latency that `percent` of the measured ones do not exceed.

        Parameters
        ----------
        percent : float
            In [0, 100].

        Returns
        -------
        float
            As HdrHistogram defines it: the highest value of the bucket that holds the ceil(percent / 100 x count)-th
            shortest latency (at least the first); never more than the maximum. In cycles it is an integer.

        Raises
        ------
        ValueError
            If `percent` is outside [0, 100].

        Warns
        -----
        UserWarning
            If it lies between 0 and 1: more often than not a share is meant.
        """
        if 0 < percent < 1:
            warnings.warn(f"percentile({percent}): the {percent}th of a hundred; for a share of {percent} ask for {100 * percent:g}",
                          stacklevel=2)  # fmt: skip
        return self.quantile(percent).value

    def quantile(self, percent: float) -> Percentile:
        """Return a percentile with the width of its bucket and the number of measurements beyond it; see `percentile`."""
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile lies in [0, 100], not at {percent}")
        if not self.count:
            return Percentile(math.nan, math.nan, math.nan, 0)
        share = Fraction(str(percent)) * self.count / 100  # exact: 99.9 % of 1000 is the 999th
        rank = max(1, math.ceil(share))
        low, high = bucket_bounds(int(np.searchsorted(np.cumsum(self.row[HEAD:]), rank)))
        least, most = self._scaled(max(int(low), int(self.row[2]))), self._scaled(min(int(high), int(self.row[3])))
        return Percentile(most, least, most, max(1, self.count - math.floor(share)))

    @property
    def row_of_table(self) -> tuple[float, ...]:
        """Return the figures that `columns` names."""
        return self.count, self.mean, self.percentile(50), self.percentile(99), self.max

    def buckets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the buckets in use.

        Returns
        -------
        low, high : float64[n]
            Each bucket counts the values in [low, high).
        count : int64[n]
            The number of values in each bucket; none is 0.
        """
        used = np.flatnonzero(self.row[HEAD : HEAD + BUCKETS])
        low, high = bucket_bounds(used)
        scale = self._scaled(1)
        return low * float(scale), (high + 1.0) * scale, self.row[HEAD:][used]

    def __repr__(self) -> str:
        if not self.count:
            return f"<Latency {self.kind}: none>"
        last = self.quantile(99)
        few = f" (of the {last.beyond} longest)" if last.rests_on_few else ""
        numbers = f"p50 {self.percentile(50):.6g}, p99 {last.value:.6g}{few}, max {self.max:.6g} {self.unit}"
        return f"<Latency {self.kind}: {self.count} measured, {numbers}>"

    def _repr_html_(self) -> str:
        if not self.count:
            return html.block(f"Latency {self.kind}", html.lines("none was measured"))
        last = self.quantile(99)
        few = f"p99 rests on the longest {last.beyond} of {self.count:,}." if last.rests_on_few else ""
        return html.block(f"Latency {self.kind}", html.table(columns(self.unit), [self.row_of_table]), html.lines(few))

    def _scaled(self, cycles: float) -> float:
        return cycles * self.ns_per_cycle if self.unit == "ns" else cycles
