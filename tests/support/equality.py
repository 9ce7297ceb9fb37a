"""Kernel against oracle: the same case through both, and every number that differs."""

import re
import warnings
from collections import Counter

import numpy as np

from hwmodel import ConfigError, op, simulate
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


def differences(machine, trace, edges=(), **options):
    """What the kernels and the oracle disagree about, as (where, kernel, oracle), in each part of the run; empty if they agree exactly."""
    regions = {f"part {k}": at for k, at in enumerate([0, *edges])} if edges else None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*access without a right")
            result = simulate(machine, trace, progress=False, regions=regions, **options)
    except ConfigError as error:
        result = short_of(str(error))
    try:
        outcome = reference.simulate(machine, trace, edges=edges)
    except OutOfMemoryError as error:
        outcome = error.args
    if isinstance(result, tuple) or isinstance(outcome, tuple):
        return [] if result == outcome else [("memory", result, outcome)]
    return list(compare(result, outcome))


def some_edges(rng, trace, n=2):
    """Records at which parts of a run may begin, in order: anywhere, within units too, but not behind the last whole one."""
    ops = np.concatenate(list(trace.chunks()))
    last = int(np.flatnonzero((ops["kind"] != op.ARG) & (ops["kind"] < op.CONTINUES))[-1])
    return sorted(rng.sample(range(1, last + 1), min(n, last)))


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
    parts = list(result.regions.values()) or [result]
    for number, (part, theirs) in enumerate(zip(parts, outcome.parts, strict=True)):
        for where, *both in compare_books(part, theirs):
            yield f"part {number}: {where}", *both


def compare_books(result, outcome):
    """Differences of what a part of a run measured."""
    for r, _ in enumerate(outcome.ledger):
        for what in ("counters", "ledger", "serving"):
            tally, theirs = getattr(result, what), getattr(outcome, what)[r]
            ours = dict(zip(tally.names, tally.array[r].tolist(), strict=True))
            for name in ours | theirs:
                if ours.get(name, 0) != theirs.get(name, 0):
                    yield f"{what}: {name} of row {r}", ours.get(name, 0), theirs.get(name, 0)
    for kind in outcome.histograms.keys() - result.book.latencies.keys():
        yield f"kind of latency {kind}", None, outcome.histograms[kind]
    yield from compare_phases(result, outcome)
    for kind, row in zip(result.book.latencies, result.histograms, strict=True):
        theirs = outcome.histograms.get(kind, {"count": 0, "sum": 0, "min": 0, "max": 0, "buckets": {}})
        buckets = {int(b): int(row[HEAD + b]) for b in np.flatnonzero(row[HEAD:])}
        mine = dict(zip(("count", "sum", "min", "max"), row[:HEAD].tolist(), strict=True), buckets=buckets)
        for name, value in mine.items():
            if value != theirs[name]:
                yield f"{name} of {kind}", value, theirs[name]


def compare_phases(result, outcome):
    """Differences of what the phases of misses took."""
    book = result.book
    for p, path in enumerate(book.paths):
        for k, phase in enumerate(book.phases):
            row = result.phase_histograms[p, k]
            theirs = outcome.phases.get((path, phase), {"count": 0, "sum": 0, "min": 0, "max": 0, "buckets": {}})
            mine = dict(zip(("count", "sum", "min", "max"), row[:HEAD].tolist(), strict=True))
            mine["buckets"] = {int(b): int(row[HEAD + b]) for b in np.flatnonzero(row[HEAD:])}
            if mine != theirs:
                yield f"phase {phase} of {path}", mine, theirs
    phases, used = list(book.phases), np.argwhere(result.phase_shares)
    mine = {(book.paths[p], int(b), phases[k]): int(result.phase_shares[p, b, k]) for p, b, k in used}
    if mine != dict(outcome.shares):
        yield "phases by bucket", mine, dict(outcome.shares)


def compare_events(result, outcome):
    """Differences of what was recorded: events of the kernels alone, and of the oracle alone."""
    events = result.events.cycles
    frame = result.events.frame()
    columns = [events[name].tolist() for name in ("row", "begin", "end", "page", "pages")]
    mine = Counter(zip(frame["kind"], *columns, frame["detail"], strict=True))
    theirs = Counter(outcome.events)
    yield from (("event of the kernels", event, n) for event, n in sorted((mine - theirs).items()))
    yield from (("event of the oracle", event, n) for event, n in sorted((theirs - mine).items()))
