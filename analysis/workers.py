"""Who runs batches of an experiment: threads of this process, any executor, or a Dask cluster, to which each trace travels once."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import runs
from hwmodel.machine import ConfigError, Machine
from hwmodel.op import OP
from hwmodel.version import model_version

if TYPE_CHECKING:
    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace

UNKNOWN = 64
"""Batches handed at a time to an executor that does not say how many workers it has."""


class Workers:
    """Workers of an executor.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        The executor.
    count : int
        How many batches it can run at the same time.
    traces : sequence of Trace
        By number.
    """

    def __init__(self, executor: Executor, count: int, traces: "Sequence[Trace]") -> None:
        self.count = count
        self._executor, self._traces = executor, traces

    def submit(self, machines: list[Machine], trace: int, parts: dict[str, Any]) -> "Future[list[Result]]":
        """Begin to run machines on a trace."""
        return self._executor.submit(run_batch, machines, self._sent(trace), parts, model_version())

    def _sent(self, trace: int) -> Any:
        """Return the argument that stands for a trace."""
        return self._traces[trace]


class Cluster(Workers):
    """Workers of a Dask client: a trace is sent to all of them before the first batch that runs it.

    Parameters
    ----------
    client : distributed.Client
        The client, connected.
    traces : sequence of Trace
        By number.
    """

    def __init__(self, client: Any, traces: "Sequence[Trace]") -> None:
        super().__init__(client.get_executor(pure=False), sum(client.nthreads().values()) or UNKNOWN, traces)
        self._client = client
        self._there: dict[int, Any] = {}

    def _sent(self, trace: int) -> Any:
        if trace not in self._there:
            self._there[trace] = self._client.scatter(in_memory(self._traces[trace]), broadcast=True, hash=False)
        return self._there[trace]


@contextlib.contextmanager
def workers_of(given: Any, threads: int, traces: "Sequence[Trace]") -> Iterator[Workers]:
    """Yield the workers of an executor or a Dask client; of a pool of threads if there is neither, which ends here, after an error at once.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if given is None:
        with ThreadPoolExecutor(threads) as pool:
            try:
                yield Workers(pool, threads, traces)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    elif isinstance(given, Executor):
        yield Workers(given, getattr(given, "_max_workers", UNKNOWN), traces)
    elif hasattr(given, "scatter") and hasattr(given, "get_executor"):
        yield Cluster(given, traces)
    else:
        raise ConfigError(f"executor: must be a concurrent.futures.Executor or a Dask client, not {given!r}")


def run_batch(machines: list[Machine], trace: "Trace", parts: dict[str, Any], version: str) -> "list[Result]":
    """Run machines on a trace, in any process of any computer whose model is of that version."""
    if model_version() != version:
        raise ConfigError(f"executor: a worker has version {model_version()} of the model, and this is {version}")
    return runs.simulate_all(machines, trace, **parts)


def in_memory(trace: "Trace") -> "Trace":
    """Return a trace whose records are in memory, so that it can be sent to a computer that has not its file."""
    from hwmodel.trace import Trace

    chunks = list(trace.chunks())
    records = np.concatenate(chunks) if chunks else np.empty(0, OP)
    return Trace.from_records(trace.agents, records, trace.prelude, trace.info, trace.name)
