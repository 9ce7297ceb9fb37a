"""A run: a machine that takes a trace's records and goes on until it needs more; several runs may take the same records."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from hwmodel import engine, feed, limits
from hwmodel.build import build, grow, longer_files
from hwmodel.core.ledger import IDLE
from hwmodel.core.tables import I64, NEVER, QUEUED, Machine
from hwmodel.measure.result import Result
from hwmodel.measure.tally import AgentInfo
from hwmodel.modelled import Checker, Chunk
from hwmodel.prelude import apply_prelude, mark_unborn
from hwmodel.recorder import Watcher
from hwmodel.regions import MEASURED, WARMUP, WHOLE, Books, Regions, sizes, together, turn_over
from hwmodel.secondary import design as design_of
from hwmodel.trace import Trace

NOBODY = Watcher()
"""Watches a run that is not recorded."""

class DeadlockError(RuntimeError):
    """Nothing can act while work remains: a defect of the model, never of its input."""


class Run:
    """A machine at work on a trace: at time 0, its initial memory in place, when it is made.

    Parameters
    ----------
    machine : hwmodel.machine.Machine
        The configuration.
    trace : Trace
        Its agents, prelude and info are used, and which address spaces it forks; its records come by `feed`.
    runahead : bool
        Let agents take private steps ahead of the others.
    capacity : int, optional
        Rows of every growing table at the start.
    regions : Regions
        The parts of the run; the chunks that it is fed say where they begin.
    watcher : Watcher
        Records the run, or looks for something in it; by default nothing.

    Attributes
    ----------
    m, dev
        The tables, and the design's own, as they are now.

    Raises
    ------
    TraceError, ConfigError
        As `simulate`.
    """

    def __init__(
        self, machine: Any, trace: Trace, runahead: bool = True, capacity: int | None = None, regions: Regions = WHOLE,
        watcher: Watcher = NOBODY,
    ) -> None:  # fmt: skip
        self._machine, self._trace = machine, trace
        self._design = design_of(machine.design)
        m, self.dev, self._row_of = build(machine, self._design, trace.agents, capacity)
        self._costs = machine.costs()
        limits.check_machine(m, self._costs)
        mark_unborn(m, trace)
        self._watcher = watcher
        self.m = watcher.prepare(apply_prelude(m, trace, self._design, engines_of(trace)))
        self.m.ctl["runahead"] = runahead
        self._spare = self.m.queue
        self._regions, self._sizes = regions, [(0, 0)]
        self._parts: list[Books] = []
        self._before = np.zeros(m.ctl[0].agents, I64)

    def feed(self, chunk: Chunk | None) -> None:
        """Put a chunk into the agents' queues; None: the trace has ended."""
        m = self.m
        if chunk is None:
            m.ctl["total"] = m.ctl["fed"]
            return
        limits.check_records(m, self._machine.design, self._costs, self._trace.prefix, chunk, self._row_of)
        m = m._replace(files=longer_files(m.files, chunk.ops[chunk.operations]))
        need = int((m.rows["tail"] - m.rows["head"])[: m.ctl[0].agents].sum()) + chunk.ops.size + chunk.edges.size
        spare = self._spare
        if spare.size < need:
            spare = np.zeros(need + need // 4, QUEUED)
        feed.feed(m, spare, chunk.ops, self._row_of, chunk.edges)
        for k, size in enumerate(sizes(chunk.ops, chunk.edges) if self._regions.edges else ()):
            records, references = (0, 0) if k else self._sizes.pop()
            self._sizes.append((records + size[0], references + size[1]))
        self.m, self._spare = m._replace(queue=spare), m.queue

    def go_on(self) -> bool:
        """Run the engine until it needs records (False) or has finished (True); its tables grow as they must."""
        while True:
            why = self._design.run(self.m, self.dev)
            if why in (engine.FINISHED, engine.NEED_INPUT):
                return bool(why == engine.FINISHED)
            if why == engine.PART_ENDS:
                self._parts.append(turn_over(self.m, self._before))
                self._before = self._before + self._parts[-1].clocks
                self._watcher.end_part(self._parts[-1])
                continue
            if why == engine.PAUSED:
                if self._watcher.is_content(self.m):
                    return True
                continue
            if why == engine.EXHAUSTED:
                raise limits.out_of_memory(self.m, [self._describe(r).name for r in range(self.m.ctl[0].agents)])
            if why == engine.TOO_LATE:
                raise limits.too_late(self.m, self._costs)
            if why != engine.NEED_ROOM:
                raise DeadlockError(f"deadlock at cycle {int(self.m.ctl[0].now)}: {waiting(self.m)}")
            self.grow()

    def grow(self) -> None:
        """Double the tables that may be too short for a step."""
        self.m = grow(self.m)
        limits.check_tables(self.m, self._costs)

    def finish(self, seconds: float = 0.0) -> Result:
        """Close the books and check that they balance; `seconds` is how long the run took."""
        m = self.m
        close(m, self._costs)
        ctl, names = m.ctl[0], self._regions.names
        clocks = m.rows["clock"][: ctl.agents] - self._before
        parts = [*self._parts, Books(m.counts, m.ledger, clocks, m.hists, m.serving, m.phases, m.shares)]
        lengths = self._sizes if self._regions.edges else [(int(ctl.fed), int(ctl.references))]
        regions = {
            name: self._result(name, part, length, seconds) for name, part, length in zip(names, parts, lengths, strict=True) if name
        }
        cold = names[0] == WARMUP
        records, references = (sum(each) for each in zip(*lengths[cold:], strict=True))
        result = self._result(MEASURED if cold else "", together(parts[cold:]), (records, references), seconds)
        return self._watcher.attach(result.with_regions(regions), m)

    def _result(self, part: str, books: Books, length: tuple[int, int], seconds: float) -> Result:
        """Return the result of a part of the run, whose books balance."""
        agents = [self._describe(r) for r in range(self.m.ctl[0].agents)]
        result = Result(
            self._machine, self._trace.info, agents, books.counters, books.ledger, books.clocks, books.histograms, seconds,
            length[0], length[1], books.serving, part,
            phase_histograms=books.phases.reshape(books.shares.shape[0], books.shares.shape[2], books.phases.shape[1]),
            phase_shares=books.shares,
        )  # fmt: skip
        result.check()
        return result

    def record_of(self, index: int) -> int:
        """Return the number in the trace of the record with this index in the run, in which each edge of a part is one too."""
        starts = np.cumsum([records for records, _ in self._sizes[:-1]]) + np.arange(len(self._sizes) - 1)
        return index - int((starts < index).sum())

    def _describe(self, r: int) -> AgentInfo:
        """Return the name, role and address space of row r."""
        for agent, row in zip(self._trace.agents, self._row_of, strict=True):
            if row == r:
                return AgentInfo(agent.name, agent.role, agent.space)
        if r >= self.m.ctl[0].engines:
            return AgentInfo(f"kernel thread {r - self.m.ctl[0].engines}", "kernel", -1)
        return AgentInfo(f"cpu{r} (no agent)", "cpu", -1)


def power_on(machines: Iterable[Any], trace: Trace, regions: Regions = WHOLE, **options: Any) -> tuple[Checker, list[Run]]:
    """Make a run of each machine, in the same parts, and one checker of the records for all; options are those of `Run`.

    Raises TraceError and ConfigError as `simulate` does.
    """
    machines = list(machines)
    for machine in machines:
        machine.check_engines(engines_of(trace))
        limits.check_user_memory(machine, trace, engines_of(trace))
    checker = Checker(trace, regions)
    return checker, [Run(machine, trace, regions=regions, **options) for machine in machines]


def engines_of(trace: Trace) -> int:
    """Return how many engines a trace needs."""
    return sum(agent.role == "device" for agent in trace.agents)


def drive(runs: Iterable[Run], chunks: Iterator[Chunk]) -> Iterator[int]:
    """Run machines to the end of a trace: all take a chunk of it before the next is read; yield how many records have been read."""
    fed, going = 0, [run for run in runs if not run.go_on()]
    while going:
        chunk = next(chunks, None)
        for run in going:
            run.feed(chunk)
        if chunk is not None:
            fed += chunk.ops.size
        yield fed
        going = [run for run in going if not run.go_on()]


def close(m: Machine, costs: Mapping[str, int]) -> None:
    """Fill every agent's clock with idle time up to the latest."""
    n = int(m.ctl[0].agents)
    rows = m.rows[:n]
    end = max(int(rows["clock"].max()), int(rows["done_at"].max()), int(rows["busy_until"].max()))
    if end >= m.ctl[0].latest:
        raise limits.too_late(m, costs)
    m.ledger[:, IDLE] += end - rows["clock"]
    rows["clock"] = end


def waiting(m: Machine) -> str:
    """Describe the locks and reasons for which the rows wait, for the message of a deadlock."""
    parts = []
    for r, row in enumerate(m.rows):
        if row.lock_mode:
            parts.append(f"row {r} waits for lock {row.lock} (writer {m.locks[row.lock].writer}, readers {m.locks[row.lock].readers})")
        elif m.due[r] == NEVER and row.phase not in (1, 2):
            parts.append(f"row {r} is blocked in phase {row.phase}, reason {row.why}")
    return "; ".join(parts)
