"""How fast it is here: `make bench`. No time is asserted; what was done in a second is printed at the end."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

import analysis
import hwmodel
import workloads
from analysis.runs import offloaded
from tests.paired import KERNEL_TEXT, parse_kernel, write_kernel, write_lackey
from tests.support import designs
from tests.support.engine_only import engine_only
from workloads import synthetic
from workloads.formats.drmemtrace import entries as drentries
from workloads.recorded import names

PRESETS = [designs.design(name).machine.name for name in designs.names()]
LINES = 2_000_000
ACCESSES = 4_000_000
START = """
import sys, hwmodel, workloads
devices = int(sys.argv[1] != "cpu-only")
hwmodel.simulate(hwmodel.preset(sys.argv[1]), workloads.zipf(accesses=1000, pages=100, devices=devices), progress=False)
"""
"""A first result: everything imported, a thousand accesses simulated."""


@pytest.mark.parametrize("recording", names())
@pytest.mark.parametrize("preset", PRESETS)
def test_simulate(measured, preset, recording):
    """A recording as `hwmodel compare` runs it: where there are engines, one has half of the data accesses."""
    machine, trace = hwmodel.preset(preset), workloads.recorded(recording)
    plain, shared, _ = offloaded(trace, [machine], 0.5)
    trace = plain if machine.design == "cpu_only" else shared
    measured(lambda: hwmodel.simulate(machine, trace, progress=False), records=len(trace), references=trace.references)


@pytest.mark.parametrize("preset", ["gru-2024", "kvm-ept-2024"])
@pytest.mark.parametrize("recording", ["sqlite", "sort"])
def test_sweep(measured, preset, recording):
    """Sixteen points on one thread; a point is to take at most 0.65 of what `test_simulate` takes of it."""
    over, trace = {"kernel.fault_ns": [700 + 10 * number for number in range(16)]}, workloads.recorded(recording)
    measured(lambda: analysis.sweep(preset, over, trace, threads=1, progress=False), points=16, records=16 * len(trace))


SIZES = {"full": [(n, n) for n in range(16, 1025, 16)], "ways": [(64 * n, n) for n in range(1, 65)],
         "sets": [(n << sets, n) for sets in range(8) for n in range(1, 9)]}  # fmt: skip
"""64 sizes of a TLB: fully associative, by ways at 64 sets, and by ways at each of 8 numbers of sets."""


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("runs", ["64 sizes", "one size"])
def test_miss_curve(measured, runs, sizes):
    """The misses of 64 sizes, one pass and one run, beside a run of the largest alone: sqlite's data accesses, made by an engine."""
    trace, asked = engine_only(workloads.recorded("sqlite")), SIZES[sizes]
    machine = hwmodel.preset("gru-2008").with_(**{"device.window": 1})
    largest = machine.with_(**dict(zip(("tlb.entries", "tlb.ways"), asked[-1], strict=True)))
    if runs == "one size":
        measured(lambda: hwmodel.simulate(largest, trace, progress=False), references=trace.references)
    else:
        frame = measured(lambda: analysis.miss_curve(machine, trace, asked[::-1], progress=False), references=trace.references)
        assert "one pass" in frame.attrs["notes"][0]


@pytest.mark.parametrize("recording", names())
def test_load(measured, recording):
    """All records of a recording, from disk."""
    trace = workloads.recorded(recording)
    loaded = measured(lambda: sum(chunk.size for chunk in trace.chunks()), records=len(trace), references=trace.references)
    assert loaded == len(trace)


@pytest.fixture(scope="module")
def lackey_log(tmp_path_factory):
    """A log of lackey's."""
    return write_lackey(tmp_path_factory.mktemp("lackey") / "program.lackey", LINES)


def test_read_lackey(measured, lackey_log):
    """Text to coalesced records, and the memory that was there before them: what opening a log does."""
    trace = measured(lambda: workloads.read(lackey_log), lines=LINES, bytes=lackey_log.stat().st_size)
    assert trace.references >= LINES  # an access that crosses a page is two


@pytest.mark.parametrize("events", KERNEL_TEXT)
def test_parse_kernel(measured, tmp_path, events):
    """Text of kernel events to events, one after the other, which each of the passes over a recording does."""
    text = write_kernel(tmp_path / "kernel", events, LINES // 4)
    assert measured(lambda: parse_kernel(text), rounds=7, lines=LINES // 4, bytes=text.stat().st_size) == LINES // 4


def test_parse_comments(measured, tmp_path):
    """Text of kernel events that is only comments."""
    text = tmp_path / "comments"
    text.write_bytes(b"#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n" * LINES)
    assert measured(lambda: parse_kernel(text), rounds=7, lines=LINES, bytes=text.stat().st_size) == 0


ENTRIES = 4_000_000


def program(random, count):
    """Addresses of instructions one after the other, and of data near where it was used before."""
    code = 0x400000 + np.cumsum(random.integers(1, 8, count)) % (1 << 20)
    data = 0x10000000 + (random.zipf(1.3, count) % 5000 << 12) + random.integers(0, 512, count) * 8
    return code, data


@pytest.fixture(scope="module")
def binaries(tmp_path_factory):
    """Uncompressed files of a program: 30 % of its instructions load, 15 % store."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("binaries")
    code, data = program(random, ENTRIES)
    for name, words, load, store in (("champsim", 8, 4, 2), ("cloudsuite", 12, 7, 3)):
        rows = np.zeros((ENTRIES, words), np.int64)
        rows[:, 0] = code
        rows[:, load] = np.where(random.random(ENTRIES) < 0.3, data, 0)
        rows[:, store] = np.where(random.random(ENTRIES) < 0.15, data ^ 64, 0)
        rows.tofile(folder / name)
    entries = np.zeros(ENTRIES, drentries.ENTRY)
    entries["what"] = random.choice([10, 0, 1], ENTRIES, p=[0.69, 0.21, 0.1])
    entries["bytes_"], entries["addr"] = 4, np.where(entries["what"] == 10, code, data)
    ends = np.array([(25, 0, 7), (22, 4, 5), (24, 4, 4), (26, 0, 0)], entries.dtype)
    np.concatenate([ends[:3], entries, ends[3:]]).tofile(folder / "drmemtrace")
    return folder


@pytest.mark.parametrize("name", ["champsim", "cloudsuite", "drmemtrace"])
def test_open_binary(measured, binaries, name):
    """Entries to coalesced records, and the memory that was there before them: what opening a file does."""
    measured(lambda: workloads.read(binaries / name), entries=ENTRIES, bytes=(binaries / name).stat().st_size)


@pytest.mark.parametrize("name", ["champsim", "cloudsuite", "drmemtrace"])
def test_read_binary(measured, binaries, name):
    """Entries to coalesced records: what each iteration over an open file does."""
    trace = workloads.read(binaries / name)
    measured(lambda: sum(chunk.size for chunk in trace.chunks()), entries=ENTRIES, references=trace.references)


def start(preset, cache):
    """A process of its own, to its first result."""
    subprocess.run([sys.executable, "-c", START, preset], env=os.environ | {"HWMODEL_CACHE": str(cache)}, check=True)


@pytest.mark.parametrize("preset", PRESETS)
def test_first_start(measured, preset, tmp_path):
    """The first process of a version: every kernel is compiled."""
    measured(lambda: start(preset, tmp_path), rounds=1, warmup=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_second_start(measured, preset, tmp_path_factory):
    """A process that finds its kernels on disk."""
    cache = tmp_path_factory.getbasetemp() / "cache"  # of all designs: a first round, not timed, fills it
    measured(lambda: start(preset, cache))


@pytest.mark.parametrize("generate", [getattr(synthetic, name) for name in synthetic.__all__], ids=lambda generate: generate.__name__)
def test_generate(measured, generate):
    """All records of a generator: a few million accesses, or a program of its default size."""
    known = inspect.signature(generate).parameters
    trace = generate(**{"accesses": ACCESSES} if "accesses" in known else {})
    made = measured(lambda: sum(chunk.size for chunk in trace.chunks()), records=len(trace))
    assert made == len(trace)
