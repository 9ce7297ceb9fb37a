"""Kernel against oracle: the same case through both, and every number that differs."""

import re
import warnings

import numpy as np

from hwmodel import ConfigError, simulate
from hwmodel.core.ledger import HEAD
from tests import reference
from tests.reference.memory import OutOfMemoryError
from tests.support.random_traces import random_case

SHORT = re.compile(
    r"memory\.size_mib: \d+ MiB are not enough: (?:the memory before the first record needs more frames|"
    r"(?P<who>.*) needs (?P<n>\d+) more frames(?P<block>, 512 of them in a block,)? at cycle (?P<now>\d+)), and (?P<free>\d+) of"
)


def tight_case(seed, design, size=120):
    """A random case; every third machine has so little memory that huge pages are refused, or that the run ends for lack of it."""
    machine, trace = random_case(seed, design, size)
    return machine if seed % 3 else machine.with_(**{"memory.size_mib": (1, 2, 3, 4, 6)[seed // 3 % 5]}), trace


def differences(machine, trace, **options):
    """What the kernels and the oracle disagree about, as (where, kernel, oracle); empty if they agree exactly."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*access without a right")
            result = simulate(machine, trace, progress=False, **options)
    except ConfigError as error:
        result = short_of(str(error))
    try:
        outcome = reference.simulate(machine, trace)
    except OutOfMemoryError as error:
        outcome = error.args
    if isinstance(result, tuple) or isinstance(outcome, tuple):
        return [] if result == outcome else [("memory", result, outcome)]
    return list(compare(result, outcome))


def short_of(text):
    """Who is without memory, as the oracle's error has it, from the message of the kernels' error."""
    said = SHORT.match(text)
    assert said, text
    who, n, block, now, free = said.group("who", "n", "block", "now", "free")
    return (who, n and int(n), block is not None if n else None, now and int(now), int(free))


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
