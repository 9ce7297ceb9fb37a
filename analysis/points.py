"""The runs behind a comparison: each machine with each window, beside its bound, for each seed; several at the same time."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis import runs
from analysis.overhead import Overhead, bound_of, overhead
from analysis.replicates import Interval, Replica, interval
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    from hwmodel.measure.result import Result

DEPENDENT = 1
"""The window in which each access waits for the data of the one before: a chain of pointers."""
LATENCY = "device.latency_ns"
"""How long data take: a guess with a wide range, and what once decided a comparison."""


class Point(NamedTuple):
    """A machine with one window on one trace.

    Parameters
    ----------
    machine : str
        The name under which it is shown.
    window : int or None
        Accesses that its engines may have in flight; None: its design has no such setting.
    configured : bool
        Whether this is the window of the machine as given, not the one of dependent accesses.
    result : Result
        The run of the first seed.
    bound : Result or None
        That of its bound; None: it has no engines, or engines that no bound can have.
    overheads : dict of int to Overhead
        What translation costs, by seed; empty without a bound.
    ends : dict of float to Overhead
        What it costs the first seed if data take so many ns, at the ends of that setting's range; empty unless asked for.
    """

    machine: str
    window: int | None
    configured: bool
    result: "Result"
    bound: "Result | None"
    overheads: dict[int, Overhead]
    ends: dict[float, Overhead] = {}  # noqa: RUF012  (a default that nobody changes)

    @property
    def per_access(self) -> Interval | None:
        """Return the translation overhead in ns for each access of the engines, over the seeds; None if there is none."""
        return interval(one.per_access_ns for one in self.overheads.values()) if self.overheads else None

    @property
    def slowdown(self) -> float:
        """Return the engines' time as many times the bound's, the median of the seeds; NaN if there is none."""
        return interval(one.slowdown for one in self.overheads.values()).median if self.overheads else math.nan

    @property
    def typical(self) -> Overhead | None:
        """Return the overhead of the seed in the middle, whose parts add up; of an even number the lower one."""
        ranked = sorted(self.overheads.values(), key=lambda one: one.per_access_ns)
        return ranked[(len(ranked) - 1) // 2] if ranked else None


class Pending(NamedTuple):
    """A point whose runs are under way, by seed."""

    machine: str
    window: int | None
    configured: bool
    running: "dict[int, Future[Result]]"
    bounds: "dict[int, Future[Result]]"
    ends: "dict[float, tuple[Future[Result], Future[Result]]]"

    def point(self) -> Point:
        """Return the point, once its runs have ended; their errors are raised."""
        ended = {seed: run.result() for seed, run in self.running.items()}
        bounds = {seed: run.result() for seed, run in self.bounds.items()}
        first = next(iter(ended))
        costs = {seed: overhead(ended[seed], bound) for seed, bound in bounds.items()}
        ends = {ns: overhead(run.result(), bound.result()) for ns, (run, bound) in self.ends.items()}
        return Point(self.machine, self.window, self.configured, ended[first], bounds.get(first), costs, ends)


class Runner:
    """Threads that run machines on traces; a bar shows how many runs have ended.

    Parameters
    ----------
    threads : int
        Runs at the same time.
    progress : bool
        Show the bar.
    """

    def __init__(self, threads: int, progress: bool) -> None:
        from tqdm import tqdm

        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ConfigError(f"threads: must be a whole number from 1 on, not {threads!r}")
        self._pool = ThreadPoolExecutor(threads)
        self._bar = tqdm(total=0, desc="compare", unit=" runs", disable=not progress, leave=False)

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        self._bar.close()

    def begin(self, machines: dict[str, Machine], replicas: Sequence[Replica], ends: bool, **options: Any) -> list[Pending]:
        """Begin the runs of every machine, in its window and with dependent accesses, and of its bound; options are `simulate`'s.

        With `ends` those of dependent accesses run at the ends of the range of the data's latency too, with the first seed.
        """
        begun: dict[tuple[Machine, int], Future[Result]] = {}

        def run(machine: Machine, replica: Replica) -> "Future[Result]":
            key = machine, int(replica.seed or 0)
            if key not in begun:
                begun[key] = self._submit(machine, replica, options)
            return begun[key]

        found = []
        for name, machine in machines.items():
            for variant, window, configured in variants(machine):
                running = {int(replica.seed or 0): run(variant, replica) for replica in replicas}
                bound = bound_of(variant) if window is not None else None
                bounds = {int(replica.seed or 0): run(bound, replica) for replica in replicas if bound is not None}
                others = latencies(variant) if ends and window == DEPENDENT and bound is not None else {}
                pairs = {ns: (run(other, replicas[0]), run(bound_of(other), replicas[0])) for ns, other in others.items()}
                found.append(Pending(name, window, configured, running, bounds, pairs))
        return found

    def _submit(self, machine: Machine, replica: Replica, options: dict[str, Any]) -> "Future[Result]":
        self._bar.total += 1
        future = self._pool.submit(runs.simulate, machine, replica.of(machine), progress=False, **options)
        future.add_done_callback(lambda _: self._bar.update())
        return future


def variants(machine: Machine) -> Iterable[tuple[Machine, int | None, bool]]:
    """Yield a machine with each window it is compared in, the window, and whether that is its own."""
    if not machine.has_device:
        yield machine, None, True
        return
    window = machine.get("device.window")
    yield machine, window, True
    if window != DEPENDENT:
        yield machine.with_(**{"device.window": DEPENDENT}), DEPENDENT, False


def latencies(machine: Machine) -> dict[float, Machine]:
    """Return the machine with the ends of the range of its data's latency, in ns, by these; none if the setting has no range."""
    about = machine.provenance()[LATENCY]
    return {ns: machine.with_(**{LATENCY: ns}) for ns in (about.low, about.high) if ns is not None}


def bounds(points: Sequence[Point]) -> Iterable[Point]:
    """Yield the bounds of points as points, each once: their overhead is 0. Where there are several in a window each says whose it is."""
    for configured in (True, False):
        several: dict[int, list[Point]] = {}
        for point in points:
            if point.bound is not None and point.configured is configured:
                several.setdefault(id(point.bound), []).append(point)
        for group in several.values():
            bound = group[0].bound
            assert bound is not None  # only such points are in a group
            owners = f" of {', '.join(point.machine for point in group)}" if len(several) > 1 else ""
            nothing = {seed: overhead(bound, bound) for seed in list(group[0].overheads)[:1]}
            yield Point(bound.machine.design + owners, group[0].window, configured, bound, bound, nothing)
