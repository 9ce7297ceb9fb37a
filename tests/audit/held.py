"""Which tables hold translations: the CPUs' TLBs, and for each design its own.

A design that no function here is about (`holds`) fails the contract: nobody could say what it must forget.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from hwmodel.core.tables import EXECUTES, PFN, WRITES, P, W
from hwmodel.parts.paging_caches import ITLB, PDE, STLB
from hwmodel.parts.tlb import ASID_SHIFT
from hwmodel.secondary._kvm_notifier import NPDE, NTLB
from hwmodel.secondary._kvm_tables import GUEST_TABLES, LEVEL_PAGES
from tests.audit.tables import read_tree

LEAVES = 512


class Held(NamedTuple):
    """A translation that somebody could use at this moment."""

    where: str
    space: int
    first: int  # its first page
    pages: int  # 1 or 512
    pfn: int  # the frame of the first page
    write: bool  # it lets writes through
    dirty: bool  # which promises that the pte is dirty
    cpu: int = -1  # the CPU whose TLB it is in, where TLB flushes get it; -1: notices do
    fetch: bool = False  # it lets fetches through


class Cached(NamedTuple):
    """An entry of a paging-structure cache: the table of `level` that translates `first`."""

    where: str
    root: int
    first: int
    level: int
    node: int
    cpu: int = -1


class Holder(NamedTuple):
    """What a design holds.

    Parameters
    ----------
    translations : callable
        Given banks and the design's tables: what an engine could use.
    tables : callable
        Given the same: entries of paging-structure caches.
    dirty : bool
        A write sets the pte's dirty bit before it is complete; if not, the design keeps track of what is dirty in tables of its own.
    """

    translations: Callable[["Banks", Any], Iterable[Held]]
    tables: Callable[["Banks", Any], Iterable[Cached]]
    dirty: bool


OF_DESIGN: dict[str, Holder] = {}


def nothing(banks: "Banks", dev: Any) -> tuple[()]:
    """No table of that kind."""
    return ()


def holds(design: str, tables: Callable[["Banks", Any], Iterable[Cached]] = nothing, dirty: bool = True) -> Callable[[Any], Any]:
    """Mark the function that says what a design holds."""

    def mark(translations: Any) -> Any:
        OF_DESIGN[design] = Holder(translations, tables, dirty)
        return translations

    return mark


class Banks:
    """All banks of a machine at one moment, read by columns: NumPy's records are slow."""

    def __init__(self, m: Any) -> None:
        self.m = m
        begin = m.banks["offset"]
        end = begin + (m.banks["mask"] + 1) * m.banks["ways"]
        valid = np.flatnonzero(m.ways["tag"] >= 0)
        self.begin, self.end = np.searchsorted(valid, begin).tolist(), np.searchsorted(valid, end).tolist()
        self.tag, self.pfn, self.rights = (m.ways[column][valid].tolist() for column in ("tag", "pfn", "rights"))

    def entries(self, bank: int, banks: int = 1) -> Iterator[tuple[int, int, int]]:
        """(tag, pfn, rights) of what `banks` banks hold from `bank` on, which lie behind each other."""
        part = slice(self.begin[bank], self.end[bank + banks - 1])
        return zip(self.tag[part], self.pfn[part], self.rights[part], strict=True)

    def pages(self, where: str, bank: int, banks: int, space: int | None, dirty: bool, cpu: int = -1) -> Iterator[Held]:
        """What TLBs hold; without a space, the tags say which one it is."""
        for tag, pfn, rights in self.entries(bank, banks):
            huge = tag & 1
            page = (tag & (1 << ASID_SHIFT) - 1) >> 1 << 9 * huge
            owner = tag >> ASID_SHIFT if space is None else space
            may_write, may_fetch = bool(rights & WRITES), bool(rights & EXECUTES)
            yield Held(where, owner, page, LEAVES if huge else 1, pfn, may_write, dirty, cpu, may_fetch)

    def structures(self, first: int) -> Iterator[tuple[int, int, int]]:
        """(level, first page, what is named as the table of that level) of three paging-structure caches."""
        for level in (1, 2, 3):
            for tag, named, _ in self.entries(first + level - 1):
                yield level, tag << 9 * level, named


def rows_of(m: Any, first: int, last: int, *columns: str) -> Iterator[tuple[int, ...]]:
    """(row, its columns) for rows [first, last)."""
    return zip(range(first, last), *(m.rows[column][first:last].tolist() for column in columns), strict=True)


def by_cpus(banks: Banks) -> Iterator[Held]:
    """What the CPUs' TLBs hold.

    A lazy CPU that flushes passed over runs nobody who could use it: its TLB is emptied before it does (docs/model.md 8.3).
    """
    for c, first, space in _cpus_up_to_date(banks.m):
        yield from banks.pages(f"TLB of CPU {c}", first + ITLB, STLB - ITLB + 1, space, True, c)


def tables_by_cpus(banks: Banks) -> Iterator[Cached]:
    """What the CPUs' paging-structure caches hold."""
    roots = banks.m.spaces["root"].tolist()
    for c, first, space in _cpus_up_to_date(banks.m):
        for level, page, node in banks.structures(first + PDE):
            yield Cached(f"walk cache of CPU {c}", roots[space], page, level, node, c)


def _cpus_up_to_date(m: Any) -> Iterator[tuple[int, int, int]]:
    """(row, first bank, space) of the CPUs that run somebody, or are lazy and have flushed all that was flushed."""
    flushes = m.spaces["tlb_gen"].tolist()
    for c, first, space, lazy, seen in rows_of(m, 0, m.ctl[0].cpus, "banks", "space", "lazy", "local_gen"):
        if not lazy or seen == flushes[space]:
            yield c, first, space


holds("cpu_only")(nothing)
holds("ideal")(nothing)


@holds("gru")
def _by_chiplets(banks: Banks, dev: Any) -> Iterator[Held]:
    """GRU: a TLB for each chiplet, shared by address spaces."""
    for c, bank in enumerate(dev.banks.tolist()):
        yield from banks.pages(f"TLB of chiplet {c}", bank, 1, None, True)


def _tables_by_vms(banks: Banks, dev: Any) -> Iterator[Cached]:
    """KVM: the nested paging-structure caches name tables of the EPT."""
    epts = dev.vms["ept"].tolist()
    for c, first, space in _ready_vcpus(banks.m, dev):
        for level, page, node in banks.structures(first + NPDE):
            yield Cached(f"nested walk cache of vCPU {c}", epts[space], page, level, node)


@holds("kvm_ept", _tables_by_vms, dirty=False)
def _by_vms(banks: Banks, dev: Any) -> Iterator[Held]:
    """KVM: the EPTs' leaves, and the TLBs of the vCPUs; their walk caches name the host's page of a guest's table."""
    for space, ept in enumerate(dev.vms["ept"].tolist()):
        if ept:
            yield from _leaves(banks.m, f"EPT of space {space}", space, ept)
    for c, first, space in _ready_vcpus(banks.m, dev):
        yield from banks.pages(f"TLB of vCPU {c}", first + ITLB, STLB - ITLB + 1, space, False)
        yield from banks.pages(f"nested TLB of vCPU {c}", first + NTLB, 1, space, False)
        for level, page, pfn in banks.structures(first + PDE):
            table = GUEST_TABLES + sum(LEVEL_PAGES[: level - 1]) + (page >> 9 * level)
            yield Held(f"walk cache of vCPU {c}", space, table, 1, pfn, True, False)


def _ready_vcpus(m: Any, dev: Any) -> Iterator[tuple[int, int, int]]:
    """(row, first bank, space) of the vCPUs that could use what their TLBs hold.

    One outside its guest with a flush pending could not: it empties its TLBs before it enters (docs/model.md 11.4).
    """
    ctl = m.ctl[0]
    for c, first, space, inside in rows_of(m, ctl.cpus, ctl.engines, "banks", "space", "away"):
        if inside or not dev.vcpus[c].flush_pending:
            yield c, first, space


def _leaves(m: Any, where: str, space: int, root: int) -> Iterator[Held]:
    """The present leaves of a radix table."""
    tree = read_tree(m, root)
    for first, entry, pages in zip(tree.vpn.tolist(), tree.pte.tolist(), tree.pages.tolist(), strict=True):
        if entry & P:
            yield Held(where, space, first, pages, entry >> PFN, bool(entry & W), False)
