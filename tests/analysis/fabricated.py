"""Results that no run made: the pictures and tables are tested from what is known exactly."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwmodel import secondary
from hwmodel.core.ledger import BUCKETS, HEAD, Book
from hwmodel.measure.result import Result
from hwmodel.measure.tally import AgentInfo

AGENTS = (
    AgentInfo("main", "cpu", 0),
    AgentInfo("cpu1 (no agent)", "cpu", -1),
    AgentInfo("engine 0", "device", 0),
)
CPU, SPARE, ENGINE = 0, 1, 2


@dataclass(frozen=True)
class Machine:
    """As much of a machine as a result needs."""

    name: str = "gru-2008"
    design: str = "gru"
    mhz: int = 2000
    settings: dict[str, Any] = field(default_factory=dict)
    description: str = ""

    def rows(self) -> list[tuple[str, Any, str, str, str, str]]:
        return [(name, value, "unit", "E", "a source", "a description") for name, value in self.flat().items()]

    def get(self, name: str) -> Any:
        return self.flat()[name]

    def flat(self) -> dict[str, Any]:
        return {"clock.mhz": self.mhz, "kernel.policy": "linux-6", **self.settings}


def bucket(value: int) -> int:
    """The rule of docs/model.md 12, written once more."""
    if value < 64:
        return value
    e = value.bit_length() - 1
    return 64 + (e - 6) * 32 + ((value >> (e - 5)) - 32)


def histogram(values: np.ndarray | list[int]) -> np.ndarray:
    row = np.zeros(HEAD + BUCKETS, np.int64)
    if len(values):
        row[:HEAD] = len(values), sum(int(v) for v in values), min(values), max(values)
        for value in values:
            row[HEAD + bucket(int(value))] += 1
    return row


def result(
    machine: Any,
    counters: dict[str, dict[int, int]],
    ledger: dict[str, dict[int, int]],
    latencies: dict[str, Any],
    serving: dict[str, dict[int, int]] | None = None,
) -> Result:
    """A result from {counter: {agent: count}}, {account: {agent: cycles}} (serving: likewise), {kind: values}; idle fills up clocks."""
    book = secondary.book(machine.design)
    counts = np.zeros((len(AGENTS), len(book.counters)), np.int64)
    books = np.zeros((len(AGENTS), len(book.accounts)), np.int64)
    hists = np.zeros((len(book.latencies), HEAD + BUCKETS), np.int64)
    served = np.zeros_like(books)
    planes = ((counts, book.counters, counters), (books, book.accounts, ledger), (served, book.accounts, serving or {}))
    for array, names, values in planes:
        for name, by_agent in values.items():
            for agent, value in by_agent.items():
                array[agent, list(names).index(name)] = value
    books[:, list(book.accounts).index("idle")] += books.sum(axis=1).max() - books.sum(axis=1)
    for kind, values in latencies.items():
        hists[list(book.latencies).index(kind)] = histogram(values)
    phases, shares = phased(book, latencies)
    info = {"name": "sqlite", "program": "sqlite3"}
    return Result(machine, info, AGENTS, counts, books, books.sum(axis=1), hists, 1.5, 3_000_000, 20_000_000, served,
                  phase_histograms=phases, phase_shares=shares)  # fmt: skip


def phased(book: Book, latencies: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The planes of phases: a third of each miss was in the first phase, if there are two, and what is left in the second."""
    n = len(book.phases)
    phases = np.zeros((len(book.paths), n, HEAD + BUCKETS), np.int64)
    shares = np.zeros((len(book.paths), BUCKETS, n), np.int64)
    for p, path in enumerate(book.paths if n else ()):
        values = np.asarray(latencies.get(path, []), np.int64)
        parts = (values // 3, values - values // 3) if n > 1 else (values,)
        for k, part in enumerate(parts):
            phases[p, k] = histogram(part)
            np.add.at(shares[p, :, k], [bucket(int(value)) for value in values], part)
    return phases, shares


def hits_and_misses(agent: int, prefix: str, hits: int, misses: int) -> dict[str, dict[int, int]]:
    return {f"{prefix}.hits": {agent: hits}, f"{prefix}.misses": {agent: misses}}


COMMON_COUNTS = {
    "cpu.accesses": {CPU: 15_000_000},
    **hits_and_misses(CPU, "cpu.itlb", 9_990_000, 10_000),
    **hits_and_misses(CPU, "cpu.dtlb", 4_950_000, 50_000),
    **hits_and_misses(CPU, "cpu.stlb", 50_000, 10_000),
    "device.accesses": {ENGINE: 5_000_000},
    "notices.start": {CPU: 420},
    "notices.end": {CPU: 420},
    "unsupported_ops": {CPU: 2},
}
COMMON_CYCLES = {
    "instruction": 20_000_000, "access": 5_000_000, "stlb": 600_000, "walk": 900_000, "fault": 8_000_000,
    "syscall": 700_000, "clear": 300_000, "free": 400_000, "vma": 500_000, "notify": 200_000, "flush": 120_000,
    "lock_wait": 240_000,
}  # fmt: skip


def gru(machine: Any = None) -> Result:
    """Ten thousand misses: nine in ten in the interrupt handler, the others by user polling."""
    rng = np.random.default_rng(1)
    fmm = np.maximum(300, rng.lognormal(8.1, 0.25, 9000)).astype(np.int64)
    upm = np.maximum(3000, rng.lognormal(10.2, 0.4, 1000)).astype(np.int64)
    counters = COMMON_COUNTS | hits_and_misses(ENGINE, "device.tlb", 4_990_000, 10_000) | {
        "gru.intr": {ENGINE: 9500}, "gru.kills": {ENGINE: 3}, "gru.fail_range_active": {ENGINE: 17},
        "ipis.sent": {CPU: 40}, "ipis.acked": {CPU: 40},
    }  # fmt: skip
    cpu = COMMON_CYCLES | {
        "invalidate": 4_000_000, "ipi_send": 50_000, "ipi_wait": 80_000, "order_wait": 70_000_000,
        "gate_wait": 2_000_000,
    }  # fmt: skip
    spare = {"irq": 6_000_000, "driver": 9_000_000, "gup": 4_000_000, "ipi_respond": 70_000}
    engine = {
        "access": 40_000_000, "stall_trap": 31_000_000, "stall_driver": 14_000_000, "stall_gup": 9_000_000,
        "stall_invalidation": 1_900_000, "order_wait": 3_000_000,
    }  # fmt: skip
    fault = np.concatenate([fmm, upm])
    latencies = {"fault": fault, "fault.fmm": fmm, "fault.upm": upm, "cpu_fault": [900, 1000, 1100]}
    serving = by_account({}, {name: n for name, n in spare.items() if name != "ipi_respond"})
    return result(machine or Machine(), counters, by_account(cpu, spare, engine), latencies, serving)


def kvm(machine: Any = None) -> Result:
    """Three thousand EPT violations in two humps; hardware walks the rest."""
    rng = np.random.default_rng(2)
    violation = np.concatenate([rng.lognormal(9.0, 0.15, 2500), rng.lognormal(10.5, 0.3, 600)]).astype(np.int64)
    counters = COMMON_COUNTS | hits_and_misses(ENGINE, "device.tlb", 4_700_000, 300_000) | {
        **hits_and_misses(ENGINE, "device.stlb", 270_000, 30_000), "device.walks": {ENGINE: 33_000},
        "device.walk_refs": {ENGINE: 90_000}, "kvm.exits": {ENGINE: 3150}, "kvm.retries": {ENGINE: 50},
        "ipis.sent": {CPU: 400}, "ipis.acked": {CPU: 400},
    }  # fmt: skip
    cpu = COMMON_CYCLES | {"invalidate": 600_000, "ipi_send": 350_000, "ipi_wait": 900_000, "order_wait": 4_000_000}
    engine = {
        "access": 5_000_000, "stlb": 1_900_000, "walk": 2_600_000, "fault": 2_100_000, "exit": 9_000_000,
        "violation": 7_000_000, "gup": 3_100_000, "map": 1_200_000, "entry": 2_500_000, "kick": 1_000_000, "lock_wait": 100_000,
        "order_wait": 9_000_000,
    }  # fmt: skip
    latencies = {"fault": violation, "fault.violation": violation, "cpu_fault": [900, 1000]}
    machine = machine or Machine("kvm-ept-2008", "kvm_ept", 3000)
    return result(machine, counters, by_account(cpu, {"ipi_respond": 70_000}, engine), latencies)


def ideal(machine: Any = None) -> Result:
    """The bound of both: five million hits, a fault of the CPU's for each of the fourteen pages."""
    counters = COMMON_COUNTS | hits_and_misses(ENGINE, "device.tlb", 4_999_986, 14)
    cpu = COMMON_CYCLES | {"fault": 8_500_000, "order_wait": 70_000_000}
    engine = {"access": 4_000_000, "stall_fault": 300_000, "order_wait": 3_000_000}
    machine = machine or Machine("ideal-2008", "ideal", 2000)
    return result(machine, counters, by_account(cpu, {}, engine), {"fault": [400] * 14, "cpu_fault": [900]})


def by_name(ran: list[tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Of the runs of a comparison those of each machine's own window, by its name: the bounds and dependent accesses are left out."""
    widest: dict[str, tuple[Any, Any]] = {}
    for machine, trace in ran:
        before = widest.get(machine.name)
        if before is None or machine.flat().get("device.window", 1) > before[0].flat().get("device.window", 1):
            widest[machine.name] = (machine, trace)
    return {name: run for name, run in sorted(widest.items()) if name != "ideal-2008"}


def by_account(*agents: dict[str, int]) -> dict[str, dict[int, int]]:
    """{account: {agent: cycles}} of one {account: cycles} for each agent."""
    accounts: dict[str, dict[int, int]] = {}
    for agent, cycles in enumerate(agents):
        for name, value in cycles.items():
            accounts.setdefault(name, {})[agent] = value
    return accounts


def cpu_only(machine: Any = None) -> Result:
    """Seven fetches, no engine."""
    counters = {"cpu.accesses": {CPU: 7}, "cpu.itlb.hits": {CPU: 7}}
    machine = machine or Machine("cpu-only", "cpu_only", 3000)
    return result(machine, counters, by_account({"instruction": 7, "access": 3}), {})
