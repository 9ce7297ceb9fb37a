"""What a reader of a run's figures must know before believing them: a line each."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwmodel.measure.latency import Latency
    from hwmodel.measure.result import Result

SATURATED = 0.8
"""Share of a run from which on a CPU that serves engines counts as saturated: others then queue for it."""


def of(name: str, result: "Result") -> Iterator[str]:
    """Yield what must be said of the figures of one machine, by the name it is shown under."""
    counts = result.counters
    if counts["segv"]:
        yield f"{name}: {counts['segv']:,} accesses without a right (segv) were not carried out."
    if counts["unsupported_ops"]:
        yield f"{name}: {counts['unsupported_ops']:,} operations failed or are not supported."
    yield from _few(name, result.latency("fault"))
    yield from _saturated(name, result)


def _few(name: str, misses: "Latency") -> Iterator[str]:
    """Tell that the 99th percentile of a latency rests on few."""
    last = misses.quantile(99)
    if misses.count and last.rests_on_few:
        longest = "the longest" if last.beyond == 1 else f"the {last.beyond} longest"
        yield f"{name}: resolution p99 rests on {longest} of {misses.count:,} misses."


def _saturated(name: str, result: "Result") -> Iterator[str]:
    """Tell of each CPU that does little else than to serve engines."""
    for label, part in result.shares.items():
        if part.role == "cpu" and part.serving_share >= SATURATED:
            yield f"{name}: {label} spends {100 * part.serving_share:.0f} % of the run serving engines: misses queue for it."


def descriptions(results: "Mapping[str, Result]") -> list[str]:
    """Return a line for each machine that has a description, in the words of its preset or file."""
    told = {name: result.machine.description for name, result in results.items()}
    return [f"{name}: {words}" for name, words in told.items() if words]
