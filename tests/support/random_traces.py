"""Seeded random cases: a small machine and a short trace that exercises much of it, for the oracle and the kernels."""

import random

from hwmodel import op
from hwmodel.trace import Trace
from tests.reference import vmas as v
from tests.support import designs

NEVER_FREE = ("exception", "fault_ns", "exit_cycles", "interrupt_ns", "access")
"""Costs without which a retry could spin without time passing."""
OPTIONAL = ("cpu.pwc.", "nested.")
"""Whose tables may be absent."""
ARENAS = ((0x3FFD0, 96), (0x10000, 64), (0x7FFFFE0, 64))
"""(first page, pages) where small mappings go: across a level-2 table, plain, across a level-3 table."""
HUGE_ARENA, HUGE_PAGES = 0x80000, 4
HEAP, STACK = 0x30000, 0x7F0000
PROFILES = {
    "accesses": dict(access=16, mmap=2, munmap=1, mprotect=1, madvise=1, mremap=1, brk=1, fork=1, sync=1, other=1, neighbours=1),
    "ranges": dict(access=6, mmap=2, munmap=2, mprotect=2, madvise=3, mremap=2, brk=1, fork=1, sync=1, other=1, neighbours=2),
    "races": dict(access=14, mmap=1, munmap=1, mprotect=1, madvise=5, mremap=0, brk=0, fork=1, sync=0, other=1, neighbours=0),
    "quiet": dict(access=30, mmap=1, munmap=1, mprotect=1, madvise=1, mremap=0, brk=0, fork=0, sync=0, other=1, neighbours=0),
}


def random_case(seed, design="cpu_only", size=120):
    """A machine and a trace.

    Parameters
    ----------
    seed : int
        The same seed gives the same case.
    design : str
        Its name; the machine has its first preset's settings where chance sets none.
    size : int
        Units of the trace, about.
    """
    rng = random.Random(f"{seed} {design} {size}")
    return random_machine(rng, design), random_trace(rng, design, size)


def random_machine(rng, design):
    """A machine with tiny banks and costs of all sizes."""
    base = designs.design(design).machine
    chosen = {}
    for name in base.provenance():
        if name.endswith(("_ns", "_cycles")):
            free = not any(word in name for word in NEVER_FREE)
            kind = rng.choices(("default", "small", "large", "free"), (6, 3, 1, 2 if free else 0))[0]
            if kind != "default":
                chosen[name] = {"small": rng.randint(1, 40), "large": rng.randint(500, 20000), "free": "free"}[kind]
                if rng.random() < 0.03 and kind == "large":
                    chosen[name] *= 20
        elif name.endswith("ways"):
            entries = name.replace("ways", "lines" if f"{name[:-4]}lines" in base.flat() else "entries")
            ways = 4 if name == "tlb.ways" else rng.choice((1, 2, 4))
            most = {"memory.l1": 2, "memory.l2": 4, "memory.llc": 16}.get(name[:-5], 4)
            chosen[entries], chosen[name] = ways * 2 ** rng.randint(0, most.bit_length() - 1), ways
            if name.startswith(OPTIONAL) and rng.random() < 0.15:
                chosen[entries] = 0
    count = rng.randint(1, 5)
    chosen |= {
        "clock.mhz": rng.choice((1000, 2270, 3333)),
        "engine.lookahead_records": rng.choice((4, 8, 16, 64, 65536)),
        "cpu.count": count, "cpu.per_socket": rng.randint(1, 4), "cpu.stlb.huge": rng.random() < 0.5,
        "memory.size_mib": 1024, "kernel.thp": rng.choice(("never", "madvise", "always")),
        "kernel.fault_around_pages": rng.choice((1, 4, 16)), "kernel.gather_pages": rng.choice((512, 520, 9678)),
        "kernel.flush_ceiling_pages": rng.choice((0, 3, 33)), "kernel.lazy_cpus": rng.randint(0, count),
        "kernel.shootdown.kind": rng.choice(("ipi", "ipi", "bau")),
        "kernel.stack_limit_mib": rng.choice((1, 8, 8)), "kernel.stack_guard_pages": rng.choice((0, 7, 256)),
    }  # fmt: skip
    for name, about in base.provenance().items():
        if about.unit in ("count", "CPU") and name not in chosen:  # the design's own
            few = (1, 2, 3, 8, 24 if design == "gru" else 128) if name == "device.window" else (1, 2, 3)
            chosen[name] = rng.choice(few if about.unit == "count" else (-1, rng.randrange(count)))
    chosen |= {name: rng.choice(values) for name, values in designs.words(design)}
    return base.with_(**chosen)


def random_trace(rng, design, size):
    """A trace whose accesses are mostly legal in program order."""
    plan = Plan(rng, design)
    plan.prelude()
    while len(plan.records) < size:
        plan.unit()
    return Trace.from_records(plan.agents, plan.records, plan.before)


class Plan:
    """A trace in the making; knows the VMAs of every space in program order."""

    def __init__(self, rng, design):
        self.rng, self.records, self.before, self.out = rng, [], [], None
        roots = rng.choice((1, 1, 1, 2))
        children = rng.choice((0, 0, 1, 1, 2))
        self.unborn = list(range(roots, roots + children))
        spaces = [0] * rng.randint(1, 3) + list(range(1, roots))
        spaces += [space for space in self.unborn for _ in range(rng.randint(1, 2))]
        self.agents = [op.Agent("cpu", space, f"cpu {i}") for i, space in enumerate(spaces)]
        if designs.design(design).has_engines:
            where = [0] + [rng.randrange(roots + children) for _ in range(rng.randint(0, 2))]
            self.agents += [op.Agent("device", space, f"engine {i}") for i, space in enumerate(where)]
        rng.shuffle(self.agents)
        self.vmas = {space: v.VmaList() for space in range(roots)}
        self.breaks = dict.fromkeys(range(roots), 0)
        self.dead = set()
        self.weights = dict(rng.choice(list(PROFILES.values())))
        if rng.random() < 0.3:
            self.weights |= {rng.choice(list(self.weights)): 0}
            self.weights["access"] = max(4, self.weights["access"])
        self.near = rng.choice((2, 4, 12, 48))
        self.gaps = rng.choice((0, 0, 3, 200))
        self.recent = {}

    # the units

    def prelude(self):
        """Some mappings from the start."""
        self.out = self.before
        for agent, about in enumerate(self.agents):
            if about.space in self.vmas and self.rng.random() < 0.7:
                for _ in range(self.rng.randint(1, 3)):
                    self.mmap(agent)
                if self.rng.random() < 0.3:
                    self.brk(agent)
        self.out = self.records

    def unit(self):
        """One more unit, by an agent that may issue it."""
        alive = [i for i, agent in enumerate(self.agents) if agent.space in self.vmas and agent.space not in self.dead]
        agent = self.rng.choice(alive)
        kinds, weights = zip(*self.weights.items(), strict=True)
        kind = self.rng.choices(kinds, weights)[0]
        if self.agents[agent].role == "device" and kind not in ("access", "sync", "other"):
            kind = "access"
        if not self.vmas[self.agents[agent].space].items and kind == "access" and self.agents[agent].role == "cpu":
            kind = "mmap"
        before = len(self.out)
        getattr(self, kind)(agent)
        if self.gaps and len(self.out) > before and self.rng.random() < 0.5:
            head = self.out[before]
            self.out[before] = (*head[:2], self.rng.randint(1, self.gaps), *head[3:])

    def emit(self, agent, address, count, kind):
        """A record."""
        self.out.append((address, count, 0, kind, agent))

    def space_of(self, agent):
        """(number, VMAs) of an agent's space."""
        number = self.agents[agent].space
        return number, self.vmas[number]

    def access(self, agent):
        """Accesses near each other, now and then without a right, now and then across two pages."""
        rng, (space, vmas) = self.rng, self.space_of(agent)
        device = self.agents[agent].role == "device"
        for _ in range(rng.choice((1, 1, 2, 5))):
            kind = rng.choice((op.READ, op.READ, op.WRITE, op.WRITE) + (() if device else (op.FETCH,)))
            need = {op.READ: v.READ, op.WRITE: v.WRITE, op.FETCH: v.EXEC}[kind]
            legal = [vma for vma in vmas.items if vma.prot & need]
            if not legal and kind == op.FETCH:
                kind, need = op.READ, v.READ
                legal = [vma for vma in vmas.items if vma.prot & need]
            if not legal or rng.random() < 0.03:
                vpn = rng.choice(ARENAS)[0] + rng.randrange(64)
            elif space in self.recent and rng.random() < 0.5 and vmas.find(self.recent[space]):
                vpn = self.recent[space]
                if not vmas.find(vpn).prot & need and (kind != op.FETCH or rng.random() < 0.7):
                    kind, need = op.READ, v.READ  # else a fetch of what the TLBs may hold for reading
            else:
                vma = rng.choice(legal)
                vpn = vma.first + rng.randrange(min(self.near, vma.last - vma.first))
                if vma.grows and rng.random() < 0.3:
                    vpn = vma.first - rng.choice((1, 3, 20, 240, 250, 2000, 2045))
                    if not vmas.find(vpn):
                        vmas.extend_stack(vpn)
                if vma.last - vma.first >= 512 and rng.random() < 0.3:
                    vpn = rng.randrange(vma.first, vma.last)
            self.recent[space] = vpn
            self.note_write(vmas, kind, vpn)
            second = vmas.find(vpn + 1)
            if rng.random() < 0.15 and second and second.prot & need:
                self.emit(agent, (vpn << 12) + 4090, 1, kind)
                self.emit(agent, vpn + 1 << 12, 1, kind | op.CONTINUES)
            else:
                self.emit(agent, (vpn << 12) + 8 * rng.randrange(512), rng.choice((1, 1, 1, 2, 7) + ((60, 400) if device else ())), kind)

    def note_write(self, vmas, kind, vpn):
        """What a write makes of its VMA: private memory has an anonymous page then."""
        vma = vmas.find(vpn)
        if kind == op.WRITE and vma is not None and vma.private and vma.prot & v.WRITE:
            vmas.prepare(vma)

    def neighbours(self, agent):
        """Two mappings side by side, used or not, that get the same rights, or come together by a move: one VMA, or still two."""
        rng, (space, vmas) = self.rng, self.space_of(agent)
        first, pages = rng.choice(ARENAS)[0] + rng.randrange(40), rng.choice((1, 2, 5))
        if self.cuts_hugetlb(vmas, first, first + 2 * pages):
            return
        away = rng.choice((0, 0, 8))
        places = [first, first + pages + away]
        for place, prot in zip(places, rng.choice(((3, 3), (3, 7), (3, 1), (1, 3), (7, 3))), strict=True):
            self.map_at(agent, place, pages, prot, v.ANONYMOUS)
        for place in rng.sample(places, rng.choice((0, 1, 2, 2))):
            kind = op.WRITE if vmas.find(place).prot & v.WRITE else op.READ
            self.emit(agent, place << 12, 1, kind)
            self.note_write(vmas, kind, place)
        if rng.random() < 0.2:
            self.fork(agent)
        if space in self.dead:
            return
        if away:
            self.move(agent, places[1], pages, first + pages, rng.choice((pages, pages, pages + 1)))
        for place in rng.sample(places, rng.choice((1, 2))):
            self.protect(agent, place - (away if place > first else 0), pages, 3)

    def mmap(self, agent):
        """A mapping of any kind, often over others."""
        rng = self.rng
        prot = rng.choice((3, 3, 3, 3, 7, 7, 1, 5, 0))
        choice = rng.random()
        if choice < 0.25:
            first = HUGE_ARENA + 512 * rng.randrange(HUGE_PAGES)
            pages = 512 * rng.randint(1, 2) + rng.choice((0, 0, 0, 100))
            mapping = rng.choice((v.ANONYMOUS, v.ANONYMOUS, v.ANONYMOUS, v.HUGETLB, v.SHARED))
            first += rng.choice((0, 0, 0, 40)) if mapping != v.HUGETLB else 0
            pages -= pages % 512 if mapping == v.HUGETLB else 0
        elif choice < 0.32:
            first, pages, mapping = STACK + rng.randrange(8), rng.randint(1, 8), v.ANONYMOUS
        elif choice < 0.35:
            first, pages, mapping = STACK - rng.choice((3, 20, 250, 300, 2000)), rng.randint(1, 8), v.ANONYMOUS
        else:
            base, length = rng.choice(ARENAS)
            first, pages = base + rng.randrange(length - 16), rng.choice((1, 2, 4, 16, 30))
            mapping = rng.choice((v.ANONYMOUS, v.ANONYMOUS, v.ANONYMOUS, v.SHARED, v.PRIVATE_FILE, v.SHARED_FILE))
        file = rng.randint(1, 3) if mapping in (v.SHARED, v.PRIVATE_FILE, v.SHARED_FILE) else 0
        offset = rng.choice((0, 0, 2, first & 15)) if file else 0
        self.map_at(agent, first, pages, prot, mapping, file, offset, 0.25 <= choice < 0.32)

    def map_at(self, agent, first, pages, prot, mapping, file=0, offset=0, grows=False):
        """A mapping, over whatever is there."""
        _, vmas = self.space_of(agent)
        refused = self.cuts_hugetlb(vmas, first, first + pages)
        if refused and self.out is self.before:
            return
        self.out.extend(op.mmap_unit(first << 12, pages, prot, mapping, file, offset, grows, agent))
        if refused:
            return
        vmas.cut(first, first + pages)
        vmas.insert(v.Vma.new(first, first + pages, prot, mapping, file, offset, grows))

    def a_range(self, vmas):
        """A range in, around or across some VMA."""
        rng = self.rng
        if not vmas.items or rng.random() < 0.05:
            return rng.choice(ARENAS)[0], rng.randint(1, 40)
        vma = rng.choice(vmas.items)
        length = vma.last - vma.first
        first = vma.first + (rng.randrange(length) if rng.random() < 0.5 else 0)
        pages = rng.choice((1, 2, 7, length, vma.last - first, 40))
        if length >= 512 and (vma.mapping == v.HUGETLB or rng.random() < 0.4) and rng.random() < 0.85:
            first = max(vma.first, first & ~511)
            pages = 512 * rng.randint(1, 2)
        if rng.random() < 0.1:
            first -= rng.randint(0, 3) if first & 511 else 0
        return first, pages

    def munmap(self, agent):
        """Unmap a range."""
        _, vmas = self.space_of(agent)
        first, pages = self.a_range(vmas)
        self.out.extend(op.paged_unit(op.MUNMAP, first << 12, pages, (), agent))
        if not self.cuts_hugetlb(vmas, first, first + pages):
            vmas.cut(first, first + pages)

    def mprotect(self, agent):
        """Change a protection, often just whether a page in use may be fetched from."""
        space, vmas = self.space_of(agent)
        first, pages = self.a_range(vmas)
        prot, after = self.rng.choice((1, 1, 3, 3, 3, 0, 5, 7)), []
        used = vmas.find(self.recent.get(space, -1))
        if used and used.prot and used.mapping != v.HUGETLB and self.rng.random() < 0.25:
            first, prot, pages = self.recent[space], used.prot ^ v.EXEC, self.rng.choice((1, 2, used.last - self.recent[space]))
            readers = [i for i, other in enumerate(self.agents) if (other.role, other.space) == ("cpu", space)]
            for reader in readers if prot & v.EXEC else ():  # they have it in their TLBs, without the right that comes
                self.emit(reader, first << 12, 1, op.READ)
                after.append(((first << 12) + 64, 1, 0, op.FETCH, reader))
        self.protect(agent, first, pages, prot)
        self.out.extend(after)

    def protect(self, agent, first, pages, prot):
        """Give a range a protection."""
        _, vmas = self.space_of(agent)
        self.out.extend(op.paged_unit(op.MPROTECT, first << 12, pages, [(0, prot)], agent))
        if self.cuts_hugetlb(vmas, first, first + pages):
            return
        at, last = first, first + pages
        while at < last and (vma := vmas.next(at)) is not None and vma.first < last:
            start, at = max(at, vma.first), min(last, vma.last)
            if vma.prot == prot:
                continue
            piece = vmas.isolate(start, at)
            piece.protect(prot)
            vmas.merge(piece)

    def madvise(self, agent):
        """Advice; changes no VMA that matters to the plan."""
        first, pages = self.a_range(self.space_of(agent)[1])
        advice = self.rng.choice((op.DONTNEED, op.DONTNEED, op.DONTNEED, op.FREE, op.COLD, op.HUGEPAGE, op.NOHUGEPAGE))
        self.out.extend(op.paged_unit(op.MADVISE, first << 12, pages, [(0, advice)], agent))

    def mremap(self, agent):
        """Move, grow or shrink."""
        rng, (_, vmas) = self.rng, self.space_of(agent)
        first, pages = self.a_range(vmas)
        vma = vmas.find(first)
        if vma is not None and rng.random() < 0.9:
            pages = min(pages, vma.last - first)
        size = max(1, rng.choice((pages, pages, pages + 3, pages - 1, pages // 2)))
        target = rng.choice((first, rng.choice(ARENAS)[0] + rng.randrange(40)))
        if pages >= 512 and rng.random() < 0.8:
            target = HUGE_ARENA + 512 * rng.randrange(2 * HUGE_PAGES) + rng.choice((0, 0, 7))
            size = pages - rng.choice((0, 0, 9))
        if target != first and rng.random() < 0.9 and target < first + pages and first < target + size:
            target = first + pages
        self.move(agent, first, pages, target, size)

    def move(self, agent, first, pages, target, size):
        """An MREMAP."""
        _, vmas = self.space_of(agent)
        self.out.extend(op.paged_unit(op.MREMAP, first << 12, pages, [(target << 12, size)], agent))
        self.plan_mremap(vmas, first, pages, target, size)

    def plan_mremap(self, vmas, first, pages, target, size):
        """What an MREMAP does to the VMAs."""
        vma = vmas.find(first)
        if vma is None or vma.last < first + pages or self.cuts_hugetlb(vmas, first, first + pages):
            return
        if vma.mapping == v.HUGETLB and (target | target + size) & 511:
            return
        if target == first:
            if size < pages:
                vmas.cut(first + size, first + pages)
            elif size > pages and vma.last == first + pages and not vmas.in_range(first + pages, first + size):
                vmas.extend(vma, first + size)
            return
        overlap = target < first + pages and first < target + size
        if overlap or self.cuts_hugetlb(vmas, target, target + size):
            return
        vmas.cut(target, target + size)
        vmas.insert(vmas.find(first).moved(first, min(pages, size), target, size))
        vmas.cut(first, first + pages)

    def brk(self, agent):
        """Move the break."""
        space, vmas = self.space_of(agent)
        new = HEAP + self.rng.randint(0, 20)
        old = self.breaks[space]
        refused = old and new > old and vmas.in_range(old, new)
        if refused and self.out is self.before:
            return
        self.emit(agent, (new << 12) - self.rng.choice((0, 0, 100)), 0, op.BRK)
        if refused:
            return
        if old and new > old:
            vmas.insert(v.Vma.new(old, new, 3), right=False)
        elif old and new < old:
            vmas.cut(new, old)
        self.breaks[space] = new

    def fork(self, agent):
        """Fork, or end a space that has others beside it."""
        space, vmas = self.space_of(agent)
        rng = self.rng
        if self.unborn and rng.random() < 0.8:
            child = self.unborn.pop()
            self.emit(agent, 0, child, op.FORK)
            self.vmas[child] = v.VmaList()
            self.vmas[child].items = [vma.inherited() for vma in vmas.items]
            self.breaks[child] = self.breaks[space]
        elif rng.random() < 0.3 and len(self.vmas) - len(self.dead) > 1 and not any(s == space for s in self.dead):
            self.emit(agent, 0, 0, op.EXIT)
            self.dead.add(space)

    def sync(self, agent):
        """Everybody waits for everybody."""
        self.emit(agent, 0, 0, op.SYNC)

    def other(self, agent):
        """COMPUTE or SYSCALL."""
        device = self.agents[agent].role == "device"
        self.emit(agent, 0, self.rng.randint(1, 30), op.COMPUTE if device or self.rng.random() < 0.6 else op.SYSCALL)

    def cuts_hugetlb(self, vmas, *pages):
        """Whether the kernel refuses the range."""
        found = [vmas.find(page) for page in pages if page & 511]
        return any(vma is not None and vma.mapping == v.HUGETLB for vma in found)
