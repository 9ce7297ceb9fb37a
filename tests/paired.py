"""Time this checkout against another one in pairs, run by hand: `python -m tests.paired ../before --rounds 9`.

In a round each checkout has a process of its own, warm after one run that is not counted; the two take turns, so that what else the
machine does meets both. A ratio is this one's CPU time over the other's, above 1 it has become slower; a round's is the median of its
pairs. Rounds are needed, as where a process happens to have its memory is worth up to a fifth of a run. The verdict is about the median of
the rounds: its band is the middle half of what a thousand samples of the rounds, drawn with replacement, say (bootstrap).
"""

import argparse
import gc
import inspect
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINES, ACCESSES = 500_000, 2_000_000
SAMPLES, LEAST = 1000, 5
ENOUGH = 0.3
"""Seconds of CPU that one timing takes at least: what is shorter runs more than once."""


def write_lackey(path: pathlib.Path, lines: int) -> pathlib.Path:
    """Write a log of lackey's with as many loads and stores as real ones have, on a thousand pages."""
    with path.open("w") as text:
        for k in range(0, lines, 5):
            code, data = 0x4000000 + 4 * (k % 9973), 0x5000000 + 4099 * (k % 997) + k % 512 * 8
            text.write(f"I  {code:x},3\nI  {code + 3:x},5\n L {data:x},8\nI  {code + 8:x},4\n S {data ^ 64:x},8\n")
    return path


KERNEL_TEXT = {
    "faults": [
        "page_fault_user: address=0x{0:x} ip=0x401000 error_code=0x6", "page_fault_kernel: address=0x{0:x} ip=__put_user_4 error_code=0x2",
    ],
    "calls by number": ["sys_enter: NR 9 (0, {1:x}, 3, 22, ffffffff, 0)", "sys_exit: NR 9 = {0}"],
    "calls by name": [
        "sys_enter_mmap: addr: 0x{0:08x}, len: 0x{1:08x}, prot: 0x00000003, flags: 0x00000022, fd: 0xffffffff, off: 0x00000000",
        "sys_exit_mmap: 0x{0:x}", "sys_enter_futex: uaddr: 0x{0:x}, op: 0x00000080, val: 0x00000002, utime: 0x{0:x}", "sys_exit_futex: 0x0",
    ],
    "calls as ftrace has them": [
        "sys_mmap(addr: 0, len: {1:x}, prot: 3, flags: 22, fd: ffffffff, off: 0)", "sys_mmap -> 0x{0:x}",
        "sys_munmap(addr: {0:x}, len: {1:x})", "sys_munmap -> 0x0",
    ],
}  # fmt: skip
"""Pairs of events that a benchmark repeats, with an address and a length."""


def write_kernel(path: pathlib.Path, events: str, lines: int) -> pathlib.Path:
    """Write lines of kernel events of one kind, of 16 threads."""
    texts = KERNEL_TEXT[events]
    with path.open("w") as text:
        for k in range(lines):
            at = k // 2
            event = texts[k % len(texts)].format(0x7F0000000000 + at % 99991 * 4096, 4096 * (1 + at % 64))
            text.write(f"{'python3':>16}-{4700 + at % 16:<7} (   4700) [{at % 4:03}] ..... {20 + k // 1000000}.{k % 1000000:06}: {event}\n")
    return path


def parse_kernel(path: pathlib.Path) -> int:
    """Return the number of events of a text."""
    from workloads.formats.kernel.lines import Lines
    from workloads.streams import file_source

    return sum(1 for _ in Lines(file_source(path)).events())


def tasks() -> dict[str, Callable[[], Callable[[], object]]]:
    """What can be timed: by name, a function that prepares it and returns the function that is timed."""
    import hwmodel
    import workloads
    from analysis.runs import offloaded
    from hwmodel import machine as machines
    from workloads.recorded import names

    same = {"unit": "record"} if "unit" in inspect.signature(offloaded).parameters else {}
    """What checkouts from before there were units do."""

    def simulated(preset: str, recording: str) -> Callable[[], object]:
        machine, trace = hwmodel.preset(preset), workloads.recorded(recording)
        plain, shared, _ = offloaded(trace, [machine], 0.5, **same)
        chosen = plain if machine.design == "cpu_only" else shared
        return lambda: hwmodel.simulate(machine, chosen, progress=False)

    def generated(name: str, preset: str, **parameters: int) -> Callable[[], object]:
        machine, trace = hwmodel.preset(preset), getattr(workloads, name)(**parameters)
        return lambda: hwmodel.simulate(machine, trace, progress=False)

    def loaded(recording: str) -> Callable[[], object]:
        return lambda: sum(chunk.size for chunk in workloads.recorded(recording).chunks())

    def lackey() -> Callable[[], object]:
        folder = tempfile.TemporaryDirectory()  # the function keeps it: it goes with the process
        log = write_lackey(pathlib.Path(folder.name) / "program.lackey", LINES)
        return lambda folder=folder: workloads.read(log)

    def kernel(events: str) -> Callable[[], object]:
        folder = tempfile.TemporaryDirectory()
        text = write_kernel(pathlib.Path(folder.name) / "kernel", events, LINES // 2)
        return lambda folder=folder: parse_kernel(text)

    found: dict[str, Callable[[], Callable[[], object]]] = {}
    for preset in machines.presets():
        for recording in (name for name in names() if not any(agent.role == "device" for agent in workloads.recorded(name).agents)):
            found[f"simulate {preset} {recording}"] = lambda preset=preset, recording=recording: simulated(preset, recording)
        if hwmodel.preset(preset).design != "cpu_only":
            found[f"zipf {preset}"] = lambda preset=preset: generated("zipf", preset, accesses=ACCESSES, pages=1 << 14, devices=1)
    found |= {f"load {recording}": lambda recording=recording: loaded(recording) for recording in names()}
    found["read lackey"] = lackey
    found |= {f"parse kernel's {events}": lambda events=events: kernel(events) for events in KERNEL_TEXT}
    return found


def serve() -> None:
    """Prepare and time what is asked for, line by line: a name, then a line for each run of it."""
    warnings.simplefilter("ignore")
    known, timed, runs, out = tasks(), None, 1, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the model prints is no answer
    print(*known, sep="\t", file=out, flush=True)
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name:
            timed = known[name]()
            timed()
            gc.freeze()
            runs = max(1, round(ENOUGH / seconds_of(timed, 1)))
        print(seconds_of(timed, runs), file=out, flush=True)


def seconds_of(timed: Callable[[], object], runs: int) -> float:
    """Run it so often and return the CPU seconds of one run; what the run before has left is collected before the clock starts."""
    total = 0.0
    for _ in range(runs):
        gc.collect()
        begun = time.process_time()
        timed()
        total += time.process_time() - begun
    return total / runs


class Checkout:
    """A process that times what a checkout does."""

    def __init__(self, root: pathlib.Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.names = self._process.stdout.readline().rstrip("\n").split("\t")

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def seconds(self, name: str = "") -> float:
        """Run what was named last once more, or prepare and run what is named now."""
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def ratio(here: Checkout, there: Checkout, name: str, pairs: int) -> float:
    """Take turns and return the median of the pairs; who is first changes from pair to pair."""
    here.seconds(name), there.seconds(name)
    found = []
    for k in range(pairs):
        first, second = (here, there) if k % 2 else (there, here)
        seconds = {first: first.seconds(), second: second.seconds()}
        found.append(seconds[here] / seconds[there])
    return statistics.median(found)


def rounds(roots: list[pathlib.Path], only: str, number: int, pairs: int) -> dict[str, list[float]]:
    """Return the ratio of each task in each round."""
    found: dict[str, list[float]] = {}
    for k in range(number):
        here, there = (Checkout(root) for root in roots)
        for name in (name for name in here.names if name in there.names and re.search(only, name)):
            found.setdefault(name, []).append(ratio(here, there, name, pairs))
            print(f"round {k + 1} of {number}: {name} {found[name][-1]:.3f}", file=sys.stderr)
        here.close(), there.close()
    return found


def band(found: list[float]) -> tuple[float, float]:
    """The middle half of the medians of samples drawn with replacement."""
    draws = np.random.default_rng(0).choice(found, (SAMPLES, len(found)))
    low, high = np.quantile(np.median(draws, axis=1), (0.25, 0.75))
    return float(low), float(high)


def main() -> int:
    """Print a row for each task; the exit status is 1 if one has surely become slower than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=pathlib.Path, nargs="?", help="the checkout that this one is compared with")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--pairs", type=int, default=3, metavar="N", help="of each round")
    parser.add_argument("--only", default="", metavar="REGEX", help="those whose name it finds")
    parser.add_argument("--most", type=float, default=0.03, metavar="SHARE", help="by how much a median may be higher")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    if options.other is None or not (options.other / "hwmodel").is_dir():
        parser.error(f"other: {options.other} is not a checkout")
    if options.rounds < LEAST or options.pairs < 1:
        parser.error(f"at least {LEAST} rounds of a pair, not {options.rounds} of {options.pairs}")
    slower = False
    print("| task | median | band | fastest and slowest round |\n|---|---|---|---|")
    for name, found in rounds([ROOT, options.other.resolve()], options.only, options.rounds, options.pairs).items():
        low, high = band(found)
        slower |= low > 1 + options.most
        print(f"| {name} | {statistics.median(found):.3f} | {low:.3f} to {high:.3f} | {min(found):.3f}, {max(found):.3f} |")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
