"""Agreement of the model with recordings of Linux: faults, notices, TLB flushes and interrupts of each operation (docs/conformance.md)."""

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from analysis.replay import COMPARED
from analysis.scenarios import BASE, MAIN, RefusedError, Scene, parse
from analysis.stepping import Stepper
from hwmodel.core import log
from hwmodel.events import Events
from hwmodel.machine import Machine, preset
from hwmodel.op import PAGE, TraceError
from hwmodel.primary.notify import START
from hwmodel.recorder import Recorder

FIELDS = ("faults", "notify", "flush", "ipis")
MODES = ("alone", "with_remote_thread", "with_idle_thread")
SHIPPED = ("named", "random", "more")
MACHINE = "gru-2024"
"""A machine of policy linux-6 whose engine takes part as an mmu notifier alone: a vCPU would be one more CPU that flushes reach."""
HUGE = 512
"""Pages of 4 KiB in a huge page: the stride of a flush of huge leaves."""
MOST_KNOWN = 0.01
"""The part of the judged fields that known differences may make up."""
KNOWN: dict[str, str] = {
    "lazy CPU": "a CPU whose thread sleeps gets no interrupt unless tables were freed; in the model only an ended thread's CPU is lazy",
    "MAP_NORESERVE": "the recorded mappings are never charged, so VMAs merge that in a trace differ in what is charged (mprotect_fixup)",
}
"""Differences that are known, by mechanism."""


@dataclass(frozen=True)
class Difference:
    """A field in which Linux and the model differ: where, what each says, and the mechanism."""

    where: str
    operation: str
    field: str
    linux: Any
    model: Any
    mechanism: str


@dataclass
class Conformance:
    """What was judged, and what differs.

    Attributes
    ----------
    judged : Counter
        Fields judged, by name.
    differences : list of Difference
        In the order of the recording.
    skipped : int
        Operations after a refused one, which are not judged: the state is unknown.
    """

    judged: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    skipped: int = 0

    @property
    def differing(self) -> Counter[str]:
        """Return how many judged fields differ, by name."""
        return Counter(each.field for each in self.differences)

    @property
    def summary(self) -> str:
        """Return the agreement of each field, in percent, in one line; 100 % is said only if nothing differs."""
        return " ".join(f"{name} {self._percent(name)}%" for name in FIELDS)

    def is_passed(self, strict: bool) -> bool:
        """Return whether all agrees; unless `strict`, known differences of at most 1 % are none."""
        known = [each for each in self.differences if each.mechanism in KNOWN]
        if strict or len(known) > MOST_KNOWN * self.judged.total():
            return not self.differences
        return len(known) == len(self.differences)

    def _percent(self, name: str) -> str:
        judged, differing = self.judged[name], self.differing[name]
        if not differing:
            return "100"
        return f"{min(99.99, 100 * (judged - differing) / judged):.2f}"


def read(name: str | os.PathLike[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the scenarios of a recording: a shipped one's name, or a file, which may be compressed by gzip; raise TraceError."""
    name = os.fspath(name)
    if name in SHIPPED:
        data = (resources.files("analysis") / "conformance" / f"{name}.json.gz").read_bytes()
    else:
        with open(name, "rb") as file:
            data = file.read()
    try:
        found = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, EOFError, OSError, zlib.error, RecursionError) as error:
        raise TraceError(f"{name}: no recording in JSON ({error})") from None
    scenarios = found.get("scenarios") if isinstance(found, dict) else None
    if not isinstance(scenarios, dict) or not scenarios:
        raise TraceError(f"{name}: no recording: it has no scenarios")
    for scenario, modes in scenarios.items():
        _check(f"{name}: {scenario}", modes)
    return scenarios


def conform(scenarios: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], machine: Machine | None = None) -> Conformance:
    """Run scenarios on the model and judge each field of each operation.

    Parameters
    ----------
    scenarios : mapping
        From `read`: by scenario and mode, the recorded operations.
    machine : Machine, optional
        The machine; by default the preset gru-2024.

    Returns
    -------
    Conformance

    Raises
    ------
    TraceError
        If a scenario makes no sense; the message names it and the operation.
    """
    machine = preset(MACHINE) if machine is None else machine
    found = Conformance()
    for name, modes in scenarios.items():
        for mode, rows in modes.items():
            try:
                _judge(found, machine, f"{name} {mode}", mode, rows)
            except TraceError as error:
                raise TraceError(f"{name} {mode}: {error}") from None
    return found


def run(machine: Machine, ops: Sequence[str], mode: str) -> Iterator[dict[str, Any] | RefusedError]:
    """Run a scenario; yield the four figures of each operation, or its refusal, after which nothing follows."""
    scene = Scene(ops, mode != "alone")
    recorder = Recorder(machine, Events(kinds=("notice", "flush"), limit=1 << 20))
    stepper = Stepper(machine, scene.trace(), recorder)
    stepper.run(scene.begin(), MAIN)
    for k in range(len(ops)):
        try:
            records, agent = scene.records(k)
        except RefusedError as refusal:
            yield refusal
            return
        before = int(stepper.m.ctl[0].logged)
        counts = stepper.run(records, MAIN)
        yield _figures(stepper.m.log[before : stepper.m.ctl[0].logged], counts, stepper.row(agent))


def _figures(events: Any, counts: Mapping[str, int], row: int) -> dict[str, Any]:
    starts = events[(events["kind"] == log.NOTICE) & (events["detail"] == START)]
    first = starts["page"] - BASE // PAGE
    flushes = events[(events["kind"] == log.FLUSH) & (events["row"] == row)]
    spans = [-1 if detail & 1 else int(pages) for pages, detail in zip(flushes["pages"], flushes["detail"], strict=True)]
    return {
        "faults": COMPARED["faults"][1](counts), "notify": [[int(a), int(a + n)] for a, n in zip(first, starts["pages"], strict=True)],
        "flush": _in_strides(spans, counts["flushes.pages"]), "ipis": counts["ipis.sent"],
    }  # fmt: skip


def _in_strides(spans: list[int], flushed: int) -> list[int]:
    """Return the pages of flushes, as many in all as the counter says.

    The log has spans in pages of 4 KiB and no stride. A flush of huge leaves or of tables alone counts in 2 MiB: of the sets of flushes
    whose counts add up to the counter, the smallest, and of these the latest, is taken, since tables are freed last.
    """
    ranged = [k for k, span in enumerate(spans) if span >= 0]
    missing = sum(spans[k] for k in ranged) - flushed
    sets: dict[int, tuple[int, ...]] = {0: ()}
    for k in reversed(ranged):
        for less, chosen in list(sets.items()):
            fewer = less + spans[k] - spans[k] // HUGE
            if fewer <= missing and len(chosen) + 1 < len(sets.get(fewer, range(len(spans) + 1))):
                sets[fewer] = (*chosen, k)
    chosen = sets[missing]
    return [span // HUGE if k in chosen else span for k, span in enumerate(spans)]


def _judge(found: Conformance, machine: Machine, where: str, mode: str, rows: Sequence[Mapping[str, Any]]) -> None:
    model = run(machine, [row["op"] for row in rows], mode)
    for k, row in enumerate(rows):
        figures = next(model)
        fields = [name for name in FIELDS if _is_judged(row, name, mode)]
        found.judged.update(fields)
        for name in fields:
            if isinstance(figures, RefusedError):
                said, mechanism = "refused", f"not modelled: {figures}"
            else:
                said, mechanism = figures[name], _mechanism(row, name, figures, mode)
            if said != row[name]:
                found.differences.append(Difference(f"{where}, operation {k}", row["op"], name, row[name], said, mechanism))
        if isinstance(figures, RefusedError):
            found.skipped += len(rows) - k - 1
            return


def _is_judged(row: Mapping[str, Any], name: str, mode: str) -> bool:
    """Return whether a field of an operation is judged: the first captures counted others' flushes and interrupts too."""
    if row.get(name) is None:
        return False
    who, letter, _ = parse(row["op"])
    is_filtered = "rounds" in row
    if not is_filtered and name in ("flush", "ipis") and (letter in "KX" or who == "c"):
        return False
    return is_filtered or name != "ipis" or mode != "alone"


def _mechanism(row: Mapping[str, Any], name: str, figures: Mapping[str, Any], mode: str) -> str:
    """Return the mechanism of a difference; a kind of operation where none is known."""
    if mode == "with_idle_thread" and name == "ipis" and figures[name] > row[name]:
        return "lazy CPU"
    if name == "notify" and parse(row["op"])[1] in "KRWN" and _is_coarser(row[name], figures[name]):
        return "MAP_NORESERVE"
    return f"unexplained: {parse(row['op'])[1]}"


def _is_coarser(linux: Sequence[Sequence[int]], model: Sequence[Sequence[int]]) -> bool:
    """Return whether each of the model's ranges lies in one of Linux's, as where VMAs that the model keeps apart are one."""
    return bool(model) and all(any(a <= first and last <= b for a, b in linux) for first, last in model)


def _check(where: str, modes: Any) -> None:
    """Refuse what is no scenario; raise TraceError."""
    if not isinstance(modes, dict) or not modes or not set(modes) <= set(MODES):
        raise TraceError(f"{where}: must have recordings by mode ({', '.join(MODES)})")
    for mode, rows in modes.items():
        if not isinstance(rows, list) or not rows:
            raise TraceError(f"{where} {mode}: must be a list of operations")
        for k, row in enumerate(rows):
            if not isinstance(row, dict) or not isinstance(row.get("op"), str):
                raise TraceError(f"{where} {mode}: operation {k} has no `op`")
            try:
                parse(row["op"])
            except TraceError as error:
                raise TraceError(f"{where} {mode}: operation {k}: {error}") from None
