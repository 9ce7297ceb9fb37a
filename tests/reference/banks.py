"""Banks of the oracle: TLBs, walk caches and caches, all with one rule of replacement (docs/model.md, 4.1 and 4.6)."""

from dataclasses import dataclass

SMALL, LARGE = 1, 512


@dataclass
class Way:
    """One way of a set; `tag` None: empty."""

    tag: object = None
    used: int = 0
    pfn: int = 0
    w: bool = False
    x: bool = False


class Bank:
    """Sets of ways, least recently used; without entries it never holds anything."""

    def __init__(self, entries, ways):
        sets = entries // ways if ways else 0
        self.sets = [[Way() for _ in range(ways)] for _ in range(sets)]
        self.tick = 0

    def _set(self, index):
        return self.sets[index & (len(self.sets) - 1)] if self.sets else []

    def peek(self, tag, index):
        """The way that holds the tag, untouched, or None."""
        for way in self._set(index):
            if way.tag == tag:
                return way
        return None

    def find(self, tag, index):
        """The way that holds the tag, now the latest used, or None."""
        way = self.peek(tag, index)
        if way is not None:
            self.tick += 1
            way.used = self.tick
        return way

    def fill(self, tag, index, pfn=0, w=False, x=False):
        """Put an entry in."""
        ways = self._set(index)
        if not ways:
            return
        way = self.peek(tag, index) or min(ways, key=lambda way: way.used)
        self.tick += 1
        way.tag, way.used, way.pfn, way.w, way.x = tag, self.tick, pfn, w, x

    def drop(self, tag, index):
        """Empty the way that holds the tag."""
        way = self.peek(tag, index)
        if way is not None:
            way.tag, way.used = None, 0

    def drop_where(self, condition):
        """Empty the ways whose tags fulfil a condition."""
        for ways in self.sets:
            for way in ways:
                if way.tag is not None and condition(way.tag):
                    way.tag, way.used = None, 0

    def empty(self):
        """Empty all ways."""
        self.drop_where(lambda tag: True)

    def entries(self):
        """(set, way, tag, pfn, w, x) of what it holds."""
        return [(s, i, way.tag, way.pfn, way.w, way.x)
                for s, ways in enumerate(self.sets) for i, way in enumerate(ways) if way.tag is not None]  # fmt: skip


def place(vpn, size, asid=0):
    """(tag, index) of a translation."""
    page = vpn if size == SMALL else vpn >> 9
    return (asid, page, size), page


class Translations:
    """A TLB level: a bank per page size, or one bank for both."""

    def __init__(self, small, huge):
        self.banks = {SMALL: small, LARGE: huge}

    def look(self, vpn, asid=0):
        """(way, size) of the translation of a page, touched: the 4 KiB tag first; (None, 0) if there is none."""
        for size in (SMALL, LARGE):
            way = self.banks[size].find(*place(vpn, size, asid))
            if way is not None:
                return way, size
        return None, 0

    def peek(self, vpn):
        """The same, untouched."""
        for size in (SMALL, LARGE):
            way = self.banks[size].peek(*place(vpn, size))
            if way is not None:
                return way, size
        return None, 0

    def fill(self, vpn, size, pfn, w, x=False, asid=0):
        """Put a translation in."""
        tag, index = place(vpn, size, asid)
        self.banks[size].fill(tag, index, pfn, w, x)

    def drop(self, vpn):
        """Drop whatever translates a page."""
        for size in (SMALL, LARGE):
            self.banks[size].drop(*place(vpn, size))

    def empty(self):
        """Drop everything."""
        for bank in self.banks.values():
            bank.empty()


class Processor:
    """The banks of one CPU or vCPU."""

    def __init__(self, machine):
        def bank(name, entries="entries", ways="ways"):
            return Bank(machine.get(f"{name}.{entries}"), machine.get(f"{name}.{ways}"))

        self.itlb = Translations(bank("cpu.itlb"), bank("cpu.itlb", "huge_entries", "huge_ways"))
        self.dtlb = Translations(bank("cpu.dtlb"), bank("cpu.dtlb", "huge_entries", "huge_ways"))
        unified = bank("cpu.stlb")
        self.stlb = Translations(unified, unified)
        self.stlb_huge = machine.get("cpu.stlb.huge")
        self.walk_caches = {level: bank("cpu.pwc", f"{name}_entries", f"{name}_ways") for level, name in WALK_CACHES}
        self.l1, self.l2 = bank("memory.l1", "lines"), bank("memory.l2", "lines")
        self.nested = None

    def add_nested(self, machine):
        """The banks that only a vCPU has."""
        unified = Bank(machine.get("nested.tlb_entries"), machine.get("nested.tlb_ways"))
        self.nested = Translations(unified, unified)
        self.nested_caches = {
            level: Bank(machine.get(f"nested.{name}_entries"), machine.get(f"nested.{name}_ways"))
            for level, name in WALK_CACHES
        }

    def fill_stlb(self, vpn, size, pfn, w, x=False):
        """Fill the second level, which may not hold huge pages."""
        if size == SMALL or self.stlb_huge:
            self.stlb.fill(vpn, size, pfn, w, x)

    def empty_walk_caches(self):
        """Empty pde, pdpte and pml4e."""
        for bank in self.walk_caches.values():
            bank.empty()

    def empty(self):
        """Empty all TLBs and walk caches, nested ones too."""
        for level in (self.itlb, self.dtlb, self.stlb):
            level.empty()
        self.empty_walk_caches()
        if self.nested is not None:
            self.nested.empty()
            for bank in self.nested_caches.values():
                bank.empty()

    def dump(self):
        """What the banks hold."""
        levels = {"itlb": self.itlb, "dtlb": self.dtlb, "stlb": self.stlb}
        if self.nested is not None:
            levels["ntlb"] = self.nested
        found = {
            f"{name}.{size}": bank.entries() for name, level in levels.items() for size, bank in level.banks.items()
        }
        found |= {name: self.walk_caches[level].entries() for level, name in WALK_CACHES}
        if self.nested is not None:
            found |= {"n" + name: self.nested_caches[level].entries() for level, name in WALK_CACHES}
        return found | {"l1": self.l1.entries(), "l2": self.l2.entries()}


WALK_CACHES = ((1, "pde"), (2, "pdpte"), (3, "pml4e"))
"""The level at which a walk starts when it hits, and the name."""


def start_level(caches, vpn, has_table):
    """Where a walk starts: (level, way) of the first walk cache that hits, if the tables still have that table."""
    for level, _ in WALK_CACHES:
        tag = vpn >> (9 * level)
        way = caches[level].find(tag, tag)
        if way is not None:
            return (level, way) if has_table(level) else (4, None)
    return 4, None


def fill_walk_cache(caches, vpn, level, pfn=0):
    """Note the table of `level` (1 to 3) on the way to vpn."""
    tag = vpn >> (9 * level)
    caches[level].fill(tag, tag, pfn)


def reference(world, processor, line, guest=0):
    """The latency of reading a line of tables; fills what it missed."""
    cost, tag = world.cost, 2 * line + guest
    if processor.l1.find(tag, line):
        return cost.l1
    if processor.l2.find(tag, line):
        processor.l1.fill(tag, line)
        return cost.l2
    if world.llc.find(tag, line):
        processor.l2.fill(tag, line)
        processor.l1.fill(tag, line)
        return cost.llc
    world.llc.fill(tag, line)
    processor.l2.fill(tag, line)
    processor.l1.fill(tag, line)
    return cost.dram


def index_of(vpn, level):
    """Index of the entry for vpn in a table of `level`."""
    return vpn >> 9 * (level - 1) & 511


def table_line(number, vpn, level):
    """The line of the entry for vpn in table `number` of `level`."""
    return number * 64 + (index_of(vpn, level) >> 3)
