"""TLB flushes, shootdowns and notices of the oracle (docs/model.md, section 8)."""

from dataclasses import dataclass

from tests.reference.rows import skip, step


@dataclass
class Member:
    """A CPU in the mask of a space."""

    lazy: bool = False
    generation: int = 0


@dataclass
class Flush:
    """What is to be flushed."""

    space: object
    generation: int
    full: bool
    invalidated: range
    pages: range | None  # None: all


class Round:
    """The interrupts of one flush."""

    def __init__(self, world, row, flush):
        self.world, self.row, self.flush = world, row, flush
        self.acknowledged = self.pending = 0
        self.waiting = False

    def arrive(self, cpu):
        """An interrupt reaches a CPU."""
        now = self.world.now
        if cpu.owned:
            self.pending += 1
            cpu.pending.append((now, self.row.id, "ipi", self))
        else:
            self.respond(cpu, now)

    def respond(self, cpu, arrival):
        """A CPU answers."""
        cost = self.world.cost
        n, entry = cost.ipi_respond + flush_locally(self.world, cpu, self.flush, 0), 0
        if cpu.role == "engine" and cpu.in_guest:
            n += cost.exit + cost.kick
            entry = cost.entry
        end = cpu.steal("ipi_respond", arrival, n + entry)
        self.world.event("ipi", cpu, end - n - entry, end, self.flush.pages, f"flush by {self.row.label}")
        end -= entry
        self.row.count("ipis.acked")
        self.acknowledged = max(self.acknowledged, end + cost.ipi_ack)

    def answer(self, cpu, arrival):
        """A CPU answers late: it was owned when the interrupt arrived."""
        self.respond(cpu, arrival)
        self.pending -= 1
        if self.waiting and not self.pending:
            self.row.wake(self.acknowledged)


def flush_locally(world, cpu, flush, fixed):
    """Flush one CPU; returns the cycles it takes (flush_func of the kernel)."""
    cost, space = world.cost, flush.space
    if cpu not in space.mask:  # it left while the interrupt was on its way
        return 0
    member, banks = space.mask[cpu], cpu.banks if cpu.role == "cpu" else None
    if member.lazy:
        del space.mask[cpu]
        if banks:
            banks.empty()
        return cost.flush_full
    if member.generation >= space.generation:
        return 0
    if not flush.full and flush.generation == member.generation + 1 and flush.generation == space.generation:
        if banks:
            for page in flush.invalidated:
                for level in (banks.itlb, banks.dtlb, banks.stlb):
                    level.drop(page)
            banks.empty_walk_caches()
        member.generation = flush.generation
        return fixed + len(flush.invalidated) * cost.flush_page
    if banks:
        banks.empty()
    member.generation = space.generation
    return cost.flush_full


def flush(row, first, last, stride, then, freed_tables=False, full=False):
    """FLUSH: a range of the row's space, on all CPUs that may hold it."""
    world, space, cost = row.world, row.space, row.world.cost
    yield from step(row, "FLUSH")
    begun, cpu = world.now, row.cpu
    pages = (last - first) // stride
    full = full or pages > world.machine.get("kernel.flush_ceiling_pages")
    space.generation += 1
    what = Flush(space, space.generation, full, range(first, last, stride), None if full else range(first, last))
    if full:
        row.count("flushes.full")
    else:
        row.count("flushes.ranged")
        row.count("flushes.pages", pages)
    targets = [member for member in space.mask if member is not cpu and (freed_tables or not space.mask[member].lazy)]
    targets.sort(key=lambda member: member.id)
    local = 0
    alone = all(member is cpu for member in space.mask)
    if cpu in space.mask and (not space.mask[cpu].lazy or freed_tables or alone):
        local = flush_locally(world, cpu, what, cost.flush_fixed)
    if not targets:
        row.spend("flush", local)
        world.event("flush", row, begun, row.time, what.pages, "full" if full else "ranged")
        yield from step(row, then)
        skip(row)
        return
    row.count("ipis.sent", len(targets))
    if world.machine.get("kernel.shootdown.kind") == "bau":
        row.spend("ipi_send", cost.bau_send)
        arrivals = [(row.time + cost.bau, targets)]
    else:
        row.spend("ipi_send", cost.ipi_send + (len(targets) - 1) * cost.ipi_send_more)
        socket = world.machine.get("cpu.per_socket")
        near = [target for target in targets if target.id // socket == cpu.id // socket]
        far = [target for target in targets if target not in near]
        at = row.time + cost.ipi_delivery
        arrivals = [(when, group) for when, group in ((at, near), (at + cost.ipi_far, far)) if group]
    row.effect = 1
    work = Round(world, row, what)
    for when, group in arrivals:
        part = max(0, min(local, when - row.time))
        row.spend("flush", part)
        local -= part
        row.wait("ipi_wait", when)
        yield from step(row, "ARRIVAL")
        for target in group:
            work.arrive(target)
    row.effect = 0
    row.spend("flush", local)
    if work.pending:
        work.waiting = True
        row.sleep("ipi_wait")
    else:
        row.wait("ipi_wait", work.acknowledged)
    yield from step(row, then)
    skip(row)
    world.record("shootdown", row.wait_until - begun)
    world.event("flush", row, begun, row.wait_until, what.pages, f"{'full' if full else 'ranged'}, remote")


def notice(row, what, first, last, then):
    """NOTICE: tell the subscribers of a start or end, one after the other; without one, no step at all."""
    world = row.world
    if not row.space.subscribers:
        return
    yield from step(row, "NOTICE")
    begun = world.now
    row.count(f"notices.{what}")
    if what == "start":
        row.windows.append(begun)
    row.spend("notify", world.cost.notice)
    row.effect = 1
    for subscriber in row.space.subscribers:
        yield from step(row, "DELIVERY")
        invalidate = subscriber.invalidate_start if what == "start" else subscriber.invalidate_end
        yield from invalidate(row, row.space, first, last)
    if what == "start":
        world.record("notice", row.time - begun)
    world.event("notice", row, begun, row.time, range(first, last), what)
    if what == "end":
        world.event("window", row, row.windows.pop(), row.time, range(first, last))
    yield from step(row, then)
    skip(row)


def release(row):
    """The release notice of a space that goes away."""
    world = row.world
    if not row.space.subscribers:
        return
    yield from step(row, "RELEASE")
    begun = world.now
    row.count("notices.release")
    row.spend("notify", world.cost.notice)
    row.effect = 1
    for subscriber in row.space.subscribers:
        yield from step(row, "DELIVERY")
        yield from subscriber.release(row, row.space)
    world.event("notice", row, begun, row.time, range(1 << 36), "release")
    row.effect = 0
