"""The identities that every run must satisfy, whatever the design; `Result.check` checks them."""

from collections.abc import Mapping

import numpy as np

from hwmodel.core.ledger import HEAD
from hwmodel.measure.tally import Counters, Ledger

SUMS = (
    (("cpu.itlb.hits", "cpu.itlb.misses", "cpu.dtlb.hits", "cpu.dtlb.misses"), ("cpu.accesses",)),
    (("cpu.stlb.hits", "cpu.stlb.misses"), ("cpu.itlb.misses", "cpu.dtlb.misses")),
    (("device.tlb.hits", "device.tlb.misses"), ("device.accesses",)),
)
"""Counters whose sums must be equal, for each agent."""
TOTALS = ((("notices.start",), ("notices.end",)), (("ipis.sent",), ("ipis.acked",)))
"""Counters whose sums over all agents must be equal."""


def violations(counters: Counters, ledger: Ledger, clocks: np.ndarray, histograms: Mapping[str, np.ndarray]) -> list[str]:
    """Return the identities that do not hold: one line for each identity and agent, none if all hold."""
    return [*_negative(counters, ledger), *_clocks(ledger, clocks), *_counters(counters), *_histograms(histograms)]


def _negative(counters: Counters, ledger: Ledger) -> list[str]:
    found = []
    for tally in (counters, ledger):
        for agent, column in np.argwhere(tally.array < 0):
            found.append(f"{tally.names[column]} of {tally.labels[agent]} is {tally.array[agent, column]}")
    return found


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
