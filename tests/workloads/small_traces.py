"""Small valid traces of every kind of record, drawn at random, in memory and cut anywhere; and what tests say of traces."""

import functools

import numpy as np

from hwmodel import op as t
from hwmodel.op import Agent
from hwmodel.trace import Trace, validate

PAGES = 24
HUGE = 0x800
"""Pages of huge mappings begin here."""


def records(trace):
    """All records as tuples."""
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


def prelude(trace):
    return [tuple(record) for record in trace.prelude.tolist()]


def same(a, b):
    """Whether two traces have the same agents, prelude and records."""
    return a.agents == b.agents and prelude(a) == prelude(b) and records(a) == records(b)


def check(trace):
    """A composed trace is valid, says its right size, and does not depend on its chunks."""
    validate(trace)
    got, known = records(trace), trace.known_size
    for size in (1, 7):
        assert [tuple(record) for chunk in trace.chunks(size) for record in chunk.tolist()] == got
    assert known is None or known == (len(got), sum(r[1] for r in got if r[3] & ~t.CONTINUES <= t.FETCH))
    return got


def group(ops):
    """Records as units: a head, its ARG records and its second halves that follow at once."""
    groups = []
    for op in ops:
        if op[3] == t.ARG or op[3] & t.CONTINUES:
            groups[-1].append(op)
        else:
            groups.append([op])
    return groups


def small_trace(rng, spaces=2, devices=True, base=1 << 32, ends=True, only=None, name="", huge=True):
    """A valid trace of up to 40 units.

    Parameters
    ----------
    rng : random.Random
    spaces : int
        Most address spaces.
    devices, ends : bool
        Whether there may be devices, forks and exits.
    base : int
        Lowest address.
    only : collection of kinds, optional
        That may occur.
    """
    roots = rng.randint(1, spaces)
    children = rng.randint(0, spaces - roots) if ends else 0
    homes = [*range(roots), *(rng.randrange(roots) for _ in range(rng.randint(0, 2))), *range(roots, roots + children)]
    agents = [Agent("cpu", space, f"cpu {i}") for i, space in enumerate(homes)]
    if devices:
        agents += [Agent("device", rng.randrange(roots), "engine") for _ in range(rng.randint(0, 2))]
    plan = _Plan(rng, agents, roots, base, ends, only, huge)
    ops = t.as_records([record for unit in plan.units() for record in unit])
    before = t.as_records([record for unit in plan.memory() for record in unit])
    cuts = sorted(rng.sample(range(ops.size + 1), min(3, ops.size)))
    cuts = [cut for cut in cuts if 0 < cut < ops.size and ops[cut]["kind"] != t.ARG]
    pieces = [piece for piece in np.split(ops, cuts) if piece.size]
    sizes = (ops.size, t.count_references(ops)) if rng.random() < 0.5 else (None, None)
    trace = Trace(agents, functools.partial(iter, pieces), before, {"program": "small"}, name, *sizes)
    validate(trace)
    return trace


class _Plan:
    def __init__(self, rng, agents, roots, base, ends, only, huge):
        self.rng, self.agents, self.base, self.only = rng, agents, base, only
        self.alive = set(range(roots))
        self.unborn = sorted({agent.space for agent in agents} - self.alive) if ends else []
        self.ends, self.huge = ends, huge
        self.all = sorted({agent.space for agent in agents})

    def memory(self):
        """Units of a prelude: neighbours do not overlap."""
        for number, agent in enumerate(self.agents):
            if agent.role == "cpu" and self.agents.index(next(a for a in self.agents if a.space == agent.space)) == number:
                if agent.space in self.first_alive and self.rng.random() < 0.8:
                    yield self.mmap(number, self.address(), populate=False)
                    yield t.mmap_unit(self.base + (100 << 12), 8, 3, agent=number, populate=self.rng.random() < 0.5)
                if agent.space in self.first_alive and self.rng.random() < 0.5:
                    yield [(self.base + (60 << 12) + self.rng.choice((0, 9)), 0, 0, t.BRK, number)]

    def units(self):
        self.first_alive = set(self.alive)
        out = []
        for _ in range(self.rng.randint(0, 40)):
            able = [i for i, agent in enumerate(self.agents) if agent.space in self.alive]
            if able:
                unit = self.unit(self.rng.choice(able))
                if unit and (self.only is None or unit[0][3] in self.only):
                    gap = self.rng.choice((0, 0, 3, 32767))
                    out.append([(*unit[0][:2], gap, *unit[0][3:]), *unit[1:]])
        return out

    def address(self):
        return self.base + (self.rng.randrange(PAGES) << 12)

    def unit(self, agent):
        rng, cpu = self.rng, self.agents[agent].role == "cpu"
        kind = rng.choice((0, 1, 2, "cross", "cross", 3, *range(8, 26)) if cpu else (0, 1, "cross", 3, 18 + 2, 21, 22, 23))
        if self.only is not None and kind not in (*self.only, "cross"):
            kind = rng.choice((0, 1, 2) if cpu else (0, 1))
        if kind == "cross":
            kind, page = rng.choice((0, 1, 2) if cpu else (0, 1)), self.address()
            return [(page + 4090, 1, 0, kind, agent), (page + 4096, 1, 0, kind | t.CONTINUES, agent)]
        if kind <= t.FETCH:
            return [(self.address() + rng.randrange(4096), rng.choice((1, 1, 9)), 0, kind, agent)]
        if kind in (t.COMPUTE, t.SYSCALL):
            return [(0, rng.randint(1, 99), 0, kind, agent)]
        if kind == t.SYNC:
            return [(0, 0, 0, kind, agent)]
        if kind in (t.ATTACH, t.DETACH):
            return [(0, rng.choice(self.all), 0, kind, agent)]
        if kind == t.BRK:
            return [(self.base + (60 + rng.randrange(9) << 12) + rng.choice((0, 5)), 0, 0, kind, agent)]
        if kind in (t.FORK, t.EXIT):
            return self.life(kind, agent)
        return self.mmap(agent, self.address()) if kind == t.MMAP else self.ranged(kind, agent)

    def life(self, kind, agent):
        if self.only is not None and kind not in self.only:
            return None
        if kind == t.FORK and self.unborn:
            child = self.unborn.pop()
            self.alive.add(child)
            return [(0, child, 0, kind, agent)]
        if kind == t.EXIT and self.ends and self.rng.random() < 0.5:
            self.alive.discard(self.agents[agent].space)
            return [(0, 0, 0, kind, agent)]
        return None

    def mmap(self, agent, address, populate=None):
        rng = self.rng
        mapping = rng.choice((0, 0, 1, 2, 3, 5, 4 if self.huge else 0))
        pages, file, offset = rng.randint(1, 9), 0, 0
        if mapping == t.HUGETLB:
            address, pages = self.base + (HUGE + 512 * rng.randrange(3) << 12), 512 * rng.randint(1, 2)
        elif mapping:
            file = rng.choice(self.all) + 1 if mapping == t.XPMEM else rng.randint(1, 3)
            offset = (self.base >> 12) + 3 if mapping == t.XPMEM else rng.randrange(9)
        return t.mmap_unit(address, pages, rng.randint(0, 7), mapping, file, offset, rng.random() < 0.1, agent)

    def ranged(self, kind, agent):
        rng, pages, address = self.rng, self.rng.randint(1, 9), self.address()
        args = {
            t.MPROTECT: [(0, rng.randint(0, 7))],
            t.MADVISE: [(0, rng.choice((4, 4, 8, 14, 15, 20, 21, 25)))],
            t.MREMAP: [(rng.choice((address, self.address())), rng.randint(1, 9))],
            t.PUNCH: [(0, rng.randint(1, 3))],
            t.MIGRATE: [(0, 1)],
            t.KSM_MERGE: [(self.address(), rng.choice(self.all))],
        }.get(kind, [])
        if kind == t.GUEST:
            guest = rng.choice((t.MMAP, t.MUNMAP, t.MPROTECT, t.MREMAP))
            prot = rng.randint(0, 7) if guest in (t.MMAP, t.MPROTECT) else 0
            args = [(self.address() if guest == t.MREMAP else 0, guest << t.GUEST_SHIFT | prot)]
        if kind == t.PUNCH:
            address = rng.randrange(9)
        unit = t.paged_unit(kind, address, pages, args, agent)
        if rng.random() < 0.1:  # the long form of a page count
            head = unit[0]
            unit = [(head[0], -1, *head[2:]), *unit[1:], (pages, 0, 0, t.ARG, agent)]
        return unit
