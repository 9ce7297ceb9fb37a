"""Replay of a recording of the kernel's own events: the model's counts for the same operations, beside Linux's."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import causes, files, tables
from analysis.runs import trace_of
from analysis.stepping import counts_by_group
from hwmodel import op
from hwmodel.arguments import machine_of
from hwmodel.machine import Machine
from hwmodel.op import TraceError
from hwmodel.outside import markdown

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace

FAULT, OTHER, OUTSIDE, SYNC = "fault", "other call", "outside", "sync"
GROUPS = {
    op.READ: FAULT, op.WRITE: FAULT, op.FETCH: FAULT, op.MMAP: "mmap", op.BRK: "brk", op.MUNMAP: "munmap", op.MPROTECT: "mprotect",
    op.MADVISE: "madvise", op.MREMAP: "mremap", op.FORK: "clone", op.EXIT: "exit", op.MIGRATE: OUTSIDE, op.SYNC: SYNC,
}  # fmt: skip
"""The kernel's operation for a record, by the record's kind."""
Count = Callable[[Mapping[str, int]], int]


def _sum(*names: str) -> Count:
    return lambda counts: sum(counts.get(name, 0) for name in names)


OPERATIONS = ("mmap", "brk", "munmap", "mprotect", "madvise", "mremap", "fork", "exit")
FAULTS = ("zero", "anon", "file", "file_cow", "reuse", "cow", "huge", "spurious")
COMPARED: dict[str, tuple[Count, Count]] = {
    "operations": (_sum("calls"), _sum(*(f"ops.{name}" for name in OPERATIONS))),
    "faults": (_sum("faults.user", "faults.kernel"), _sum("segv", *(f"faults.{name}" for name in FAULTS))),
    "notices": (_sum("notices"), _sum("notices.start")),
    "ranged flushes": (_sum("flushes.ranged"), _sum("flushes.ranged")),
    "flushed pages": (_sum("flushes.pages"), _sum("flushes.pages")),
    "full flushes": (_sum("flushes.full"), _sum("flushes.full")),
}
"""Quantities counted on both sides: from the kernel's counts (`workloads.formats.kernel.counts.COUNTS`), and the model's counters."""
TOTAL, IPIS = "total", "interrupts for flushes"
MOST = 1 << 22
"""Most records of a recording that is replayed operation by operation."""


@dataclass(frozen=True)
class Replay:
    """A recording's counts beside those of the model's run of it.

    Parameters
    ----------
    frame : DataFrame
        One row for each operation and quantity: operation, count, kernel, model, difference (model - kernel), cause.
    result : hwmodel.measure.result.Result
        The run in which threads go at the model's own pace.
    subtitle : str
        Names of the recording and the machine.
    notes : tuple of str
        Remarks for readers of the figures.
    """

    frame: "pd.DataFrame"
    result: "Result"
    subtitle: str
    notes: tuple[str, ...]

    def save(self, out: str | os.PathLike[str]) -> list[str]:
        """Write replay.csv and replay.md into a folder, created if it does not exist; return their paths."""
        return files.save(out, {"replay.csv": self.frame, "replay.md": self.to_markdown()})

    def to_markdown(self) -> str:
        """Return the table as a Markdown page."""
        notes = "\n".join(f"- {markdown(note)}" for note in self.notes)
        return "\n\n".join(["# Replay", markdown(self.subtitle), notes, tables.replay_markdown(self.frame)]) + "\n"


def replay(trace: "Trace | str | os.PathLike[str]", machine: Machine | str = "kvm-ept-2024") -> Replay:
    """Run a recording of the kernel's events on a machine and put the model's counts beside the kernel's.

    Parameters
    ----------
    trace : Trace or path
        From `workloads.read_kernel`, or the recording's file, or the name of one that is shipped.
    machine : Machine or str
        The machine to run it, or a preset's name. Its use of huge pages is set as in the recording.

    Returns
    -------
    Replay

    Raises
    ------
    TraceError
        If the trace is no recording of the kernel's events.
    ConfigError
        If the machine can't run it.
    """
    from hwmodel.simulate import ALONE, simulate
    from workloads.formats.kernel import read_kernel
    from workloads.recorded import names

    is_file = isinstance(trace, str | os.PathLike) and trace not in names()
    opened = read_kernel(trace) if is_file else trace_of(trace)
    if "kernel_counts" not in opened.info:
        raise TraceError(f"{opened.name or 'this trace'}: no recording of the kernel's events (hwmodel record --kernel)")
    machine, notes = _as_recorded(machine_of(machine), opened)
    if len(opened) > MOST:
        raise TraceError(f"{opened.name}: {len(opened):,} records are too many to replay one by one ({MOST:,})")
    stepped = counts_by_group(machine, opened, groups(opened))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=f".*{ALONE}")  # the recorded threads have really ended
        result = simulate(machine.with_(**{"engine.lookahead_records": _at_least(len(opened))}), opened)
    frame = _frame(opened, stepped, result)
    notes = (*notes, *_about(opened), *_pace(stepped, result))
    return Replay(frame, result, f"{opened.info.get('program', opened.name)}: {machine.name} against {_kernel(opened)}", notes)


def groups(trace: "Trace") -> Iterator[tuple[str, np.ndarray]]:
    """Yield a trace's records, grouped by the kernel's operation; consecutive faults, or other calls, are one group."""
    hosts = [number for number, agent in enumerate(trace.agents) if agent.name == "host" and agent.role == "cpu"]
    for ops in trace.chunks():
        starts = np.flatnonzero(ops["kind"] != op.ARG)
        kinds, ends = ops["kind"][starts] & ~op.CONTINUES, [*starts[1:].tolist(), ops.size]
        names = [GROUPS.get(int(kind), OTHER) for kind in kinds]
        for at in np.flatnonzero(np.isin(ops["agent"][starts], hosts)):
            names[at] = OUTSIDE
        start = 0
        for k, name in enumerate(names):
            if k + 1 == len(names) or names[k + 1] != name or name not in (FAULT, OTHER):
                yield name, ops[start : ends[k]]
                start = ends[k]


def _as_recorded(machine: Machine, trace: "Trace") -> tuple[Machine, tuple[str, ...]]:
    """Return the machine with the settings found in the recording, and a note for each change."""
    thp = str(trace.info.get("thp", ""))
    chosen = next((mode for mode in ("always", "madvise", "never") if f"[{mode}]" in thp), machine.get("kernel.thp"))
    if chosen == machine.get("kernel.thp"):
        return machine, ()
    return machine.with_(**{"kernel.thp": chosen}), (f"kernel.thp is {chosen}, as it was when the recording was made.",)


def _at_least(records: int) -> int:
    """Return a lookahead of at least the whole recording, so that a virtual machine without work is idle from the beginning."""
    return max(1 << 16, 1 << max(2, records.bit_length() + 1))


def _frame(trace: "Trace", stepped: Mapping[str, Counter[str]], result: "Result") -> "pd.DataFrame":
    import pandas as pd

    recorded: dict[str, dict[str, int]] = trace.info["kernel_counts"]
    rows: list[tuple[str, str, int, int, str]] = []
    for name in dict.fromkeys([*recorded, *stepped]):
        if name not in (OTHER, SYNC):
            rows += _rows(name, recorded.get(name, {}), stepped.get(name, Counter()), trace)
    totals = [sum(compared[side](counts) for counts in sides.values())
              for compared in COMPARED.values() for side, sides in ((0, recorded), (1, stepped))]  # fmt: skip
    for i, name in enumerate(COMPARED):
        if name != "operations" and (totals[2 * i] or totals[2 * i + 1]):
            rows.append((TOTAL, name, totals[2 * i], totals[2 * i + 1], ""))
    sent = sum(counts.get("ipis", 0) for counts in recorded.values())
    if sent or result.counters["ipis.sent"]:
        rows.append((TOTAL, IPIS, sent, result.counters["ipis.sent"], causes.of_interrupts(sent, result, trace)))
    frame = pd.DataFrame(rows, columns=["operation", "count", "kernel", "model", "cause"])
    frame.insert(4, "difference", frame["model"] - frame["kernel"])
    return frame


def _rows(name: str, kernel: Mapping[str, int], model: Mapping[str, int], trace: "Trace") -> Iterator[tuple[str, str, int, int, str]]:
    for count, (of_kernel, of_model) in COMPARED.items():
        k, m = of_kernel(kernel), of_model(model)
        if (k or m) and not (count == "operations" and name in (FAULT, OUTSIDE)):
            yield name, count, k, m, causes.of(name, count, m - k, kernel, trace)


def _kernel(trace: "Trace") -> str:
    return str(trace.info.get("kernel", "the recorded kernel"))


def _about(trace: "Trace") -> Iterator[str]:
    """Yield remarks from the recording's reader."""
    info: Mapping[str, Any] = trace.info
    if not any(agent.role == "device" for agent in trace.agents):
        yield "No mmu notifier was attached when the recording was made: it has no notices, and the model sends none."
    if info.get("replayed_invalidations"):
        yield f"{info['replayed_invalidations']:,} invalidations outside of the recorded calls were replayed by a CPU of their own."
    if info.get("lost_events"):
        yield f"The kernel lost {info['lost_events']:,} events: what it did then is missing on its side."


def _pace(stepped: Mapping[str, Counter[str]], result: "Result") -> Iterator[str]:
    """Yield the counters that depend on the order of threads: the table uses the recorded order, interrupts the model's own pace."""
    for name in ("notices.start", "flushes.ranged", "flushes.full"):
        ordered = sum(counts[name] for counts in stepped.values())
        if ordered != result.counters[name]:
            yield f"{name}: {ordered:,} in the recorded order of threads, {result.counters[name]:,} when they run at the model's own pace."
