"""Cachegrind as a judge: with lines of 4096 bytes its caches are TLBs, and its counts are the model's, to the last digit.

Its I1, D1 and LL are the model's itlb, dtlb and stlb: LRU, LL looked up by the misses of both. Lackey records the accesses
that cachegrind counts; valgrind gives the program the same addresses under either tool.
"""

import itertools
import platform
import re
import subprocess
from collections import Counter
from typing import NamedTuple

import pytest

import hwmodel
import workloads
from hwmodel import op

HERE = __file__.rpartition("/")[0]
ACCESS = (b"I ", b" L", b" S", b" M")
PAGE = 4096


class Geometry(NamedTuple):
    """(entries, ways) of each TLB."""

    itlb: tuple[int, int]
    dtlb: tuple[int, int]
    stlb: tuple[int, int]


GEOMETRIES = {
    "as asked": Geometry((64, 4), (64, 4), (1536, 12)),
    "small, one fully associative": Geometry((32, 2), (16, 16), (512, 4)),
    "one direct-mapped": Geometry((128, 1), (128, 8), (1024, 8)),
}


@pytest.fixture(scope="module")
def program(valgrind, tmp_path_factory):
    """A folder with the program, linked statically: a dynamic loader's accesses depend on more than the program."""
    folder = tmp_path_factory.mktemp("judged")
    subprocess.run(["cc", "-O1", "-static", "-o", "program", f"{HERE}/program.c"], cwd=folder, check=True)
    return folder


def run(folder, valgrind, *options):
    """Run the program under valgrind with an empty environment, which would lie on its stack."""
    subprocess.run([valgrind, "--vgdb=no", *options, "./program"], cwd=folder, env={}, check=True, capture_output=True)


@pytest.fixture(scope="module")
def log(program, valgrind):
    """A lackey log of the program, system calls and operations on memory included; a second one says the same."""
    for name in ("once", "again"):
        run(program, valgrind, "--tool=lackey", "--trace-mem=yes", "--trace-syscalls=yes", f"--log-file={name}")
    with open(program / "once", "rb") as once, open(program / "again", "rb") as again:
        for first, second in itertools.zip_longest(accesses(once), accesses(again)):
            assert first == second, "the program does not do the same twice"
    return program / "once"


def accesses(lines):
    """The lines that are accesses; others name the process."""
    return (line for line in lines if line.startswith(ACCESS))


def judged(folder, valgrind, geometry):
    """Cachegrind's events, by its names."""
    def cache(name, size):
        entries, ways = size
        return f"--{name}={entries * PAGE},{ways},{PAGE}"

    caches = [cache(name, size) for name, size in zip(("I1", "D1", "LL"), geometry, strict=True)]
    run(folder, valgrind, "--tool=cachegrind", "--cache-sim=yes", *caches, "--cachegrind-out-file=out")
    found = re.search(r"events: (.*)\n(?s:.*)summary: (.*)\n", (folder / "out").read_text())
    return dict(zip(found[1].split(), map(int, found[2].split()), strict=True))


@pytest.mark.as_shipped
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=list(GEOMETRIES))
def test_misses_are_those_of_cachegrind(program, valgrind, log, geometry):
    trace = workloads.read(log, events=False)
    sizes = {f"cpu.{tlb}.{part}": n for tlb, size in geometry._asdict().items() for part, n in zip(("entries", "ways"), size, strict=True)}
    result = hwmodel.simulate(hwmodel.preset("cpu-only").with_(**{"cpu.count": 1, **sizes}), trace, progress=False)
    cg = judged(program, valgrind, geometry)

    def counted(level):
        return result.counters[f"cpu.{level}.hits"] + result.counters[f"cpu.{level}.misses"]

    # the same accesses, crossing ones counted once
    assert (counted("itlb"), counted("dtlb")) == (cg["Ir"], cg["Dr"] + cg["Dw"])
    assert result.counters["cpu.accesses"] == cg["Ir"] + cg["Dr"] + cg["Dw"]
    # the same misses
    misses = {level: result.counters[f"cpu.{level}.misses"] for level in geometry._fields}
    assert misses == {
        "itlb": cg["I1mr"], "dtlb": cg["D1mr"] + cg["D1mw"], "stlb": cg["ILmr"] + cg["DLmr"] + cg["DLmw"],
    }  # fmt: skip
    assert cg["I1mr"] > 500 and cg["D1mr"] > 10_000 and cg["DLmw"] > 5_000, "there is little to compare"
    # nothing but accesses touched the TLBs
    names = ("faults.anon", "faults.file", "faults.zero", "faults.cow", "faults.spurious", "segv", "cpu.dirty_assists",
             "flushes.ranged", "flushes.full")  # fmt: skip
    assert not any(result.counters[name] for name in names)


def test_the_program_does_what_is_hard(log):
    """Modifies, and accesses of every kind that lie in two pages."""
    crossing = Counter()
    for chunk in workloads.read(log, events=False).chunks():
        crossing.update(chunk["kind"][chunk["kind"] & op.CONTINUES != 0].tolist())
    kinds = [op.READ, op.WRITE]
    if platform.machine() == "x86_64":  # whose instructions may lie in two pages, and modify memory
        kinds.append(op.FETCH)
        assert log.read_bytes().count(b"\n M ") > 5_000
    assert all(crossing[kind | op.CONTINUES] > 1_000 for kind in kinds)
