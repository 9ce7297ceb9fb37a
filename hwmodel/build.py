"""A machine's tables as they are at power-on, and how they grow."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from hwmodel.core import device, log
from hwmodel.core import tables as t
from hwmodel.core.ledger import BUCKETS, HEAD, IDLE
from hwmodel.core.tables import I64, NEVER, Machine, cost_row
from hwmodel.op import FILE_SHIFT, MMAP, Agent
from hwmodel.parts import bank
from hwmodel.parts.paging_caches import CPU_BANKS, cache_bank, cpu_banks
from hwmodel.primary import fault, gather, memory, notify, ranges, shootdown, split, syscalls, zap
from hwmodel.primary.policy import policy_row

CAPACITY = {"nodes": 256, "frames": 8192, "links": 2048, "entries": 1024, "vmas": 256}
"""Rows of the growing tables at the start; growth changes no result."""
LATEST, SUM = 1 << 58, 1 << 62
"""Limits that no time, and no sum of one time for each row, may reach (docs/model.md 1.6): four years of a clock of 2.27 GHz."""
OF_ROWS = {
    "faults": fault.FAULTED, "splits": split.SPLITTING, "notices": notify.NOTIFYING, "flushes": shootdown.FLUSHED,
    "calls": syscalls.CALL, "spans": ranges.SPAN, "unmaps": zap.UNMAP, "gathers": gather.GATHER,
    "wants": memory.WANT, "devices": device.DEVICE, "misses": device.MISS,
}  # fmt: skip
"""The tables in which the kernel's chains keep what they know of a row."""
IDLE_PHASE = {t.CPU: t.DONE, t.ENGINE: t.DONE, t.KERNEL: t.ASLEEP, t.REQUEST: t.VACANT}
"""The phase of a row with nothing to do."""
THP = {"never": 0, "madvise": 1, "always": 2}


def build(machine: Any, design: ModuleType, agents: tuple[Agent, ...], capacity: int | None = None) -> tuple[Machine, Any, np.ndarray]:
    """Make the tables of a machine that runs a trace with these agents.

    Parameters
    ----------
    machine : Machine
        The configuration.
    design : module
        Its design.
    agents : tuple of Agent
        The trace's.
    capacity : int, optional
        Rows of every growing table at the start.

    Returns
    -------
    m : hwmodel.core.tables.Machine
    dev : the design's own tables
    row_of : int64[agent of the trace]
        The row of each agent.
    """
    roles = np.array([agent.role == "device" for agent in agents])
    engines, threads = int(roles.sum()), int((~roles).sum())
    cpus = max(machine.get("cpu.count"), threads)
    row_of = np.where(roles, cpus + np.cumsum(roles) - 1, np.cumsum(~roles) - 1).astype(I64)
    spaces = 1 + max(agent.space for agent in agents)
    geometry = [cache_bank(machine, "llc")] + cpu_banks(machine) * cpus
    first_bank = len(geometry)
    outstanding = design.outstanding(machine)
    banks, ways = bank.build(geometry + design.geometry(machine, engines))
    n = cpus + engines + design.threads(machine)
    rows = n + engines * outstanding
    costs = machine.costs()
    size, book = dict.fromkeys(CAPACITY, capacity) if capacity else CAPACITY, design.BOOK
    m = Machine(
        ctl=np.zeros(1, t.CTL), costs=cost_row(t.COSTS, costs), policy=policy_row(machine.get("kernel.policy")),
        due=np.full(rows, NEVER, I64), rows=np.zeros(rows, t.ROW),
        **{name: np.zeros(rows, columns) for name, columns in OF_ROWS.items()},
        queue=np.zeros(1, t.QUEUED), ledger=np.zeros((n, len(book.accounts)), I64),
        serving=np.zeros((n, len(book.accounts)), I64), counts=np.zeros((n, len(book.counters)), I64),
        hists=np.zeros((len(book.latencies), HEAD + BUCKETS), I64), spent=np.zeros((rows, len(book.phases)), I64),
        phases=np.zeros((len(book.paths) * len(book.phases), HEAD + BUCKETS), I64),
        shares=np.zeros((len(book.paths), BUCKETS, len(book.phases)), I64), stalls=np.array([p.account for p in book.phases.values()], I64),
        spaces=np.zeros(spaces, t.SPACE), vmas=np.zeros(size["vmas"], t.VMA), nodes=np.zeros((max(size["nodes"], 2 * spaces), 512), I64),
        frames=np.zeros(size["frames"], t.FRAME), links=np.zeros(size["links"], t.LINK), entries=np.zeros(size["entries"], t.ENTRY),
        banks=banks, ways=ways, locks=np.zeros(spaces + design.lock_count(spaces, engines), t.LOCKROW), pending=np.zeros((n, rows), I64),
        flights=np.zeros((max(engines, 1), max(outstanding, 1)), I64), files=np.full(1, -1, I64), **log.no_tables(),
    )  # fmt: skip
    ctl = m.ctl[0]
    ctl.cpus, ctl.engines, ctl.agents, ctl.spaces = cpus, cpus + engines, n, spaces
    ctl.window = ctl.outstanding = outstanding
    set_control(machine, m, costs)
    m.flights[:], m.devices["last"] = -ctl.latency, -ctl.interval
    m.locks["writer"] = -1
    set_rows(machine, m, agents, row_of)
    set_spaces(m, agents)
    dev = design.build(machine, m, first_bank)
    set_reach(m, *design.reach(m, dev))
    set_lazy(machine, m)
    return m, dev, row_of


def set_control(machine: Any, m: Machine, costs: Mapping[str, int]) -> None:
    """Fill CTL from the configuration."""
    ctl = m.ctl[0]
    ctl.shift = machine.get("engine.lookahead_records").bit_length() - 2  # two blocks make the lookahead window
    ctl.total = ctl.first_segv = ctl.first_alone = NEVER
    ctl.latest = min(LATEST, SUM // m.rows.size)
    ctl.node_free = ctl.frame_free = ctl.block_free = ctl.link_free = ctl.entry_free = -1
    ctl.frame_limit = ctl.free = machine.get("memory.size_mib") * 256
    ctl.reclaimer = ctl.watched = -1
    ctl.pause = ctl.sampled = NEVER
    if ctl.window:
        ctl.latency, ctl.interval = costs["device_latency"], costs["device_interval"]
    ctl.thp, ctl.fault_around = THP[machine.get("kernel.thp")], machine.get("kernel.fault_around_pages")
    ctl.gather_pages, ctl.ceiling = machine.get("kernel.gather_pages"), machine.get("kernel.flush_ceiling_pages")
    ctl.stack_limit, ctl.stack_guard = machine.get("kernel.stack_limit_mib") * 256, machine.get("kernel.stack_guard_pages")
    ctl.bau, ctl.per_socket = machine.get("kernel.shootdown.kind") == "bau", machine.get("cpu.per_socket")
    ctl.stlb_huge = machine.get("cpu.stlb.huge")


def set_rows(machine: Any, m: Machine, agents: tuple[Agent, ...], row_of: np.ndarray) -> None:
    """Give each row its role, its CPU and banks, and each agent's row its space."""
    ctl = m.ctl[0]
    for r, row in enumerate(m.rows):
        row.role = t.CPU if r < ctl.cpus else t.ENGINE if r < ctl.engines else t.KERNEL if r < ctl.agents else t.REQUEST
        row.agent = r if r < ctl.agents else ctl.cpus + (r - ctl.agents) // ctl.outstanding
        row.cpu, row.group, row.socket, row.unused = r, r, r // ctl.per_socket, 1
        row.banks = 1 + r * CPU_BANKS
        row.phase, row.block, row.loads = IDLE_PHASE[row.role], NEVER, row.role == t.CPU
        if row.role == t.KERNEL:
            row.space, row.blocked, row.wait_account, row.wait_until = -1, 1, IDLE, NEVER
    for agent, r in zip(agents, row_of, strict=True):
        row = m.rows[r]
        row.unused = row.phase = row.block = 0
        row.space, m.due[r] = agent.space, 0
    for row in m.rows[ctl.agents :]:
        row.space = m.rows[row.agent].space


def set_spaces(m: Machine, agents: tuple[Agent, ...]) -> None:
    """Give each address space its root table, born; the trace says which ones a fork makes."""
    for number, space in enumerate(m.spaces):
        space.root, space.born = number, 1
    m.ctl["node_top"] = m.spaces.size
    m.ctl["free"] -= m.spaces.size


def set_lazy(machine: Any, m: Machine) -> None:
    """Make the first CPUs without an agent lazy in space 0."""
    spare = [row for row in m.rows[: m.ctl[0].cpus] if row.unused]
    for row in m.rows[: m.ctl[0].cpus]:
        if row.unused:
            row.space = -1
    for row in spare[: machine.get("kernel.lazy_cpus")]:
        row.space, row.in_mask, row.lazy = 0, 1, 1


def set_reach(m: Machine, engines: int, cpus: int) -> None:
    """Set each row's reach: the minimum latency at which an ordinary step of another row affects it, by notice, interrupt or design."""
    costs = m.costs[0]
    interrupt = costs.bau_send + costs.bau if m.ctl[0].bau else costs.ipi_send + costs.ipi_delivery
    for row in m.rows:
        row.reach = min(costs.notice, interrupt, engines if row.role == t.ENGINE else cpus)


def grow(m: Machine) -> Machine:
    """Double the growing tables that may be too short for a step."""
    ctl = m.ctl[0]
    growing = {
        "nodes": (ctl.node_top, t.STEP_NODES), "frames": (ctl.frame_top, t.STEP_FRAMES), "links": (ctl.link_top, t.STEP_LINKS),
        "entries": (ctl.entry_top, t.STEP_ENTRIES), "vmas": (ctl.vma_count, t.STEP_VMAS),
    }  # fmt: skip
    longer = {}
    for name, (used, need) in growing.items():
        old = getattr(m, name)
        if used + need > old.shape[0]:
            new = np.zeros((max(2 * old.shape[0], used + need), *old.shape[1:]), old.dtype)
            new[: old.shape[0]] = old
            longer[name] = new
    return m._replace(**longer)


def longer_files(files: np.ndarray, ops: np.ndarray) -> np.ndarray:
    """Return the table of files, long enough for the files that these records map."""
    at = np.flatnonzero(ops["kind"] == MMAP)
    most = int((ops["count"][at + 1] >> FILE_SHIFT).max(initial=0)) if at.size else 0
    if most < files.size:
        return files
    longer = np.full(max(2 * files.size, most + 1), -1, I64)
    longer[: files.size] = files
    return longer
