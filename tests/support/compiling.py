"""Everything that Python can call, called twice in a process of its own: `python -m tests.support.compiling gru` says what was compiled.

The second time every setting of the machine has another value, and there are more agents, CPUs, address spaces, files and records.
"""

import importlib
import itertools
import json
import pathlib
import pkgutil
import sys
import tempfile

from numba.core import event
from numba.core.registry import CPUDispatcher

import analysis
import hwmodel
import workloads
from analysis import onepass
from hwmodel import op
from hwmodel.config import ConfigError
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace, validate
from tests.support import designs
from tests.workloads import test_columns, test_execlog, test_fuzz, test_threads

AT = 0x10000 << 12


def other_values(value):
    """Other values that a setting might have, best first."""
    if isinstance(value, bool):
        return [not value]
    words = ("ipi", "bau", "never", "always", "4K", "2M", "linux-6", "linux-2.6.27", 7)
    return [other for other in (words if isinstance(value, str) else (2 * value, value // 2, value + 1)) if other != value]


def changed(machine, words):
    """A machine of which as many settings as may be have another value, of `words` if it is there, and the settings that have just one."""
    kept = []
    for name, about in machine.provenance().items():
        for value in [word for word in words.get(name, ()) if word != about.value] + other_values(about.value):
            try:
                machine = machine.with_(**{name: value})
                break
            except ConfigError:
                continue
        else:
            kept.append(name)
    return machine, kept


def program(design, size):
    """A trace in which `size` spaces, each with CPUs and engines, map, touch, fork and exit."""
    roles = ["cpu"] * size + ["device"] * (size if designs.design(design).has_engines else 0)
    agents = [Agent(role, space, f"{role} {k}") for space in range(size) for k, role in enumerate(roles)]
    agents.append(Agent("cpu", size, "child"))
    prelude, records = [], []
    for space in range(size):
        first = space * len(roles)
        prelude += mmap_unit(AT, 16, 3, agent=first, populate=True) + mmap_unit(AT << 1, 4, 5, op.PRIVATE_FILE, size, agent=first)
        records += [(AT + (page << 12), 3, 5, kind, first + k) for page in range(4 * size) for k, kind in
                    itertools.product(range(len(roles)), (op.READ, op.WRITE))]  # fmt: skip
        records += [(AT << 1, 2, 0, op.FETCH, first), (0, 0, 0, op.SYNC, first), *paged_unit(op.MUNMAP, AT, 3, (), first)]
    records += [(0, size, 0, op.FORK, 0), (AT + (4 << 12), 1, 0, op.WRITE, len(agents) - 1), (0, 0, 0, op.EXIT, len(agents) - 1)]
    return Trace.from_records(agents, records, prelude)


def lackey(lines):
    """Text of valgrind's lackey."""
    return "".join(f"I  {0x4000000 + 4 * k:x},4\n S {0x1FFE000000 + 9000 * k:x},8\n" for k in range(lines))


def use(design, machine, size, folder):
    """Simulate, save, load, read, coalesce, offload and generate."""
    trace = program(design, size)
    hwmodel.simulate(machine, trace, progress=False, chunk=4 << size, capacity=size)
    trace.save(folder / "saved.hwtrace")
    text = folder / "program.lackey"
    text.write_text(lackey(1000 * size))
    recorded = analysis.head(workloads.recorded("sqlite"), 3000 * size)
    sources = [Trace.load(folder / "saved.hwtrace"), workloads.read(text), recorded, workloads.zipf(pages=64 * size, accesses=500 * size)]
    for source in sources:
        hwmodel.simulate(machine, source, progress=False)
        shared = workloads.offload(source, engines=size)
        validate(shared)
        if designs.design(design).has_engines:
            hwmodel.simulate(machine, shared, progress=False)


def use_workloads(size, folder):
    """Generate, compose, write and read in every format, inspect, count the misses of several sizes in one pass."""
    few = {"accesses": 700 * size}
    made = [workloads.pointer_chase(**few, pages=8 * size), workloads.producer_consumer(**few), workloads.strided(**few)]
    made += [workloads.gups(scale=7 + size), workloads.bfs(scale=4 + size), workloads.spmv(rows=50 * size)]
    made += [workloads.hash_join(build=90 * size, probe=99)]
    whole = workloads.interleave([*made, workloads.uniform(3000 * size, 900 * size)])
    mapped = Trace.from_records([Agent("cpu", 0, "cpu")], [*mmap_unit(AT, size, 3), (AT, 1, 0, op.WRITE, 0)])
    parts = [workloads.as_guest(workloads.shift(mapped, size << 21)), workloads.select(whole, kinds=["read"])]
    parts += [workloads.concatenate([mapped] * (1 + size)), workloads.assign(whole, names={0: "other"})]
    for trace in parts:
        validate(trace)
    analysis.inspect(whole)
    sizes = [hwmodel.preset("gru-2008").with_(**{"tlb.entries": 64 * size * ways, "tlb.ways": size * ways}) for ways in (1, 2)]
    onepass.walked(sizes, workloads.uniform(3000 * size, 900 * size, devices=1))
    workloads.write(whole, folder / "whole.csv")
    workloads.write(whole, folder / "whole.champsim", agent=size, lossy=True)
    columns = [("address,count\n" + "4096,1\n" * size).encode(), test_columns.as_npy(test_columns.table(20 * size, words=False))]
    texts = [test_threads.RECORDING, test_execlog.PRINTED.encode() * size, test_fuzz.DRMEMTRACE, test_fuzz.KERNEL[0].encode(), *columns]
    for name, data in enumerate(texts):
        (folder / str(name)).write_bytes(data)
    for name in ("whole.csv", "whole.champsim", *map(str, range(len(texts)))):
        validate(workloads.read(folder / name))


def entries():
    """Every kernel that is kept on disk, and how many versions of it there are, were found there, were not."""
    found = {}
    for package in (hwmodel, workloads, analysis):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, CPUDispatcher) and value.__module__ == module.name and value.stats.cache_path:
                    hits, misses = (sum(count.values()) for count in (value.stats.cache_hits, value.stats.cache_misses))
                    found[f"{module.name}.{name}"] = [len(value.signatures), hits, misses]
    return found


def main(design):
    """Use everything twice; print what was compiled each time."""
    base = designs.design(design).machine
    other, kept = changed(base, dict(designs.words(design)))
    said = {"kept": kept}
    with tempfile.TemporaryDirectory() as folder:
        for name, machine, size in (("first", base, 1), ("then", other, 3)):
            with event.install_recorder("numba:compile") as recorder:
                use(design, machine, size, pathlib.Path(folder))
                use_workloads(size, pathlib.Path(folder))
            said[name] = sorted({str(e.data["dispatcher"].py_func.__qualname__) for _, e in recorder.buffer})
    sys.stdout.write(json.dumps(said | {"entries": entries()}))


if __name__ == "__main__":
    main(sys.argv[1])
