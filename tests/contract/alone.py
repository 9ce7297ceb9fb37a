"""A run in a process of its own: `python -m tests.contract.alone DESIGN` prints what came out and where its kernels came from."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

from hwmodel import jit, secondary
from hwmodel.measure.result import Result
from tests.contract.traces import long_case, run

ROOT = pathlib.Path(__file__).resolve().parents[2]


def digest(result: Result) -> str:
    """All that was measured, as one number."""
    total = hashlib.sha256()
    phases = result.phase_histograms, result.phase_shares
    for array in (result.counters.array, result.ledger.array, result.clocks, result.histograms, *phases):
        total.update(array.tobytes())
    return total.hexdigest()


def run_alone(design: str, jit_off: bool) -> dict[str, object]:
    """Run a design's long case in another process."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1" if jit_off else "0"}
    command = [sys.executable, "-m", "tests.contract.alone", design]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(design: str) -> dict[str, object]:
    """What this process has to tell."""
    outcome: dict[str, object] = {"digest": digest(run(*long_case(design))), "jit_off": jit.JIT_OFF}
    if not jit.JIT_OFF:
        stats = secondary.design(design).run.stats
        outcome |= {"hits": sum(stats.cache_hits.values()), "misses": sum(stats.cache_misses.values())}
    return outcome


if __name__ == "__main__":
    sys.stdout.write(json.dumps(told(sys.argv[1])))
