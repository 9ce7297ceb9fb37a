"""The identities that every run must satisfy, whatever the design; `Result.check` checks them."""

from collections.abc import Mapping, Sequence

import numpy as np

from hwmodel.core.ledger import BUCKETS, HEAD, Book
from hwmodel.measure.latency import bucket_bounds
from hwmodel.measure.tally import Counters, Ledger, Tally

SUMS = (
    (("cpu.itlb.hits", "cpu.itlb.misses", "cpu.dtlb.hits", "cpu.dtlb.misses"), ("cpu.accesses",)),
    (("cpu.stlb.hits", "cpu.stlb.misses"), ("cpu.itlb.misses", "cpu.dtlb.misses")),
    (("device.tlb.hits", "device.tlb.misses"), ("device.accesses",)),
)
"""Counters whose sums must be equal, for each agent."""
TOTALS = ((("notices.start",), ("notices.end",)), (("ipis.sent",), ("ipis.acked",)))
"""Counters whose sums over all agents must be equal."""


def violations(
    counters: Counters, ledger: Ledger, serving: Ledger, clocks: np.ndarray, histograms: Mapping[str, np.ndarray], whole: bool = True
) -> list[str]:
    """Return the identities that do not hold: one line for each identity and agent, none if all hold.

    In a part of a run (`whole` is False) a counter may be negative: the second half of an access corrects what its first half counted.
    """
    books = [*_negative(*((counters,) if whole else ()), ledger, serving), *_serving(ledger, serving), *_clocks(ledger, clocks)]
    return [*books, *_counters(counters), *_histograms(histograms)]


def phase_violations(book: Book, whole: Sequence[np.ndarray], phases: np.ndarray, shares: np.ndarray) -> list[str]:
    """Return where phases of misses don't add up to their latencies: by path, by bucket of the latency, by phase."""
    found = []
    low, high = bucket_bounds(np.arange(BUCKETS))
    for path, row, own, parts in zip(book.paths, whole, phases, shares, strict=True):
        total, count = parts.sum(axis=1), row[HEAD:]
        if int(total.sum()) != int(row[1]):
            found.append(f"phases of {path} add up to {int(total.sum())}, its latencies to {int(row[1])}")
        if ((total < low * count) | (total > high * count)).any():
            found.append(f"phases of {path} are in other buckets than its latencies")
        if (own[:, 1] != parts.sum(axis=0)).any():
            found.append(f"phases of {path} are other ones by bucket")
        found += _histograms({f"{path}, {name}": row for name, row in zip(book.phases, own, strict=True)})
    return found


def _negative(*tallies: Tally) -> list[str]:
    found = []
    for tally in tallies:
        for agent, column in np.argwhere(tally.array < 0):
            found.append(f"{tally.names[column]} of {tally.labels[agent]} is {tally.array[agent, column]}")
    return found


def _serving(ledger: Ledger, serving: Ledger) -> list[str]:
    return [
        f"{ledger.names[column]} of {ledger.labels[agent]} is {ledger.array[agent, column]}, but {serving.array[agent, column]} for engines"
        for agent, column in np.argwhere(serving.array > ledger.array)
    ]


def _clocks(ledger: Ledger, clocks: np.ndarray) -> list[str]:
    booked = ledger.array.sum(axis=1)
    return [
        f"accounts of {label} add up to {total}, its clock is {clock}"
        for label, total, clock in zip(ledger.labels, booked, clocks, strict=True)
        if total != clock
    ]


def _counters(counters: Counters) -> list[str]:
    found = []
    for row, label in enumerate(counters.labels):
        counts = dict(zip(counters.names, counters.array[row].tolist(), strict=True))
        found += [_difference(counts, left, right, f" of {label}") for left, right in SUMS]
        if counts.get("device.stlb.hits", 0) + counts.get("device.stlb.misses", 0):  # a design with a second level
            second, first = ("device.stlb.hits", "device.stlb.misses"), ("device.tlb.misses",)
            found.append(_difference(counts, second, first, f" of {label}"))
    found += [_difference(dict(counters), left, right, "") for left, right in TOTALS]
    return [line for line in found if line]


def _difference(counts: dict[str, int], left: tuple[str, ...], right: tuple[str, ...], whose: str) -> str:
    a, b = sum(counts[name] for name in left), sum(counts[name] for name in right)
    return "" if a == b else f"{' + '.join(left)}{whose} = {a}, but {' + '.join(right)} = {b}"


def _histograms(histograms: Mapping[str, np.ndarray]) -> list[str]:
    found = []
    for kind, row in histograms.items():
        count, total, low, high = (int(n) for n in row[:HEAD])
        in_buckets = int(row[HEAD:].sum())
        if count != in_buckets or (row < 0).any():
            found.append(f"histogram {kind} counts {count}, its buckets {in_buckets}")
        elif count and not (low <= high and low * count <= total <= high * count):
            found.append(f"histogram {kind}: sum {total} of {count} values in [{low}, {high}]")
    return found
