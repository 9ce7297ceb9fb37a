"""Page faults and huge-page splits of the oracle (docs/model.md, section 6)."""

from tests.reference import vmas as v
from tests.reference.flush import flush, notice
from tests.reference.memory import HUGE, ZERO, A, D, P, Pte, W
from tests.reference.rows import step

COUNTED = {
    "ZERO": "zero", "ANON": "anon", "FILE": "file", "FILE_COW": "file_cow", "REUSE": "reuse", "HUGE_REUSE": "reuse",
    "COW": "cow", "HUGE_COPY": "cow", "HUGE_ZERO_COW": "cow", "HUGE_ZERO": "huge", "HUGE_ANON": "huge",
}  # fmt: skip
COPIES = ("COW", "HUGE_COPY", "HUGE_ZERO_COW")
NEEDED = {"read": v.READ, "write": v.WRITE, "fetch": v.EXEC}


def fault(row, vpn, access, held=False):
    """FAULT; `held`: by a row that has the mmap lock for reading. Returns "ok" or "segv", in the step that returns."""
    world, space, lock, taken, begun = row.world, row.space, row.space.lock, False, None
    while True:
        yield from step(row, "FAULT")
        begun = world.now if begun is None else begun
        covered = lock.covers(vpn) or (lock.writer is not None and space.vmas.find(vpn) is None)
        if not taken and lock.writer is not row and (covered or not (held or world.policy["vma_locks"])):
            taken = True
            lock.acquire(row, "read")
            yield from step(row, "FAULT")
        kind, pte = choose(row, vpn, access)
        if kind != "SPLIT":
            break
        yield from split(row, vpn, "fault", "FAULT")
    result = "ok"
    if kind == "segv":
        row.spend("fault", world.cost.fault)
        result = "segv"
    elif kind == "spurious":
        row.spend("fault", world.cost.fault)
        row.count("faults.spurious")
        space.table.put(vpn, pte.plus(A | D if access == "write" else A))
    else:
        row.spend("fault", price(row, kind, vpn, pte))
        yield from step(row, "COMMIT")
        if not holds(row, vpn, kind, access, pte):
            row.count("faults.spurious")
        elif kind in COPIES:
            yield from copy_on_write(row, vpn, kind, access, pte)
        else:
            install(row, vpn, kind, access, pte)
            row.count(f"faults.{COUNTED[kind]}")
    if taken:
        lock.release(row)
    if row.role == "cpu":
        world.record("cpu_fault", world.now - begun)
    return result


def choose(row, vpn, access):
    """(kind of the fault, the pte it saw)."""
    space, frames, write = row.space, row.world.frames, access == "write"
    vma = space.vmas.find(vpn) or space.vmas.extend_stack(vpn, *row.world.stack)
    pte = space.table.get(vpn)
    if vma is None or not vma.prot & NEEDED[access]:
        return "segv", pte
    if pte is not None and pte.has(P):
        if not write or pte.has(W):
            return "spurious", pte
        if vma.shared:
            return "REUSE", pte
        if pte.has(HUGE):
            if pte.has(ZERO):
                return "HUGE_ZERO_COW", pte
            if frames.only_mapping(pte):
                return "HUGE_REUSE", pte
            return ("HUGE_COPY" if vma.mapping == v.HUGETLB else "SPLIT"), pte
        if not pte.has(ZERO) and frames.only_mapping(pte):
            return "REUSE", pte
        return "COW", pte
    if vma.mapping == v.HUGETLB:
        return "HUGE_ANON", pte
    if vma.mapping == v.ANONYMOUS:
        huge = "HUGE_" if huge_possible(row.world, row.space, vma, vpn) else ""
        return huge + ("ANON" if write else "ZERO"), pte
    if vma.mapping == v.PRIVATE_FILE and write:
        return "FILE_COW", pte
    return "FILE", pte


def huge_possible(world, space, vma, vpn):
    """Rule 6.1."""
    policy, base = world.machine.get("kernel.thp"), vpn & ~511
    wanted = policy == "always" or (policy == "madvise" and vma.advice == v.ADVISED)
    fits = vma.first <= base and base + 512 <= vma.last
    return wanted and vma.advice != v.REFUSED and fits and space.table.node(vpn, 1) is None


def price(row, kind, vpn, pte):
    """What a fault costs before it commits."""
    cost, space = row.world.cost, row.space
    extra = 0
    if kind in ("HUGE_ANON", "HUGE_ZERO_COW"):
        extra = cost.zero_huge
    elif kind == "ANON" or (kind == "COW" and pte.has(ZERO)):
        extra = cost.zero_page
    elif kind == "HUGE_COPY":
        extra = cost.copy_huge
    elif kind in ("COW", "FILE_COW"):
        extra = cost.copy_page
    if kind in ("FILE", "FILE_COW") and space.vmas.find(vpn).page(vpn) not in row.world.frames.cache:
        extra += cost.cache_page
    return cost.fault + extra


def holds(row, vpn, kind, access, pte):
    """Whether no writer has come, the VMA is there with the right, the pte is as the fault saw it, and so would its choice be."""
    vma = row.space.vmas.find(vpn)
    if row.space.lock.covers(vpn) or vma is None or not vma.prot & NEEDED[access] or row.space.table.get(vpn) != pte:
        return False
    return kind in COPIES or choose(row, vpn, access)[0] == kind


def install(row, vpn, kind, access, pte):
    """COMMIT of a fault that replaces nothing."""
    world, table, frames = row.world, row.space.table, row.world.frames
    vma = row.space.vmas.find(vpn)
    may_write, write = bool(vma.prot & v.WRITE), access == "write"
    made = 0
    if kind == "ZERO":
        made = table.put(vpn, Pte(0, P | A | ZERO | vma.execute))
    elif kind == "ANON":
        made = table.put(vpn, Pte(frames.take(), P | A | (W | D if may_write else 0) | vma.execute))
    elif kind == "HUGE_ZERO":
        made = table.put(vpn, Pte(0, P | A | HUGE | ZERO | vma.execute))
    elif kind == "HUGE_ANON":
        dirty = D if write else 0
        made = table.put(vpn, Pte(frames.take_block(), P | A | HUGE | (W | dirty if may_write else 0) | vma.execute))
    elif kind == "FILE_COW":
        frames.page_of_file(*vma.page(vpn))
        made = table.put(vpn, Pte(frames.take(), P | W | A | D | vma.execute))
    elif kind == "FILE":
        made = map_file_page(row, vma, vpn, P | A, write)
    else:
        table.put(vpn, pte.plus(W | D | A))
    if kind in ("ANON", "HUGE_ZERO", "HUGE_ANON", "FILE_COW"):
        row.space.vmas.prepare(vma)
    for _ in range(made):
        row.spend("fault", world.cost.table)
    if kind == "FILE" and not write:
        fault_around(row, vma, vpn)


def map_file_page(row, vma, vpn, flags, write):
    """Map a page of the page cache; returns the tables made."""
    frames = row.world.frames
    if vma.shared and vma.prot & v.WRITE:
        flags |= W | (D if write else 0)
    pte = Pte(frames.page_of_file(*vma.page(vpn)), flags | vma.execute)
    frames.hold(pte)
    return row.space.table.put(vpn, pte)


def fault_around(row, vma, vpn):
    """Map the cached neighbours of a page just read."""
    world, table = row.world, row.space.table
    window = world.machine.get("kernel.fault_around_pages")
    if window < 1:
        return
    first = max(vpn - vpn % window, vma.first)
    for near in range(first, min(first + window, vma.last, (vpn | 511) + 1)):
        if table.get(near) is None and vma.page(near) in world.frames.cache:
            map_file_page(row, vma, near, P | A, False)
            row.spend("fault", world.cost.map_page)


def copy_on_write(row, vpn, kind, access, pte):
    """COW, HUGE_COPY, HUGE_ZERO_COW: COW_SET to COW_DONE."""
    space, frames = row.space, row.world.frames
    huge = kind != "COW"
    first, last = (vpn & ~511, (vpn | 511) + 1) if huge else (vpn, vpn + 1)
    yield from notice(row, "start", first, last, "COW_SET")
    yield from step(row, "COW_SET")
    replaced = holds(row, vpn, kind, access, pte)
    if replaced:
        vma = space.vmas.find(vpn)
        pfn, size = (frames.take_block(), HUGE) if huge else (frames.take(), 0)
        space.table.put(vpn, Pte(pfn, P | W | A | D | size | vma.execute))
        space.vmas.prepare(vma)
        row.count("faults.cow")
        whole = kind == "HUGE_ZERO_COW"
        yield from flush(row, first, last if whole else first + 1, 1, "COW_END", freed_tables=whole)
    else:
        row.count("faults.spurious")
    yield from notice(row, "end", first, last, "COW_DONE")
    yield from step(row, "COW_DONE")
    if replaced:
        frames.drop(pte)


def split(row, vpn, account, then):
    """SPLIT: replace a huge leaf by a table; ends at the beginning of the step `then`."""
    table, first = row.space.table, vpn & ~511
    yield from notice(row, "start", first, first + 512, "SPLIT_SET")
    yield from step(row, "SPLIT_SET")
    pte = table.get(vpn)
    if pte is not None and pte.has(HUGE):
        table.split(vpn)
        row.count("huge_splits")
        row.spend(account, row.world.cost.table)
        yield from flush(row, first, first + 512, 1, "SPLIT_END", freed_tables=True)
    yield from notice(row, "end", first, first + 512, then)
