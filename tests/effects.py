"""Say which counters, accounts and latencies a change of the model moved, run by hand.

    python -m tests.effects write before.json         # in a checkout of the commit before
    python -m tests.effects write after.json          # in this one
    python -m tests.effects compare before.json after.json

Every shipped recording runs whole on every preset that can run it. A row of the comparison is a counter, an account or a latency of
one role's agents that differs; what is not in it is the same to the last cycle.
"""

import argparse
import json
import pathlib
import sys
import warnings

from hwmodel import machine as machines
from hwmodel import simulate
from workloads import recorded
from workloads.offload import offload
from workloads.recorded import names

SHARE = 0.5
"""Of the data accesses, what an engine gets where the recording has none: as `hwmodel compare` does."""


def measure(preset: str, recording: str) -> dict[str, int]:
    """Return every number of one run by its name: (role) counter, (role) account in cycles, latency."""
    machine, trace = machines.preset(preset), recorded(recording)
    has_device = any(agent.role == "device" for agent in trace.agents)
    if has_device and not machine.has_engines:
        return {}
    if machine.has_engines and not has_device:
        trace = offload(trace, SHARE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = simulate(machine, trace, progress=False)
    found = {"cycles": int(result.cycles)}
    for role in ("cpu", "device"):
        found |= {f"{role} {name}": result.counters.total(name, role) for name in result.counters}
        found |= {f"{role} {name} (cycles)": result.ledger.total(name, role) for name in result.ledger}
    for kind, row in zip(result.book.latencies, result.histograms, strict=True):
        found |= {f"latency {kind} {what}": int(n) for what, n in zip(("count", "sum", "min", "max"), row[:4], strict=True)}
    return {name: n for name, n in found.items() if n}


def write(path: pathlib.Path, presets: list[str], recordings: list[str]) -> None:
    """Run everything and keep the numbers as JSON: {"preset recording": {name: number}}."""
    found = {}
    for preset in presets:
        for recording in recordings:
            found[f"{preset} {recording}"] = measure(preset, recording)
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def compare(before: pathlib.Path, after: pathlib.Path) -> list[tuple[str, str, int, int]]:
    """Return (run, name, before, after) of every number that differs."""
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    return [
        (run, name, old.get(run, {}).get(name, 0), new.get(run, {}).get(name, 0))
        for run in sorted({*old, *new})
        for name in sorted({*old.get(run, {}), *new.get(run, {})})
        if old.get(run, {}).get(name, 0) != new.get(run, {}).get(name, 0)
    ]


def main() -> int:
    """Write the numbers of this checkout, or compare two files of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--presets", default=",".join(machines.presets()))
    parser.add_argument("--recordings", default=",".join(names()))
    chosen = parser.parse_args()
    if chosen.action == "write":
        write(chosen.files[0], chosen.presets.split(","), chosen.recordings.split(","))
        return 0
    for run, name, old, new in compare(*chosen.files):
        sys.stdout.write(f"{run}\t{name}\t{old}\t{new}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
