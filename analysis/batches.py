"""The runs of an experiment: machines that run one trace go over it together, several such batches at the same time."""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.pointstore import PointStore, content_of
from analysis.workers import Workers, workers_of
from hwmodel.machine import Machine

if TYPE_CHECKING:
    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace

TOGETHER = 8
"""Most machines that go over a trace together: with 8 an eighth of its decoding is left for each, and more would fill the caches."""


class Job(NamedTuple):
    """A machine, and the number of the trace that it runs."""

    machine: Machine
    trace: int


class Ways(NamedTuple):
    """How an experiment runs. All but the parts, the warm-up and regions of each trace by its number, changes no figure."""

    parts: Sequence[dict[str, Any]]
    executor: Any
    threads: int
    store: PointStore | None
    progress: bool
    title: str


def run(jobs: Iterable[Job], traces: "list[Trace]", ways: Ways, take: "Callable[[Job, Result], Any]") -> dict[Job, Any]:
    """Run jobs, each once, or find them in the store.

    Parameters
    ----------
    jobs : iterable of Job
        Those that are equal are one.
    traces : list of Trace
        By number.
    ways : Ways
        Warm-up and regions of each trace; executor, threads, store.
    take : callable
        Takes of each job's result what is kept of it, in this process's main thread.

    Returns
    -------
    dict
        What has been taken, by job.
    """
    from tqdm import tqdm

    jobs, taken = list(dict.fromkeys(jobs)), {}
    keys = _keys(jobs, traces, ways)
    with (
        workers_of(ways.executor, ways.threads, traces) as workers,
        tqdm(total=len(jobs), desc=ways.title, unit="run", disable=not (ways.progress and jobs)) as bar,
    ):
        for batch, results in _finished(_batches(jobs, workers.count, bool(keys)), ways, keys, workers):
            for job, result in zip(batch, results, strict=True):
                taken[job] = take(job, result)
            bar.update(len(batch))
    return taken


def _keys(jobs: list[Job], traces: "list[Trace]", ways: Ways) -> dict[Job, str]:
    """Return the key of each job in the store; nothing without one."""
    if ways.store is None:
        return {}
    contents = {number: content_of(traces[number]) for number in dict.fromkeys(job.trace for job in jobs)}
    return {job: ways.store.key(job.machine, contents[job.trace], ways.parts[job.trace]) for job in jobs}


def _batches(jobs: list[Job], workers: int, shared: bool) -> list[list[Job]]:
    """Return jobs of one trace together, so many that every worker has some; two processes that share a store begin with different ones."""
    by_trace: dict[int, list[Job]] = {}
    for job in jobs:
        by_trace.setdefault(job.trace, []).append(job)
    found = []
    for same in by_trace.values():
        size = min(TOGETHER, math.ceil(len(same) / max(1, workers // len(by_trace))))
        found += [same[first : first + size] for first in range(0, len(same), size)]
    if shared:
        random.SystemRandom().shuffle(found)
    return found


def _finished(
    batches: list[list[Job]], ways: Ways, keys: dict[Job, str], workers: Workers
) -> "Iterator[tuple[list[Job], Iterable[Result]]]":
    """Yield batches as they are finished, stored first; what the store has when a batch's turn comes does not run."""
    waiting: dict[Future[Any], list[Job]] = {}
    store, turns = ways.store, iter(batches)
    try:
        while True:
            while len(waiting) < workers.count and (batch := next(turns, None)):
                known = store.known(keys[job] for job in batch) if store is not None else set()
                found = [job for job in batch if keys.get(job) in known]
                if store is not None and found:
                    yield found, map(store.get, [keys[job] for job in found])
                if left := [job for job in batch if keys.get(job) not in known]:
                    number = left[0].trace
                    future = workers.submit([job.machine for job in left], number, ways.parts[number])
                    waiting[future] = left
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                done, results = waiting.pop(future), future.result()
                if store is not None:
                    store.put({keys[job]: result for job, result in zip(done, results, strict=True)})
                yield done, results
    finally:
        for future in waiting:
            future.cancel()
