"""Kernel against oracle: the same case through both, and every number that differs."""

import warnings

import numpy as np

from hwmodel import simulate
from hwmodel.core.ledger import HEAD
from tests import reference


def differences(machine, trace, **options):
    """What the kernels and the oracle disagree about, as (where, kernel, oracle); empty if they agree exactly."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        result = simulate(machine, trace, progress=False, **options)
    outcome = reference.simulate(machine, trace)
    return list(compare(result, outcome))


def compare(result, outcome):
    """Differences of a `Result` and an `Outcome`."""
    if len(result.agents) != len(outcome.clocks):
        yield "agents", len(result.agents), len(outcome.clocks)
    for r, clock in enumerate(outcome.clocks):
        if result.clocks[r] != clock:
            yield f"clock of row {r}", int(result.clocks[r]), clock
        for tally, theirs in ((result.counters, outcome.counters[r]), (result.ledger, outcome.ledger[r])):
            ours = dict(zip(tally.names, tally.array[r].tolist(), strict=True))
            for name in ours | theirs:
                if ours.get(name, 0) != theirs.get(name, 0):
                    yield f"{name} of row {r}", ours.get(name, 0), theirs.get(name, 0)
    for kind in outcome.histograms.keys() - result.book.latencies.keys():
        yield f"kind of latency {kind}", None, outcome.histograms[kind]
    for kind, row in zip(result.book.latencies, result.histograms, strict=True):
        theirs = outcome.histograms.get(kind, {"count": 0, "sum": 0, "min": 0, "max": 0, "buckets": {}})
        buckets = {int(b): int(row[HEAD + b]) for b in np.flatnonzero(row[HEAD:])}
        mine = dict(zip(("count", "sum", "min", "max"), row[:HEAD].tolist(), strict=True), buckets=buckets)
        for name, value in mine.items():
            if value != theirs[name]:
                yield f"{name} of {kind}", value, theirs[name]
