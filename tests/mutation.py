"""Plant faults of one line, one at a time, and say which test catches each: run by hand, `python -m tests.mutation`.

The faults are in tests/mutations/*.toml: a name, a file, the exact text that is replaced (it is there once) and what it becomes; those of
`both.toml` change the oracle in the same way, as a rule does that was misread twice. Each is planted in a copy of the tree, where the
suite runs tier by tier with the JIT off until a test fails: first what is nearest to the file, then the contract, races and audits, then
all else, compiled, as much of it takes hours without the JIT. A tier that takes much longer than on the unchanged tree is caught too: the
fault made a loop. A tier must be green on the unchanged tree before it judges anything. Exit status 1: less than 95 % were caught; 2: it
is not green.
"""

import argparse
import ast
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from hwmodel.secondary import names

ROOT = pathlib.Path(__file__).resolve().parent.parent
LISTS = ROOT / "tests" / "mutations"
ORACLE = "tests/reference/"
ENOUGH, SURVIVED = 0.95, "**survived**"
PATIENCE, GRACE = 4, 120
"""A tier that takes more than PATIENCE times what it takes on the unchanged tree, and GRACE seconds, is in a loop."""
OPTIONS = ("-x", "-q", "--tb=no", "-rfE", "-m", "not long and not notebook", "-W", "ignore:overflow encountered:RuntimeWarning")
"""NumPy's scalars warn where compiled integers wrap."""
TIMES = "tests/model/test_01_rows_times.py"
"""Twelve seconds with the JIT off, and few faults change what it looks at: not with the calculations by hand, but after them."""
COMPILED = ("compiled", "tests/test_equality.py", "tests/model", "tests/contract")
"""What the last tier runs with the JIT on and bounds checked, if it is asked for."""
BY_HAND = ("tests/model", "--ignore=" + TIMES)
RANDOM = tuple(f"tests/test_equality.py::test_kernels_equal_the_oracle[{block}-{design}]"
               for block in (0, 1) for design in names())  # fmt: skip
DEEP = ("tests/test_audit.py", "tests/races", "tests/judges/test_walks.py", "tests/test_memory.py", "tests/contract", TIMES)
REST = ("compiled", "tests/test_equality.py", "tests/test_trace.py", "tests/test_bad_input.py", "tests/analysis")
READING = ("compiled", "tests/workloads")
OTHERS = ("compiled", "tests/model", "tests/test_trace.py", "tests/test_bad_input.py", "tests/analysis")
ANALYSIS = ("compiled", "tests/analysis")
RESULTS = ("tests/analysis/test_metrics.py", "tests/analysis/test_result.py", "tests/analysis/test_comparison.py")
SETTINGS = ("tests/test_config.py", "tests/test_config_files.py", "tests/test_config_shared.py")
OF_LACKEY, OF_THREADS, OF_DYNAMORIO = (f"tests/workloads/test_{name}.py" for name in ("lackey", "threads", "drmemtrace"))
OF_KERNEL = tuple(f"tests/workloads/test_{name}.py" for name in ("ftrace_lines", "ftrace", "kernel_cases", "facts"))
OF_EVENTS = tuple(f"tests/test_{name}.py" for name in ("samples", "timeline", "events"))
OF_COLUMNS = "tests/workloads/test_columns.py"
OF_COSTS, OF_PICTURES = (("compiled", f"tests/analysis/test_{name}.py") for name in ("operation_cost", "pictures"))
NEAREST = {
    "analysis/payers.py": OF_COSTS,
    "analysis/operations.py": OF_COSTS,
    "analysis/drawable.py": OF_PICTURES,
    "workloads/footprint.py": OF_PICTURES,
    "analysis/verdicts.py": ("tests/analysis/test_verdicts.py",),
    "analysis/points.py": ("tests/analysis/test_study.py",),
    "analysis/study": ("tests/analysis/test_study.py",),
    "analysis/terms.py": ("tests/analysis/test_terms.py",),
    "analysis/ranges.py": ("tests/analysis/test_uncertainty.py",),
    "analysis/uncertainty.py": ("tests/analysis/test_uncertainty.py",),
    "analysis/sensitivity.py": ("tests/analysis/test_sensitivity.py",),
    "analysis/breakeven.py": ("tests/analysis/test_breakeven.py",),
    "analysis/brackets.py": ("compiled", "tests/analysis/test_breakeven.py"),
    "analysis/explanation.py": ("tests/analysis/test_explanation.py",),
    "analysis/": RESULTS,
    "workloads/coalesce.py": ("tests/workloads/test_coalesce.py",),
    "workloads/offload.py": ("tests/workloads/test_offload.py", "tests/workloads/test_merging.py"),
    "workloads/merging.py": ("tests/workloads/test_merging.py",),
    "workloads/formats/lackey": (OF_LACKEY,),
    "workloads/formats/threads": (OF_THREADS,),
    "workloads/formats/drmemtrace": (OF_DYNAMORIO,),
    "workloads/formats/execlog": ("tests/workloads/test_execlog.py",),
    "workloads/formats/champsim": ("tests/workloads/test_champsim.py",),
    "workloads/formats/kernel": OF_KERNEL,
    "workloads/formats/columns": (OF_COLUMNS,),
    "workloads/formats/": (OF_LACKEY, OF_THREADS, OF_DYNAMORIO),
    "hwmodel/config/": SETTINGS,
    "hwmodel/machine.py": SETTINGS,
    "hwmodel/trace/": ("tests/test_trace.py",),
    "hwmodel/op.py": ("tests/test_trace.py",),
    "hwmodel/core/ledger.py": RESULTS,
    "hwmodel/core/log.py": OF_EVENTS,
    "hwmodel/events.py": OF_EVENTS,
    "hwmodel/recorder.py": OF_EVENTS,
    "hwmodel/measure/lanes.py": OF_EVENTS,
    "hwmodel/measure/perfetto.py": OF_EVENTS,
    "hwmodel/measure/timeline.py": OF_EVENTS,
    "hwmodel/measure/": RESULTS,
    "hwmodel/modelled.py": ("tests/model/test_09_operations_refused.py",),
    "hwmodel/run.py": ("tests/test_run.py",),
    "hwmodel/html.py": ("compiled", "tests/test_html.py"),
}
"""The tests that are nearest to a file, by the beginning of its name; of a kernel they are RANDOM and BY_HAND."""


@dataclass(frozen=True)
class Change:
    """A text that another replaces."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Fault:
    """One fault: in one file, or in a kernel and the oracle alike."""

    kind: str
    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Verdict:
    """The test that caught a fault, or nothing; as a row of the table that is printed."""

    kind: str
    file: str
    name: str
    caught: str
    seconds: str

    def row(self) -> str:
        """The row."""
        return f"| {self.kind} | {self.file} | {self.name} | {self.caught or SURVIVED} | {self.seconds} |"


def read_verdicts(path: pathlib.Path) -> list[Verdict]:
    """The rows of what an earlier run printed; of a fault that was judged again the last one."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            kind, file, name, caught, seconds = line.strip("| ").split(" | ")
            found[name] = Verdict(kind, file, name, "" if caught == SURVIVED else caught, seconds)
    return list(found.values())


def faults() -> list[Fault]:
    """Every fault, in the order of the lists."""
    found = []
    for path in sorted(LISTS.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]:
            parts = [entry, *([entry["oracle"]] if "oracle" in entry else [])]
            found.append(Fault(path.stem, entry["name"], tuple(Change(part["file"], part["old"], part["new"]) for part in parts)))
    return found


def problems(found: list[Fault]) -> Iterator[str]:
    """What keeps faults from being planted in the tree as it is."""
    names = [fault.name for fault in found]
    yield from (f"{name}: the name is there {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1)
    for fault in found:
        if (fault.kind == "both") != any(change.file.startswith(ORACLE) for change in fault.changes):
            yield f"{fault.name}: a fault of the oracle is one of both.toml, and the other way round"
        for change in fault.changes:
            text = (ROOT / change.file).read_text(encoding="utf-8")
            if text.count(change.old) != 1 or change.old == change.new:
                yield f"{fault.name}: {change.file} has the text {text.count(change.old)} times: {change.old!r}"
            else:
                try:
                    ast.parse(text.replace(change.old, change.new))
                except SyntaxError as error:
                    yield f"{fault.name}: {change.file} would not be Python: {error}"


# running


def tiers(fault: Fault, compiled: bool) -> list[tuple[str, ...]]:
    """The tests that a fault is shown to, tuple by tuple, until one fails."""
    file = fault.changes[0].file
    nearest = next((tests for start, tests in NEAREST.items() if file.startswith(start)), None)
    if nearest is None:
        order = [*((RANDOM, BY_HAND) if fault.kind == "kernel" else (BY_HAND, RANDOM)), DEEP, REST]
    else:
        order = [nearest, READING if file.startswith("workloads/") else OTHERS if file.startswith("hwmodel/") else ANALYSIS]
    return [*order, COMPILED] if compiled else order


class Copy:
    """A copy of the tree in which faults are planted."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True)
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    @contextlib.contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        """Make the changes of a fault, and undo them."""
        before = {self.folder / change.file: (self.folder / change.file).read_text(encoding="utf-8") for change in fault.changes}
        try:
            for change in fault.changes:
                path = self.folder / change.file
                path.write_text(before[path].replace(change.old, change.new), encoding="utf-8")
            yield
        finally:
            for path, text in before.items():
                path.write_text(text, encoding="utf-8")

    def run(self, tests: tuple[str, ...], limit: float | None) -> str:
        """The first test that fails; empty if none does."""
        compiled = tests[0] == "compiled"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "NUMBA", "HWMODEL"))}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(self.folder)}
        environment |= {"HWMODEL_CHECKED": "1", "HWMODEL_CACHE": str(self.folder / ".cache")} if compiled else {"NUMBA_DISABLE_JIT": "1"}
        command = [sys.executable, "-m", "pytest", *OPTIONS, *tests[compiled:]]
        while True:
            with tempfile.TemporaryFile("w+") as out:
                process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=out, stderr=out, start_new_session=True)
                try:
                    status = process.wait(limit)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return f"a loop: more than {limit:.0f} s"
                out.seek(0)
                said = out.read()
            if -status not in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):  # somebody ended it: that says nothing
                break
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.M)
        return "" if status == 0 else failed[1] if failed else f"status {status}: {said.strip().splitlines()[-1:]}"


class RedError(Exception):
    """A tier fails where nothing is planted."""


class Session:
    """A copy of the tree for each worker, one in which nothing is planted, and how long the tiers take there."""

    def __init__(self, folder: pathlib.Path, compiled: bool, most: int) -> None:
        self._folder, self._compiled, self._most = folder, compiled, most
        self._mine, self._lock, self._copies = threading.local(), threading.Lock(), 0
        self._clean = Copy(folder / "clean")
        self._seconds: dict[tuple[str, ...], float] = {}

    def judge(self, fault: Fault) -> Verdict:
        """Plant a fault and run the tiers."""
        copy, begun, caught = self._copy(), time.monotonic(), ""
        with copy.planted(fault):
            for tests in tiers(fault, self._compiled)[: self._most]:
                caught = copy.run(tests, PATIENCE * self._measured(tests) + GRACE)
                if caught:
                    break
        return Verdict(fault.kind, fault.changes[0].file, fault.name, caught, f"{time.monotonic() - begun:.0f} s")

    def _copy(self) -> Copy:
        """This worker's."""
        if not hasattr(self._mine, "copy"):
            with self._lock:
                self._copies += 1
                folder = self._folder / str(self._copies)
            self._mine.copy = Copy(folder)
        return self._mine.copy

    def _measured(self, tests: tuple[str, ...]) -> float:
        """How long a tier takes where nothing is planted; it is run there before it judges anything."""
        with self._lock:
            if tests not in self._seconds:
                begun = time.monotonic()
                failed = self._clean.run(tests, None)
                if failed:
                    raise RedError(f"the unchanged tree is not green: {failed}, of {' '.join(tests)}")
                self._seconds[tests] = time.monotonic() - begun
            return self._seconds[tests]


def main() -> int:
    """Plant what is asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only see whether every fault can be planted")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--only", default="", metavar="REGEX", help="those whose kind, file or name it finds")
    parser.add_argument("--compiled", action="store_true", help="a last tier with the JIT on: minutes for each survivor")
    parser.add_argument("--resume", type=pathlib.Path, metavar="FILE", help="an earlier run's output: its faults are not planted again")
    parser.add_argument("--tiers", type=int, default=9, metavar="N", help="no more than so many tiers: 1 shows in minutes what to look at")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth of them: a sample of every list")
    parser.add_argument("-j", type=int, default=1, metavar="N", help="faults at a time")
    options = parser.parse_args()
    wanted, earlier = re.compile(options.only), read_verdicts(options.resume) if options.resume else []
    seen = {verdict.name for verdict in earlier}
    chosen = [fault for fault in faults() if wanted.search(f"{fault.kind} {fault.changes[0].file} {fault.name}")][:: options.every]
    chosen = [fault for fault in chosen if fault.name not in seen]
    wrong = list(problems(chosen))
    if wrong or options.check:
        print(*(wrong or [f"{len(chosen)} faults can be planted"]), sep="\n")
        return 1 if wrong else 0
    if options.list:
        print(*(f"{fault.kind:10} {fault.changes[0].file:36} {fault.name}" for fault in chosen), sep="\n")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder, ThreadPoolExecutor(options.j) as pool:
            session = Session(pathlib.Path(folder), options.compiled, options.tiers)
            try:
                for judged in as_completed([pool.submit(session.judge, fault) for fault in chosen]):
                    print(judged.result().row(), flush=True)
                    earlier.append(judged.result())
            finally:
                pool.shutdown(cancel_futures=True)
    except RedError as error:
        print(error)
        return 2
    return totals(earlier)


def totals(verdicts: list[Verdict]) -> int:
    """Print how many were caught, by kind; the exit status."""
    for kind in dict.fromkeys(verdict.kind for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.kind == kind]
        print(f"{kind}: {sum(bool(verdict.caught) for verdict in mine)} of {len(mine)} caught")
    caught = sum(bool(verdict.caught) for verdict in verdicts)
    print(f"all: {caught} of {len(verdicts)} caught, {100 * caught / max(1, len(verdicts)):.1f} %")
    return 0 if caught >= ENOUGH * len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
