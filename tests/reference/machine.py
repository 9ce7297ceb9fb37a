"""The machine of the oracle: rows, state, the loop, and what comes out (docs/model.md, sections 1, 8.1 and 12)."""

import importlib
import operator
import pathlib
from collections import Counter
from dataclasses import astuple, dataclass
from types import SimpleNamespace

from tests.reference import order, ranges
from tests.reference import vmas as v
from tests.reference.access import accesses
from tests.reference.banks import Bank, Processor
from tests.reference.flush import Member
from tests.reference.locks import Lock
from tests.reference.memory import Frames, PageTable, Pool
from tests.reference.prelude import apply
from tests.reference.rows import NEVER, Agent, step
from tests.reference.twin import Twin

for path in sorted(pathlib.Path(__file__).parent.glob("*.py")):
    if path.stem not in ("__init__", "machine"):
        importlib.import_module(f"tests.reference.{path.stem}")
TWINS = {"cpu_only": None} | {twin.DESIGN: twin for kind in (Twin, *Twin.__subclasses__()) for twin in kind.__subclasses__() if twin.DESIGN}
"""The designs that the oracle has, found by the files of this folder; one without engines needs no twin."""
DUE = operator.attrgetter("due")


class DeadlockError(Exception):
    """Nothing can act while work remains."""


class TooLateError(Exception):
    """A time is out of range (1.6)."""


class LivelockError(Exception):
    """More steps than the caller allows."""


@dataclass
class Outcome:
    """What a run measured, and its final state."""

    clocks: list
    counters: list
    ledger: list
    histograms: dict
    state: dict
    log: list
    names: list
    serving: list
    segvs: list  # (now, agent row, index of the record), in order of time
    phases: dict  # (path, phase): a histogram, as in histograms
    shares: dict  # (path, bucket of the whole latency, phase): cycles
    parts: list  # what each part of the run measured; of a run in one part, the same as above
    events: list  # (kind, row, begin, end, page, pages, detail), in the order of their ends


@dataclass
class Part:
    """What a part of a run measured."""

    counters: list
    ledger: list
    serving: list
    histograms: dict
    phases: dict
    shares: dict


class Space:
    """An address space."""

    def __init__(self, world, number):
        self.number = number
        self.vmas = v.VmaList()
        self.table = PageTable(world.pool, by=1)
        self.lock = Lock(world, f"mmap lock of space {number}")
        self.brk = self.epoch = self.generation = 0
        self.mask = {}
        self.born, self.engines, self.first_cpu = True, [], None
        self.subscribers = []  # designs that hear of its notices, in the order in which they do


POLICIES = {"linux-6": {"vma_locks": True, "munmap_downgrades": True, "dontneed_frees_tables": True}}
"""The switches of each policy (13.1)."""


class World:
    """Everything there is."""

    def __init__(self, machine, trace, limit, log, edges=()):
        self.machine, self.limit = machine, limit
        self.cost = SimpleNamespace(**machine.costs())
        self.policy = POLICIES[machine.get("kernel.policy")]
        self.log = [] if log else None
        self.now, self.histograms, self.segvs, self.events = 0, {}, [], []
        self.phases, self.shares = {}, Counter()
        self.pool = Pool()
        self.frames = Frames(machine.get("memory.size_mib") * 256, self.pool)
        self.stack = machine.get("kernel.stack_limit_mib") * 256, machine.get("kernel.stack_guard_pages")
        self.llc = Bank(machine.get("memory.llc.lines"), machine.get("memory.llc.ways"))
        ops, self.records = order.units(trace.chunks())
        ops, self.records = order.insert_edges(ops, edges), self.records + len(edges)
        self.at_edge, self.parts = False, []
        order.number_epochs(ops, trace.agents)
        self.shift = machine.get("engine.lookahead_records").bit_length() - 2
        self._make_spaces(trace, ops)
        self._make_rows(trace, ops)
        design = TWINS[machine.design]
        self.design = design(self) if design else None
        self.rows = [*self.agents, *self.requests]
        self.latest = min(1 << 58, (1 << 62) // len(self.rows))
        for op in ops:
            if self._alone(op, trace.agents[op.agent].role) >= self.latest:
                raise TooLateError(f"record {op.index}")
        apply(self, trace)
        self._fill_masks()
        for agent in self.agents:
            if agent.has_trace:
                agent.program = self._program(agent)

    def _alone(self, op, role):
        """What a record's count takes at least (1.6)."""
        access = self.cost.device_interval if role == "device" else self.cost.access
        per = {"read": access, "write": access, "syscall": self.cost.syscall}
        return op.count * (self.cost.instruction if op.name in ("fetch", "compute") else per.get(op.name, 0))

    def _make_spaces(self, trace, ops):
        self.spaces = {n: Space(self, n) for n in range(max(agent.space for agent in trace.agents) + 1)}
        for op in ops:
            if op.name == "fork":
                self.spaces[op.count].born = False

    def _make_rows(self, trace, ops):
        cpus = [i for i, agent in enumerate(trace.agents) if agent.role == "cpu"]
        devices = [i for i, agent in enumerate(trace.agents) if agent.role == "device"]
        assert not devices or TWINS[self.machine.design], "a machine without engines has no devices"
        self.agents, self.requests = [], []
        for k in range(max(self.machine.get("cpu.count"), len(cpus))):
            self._add("cpu", trace, ops, cpus[k] if k < len(cpus) else None)
        for i in devices:
            self._add("engine", trace, ops, i)
        self.cpus = [agent for agent in self.agents if agent.role == "cpu"]
        self.engines = [agent for agent in self.agents if agent.role == "engine"]
        for engine in self.engines:
            engine.space.engines.append(engine)

    def _add(self, role, trace, ops, number):
        if number is None:
            agent = Agent(self, len(self.agents), role, f"cpu{len(self.agents)}", self.spaces[0])
            agent.done, agent.due = True, NEVER
        else:
            declared = trace.agents[number]
            agent = Agent(self, len(self.agents), role, declared.name, self.spaces[declared.space])
            agent.has_trace = True
            agent.ops = [op for op in ops if op.agent == number]
            if role == "cpu" and agent.space.first_cpu is None:
                agent.space.first_cpu = agent
        if role == "cpu":
            agent.banks = Processor(self.machine)
        self.agents.append(agent)

    def _fill_masks(self):
        for space in self.spaces.values():
            if space.born:
                self.join_mask(space)
        idle = [cpu for cpu in self.cpus if not cpu.has_trace]
        for cpu in idle[: self.machine.get("kernel.lazy_cpus")]:
            self.spaces[0].mask[cpu] = Member(lazy=True)

    def join_mask(self, space):
        """The agents of a space that is born run there."""
        for agent in self.agents:
            runs = agent.role == "cpu" or self.design.IN_MASK
            if agent.has_trace and agent.space is space and runs:
                space.mask[agent] = Member(lazy=agent.done)

    def block_of(self, index):
        """The lookahead block of a record."""
        return index >> self.shift

    def complete(self, agent):
        """The agent's record is complete."""
        agent.position += 1
        agent.gap = 0
        agent.done_at = max(agent.done_at, agent.clock)

    def ask(self, row, n, block=False):
        """A row's step asks for frames (5.3)."""
        self.frames.ask((row.engine if row.is_request else row).name, n, block, self.now)

    def segv(self, agent, index):
        """An access without a right."""
        agent.count("segv")
        self.segvs.append((self.now, agent.id, index))

    def event(self, kind, row, begin, end, pages=None, detail=""):
        """Something is over (12.5)."""
        first, n = (pages.start, len(pages)) if pages is not None else (-1, 0)
        self.events.append((kind, row.id, begin, end, first, n, detail))

    def record(self, kind, value):
        """A value of a histogram."""
        self.add(self.histograms, kind, value)

    def bucket(self, value):
        """The bucket of a latency."""
        e = value.bit_length() - 1
        return value if value < 64 else 64 + (e - 6) * 32 + ((value >> (e - 5)) - 32)

    def resolved(self, path, spent):
        """What the phases of a miss took that is resolved (15.6)."""
        for phase, cycles in spent.items():
            if cycles > 0:
                self.add(self.phases, (path, phase), cycles)
                self.shares[path, self.bucket(sum(spent.values())), phase] += cycles

    def add(self, histograms, kind, value):
        """A value of one of several histograms."""
        hist = histograms.setdefault(kind, {"count": 0, "sum": 0, "min": value, "max": value, "buckets": {}})
        bucket = self.bucket(value)
        hist["count"] += 1
        hist["sum"] += value
        hist["min"], hist["max"] = min(hist["min"], value), max(hist["max"], value)
        hist["buckets"][bucket] = hist["buckets"].get(bucket, 0) + 1

    def _program(self, agent):
        for op in agent.ops:
            yield from order.enter(agent, op)
            if op.name in ("read", "write", "fetch"):
                agent.used = False
                yield from (accesses if agent.role == "cpu" else self.design.accesses)(agent, op)
            elif op.name == "compute":
                agent.spend("instruction", op.count * self.cost.instruction)
                self.complete(agent)
            elif op.name == "syscall":
                agent.spend("syscall", op.count * self.cost.syscall)
                agent.count("ops.syscall", op.count)
                self.complete(agent)
            elif op.edge:
                self.at_edge = True
                self.complete(agent)
            elif op.name == "sync":
                agent.count("ops.sync")
                self.complete(agent)
            else:
                yield from self._operation(agent, op)
        yield from order.done_with_trace(agent)

    def _operation(self, agent, op):
        begun, refused = self.now, agent.counters["unsupported_ops"]
        agent.spend("syscall", self.cost.syscall)
        yield from ranges.OPERATIONS[op.name](agent, op)
        yield from step(agent, "END")
        agent.count(f"ops.{op.name}")
        self.record(f"op.{op.name}", self.now - begun)
        failed = " (failed)" if agent.counters["unsupported_ops"] > refused else ""
        pages = range(op.vpn, op.vpn if op.name in ("fork", "exit", "brk") else op.last)
        self.event("operation", agent, begun, self.now, pages, op.name + failed)
        self.complete(agent)

    def run(self):
        """Act until nothing can."""
        steps = 0
        while True:
            row = min(self.rows, key=DUE)  # of several the first, whose id is the smallest
            if row.due >= NEVER:
                break
            self.now = row.due
            self._act(row)
            steps += 1
            if self.limit and steps > self.limit:
                raise LivelockError(f"{steps} steps; now {self.now}, row {row.id} at {row.phase}")
        if not all(agent.done for agent in self.agents) or not all(request.free for request in self.requests):
            stuck = [(row.id, row.phase) for row in self.rows if not (row.free if row.is_request else row.done)]
            raise DeadlockError(f"at {self.now}: {stuck}")

    def _act(self, row):
        if self.log is not None:
            self.log.append((self.now, row.id, row.phase))
        for engine in self.engines:
            self.design.book_stall(engine, self.now)
        if row.is_request:
            if row.engine.taker:
                row.engine.steal(row.engine.taker.waits_for, self.now, 0)
            if row.process and row.server.owned:
                row.pended = True
                row.due = NEVER
                row.server.pending.append((self.now, row.id, "work", row))
                self.design.note()
                return
            row.pended = row.sleeping = False
        if row.role == "engine":
            row.waits = row.stopped
            if row.stopped:
                row.due = NEVER
                return
        row.used = False
        try:
            next(row.program)
        except StopIteration:
            row.due = NEVER
        if not row.is_request and row.owned and not row.effect:
            row.due = NEVER
        if self.design:
            self.design.note()
        order.look_for_wakings(self)
        if self.at_edge:
            self.at_edge = False
            self.end_part()

    def end_part(self):
        """A part of the run is over, now: its books are closed, and new ones begin (12.4)."""
        after = {}
        for engine in self.engines:
            self.design.land(engine, self.now)
        for agent in self.agents:
            had = agent.past + sum(agent.ledger.values())
            if had < self.now:
                agent.ledger[agent.wait_account if agent.blocked else "idle"] += self.now - had
                agent.clock += self.now - had
            after[agent] = min(agent.gap, max(0, had - self.now))
            agent.ledger["instruction"] -= after[agent]
        self.parts.append(self._part())
        self.histograms, self.phases, self.shares = {}, {}, Counter()
        for agent in self.agents:
            agent.past += sum(agent.ledger.values())
            agent.ledger, agent.counters, agent.serving = Counter({"instruction": after[agent]}), Counter(), Counter()

    def _part(self):
        """What the present part has measured."""
        agents = self.agents
        books = [a.counters for a in agents], [a.ledger for a in agents], [a.serving for a in agents]
        return Part(*books, self.histograms, self.phases, self.shares)

    def outcome(self):
        """Fill up with idle time, and hand over."""
        end = max(max(agent.clock, agent.done_at, agent.busy_until) for agent in self.agents)
        if end >= self.latest:
            raise TooLateError(f"the run ends at {end}")
        for agent in self.agents:
            agent.ledger["idle"] += end - agent.clock
            agent.clock = end
        return Outcome(
            [agent.clock for agent in self.agents], [agent.counters for agent in self.agents],
            [agent.ledger for agent in self.agents], self.histograms, self._state(), self.log or [],
            [agent.name for agent in self.agents], [agent.serving for agent in self.agents],
            self.segvs, self.phases, self.shares, [*self.parts, self._part()], self.events,
        )  # fmt: skip

    def _state(self):
        spaces, frames = self.spaces.items(), self.frames
        leaves = {n: space.table.leaves() for n, space in spaces}
        return {
            "ptes": {(n, vpn): tuple(pte) for n, found in leaves.items() for vpn, pte in found.items()},
            "vmas": {n: [astuple(vma) for vma in space.vmas.items] for n, space in spaces},
            "brk": {n: space.brk for n, space in spaces},
            "refs": dict(frames.refs),
            "cache": dict(frames.cache),
            "tables": self.pool.next - len(self.pool.free),
            "mask": {n: {cpu.id: astuple(member) for cpu, member in space.mask.items()} for n, space in spaces},
            "banks": {agent.id: agent.banks.dump() for agent in self.agents if hasattr(agent, "banks")},
            "design": self.design.dump() if self.design else {},
        }


def simulate(machine, trace, limit=0, log=False, edges=()):
    """Run a trace on a machine.

    Parameters
    ----------
    machine : hwmodel.Machine
        The machine.
    trace : hwmodel.trace.Trace
        The trace; valid.
    limit : int
        Most steps; 0: any number.
    log : bool
        Whether to keep (due, row, phase) of every step.
    edges : iterable of int
        The records at which parts of the run but the first begin.
    """
    world = World(machine, trace, limit, log, edges)
    world.run()
    return world.outcome()
