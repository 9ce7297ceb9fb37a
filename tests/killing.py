"""Kill -9 at random moments of a study, resumed each time: `python -m tests.killing 100`.

A study of eight points is killed, and again where it goes on, until a round ends by itself; then the next study begins, in a new store.
Every finished study has the table of an undisturbed one, and no round computes a point that was stored when it began.
"""

import contextlib
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from analysis.pointstore import PointStore
from hwmodel.machine import ConfigError

ENTRIES = [16, 32, 64, 128, 256, 512, 1024, 2048]
STUDY = """
import sys
import analysis, workloads
from analysis import batches, runs

store, log, table, entries = sys.argv[1:]
batches.TOGETHER, run = 1, runs.simulate_all

def told(machines, trace, **parts):
    with open(log, "a") as file:
        print(machines[0].get("tlb.entries"), file=file)
    return run(machines, trace, **parts)

runs.simulate_all = told
over = {"tlb.entries": [int(number) for number in entries.split(",")]}
zipf = {"zipf": workloads.zipf(accesses=30_000, pages=3000, devices=1)}
analysis.experiment("gru-2008", zipf, over, store=store, progress=False).frame.to_csv(table)
"""
"""A study that writes each point that it begins to a log, and its table at the end."""


def started(folder: pathlib.Path, name: str) -> "subprocess.Popen[bytes]":
    """Start a process that does the whole study, with the store of the folder."""
    arguments = [folder / "points.db", folder / f"{name}.log", folder / f"{name}.csv", ",".join(map(str, ENTRIES))]
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", STUDY, *map(str, arguments)], start_new_session=True)


def lines(path: pathlib.Path) -> list[str]:
    """Return the lines of a log; none if there is no log."""
    return path.read_text().split() if path.exists() else []


def stored(path: pathlib.Path) -> set[int]:
    """Return the sizes of the TLBs whose points a store has."""
    if not path.exists():
        return set()
    with contextlib.suppress(ConfigError), PointStore(path) as store:
        keys = [key for (key,) in store._database.execute("SELECT key FROM points")]
        return {store.get(key).machine.get("tlb.entries") for key in keys}
    return set()


def rounds(folder: pathlib.Path, kills: int, seed: int) -> dict[str, int]:
    """Kill studies so many times, at random; raise AssertionError if one computes a stored point, or has another table.

    Half of the kills come after a random time, so at start-up and between points too; half while the k-th point of a round is computed.
    """
    chance, done = random.Random(seed), {"kills": 0, "studies": 0, "points": 0}
    calm = folder / "calm"
    calm.mkdir()
    began = time.monotonic()
    assert started(calm, "calm").wait() == 0
    usual = time.monotonic() - began
    while done["kills"] < kills:
        study = folder / f"study{done['studies']}"
        study.mkdir()
        number, ended = 0, False
        while not ended:
            ended = _round(study, f"round{number}", usual, chance, kill=done["kills"] < kills)
            done["kills"] += not ended
            number += 1
        assert (study / f"round{number - 1}.csv").read_bytes() == (calm / "calm.csv").read_bytes(), study
        assert stored(study / "points.db") == set(ENTRIES), study
        done["studies"] += 1
        done["points"] = len(ENTRIES)
    return done


def _round(folder: pathlib.Path, name: str, usual: float, chance: random.Random, kill: bool) -> bool:
    """Start a study, or go on with it; return whether it ended by itself."""
    before, process, log = stored(folder / "points.db"), started(folder, name), folder / f"{name}.log"
    if kill:
        _wait(process, log, usual, chance)
        process.send_signal(signal.SIGKILL)
    status = process.wait()
    assert status in (0, -signal.SIGKILL), status
    again = before & {int(line) for line in lines(log)}
    assert not again, f"{folder}: points {again} were stored, and ran again"
    return status == 0


def _wait(process: "subprocess.Popen[bytes]", log: pathlib.Path, usual: float, chance: random.Random) -> None:
    """Wait until the moment of a kill, or until the process has ended."""
    until, points = time.monotonic() + usual * chance.random(), 1 + chance.randrange(3)
    by_time = chance.random() < 0.5
    while process.poll() is None and (time.monotonic() < until if by_time else len(lines(log)) < points):
        time.sleep(0.002)


def main() -> int:
    """Run as many kills as the command line asks for; print the counts."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        done = rounds(pathlib.Path(folder), kills, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"{done['kills']} kills of {done['studies']} studies: the table of an undisturbed one, and no stored point was computed again")
    return 0


if __name__ == "__main__":
    sys.exit(main())
