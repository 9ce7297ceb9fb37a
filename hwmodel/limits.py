"""The range of times (docs/model.md 1.6): a setting or record that takes a clock past it is refused by name, before a sum can be wrong.

The engine checks the clocks after every step. One step adds a cost times a number of things; both are bounded here, so that the
product of any step fits in 63 bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwmodel import secondary
from hwmodel.config import ConfigError
from hwmodel.config.common import Common
from hwmodel.config.section import declared
from hwmodel.core.tables import ENGINE, I64, NEVER, Machine
from hwmodel.modelled import Chunk
from hwmodel.op import COMPUTE, CONTINUES, FETCH, MOST_COUNT, PAGE_SHIFT, READ, SYSCALL, USER_ENDS, WRITE
from hwmodel.parts import radix
from hwmodel.primary.frames import SPACE_SHIFT
from hwmodel.trace import Trace

STEP = 1 << 61
"""Cycles that no step may reach: added to a clock below 2^58, fewer stay within 63 bits."""


def setting_of(cost: str) -> str:
    """Return the name of the setting that gives a cost."""
    for section in (Common, *(secondary.design(name).Spec for name in secondary.names())):
        for name, about in declared(section):
            if about.cost == cost:
                return name
    return cost


def highest(costs: Mapping[str, int]) -> tuple[str, int]:
    """Return the highest cost and its cycles."""
    name = max(costs, key=lambda name: costs[name])
    return name, costs[name]


def check_user_memory(machine: Any, trace: Trace, engines: int) -> None:
    """Refuse a trace with addresses that the machine's page tables do not reach: four levels, some of them taken by a guest's tables."""
    extra = secondary.design(machine.design).extra_memory() if engines else None
    reach = (extra[0] if extra else radix.REACH) << PAGE_SHIFT
    if trace.user_end > reach:
        most = max(end for end in USER_ENDS if end <= reach)
        raise ConfigError(
            f"{trace.prefix}user memory ends at {trace.user_end:#x}, but {machine.name}'s page tables reach user memory up to {most:#x}"
        )


def check_machine(m: Machine, costs: Mapping[str, int]) -> None:
    """Refuse flush costs at which one flush for each row would take a CPU past the range of times."""
    ctl, (_, cost) = m.ctl[0], highest(costs)
    pages = int(ctl.ceiling) * costs["flush_page"]
    if (pages + 8 * cost) * m.rows.size >= NEVER // 2:
        raise ConfigError(
            f"kernel.flush_ceiling_pages: a flush of {ctl.ceiling} pages takes {pages} cycles ({setting_of('flush_page')}): out of range"
        )


def check_tables(m: Machine, costs: Mapping[str, int]) -> None:
    """Refuse tables so long that one step on all their rows, each at the highest cost, could leave 63 bits."""
    name, cost = highest(costs)
    most = max(512 * m.nodes.shape[0], m.vmas.size)
    if most * cost >= STEP:
        raise ConfigError(f"{setting_of(name)}: {cost} cycles for each of {most} pages or VMAs are out of range")


def check_records(m: Machine, design: str, costs: Mapping[str, int], prefix: str, chunk: Chunk, row_of: np.ndarray) -> None:
    """Refuse records that alone take a clock past the latest time: their count times the cost of each thing counted."""
    latest, ops = int(m.ctl[0].latest), chunk.ops
    if MOST_COUNT * highest(costs)[1] < latest:
        return
    kinds, one = ops["kind"] & ~CONTINUES, np.zeros(ops.size, I64)
    by_engine = m.rows["role"][row_of[ops["agent"]]] == ENGINE
    accesses = (kinds == READ) | (kinds == WRITE)
    one[accesses] = np.where(by_engine, m.ctl["interval"], costs["access"])[accesses]
    one[(kinds == FETCH) | (kinds == COMPUTE)] = costs["instruction"]
    one[kinds == SYSCALL] = costs["syscall"]
    for at in np.flatnonzero((one > 0) & (ops["count"] > (latest - 1) // np.maximum(one, 1)))[:1]:
        by_kind = {SYSCALL: "syscall", READ: "access", WRITE: "access"}
        cost = by_kind.get(int(kinds[at]), "instruction")
        if by_engine[at] and cost == "access":
            cost = "device_interval"
        raise ConfigError(
            f"{setting_of(cost)}: {one[at]} cycles for each of {ops['count'][at]} take {prefix}record {chunk.first + int(at)} past"
            f" {told(latest)}, the latest time there is"
        )


def too_late(m: Machine, costs: Mapping[str, int]) -> ConfigError:
    """Return the error of a run whose clock has passed the latest time."""
    ctl, (name, cost) = m.ctl[0], highest(costs)
    rows = m.rows[: ctl.agents]
    row = rows[int(np.argmax(np.maximum(rows["clock"], rows["busy_until"])))]
    record = int(m.queue[row.head].index) if row.head < row.tail else max(0, int(ctl.fed) - 1)
    return ConfigError(
        f"{setting_of(name)}: the clock passes {told(int(ctl.latest))}, the latest time there is, at record {record}"
        f" (the highest cost is {cost} cycles)"
    )


def out_of_memory(m: Machine, names: Sequence[str]) -> ConfigError:
    """Return the error of a run without enough memory: which agent needs it (they are given by name), and who holds it."""
    ctl, row, owner = m.ctl[0], int(m.ctl[0].exhausted) - 1, m.frames["owner"][: m.ctl[0].frame_top]
    cached, private = m.frames["cached"][: ctl.frame_top], m.frames["refs"][: ctl.frame_top] > m.frames["cached"][: ctl.frame_top]
    used = {f"address space {s}": int(n) for s, n in enumerate(np.bincount(owner[(owner >= 0) & (cached == 0) & private] >> SPACE_SHIFT))}
    used["the page cache"] = int(cached.sum())
    used["page tables and pages on their way"] = int(ctl.frame_limit - ctl.free) - sum(used.values())
    held = ", ".join(f"{who} {n}" for who, n in sorted(used.items(), key=lambda entry: -entry[1])[:4] if n)
    needs = "the memory before the first record needs more frames"
    if row >= 0:
        want = m.wants[row]
        block = ", 512 of them in a block," if want.block else ""
        needs = f"{names[m.rows[row].agent]} needs {want.frames} more frames{block} at cycle {ctl.now}"
    free = f"{ctl.free} of {ctl.frame_limit} are free (held: {held})"
    return ConfigError(f"memory.size_mib: {ctl.frame_limit // 256} MiB are not enough: {needs}, and {free}")


def told(time: int) -> str:
    """Return the text of a time in cycles, as a power of two where it is one."""
    return f"2^{time.bit_length() - 1} cycles" if time & (time - 1) == 0 else f"{time} cycles"
