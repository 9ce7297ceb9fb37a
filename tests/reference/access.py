"""Accesses of CPU agents in the oracle (docs/model.md, section 4)."""

from tests.reference.banks import LARGE, SMALL, fill_walk_cache, place, reference, start_level, table_line
from tests.reference.faults import fault
from tests.reference.memory import HUGE, A, D, Node, P, W, X
from tests.reference.rows import step


def accesses(cpu, op):
    """A READ, WRITE or FETCH record of a CPU."""
    stream = "itlb" if op.name == "fetch" else "dtlb"
    for left in range(op.count, 0, -1):
        first = True
        while True:
            yield from step(cpu, "READY")
            way = look(cpu, op, stream, first)
            first = False
            if way == "stlb":
                continue
            if way is None:
                yield from step(cpu, "WALK")
                if walk(cpu, op, stream):
                    continue
            elif way == "forbidden":
                yield from step(cpu, "FORBIDDEN")
                cpu.banks.dtlb.drop(op.vpn)
                cpu.banks.stlb.drop(op.vpn)
                cpu.spend("fault", cpu.world.cost.exception)
            elif op.name == "write" and not way.w:
                yield from step(cpu, "DIRTY")
                if dirty_assist(cpu, op):
                    continue
            else:
                cpu.spend("instruction" if stream == "itlb" else "access",
                          cpu.world.cost.instruction if stream == "itlb" else cpu.world.cost.access)  # fmt: skip
                break
            if (yield from fault(cpu, op.vpn, op.name)) == "segv":
                cpu.world.segv(cpu, op.index)
                break
        if left == 1:
            cpu.world.complete(cpu)


def look(cpu, op, stream, first):
    """Look a page up: the way of L1; "stlb" if the second level refilled it, "forbidden" if that lacks x; or None."""
    banks, level = cpu.banks, getattr(cpu.banks, stream)
    crossing = first and op.crosses
    if first and not crossing:
        cpu.count("cpu.accesses")
    way, size = level.look(op.vpn)
    if crossing:
        found, found_size = count_crossing(cpu, op, stream, way, size)
    elif way is not None:
        if first:
            cpu.count(f"cpu.{stream}.hits")
            cpu.halves[stream] = (False, False)
    else:
        found, found_size = banks.stlb.look(op.vpn)
        if first:
            cpu.count(f"cpu.{stream}.misses")
            cpu.count("cpu.stlb.misses" if found is None else "cpu.stlb.hits")
            cpu.halves[stream] = (True, found is None)
    if way is not None:
        return way
    if found is None:
        return None
    if op.name == "fetch" and not found.x:
        return "forbidden"
    level.fill(op.vpn, found_size, found.pfn, found.w, found.x)
    cpu.spend("stlb", cpu.world.cost.stlb_hit)
    return "stlb"


def count_crossing(cpu, op, stream, way, size):
    """Count the first look-up of the second half of a crossing access; looks at the stlb where that is referenced."""
    banks, (missed, missed_stlb) = cpu.banks, cpu.halves.get(stream, (False, False))
    found = found_size = None
    if way is not None:
        if missed:
            found, _ = banks.stlb.look(op.vpn)
            if found is None:
                banks.fill_stlb(op.vpn, size, way.pfn, way.w, way.x)
                if not missed_stlb:
                    correct(cpu, "cpu.stlb")
                    missed_stlb = True
    elif missed:
        found, found_size = banks.stlb.look(op.vpn)
        if found is None and not missed_stlb:
            correct(cpu, "cpu.stlb")
            missed_stlb = True
    else:
        correct(cpu, f"cpu.{stream}")
        absent = banks.stlb.look(op.vpn - 1)[0] is None
        if absent:
            first, first_size = getattr(banks, stream).peek(op.vpn - 1)
            if first is not None:
                banks.fill_stlb(op.vpn - 1, first_size, first.pfn, first.w, first.x)
        found, found_size = banks.stlb.look(op.vpn)
        missed, missed_stlb = True, absent or found is None
        cpu.count("cpu.stlb.misses" if missed_stlb else "cpu.stlb.hits")
    cpu.halves[stream] = missed, missed_stlb
    return found, found_size


def correct(cpu, level):
    """What was counted as a hit is a miss."""
    cpu.count(f"{level}.hits", -1)
    cpu.count(f"{level}.misses")


def walk(cpu, op, stream):
    """WALK: fills the TLBs; or charges the exception and returns False."""
    world, banks, table, vpn = cpu.world, cpu.banks, cpu.space.table, op.vpn
    cpu.count("cpu.walks")
    level, _ = start_level(banks.walk_caches, vpn, lambda level: table.node(vpn, level) is not None)
    node, time = table.node(vpn, level), 0
    while True:
        cpu.count("cpu.walk_refs")
        time += reference(world, banks, table_line(node.number, vpn, level))
        entry = node.entries.get(vpn >> 9 * (level - 1) & 511)
        if not isinstance(entry, Node):
            break
        level -= 1
        fill_walk_cache(banks.walk_caches, vpn, level)
        node = entry
    cpu.spend("walk", time)
    write = op.name == "write"
    if entry is None or not entry.has(P | {"read": 0, "write": W, "fetch": X}[op.name]):
        cpu.spend("fault", world.cost.exception)
        return False
    entry = entry.plus(A | D if write else A)
    table.put(vpn, entry)
    size = LARGE if entry.has(HUGE) else SMALL
    rights = entry.has(W | D), entry.has(X)
    banks.fill_stlb(vpn, size, entry.pfn, *rights)
    getattr(banks, stream).fill(vpn, size, entry.pfn, *rights)
    return True


def dirty_assist(cpu, op):
    """DIRTY: sets the dirty bit; or charges the exception and returns False."""
    cpu.count("cpu.dirty_assists")
    table, vpn = cpu.space.table, op.vpn
    pte = table.get(vpn)
    if pte is None or not pte.has(P | W):
        cpu.spend("fault", cpu.world.cost.exception)
        return False
    table.put(vpn, pte.plus(A | D))
    for level in (cpu.banks.dtlb, cpu.banks.stlb):
        for size in (SMALL, LARGE):
            way = level.banks[size].peek(*place(vpn, size))
            if way is None:
                continue
            if size == (LARGE if pte.has(HUGE) else SMALL):
                way.pfn, way.w, way.x = pte.pfn, True, pte.has(X)
            else:
                level.banks[size].drop(*place(vpn, size))
    cpu.spend("walk", cpu.world.cost.assist)
    return True
