"""Page faults and huge-page splits of the oracle (docs/model.md, section 6)."""

from tests.reference import vmas as v
from tests.reference.flush import flush, notice
from tests.reference.memory import HUGE, ZERO, A, D, P, Pte, W
from tests.reference.rows import step

COUNTED = {
    "ZERO": "zero", "ANON": "anon", "FILE": "file", "FILE_COW": "file_cow", "REUSE": "reuse", "HUGE_REUSE": "reuse",
    "COW": "cow", "HUGE_COPY": "cow", "HUGE_ZERO_COW": "cow", "HUGE_ZERO": "huge", "HUGE_ANON": "huge",
}  # fmt: skip
BLOCKS = ("HUGE_ANON", "HUGE_COPY", "HUGE_ZERO_COW")
COPIES = ("COW", "HUGE_COPY", "HUGE_ZERO_COW")
NEEDED = {"read": v.READ, "write": v.WRITE, "fetch": v.EXEC}


def fault(row, vpn, access, held=False):
    """FAULT; `held`: by a row that has the mmap lock for reading. Returns "ok" or "segv", in the step that returns."""
    world, space, lock, taken, begun, small = row.world, row.space, row.space.lock, False, None, False
    while True:
        yield from step(row, "FAULT")
        begun = world.now if begun is None else begun
        covered = lock.covers(vpn) or (lock.writer is not None and space.vmas.find(vpn) is None)
        if not taken and lock.writer is not row and (covered or not (held or world.policy["vma_locks"])):
            taken = True
            lock.acquire(row, "read")
            yield from step(row, "FAULT")
        kind, pte = choose(row, vpn, access, small)
        if kind in BLOCKS and space.vmas.find(vpn).mapping != v.HUGETLB and not world.frames.are_there(need(row, kind, vpn), True):
            small = True
            row.count("faults.fallback")
            kind, pte = choose(row, vpn, access, small)
        if kind != "SPLIT":
            break
        yield from split(row, vpn, "fault", "FAULT")
    result, hand = "ok", Hand(world.frames)
    if kind == "segv":
        row.spend("fault", world.cost.fault)
        result = "segv"
    elif kind == "spurious":
        row.spend("fault", world.cost.fault)
        row.count("faults.spurious")
        space.table.put(vpn, pte.plus(A | D if access == "write" else A))
    else:
        row.world.ask(row, need(row, kind, vpn), kind in BLOCKS)
        row.spend("fault", price(row, kind, vpn, pte) + world.cost.table * hand.take(row, kind, vpn))
        yield from step(row, "COMMIT")
        if not (holds(row, vpn, kind, access, pte, small) and (kind in COPIES or hand.suffices(row, kind, vpn))):
            row.count("faults.spurious")
        elif kind in COPIES:
            yield from copy_on_write(row, vpn, kind, access, pte, hand)
        else:
            install(row, vpn, kind, access, pte, hand)
            row.count(f"faults.{COUNTED[kind]}")
    hand.give_back()
    if taken:
        lock.release(row)
    if row.role == "cpu":
        world.record("cpu_fault", world.now - begun)
        world.event("cpu_fault", row, begun, world.now, range(vpn, vpn + 1), access)
    return result


class Hand:
    """What a fault has taken of memory and not yet used: a frame or block, a frame for the page cache, a table."""

    def __init__(self, frames):
        self.frames, self.pool = frames, frames.pool
        self.page = self.cached = None
        self.table, self.size = 0, 1

    def take(self, row, kind, vpn):
        """Take what a fault of a kind needs; returns the tables made, which cost something."""
        table, level = row.space.table, LEVEL.get(kind)
        if kind in BLOCKS:
            self.page, self.size = self.frames.take_block(), 512
        elif kind in ("ANON", "FILE_COW", "COW"):
            self.page = self.frames.take()
        if lacks_page(row, kind, vpn):
            self.cached = self.frames.take()
        if level is None:
            return 0
        _, made = table.make(vpn, 2)
        self.table = 1 if level == 2 else table.missing(vpn, 1)
        self.pool.counted += self.table
        return made + (self.table if level == 1 else 0)

    def suffices(self, row, kind, vpn):
        """Whether all is there for COMMIT, or in the hand."""
        table, level = row.space.table, LEVEL.get(kind)
        if level and (table.node(vpn, 2) is None or (level == 1 and table.missing(vpn, 1) > self.table)):
            return False
        return self.cached is not None or not lacks_page(row, kind, vpn)

    def use_page(self):
        """The frame or block, which is not in the hand any more."""
        page, self.page = self.page, None
        return page

    def use_table(self):
        """The table is hung up, or laid by; it is counted there."""
        self.pool.counted -= self.table
        self.table = 0

    def give_back(self):
        """The rest is free."""
        if self.page is not None:
            for pfn in range(self.page, self.page + self.size):
                del self.frames.refs[pfn]
            if self.size == 512:
                self.frames.free_blocks.append(self.page)
            else:
                self.frames.free.append(self.page)
        if self.cached is not None:
            del self.frames.refs[self.cached]
            self.frames.free.append(self.cached)
        self.use_table()
        self.page = self.cached = None


LEVEL = dict.fromkeys(("ZERO", "ANON", "FILE", "FILE_COW"), 1) | {"HUGE_ZERO": 2, "HUGE_ANON": 2}


def lacks_page(row, kind, vpn):
    """Whether a fault of a kind must bring its page into the page cache."""
    return kind in ("FILE", "FILE_COW") and row.space.vmas.find(vpn).page(vpn) not in row.world.frames.cache


def need(row, kind, vpn):
    """The frames that a fault of a kind asks for."""
    n = 512 if kind in BLOCKS else int(kind in ("ANON", "FILE_COW", "COW"))
    level = LEVEL.get(kind)
    tables = row.space.table.missing(vpn, level) if level else 0
    return n + tables + (level == 2) + lacks_page(row, kind, vpn)


def choose(row, vpn, access, small=False):
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
                return ("SPLIT" if small else "HUGE_ZERO_COW"), pte
            if frames.only_mapping(pte):
                return "HUGE_REUSE", pte
            return ("HUGE_COPY" if vma.mapping == v.HUGETLB else "SPLIT"), pte
        if not pte.has(ZERO) and frames.only_mapping(pte):
            return "REUSE", pte
        return "COW", pte
    if vma.mapping == v.HUGETLB:
        return "HUGE_ANON", pte
    if vma.mapping == v.ANONYMOUS:
        huge = "HUGE_" if huge_possible(row.world, row.space, vma, vpn) and not (write and small) else ""
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


def holds(row, vpn, kind, access, pte, small=False):
    """Whether no writer has come, the VMA is there with the right, the pte is as the fault saw it, and so would its choice be."""
    vma = row.space.vmas.find(vpn)
    if row.space.lock.covers(vpn) or vma is None or not vma.prot & NEEDED[access] or row.space.table.get(vpn) != pte:
        return False
    return kind in COPIES or choose(row, vpn, access, small)[0] == kind


def install(row, vpn, kind, access, pte, hand):
    """COMMIT of a fault that replaces nothing."""
    table, frames = row.space.table, row.world.frames
    vma = row.space.vmas.find(vpn)
    may_write, write = bool(vma.prot & v.WRITE), access == "write"
    if lacks_page(row, kind, vpn):
        frames.page_of_file(*vma.page(vpn), hand.cached)
        hand.cached = None
    if kind in LEVEL and (LEVEL[kind] == 2 or table.node(vpn, 1) is None):
        hand.use_table()
    if kind == "ZERO":
        table.put(vpn, Pte(0, P | A | ZERO | vma.execute))
    elif kind == "ANON":
        table.put(vpn, Pte(hand.use_page(), P | A | (W | D if may_write else 0) | vma.execute))
    elif kind == "HUGE_ZERO":
        table.put(vpn, Pte(0, P | A | HUGE | ZERO | vma.execute))
    elif kind == "HUGE_ANON":
        dirty = D if write else 0
        table.put(vpn, Pte(hand.use_page(), P | A | HUGE | (W | dirty if may_write else 0) | vma.execute))
    elif kind == "FILE_COW":
        table.put(vpn, Pte(hand.use_page(), P | W | A | D | vma.execute))
    elif kind == "FILE":
        map_file_page(row, vma, vpn, P | A, write)
    else:
        table.put(vpn, pte.plus(W | D | A))
    if kind in ("ANON", "HUGE_ZERO", "HUGE_ANON", "FILE_COW"):
        row.space.vmas.prepare(vma)
    if kind == "FILE" and not write:
        fault_around(row, vma, vpn)


def map_file_page(row, vma, vpn, flags, write):
    """Map a page of the page cache."""
    frames = row.world.frames
    if vma.shared and vma.prot & v.WRITE:
        flags |= W | (D if write else 0)
    pte = Pte(frames.page_of_file(*vma.page(vpn)), flags | vma.execute)
    frames.hold(pte)
    row.space.table.put(vpn, pte)


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


def copy_on_write(row, vpn, kind, access, pte, hand):
    """COW, HUGE_COPY, HUGE_ZERO_COW: COW_SET to COW_DONE."""
    space, frames = row.space, row.world.frames
    huge = kind != "COW"
    first, last = (vpn & ~511, (vpn | 511) + 1) if huge else (vpn, vpn + 1)
    yield from notice(row, "start", first, last, "COW_SET")
    yield from step(row, "COW_SET")
    replaced = holds(row, vpn, kind, access, pte)
    if replaced:
        vma = space.vmas.find(vpn)
        space.table.put(vpn, Pte(hand.use_page(), P | W | A | D | (HUGE if huge else 0) | vma.execute))
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
