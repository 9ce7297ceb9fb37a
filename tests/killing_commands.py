"""Kill the command line at random moments: `python -m tests.killing_commands 3 7` kills every command three times with each signal.

Half of the moments are anywhere in the time that an undisturbed run takes, a quarter near its end, a quarter after it has opened a file to
write. After every kill each output is the old one, or the new one, whole; nothing lies beside it; the command has died of its signal,
without a traceback, and with it all that it had started. At last it runs undisturbed, on what the kills have left, and writes all of it.
"""

import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import workloads
from analysis.pointstore import PointStore
from hwmodel.output import PREFIX
from hwmodel.store import SUFFIX, Store
from tests.support.marked import Marked
from workloads.recorders import lackey, qemu, recordkernel, tracefs

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
ENTRY = [sys.executable, "-W", "ignore", "-m", "hwmodel_command"]
STARTED = 0.05
"""Seconds that Python itself takes to start: before, a Ctrl-C is its own affair."""
PATIENCE = 2.0
"""Seconds after which nothing may live on."""
MOST = 12
"""Kills that may come after the end, for each that is asked for."""
STUDY = """machines = ["gru-2008"]
store = "points.db"
workloads = {z = {generator = "zipf", accesses = 3000, pages = 300, devices = 1}}
over = {tlb.entries = [16, 32, 64, 128, 256, 512, 1024, 2048]}
"""
PROGRAM = ["sh", "-c", "ls / & ls /usr; wait"]
POINTS = ("points.db", "points.db-wal", "points.db-shm", "points.db-journal")


@dataclass(frozen=True)
class Command:
    """What is killed.

    Parameters
    ----------
    arguments : str
        Of `hwmodel`, which runs in a folder of its own, beside the files of `inputs`.
    files : tuple of str
        What it writes there.
    compiles : bool
        Whether it has a cache of its own, which is empty at first and whenever a run has filled it.
    missing : callable
        Returns why it can't run here; empty if it can.
    same : bool
        Whether each run writes the same; otherwise a whole file is one that can be read.
    """

    arguments: str
    files: tuple[str, ...]
    compiles: bool = False
    missing: Callable[[], str] = lambda: ""
    same: bool = True


def _no_tracefs() -> str:
    able = os.geteuid() == 0 and any(os.access(f"{root}/instances", os.W_OK) for root in tracefs.ROOTS)
    return "" if able and os.access(recordkernel.KVM, os.R_OK) else "root, tracefs and KVM"


FORMATS = [".hwtrace", *(kind + packing for kind in (".csv", ".champsim") for packing in ("", ".gz", ".xz", ".bz2", ".zst"))]
COMPARED = ("out/compare.csv", "out/compare.md", "out/settings.csv", "out/costs.png", "out/latency.png")
SWEPT = "sweep --trace ../small.hwtrace --machine gru-2008 --set tlb.entries=16,64,256 --out out.csv"
COMMANDS = {
    "compile": Command(SWEPT, ("out.csv",), compiles=True),
    "compile readers": Command("convert ../large.hwtrace out.csv.gz --lossy", ("out.csv.gz",), compiles=True),
    "compare": Command("compare --trace ../small.hwtrace --machines gru-2008,kvm-ept-2024 --draws 20 --out out", COMPARED),
    "report": Command("report --trace ../small.hwtrace --machines gru-2008,kvm-ept-2024 --draws 20 --out out.html", ("out.html",)),
    "sweep": Command(SWEPT, ("out.csv",)),
    "study": Command("sweep ../study.toml --out out.csv", ("out.csv",)),
    "inspect": Command("inspect ../small.hwtrace --picture out.png", ("out.png",)),
    **{f"convert{suffix}": Command(f"convert ../large.hwtrace out{suffix} --lossy", (f"out{suffix}",)) for suffix in FORMATS},
    "record lackey": Command("record --tool lackey --out out.hwtrace --", ("out.hwtrace",), missing=lackey.missing, same=False),
    "record qemu": Command("record --tool qemu --out out.csv.zst --", ("out.csv.zst",), missing=qemu.missing, same=False),
    "record kernel": Command("record --kernel --out out.ftrace.xz --", ("out.ftrace.xz",), missing=_no_tracefs, same=False),
}  # fmt: skip


def inputs(folder: pathlib.Path) -> None:
    """Write what the commands read."""
    workloads.zipf(accesses=5000, pages=300, devices=1).save(folder / "small.hwtrace")
    workloads.zipf(accesses=200_000, pages=3000).save(folder / "large.hwtrace")
    (folder / "study.toml").write_text(STUDY)


class Victim:
    """One command in its folder, killed again and again.

    Parameters
    ----------
    name : str
        Of the command.
    folder : path
        Made here; its parent has the inputs.
    chance : Random
        Draws the moments.
    """

    def __init__(self, name: str, folder: pathlib.Path, chance: random.Random) -> None:
        self.name, self.command, self.folder, self.chance = name, COMMANDS[name], folder, chance
        self.temporary, self.cache = folder / "tmp", folder / "cache"
        self.temporary.mkdir(parents=True)
        self.tally: Counter[str] = Counter()
        self._run()  # compiles; builds a plugin
        for file in self.command.files:
            (folder / file).unlink()
        self._fresh()
        began = time.monotonic()
        self._run()
        self.usual = time.monotonic() - began
        self.new = self._contents()
        assert None not in self.new.values(), self.new.keys()
        self.old = {file: b"old" for file in self.command.files}

    def _start(self, errors: int) -> Marked:
        caches = {"HWMODEL_CACHE": str(self.cache)} if self.command.compiles else {}
        program = PROGRAM if self.command.arguments.endswith("--") else []
        return Marked([*ENTRY, *self.command.arguments.split(), *program], self.folder, errors, TMPDIR=str(self.temporary), **caches)

    def _run(self) -> None:
        """Run it undisturbed."""
        with tempfile.TemporaryFile() as errors:
            assert self._start(errors.fileno()).process.wait() == 0, self._said(errors)

    def _fresh(self) -> None:
        """Forget what runs have computed: the next one does all of it."""
        shutil.rmtree(self.cache, ignore_errors=True)
        for file in POINTS:
            (self.folder / file).unlink(missing_ok=True)

    def kill(self, number: signal.Signals) -> None:
        """Kill one run, at random; check what it leaves."""
        absent = self.chance.random() < 0.5
        for file in self.command.files:
            (self.folder / file).parent.mkdir(exist_ok=True)
            (self.folder / file).unlink(missing_ok=True)
            if not absent:
                (self.folder / file).write_bytes(self.old[file])
        with tempfile.TemporaryFile() as errors:
            run = self._start(errors.fileno())
            moment = self._wait(run)
            ended, self.writing = run.process.poll() is not None, self._writes(run)
            run.process.send_signal(number)
            self._await_end(run)
            left, lost = run.left(), run.process.poll() is None
            for pid in run.alive():
                os.kill(pid, signal.SIGKILL)
            status, said = run.process.wait(), self._said(errors)
        where = f"{self.name}, {number.name} {moment}, status {status}: "
        self.tally[number.name] += not ended
        self.tally["came too late"] += ended
        self.tally["while writing"] += self.writing and not ended
        assert not lost, f"{where}it goes on after {PATIENCE:g} s; {said}"
        assert not left, f"{where}{left} live on"
        own = f"instances/hwmodel-{run.process.pid}-*"
        assert not any(list(pathlib.Path(root).glob(own)) for root in tracefs.ROOTS), f"{where}it traces on"
        assert status in ((0,) if ended else (-number, 128 + number, 0)), f"{where}{said}"
        assert "Traceback" not in said and "Exception" not in said, f"{where}{said}"
        self._check(where, status, number, absent)
        if status == 0:
            self._fresh()

    def _wait(self, run: Marked) -> str:
        """Wait until the moment of a kill; return what it is, for messages."""
        how, until = self.chance.choice(["any", "any", "late", "writing"]), time.monotonic() + STARTED
        part = self.chance.uniform(0.8, 1.05) if how == "late" else self.chance.random()
        if how == "writing":
            while run.process.poll() is None and not self._writes(run):
                time.sleep(0.001)
            time.sleep(delay := self.chance.choice([0, 0.003, 0.03]))
            return f"{delay} s after it began to write"
        time.sleep(max(0, until - time.monotonic() + part * (self.usual - STARTED)))
        return f"after {part:.2f} of its time"

    def _writes(self, run: Marked) -> bool:
        """Whether the process has a file of its folder open to write; a database and the turns of a cache are open all the time."""
        process = pathlib.Path(f"/proc/{run.process.pid}")
        try:
            for path in (process / "fd").iterdir():
                file, about = os.readlink(path), (process / "fdinfo" / path.name).read_text()
                if file.startswith(f"{self.folder}/") and int(about.split("flags:")[1].split()[0], 8) & os.O_ACCMODE:
                    if "points.db" not in file and not file.endswith("/turns"):
                        return True
        except OSError:
            pass  # it has been closed meanwhile
        return False

    def _await_end(self, run: Marked) -> None:
        until = time.monotonic() + PATIENCE
        while (run.process.poll() is None or run.left()) and time.monotonic() < until:
            time.sleep(0.005)

    def _contents(self) -> dict[str, bytes | None]:
        paths = {file: self.folder / file for file in self.command.files}
        return {file: path.read_bytes() if path.exists() else None for file, path in paths.items()}

    def _check(self, where: str, status: int, number: int, absent: bool) -> None:
        """Raise AssertionError if an output is half written, or something lies beside it."""
        found, kinds = self._contents(), set()
        for file, content in found.items():
            if content == (None if absent else self.old[file]):
                kinds.add("old")
            else:
                kinds.add("new")
                assert self._is_new(file, content), f"{where}{file} is neither old nor new"
        assert status or kinds == {"new"}, f"{where}{kinds}"
        self.tally[" and ".join(sorted(kinds))] += 1
        beside = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_relative_to(self.cache)]
        beside = [path for path in beside if str(path.relative_to(self.folder)) not in {*self.command.files, *POINTS}]
        beside += [path for path in self.temporary.iterdir() if path not in beside]
        beside += [path for path in self.cache.rglob(f"{PREFIX}*")]
        if number == signal.SIGKILL and all(path.name.startswith(PREFIX) for path in beside):  # the next writer removes these
            self.tally["left by KILL"] += len(beside)
        else:
            assert not beside, f"{where}{beside} are left"
        if (self.folder / POINTS[0]).exists():
            with PointStore(self.folder / POINTS[0]) as store:
                self.tally["points stored"] += len(store)
        for path in self.cache.rglob(f"*{SUFFIX}"):
            assert Store(str(path.parent)).load(path.name.removesuffix(SUFFIX)), f"{where}{path} is damaged"

    def _is_new(self, file: str, content: bytes | None) -> bool:
        """Whether a file is whole; a recording, of which each is another, if it can be read to its end."""
        if self.command.same or content is None:
            return content == self.new[file]
        return sum(chunk.size for chunk in workloads.read(self.folder / file).chunks()) > 0

    def _said(self, errors) -> str:
        errors.seek(0)
        return errors.read().decode()

    def end(self) -> None:
        """Run it once more, on what the kills have left."""
        self._run()
        self._check("at the end: ", 0, 0, absent=False)


def rounds(folder: pathlib.Path, names: list[str], kills: int, seed: int, tell: Callable[[str], object] = lambda line: None) -> int:
    """Kill each of some commands so many times with every signal; return how many kills met a living process."""
    folder = folder.resolve()
    inputs(folder)
    total = 0
    for name in names:
        if reason := COMMANDS[name].missing():
            tell(f"{name}: NOT SHOWN, needs {reason}")
            continue
        chance, began = random.Random(f"{seed} {name}"), time.monotonic()
        victim = Victim(name, folder / name, chance)
        for number in SIGNALS:
            while victim.tally[number.name] < kills and victim.tally["came too late"] < MOST * kills:
                victim.kill(number)
        victim.end()
        total += sum(victim.tally[number.name] for number in SIGNALS)
        tell(f"{name}: {dict(victim.tally)}; {victim.usual:.1f} s undisturbed, {time.monotonic() - began:.0f} s in all")
    return total


def main() -> int:
    """Run as many kills as the command line asks for, of the commands that it names, or of all; print the counts."""
    kills, seed, *names = [*sys.argv[1:], *["3", "0"][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        total = rounds(pathlib.Path(folder), names or list(COMMANDS), int(kills), int(seed), lambda line: print(line, flush=True))
    print(f"{total} kills: each output is the old one or the new one, whole, and nothing else is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
