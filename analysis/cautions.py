"""What a reader of a run's figures must know before believing them: a line each."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hwmodel.core import ledger

if TYPE_CHECKING:
    from hwmodel.measure.result import Result

BEYOND = 10
"""A percentile is told with its number of samples if fewer than this lie beyond it."""
SATURATED = 0.8
"""Share of a run from which on a CPU that serves engines counts as saturated: others then queue for it."""


def of(name: str, result: "Result") -> Iterator[str]:
    """Yield what must be said of the figures of one machine, by the name it is shown under."""
    counts = result.counters
    if counts["segv"]:
        yield f"{name}: {counts['segv']:,} accesses without a right (segv) were not carried out."
    if counts["unsupported_ops"]:
        yield f"{name}: {counts['unsupported_ops']:,} operations failed or are not supported."
    yield from _few(name, result.latency("fault").count)
    yield from _saturated(name, result)


def _few(name: str, misses: int) -> Iterator[str]:
    """Tell that the 99th percentile of a latency rests on few."""
    beyond = math.ceil(misses / 100)
    if misses and beyond < BEYOND:
        longest = "the longest" if beyond == 1 else f"the {beyond} longest"
        yield f"{name}: resolution p99 rests on {longest} of {misses:,} misses."


def _saturated(name: str, result: "Result") -> Iterator[str]:
    """Tell of each CPU that does little else than to serve engines."""
    serving = result.book.of_family(ledger.SERVICE)
    for label, agent, row, clock in zip(result.ledger.labels, result.agents, result.ledger.array, result.clocks, strict=True):
        cycles = sum(int(row[result.ledger.names.index(account)]) for account in serving)
        if agent.role == "cpu" and clock and cycles >= SATURATED * clock:
            yield f"{name}: {label} spends {100 * cycles / int(clock):.0f} % of the run serving engines: misses queue for it."
