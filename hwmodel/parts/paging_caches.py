"""Walks, and the caches of walkers: those that their references go through, and paging-structure caches (docs/model.md 4.4, 4.6)."""

from hwmodel.core.tables import PFN, TABLE
from hwmodel.jit import part, routine
from hwmodel.parts import bank, radix

# Banks of a CPU, from its first one on; the TLBs of huge pages follow those of 4 KiB pages
ITLB, ITLB_HUGE, DTLB, DTLB_HUGE, STLB, PDE, PDPTE, PML4E, L1, L2 = range(10)
CPU_BANKS = 10
LLC = 0
"""The machine's one last-level cache is bank 0."""


@routine
def refer(m, banks, line, guest):
    """Reference a line of page tables (guest 1: of a guest's) through l1, l2, llc, and return the latency."""
    costs = m.costs[0]
    tag = line << 1 | guest
    if bank.look(m, banks + L1, line, tag) >= 0:
        return costs.l1
    latency = costs.l2
    if bank.look(m, banks + L2, line, tag) < 0:
        latency = costs.llc
        if not bank.probe_fill(m, LLC, line, tag):
            latency = costs.dram
        bank.fill(m, banks + L2, line, tag, 0, 0)
    bank.fill(m, banks + L1, line, tag, 0, 0)
    return latency


@part
def entry_line(table, index):
    """Return the line that holds an entry of a table."""
    return table << 6 | index >> 3


@routine
def start_level(m, pde, vpn):
    """Return the level at which a walk begins; `pde` is the first of three paging-structure caches."""
    for level in range(1, 4):
        tag = vpn >> (9 * level)
        if bank.look(m, pde + level - 1, tag, tag) >= 0:
            return level
    return 4


@part
def fill_structure(m, pde, vpn, level, table):
    """Cache the table to which the entry of `vpn` at `level` (4, 3, 2) points."""
    tag = vpn >> (9 * (level - 1))
    bank.fill(m, pde + level - 2, tag, tag, table, 0)


@part
def walk(m, banks, pde, root, vpn):
    """Walk down to the entry of `vpn` that is no table; return its table, its index there, the entries read, and their latency.

    `banks`: the walker's caches; `pde`: the first of its three paging-structure caches, or -1 if it has none.
    """
    level = start_level(m, pde, vpn) if pde >= 0 else 4
    node = radix.table_at(m, root, vpn, level)
    if node < 0:
        level, node = 4, root
    refs, latency = 0, 0
    while True:
        at = radix.index(vpn, level)
        refs += 1
        latency += refer(m, banks, entry_line(node, at), 0)
        entry = m.nodes[node, at]
        if not entry & TABLE:
            break
        if pde >= 0:
            fill_structure(m, pde, vpn, level, entry >> PFN)
        node = entry >> PFN
        level -= 1
    return node, at, refs, latency


def cpu_banks(machine) -> list[tuple[int, int]]:
    """Return (entries, ways) of the banks of a CPU, in the order above."""
    tlbs = [("cpu.itlb.", ""), ("cpu.itlb.", "huge_"), ("cpu.dtlb.", ""), ("cpu.dtlb.", "huge_"), ("cpu.stlb.", "")]
    tlbs += [("cpu.pwc.", "pde_"), ("cpu.pwc.", "pdpte_"), ("cpu.pwc.", "pml4e_")]
    banks = [(machine.get(f"{section}{size}entries"), machine.get(f"{section}{size}ways")) for section, size in tlbs]
    return banks + [cache_bank(machine, level) for level in ("l1", "l2")]


def cache_bank(machine, level: str) -> tuple[int, int]:
    """Return (lines, ways) of a cache level."""
    return machine.get(f"memory.{level}.lines"), machine.get(f"memory.{level}.ways")
