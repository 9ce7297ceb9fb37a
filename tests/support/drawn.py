"""Machines with costs drawn from anywhere in their published ranges, and legal traces small enough for a thousand of them."""

import functools
import inspect
import random
from collections.abc import Iterator

import numpy as np

import workloads
from hwmodel import machine as machines
from hwmodel import op
from hwmodel.config.section import FREE
from hwmodel.machine import Machine, Provenance
from hwmodel.trace import Trace
from workloads import synthetic
from workloads.offload import UNITS
from workloads.recorded import load, names

RETRIES = ("memory.l1.hit_cycles", "vm.exit_cycles", "vm.violation_ns", "vm.entry_cycles")
"""Of a vCPU that retries while an invalidation is in progress: one of them must take time, or the retries would take none for ever."""
SMALL = {
    "accesses": 300, "pages": 96, "every": 12, "part": 8, "scale": 6, "rows": 40, "build": 30, "probe": 60, "grain": 2, "snapshots": 3,
    "chunk": 8, "length": 40, "smallest": 4, "largest": 32, "vector": 8, "requests": 5, "memory": 40, "updates": 100, "batch": 2,
    "per_page": 2, "halo": 2, "ranks": 4, "scan": 16, "phase": 100, "stop": 8, "quiet": 50, "rounds": 4,
}  # fmt: skip
"""Arguments that make the traces of generators small, where a generator has them."""
SPECIAL = {
    "balloon": {"part": 2}, "gru_block_copy": {"pages": 200}, "huge_pages": {"pages": 1024, "part": 64}, "producer_consumer": {"pages": 6},
    "sequential": {"stride": 3},
}  # fmt: skip
"""The same for one generator only."""
WAYS = {
    "unmap_churn": {"how": ("unmap", "dontneed")},
    "huge_pages": {"how": ("unmap", "mprotect", "dontneed"), "collapse": ("fault", "advice")},
    "vm_boot_and_serve": {"guest": (False, True)},
    "mpi_halo": {"transport": ("shared", "xpmem")},
    "swap_pressure": {"how": ("cold", "pageout")},
    "producer_consumer": {"sync": (False, True)},
}
"""Arguments that choose what a generator does: each is drawn."""
NEAR = 40
"""Records after an operation that a piece of a recording keeps."""


def machine(number: int) -> Machine:
    """Return a preset, in turn, with some of its costs, or all, anywhere in their ranges: free, at an end, between, or far beyond."""
    rng = random.Random(f"machine {number}")
    base = machines.preset(machines.presets()[number % len(machines.presets())])
    kept, free, extreme = rng.choice((0, 0.5, 0.9)), rng.choice((0, 0.1, 0.4)), rng.random() < 0.5
    changed = {name: cost(rng, about, free, extreme) for name, about in base.provenance().items() if is_cost(name) and rng.random() >= kept}
    changed["engine.lookahead_records"] = 2 ** rng.randint(2, 16)
    costs = base.flat() | changed
    if all(costs.get(name, FREE) == FREE for name in RETRIES):
        changed[RETRIES[0]] = 1
    return base.with_(**changed)


def is_cost(name: str) -> bool:
    """Return whether a setting is a time."""
    return name.endswith(("_ns", "_cycles"))


def cost(rng: random.Random, about: Provenance, free: float, extreme: bool) -> int | str:
    """Draw a cost: free, or at an end of its range, between, or up to 30 times beyond; `extreme`: mostly least, else far beyond."""
    usual = 1 if about.value == FREE else about.value
    low, high = 1 if about.low in (None, FREE) else about.low, about.high or 4 * usual
    beyond = high * rng.uniform(1, 30)
    value = rng.choice((low, low, low, beyond) if extreme else (low, high, rng.uniform(low, high), beyond))
    return FREE if rng.random() < free else max(1, round(value))


def traces(number: int, devices: bool) -> Iterator[tuple[str, Trace]]:
    """Yield (name, trace) for a piece of every recording and for every generator; without devices CPUs take their place."""
    rng = random.Random(f"traces {number}")
    for name in names():
        share, engines, by = rng.choice((0.2, 0.5, 0.9)), rng.choice((1, 3)), rng.choice(("block", "block", "page"))
        piece, block, seed, unit = rng.choice(pieces(name)), rng.choice((1, 4, 64)), rng.randrange(1 << 40), rng.choice(UNITS)
        split = workloads.offload(piece, share, engines, by, block, seed, unit)
        yield name, split if devices else of_cpus(split)
    for name in synthetic.__all__:
        trace = generated(rng, name)
        yield name, trace if devices else of_cpus(trace)


def generated(rng: random.Random, name: str) -> Trace:
    """Return a small trace of a generator, of one of the things that it can do."""
    generator = getattr(synthetic, name)
    known = inspect.signature(generator).parameters
    sizes = {argument: value if rng.random() < 0.7 else max(1, value // 2) for argument, value in SMALL.items()} | SPECIAL.get(name, {})
    arguments = {argument: value for argument, value in sizes.items() if argument in known}
    arguments |= {argument: rng.choice(values) for argument, values in WAYS.get(name, {}).items()}
    common = {"cpus": rng.randint(1, 3), "devices": rng.randint(1, 2), "seed": rng.randrange(1 << 40), "writes": rng.choice((0.1, 0.5))}
    return generator(**arguments, **{argument: value for argument, value in common.items() if argument in known})


def of_cpus(trace: Trace) -> Trace:
    """Return the trace with a thread in the place of every device."""
    return workloads.assign(trace, dict.fromkeys(range(len(trace.agents)), "cpu"))


@functools.cache
def pieces(name: str) -> tuple[Trace, ...]:
    """Return prefixes of a recording, what is around its operations, and stretches of it behind the operations that come before them."""
    trace = load(name)
    ops = np.concatenate(list(trace.chunks()))
    operation = (ops["kind"] > op.COMPUTE) & (ops["kind"] < op.CONTINUES)
    begun = np.cumsum(np.isin(ops["kind"], list(op.VMA_CHANGING)))
    masks = [np.arange(ops.size) < size for size in (400, 2000, 10_000)]
    recent = np.zeros(ops.size, bool)
    recent[NEAR:] = begun[NEAR:] > begun[:-NEAR]
    masks.append(recent | operation)
    for part in range(1, 5):
        place = np.arange(ops.size) - ops.size * part // 4
        masks.append((place < 0) & ((place >= -1000) | operation))
    return tuple(Trace.from_records(trace.agents, whole(ops[mask]), trace.prelude) for mask in masks)


def whole(ops: np.ndarray) -> np.ndarray:
    """Return records whose crossing accesses are whole: a second half without its first is an access of its own."""
    ops = ops.copy()
    latest = {}
    for at in np.flatnonzero(ops["kind"] <= op.FETCH | op.CONTINUES):
        kind, agent = int(ops["kind"][at]), int(ops["agent"][at])
        page = int(ops["address"][at]) >> op.PAGE_SHIFT
        if kind & op.CONTINUES and latest.get((agent, kind & ~op.CONTINUES)) != page - 1:
            ops["kind"][at] = kind & ~op.CONTINUES
        latest[agent, kind & ~op.CONTINUES] = page
    return ops
