"""One pass for all sizes: what it counts is what a run of each counts, and where that can't be known it says why."""

import random

import numpy as np
import pytest

import analysis
import workloads
from analysis import onepass
from analysis.fences import Ranges
from hwmodel import op
from hwmodel.machine import ConfigError, preset
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.simulate import simulate
from hwmodel.trace import Trace
from tests.support.engine_only import engine_only

GRU = preset("gru-2008").with_(**{"device.window": 1})
BASE, SPAN = 0x10000, 40
FULL = [(n, n) for n in range(1, 65)]
WAYS = [(4 * n, n) for n in range(1, 65)]
SETS = [(n << sets, n) for sets in range(8) for n in range(1, 9)]
ENGINE = 2
AGENTS = [Agent("cpu", 0, "first"), Agent("cpu", 0, "second"), Agent("device", 0, "engine")]
ONE_PASS = "All sizes come from one pass over the trace, by stack distances."


def read(page, agent=ENGINE, count=1):
    return page << 12, count, 0, op.READ, agent


def write(page, agent=ENGINE, count=1):
    return page << 12, count, 0, op.WRITE, agent


def sync(agent=0):
    return 0, 0, 0, op.SYNC, agent


def trace_of(*units, populate=False, pages=SPAN, prot=3):
    records = [record for unit in units for record in (unit if isinstance(unit, list) else [unit])]
    return Trace.from_records(AGENTS, records, mmap_unit(BASE << 12, pages, prot, populate=populate))


def drawn(seed, length=500, fenced=True):
    """Accesses of an engine and a CPU to pages that two CPUs unmap, map again and empty; in memory that is there or is not."""
    rng, gone, units, populate = random.Random(seed), set(), [], seed % 2 == 0
    for _ in range(length):
        chance, cpu = rng.random(), rng.randrange(2)
        page, pages = BASE + int(SPAN * rng.random() ** 2), rng.randint(1, 5)
        own = [p for p in range(page, min(page + pages, BASE + SPAN)) if p not in gone]
        fence = [sync(rng.randrange(3))] if fenced or rng.random() < 0.5 else []
        if chance < 0.9 and own:
            units.append(rng.choice([read, read, write])(own[0], count=rng.choice([1, 1, 3])))
            if populate and rng.random() < 0.3:
                units.append(rng.choice([read, write])(own[-1], cpu))
        elif chance < 0.94 and own:
            units.append([*fence, *paged_unit(op.MUNMAP, page << 12, pages, agent=cpu), *fence])
            gone.update(range(page, page + pages))
        elif chance < 0.97 and own:
            units.append([*fence, *paged_unit(op.MADVISE, page << 12, 1, [(0, op.DONTNEED)], agent=cpu), *fence])
            populate = False  # an emptied page is read as zeros, so a CPU's write is a copy
        elif gone and page < BASE + SPAN:
            units.append(mmap_unit(page << 12, pages, 3, agent=cpu))  # also over what is there
            gone.difference_update(range(page, page + pages))
    return trace_of(*units, populate=seed % 2 == 0, pages=SPAN + 5)


def assert_as_runs(machine, trace, sizes):
    machines = [machine.with_(**{"tlb.entries": entries, "tlb.ways": ways}) for entries, ways in sizes]
    counts, reason = onepass.counts(machines, trace, progress=False)
    assert not reason
    for m, counted in zip(machines, counts, strict=True):
        result = simulate(m, trace, progress=False)
        assert {name: result.counters[name] for name in onepass.COUNTERS} == counted
        assert {name: analysis.headline(result)[name] for name in onepass.FIGURES} == onepass.figures(counted)


@pytest.mark.parametrize("sizes", [FULL, WAYS, SETS], ids=["full", "ways", "sets"])
@pytest.mark.parametrize("seed", range(4))
def test_64_sizes_are_64_runs(seed, sizes):
    """With invalidations in every trace, copies on write in every other one, and kills."""
    trace = drawn(seed)
    assert simulate(GRU, trace).counters["notices.start"] > 10
    assert_as_runs(GRU, trace, sizes)


@pytest.mark.parametrize("changed", [
    {"gru.store_miss": "miss"}, {"gru.kills": "all", "gru.kills_from": "miss"}, {"tgh.takes_effect": "end"}, {"tgh.invalidate_ns": 30_000},
    {"driver.interrupt_ns": 20_000, "gru.merge_misses": True},
], ids=str)  # fmt: skip
def test_whatever_a_miss_or_an_invalidation_costs(changed):
    for seed in (10, 11):
        assert_as_runs(GRU.with_(**changed), drawn(seed), random.Random(seed).sample(FULL + WAYS + SETS, 12))


@pytest.mark.as_shipped
@pytest.mark.parametrize("name", ["sqlite", "sort"])
def test_the_accesses_of_a_recording(name):
    trace = engine_only(workloads.recorded(name), 200_000)
    assert_as_runs(GRU, trace, [*FULL[::7], *WAYS[::9], *SETS[::9], (4096, 4)])


def test_large_invalidations_drop_everything():
    """From 1,024 pages on a GRU drops all entries of the address space."""
    far = BASE + 4096
    mapped = mmap_unit(far << 12, 1024, 3)
    uses = [read(BASE + n % 9) for n in range(30)]
    for last in (paged_unit(op.MUNMAP, far << 12, 1024), paged_unit(op.MUNMAP, far << 12, 1023), mmap_unit(far << 12, 1024, 3)):
        assert_as_runs(GRU, trace_of(mapped, *uses, last, sync(), *uses), FULL[:12])


def test_what_the_engine_copies_itself():
    """Its write of a page that it has read as zeros drops the entry, which the write then fills again."""
    uses = [(read, write)[n * n % 7 < 2](BASE + n * n % 11) for n in range(200)]
    trace = trace_of(*uses)
    assert simulate(GRU, trace).counters["notices.start"] > 0
    assert_as_runs(GRU, trace, FULL[:12])


ORDERED = [
    trace_of(write(BASE), paged_unit(op.MUNMAP, BASE + 20 << 12, 2), write(BASE)),
    trace_of(write(BASE), paged_unit(op.MUNMAP, BASE << 12, 1), mmap_unit(BASE << 12, 1, 3), write(BASE), read(BASE)),
    trace_of(write(BASE, 0), write(BASE, 1), sync(), read(BASE), write(BASE, 0), read(BASE)),
    trace_of(write(BASE), write(BASE + 1, 0), read(BASE)),
    trace_of(read(BASE), write(BASE, 0), read(BASE), populate=True),
    trace_of(paged_unit(op.MPROTECT, BASE << 12, 4, [(0, 1)]), sync(), read(BASE)),
    trace_of(write(BASE), sync(), (0, 0, 0, op.EXIT, 0)),
]


@pytest.mark.jit_off
@pytest.mark.parametrize("number", range(len(ORDERED)))
def test_what_is_ordered(number):
    assert_as_runs(GRU, ORDERED[number], [(1, 1), (2, 2), (64, 4)])


UNORDERED = {
    "unmapped while the engine goes on": (
        trace_of(read(BASE), read(BASE + 1), paged_unit(op.MUNMAP, BASE << 12, 1), read(BASE + 1)), "munmap",
    ),
    "emptied behind an access": (trace_of(read(BASE), paged_unit(op.MADVISE, BASE << 12, 1, [(0, 4)]), sync(), read(BASE)), "madvise"),
    "emptied before an access": (
        trace_of(read(BASE + 1), sync(), paged_unit(op.MADVISE, BASE << 12, 1, [(0, 4)]), read(BASE)), "madvise",
    ),
    "a large one, nothing used before": (trace_of(paged_unit(op.MUNMAP, BASE << 12, 1024), read(BASE + 1025), pages=1100), "munmap"),
    "a cut beside a page in use": (
        trace_of(read(BASE + 1), sync(), paged_unit(op.MUNMAP, BASE + 9 << 12, 1), sync(), read(BASE + 1), pages=600), "munmap",
    ),
    "rights change": (
        trace_of(read(BASE), sync(), paged_unit(op.MPROTECT, BASE << 12, 1, [(0, 1)]), sync(), read(BASE)), "mprotect",
    ),
    "moved": (
        trace_of(read(BASE), sync(), paged_unit(op.MREMAP, BASE << 12, 1, [(BASE + 99 << 12, 1)]), sync(), read(BASE + 1)), "mremap",
    ),
    "copied for a CPU": (trace_of(read(BASE), write(BASE, 0), read(BASE)), "copy on write"),
    "copied for a CPU, the other way round": (trace_of(write(BASE, 0), read(BASE)), "copy on write"),
    "copied, but a write of its own comes between": (trace_of(read(BASE), sync(), write(BASE), write(BASE, 0)), "copy on write"),
    "copied for either": (trace_of(write(BASE), write(BASE, 0)), "copy on write"),
    "emptied, so copied": (
        trace_of(paged_unit(op.MADVISE, BASE << 12, 1, [(0, 4)]), sync(), read(BASE), write(BASE, 0), populate=True), "copy on write",
    ),
    "huge pages": (Trace.from_records(AGENTS, [read(512)], mmap_unit(512 << 12, 512, 3, op.HUGETLB)), "hugetlb"),
}  # fmt: skip


@pytest.mark.jit_off
@pytest.mark.parametrize("case", UNORDERED)
def test_what_is_not_ordered(case):
    trace, word = UNORDERED[case]
    counts, reason = onepass.counts([GRU], trace, progress=False)
    assert counts == [] and word in reason


def test_forks():
    """None that the engine's address space comes from, and none beside it once it has entries."""
    agents = [*AGENTS, Agent("cpu", 1, "child")]
    fork, mapped = (0, 1, 0, op.FORK, 0), mmap_unit(BASE << 12, SPAN, 3)
    later = Trace.from_records(agents, [read(BASE), sync(), fork, sync(), read(BASE)], mapped)
    assert "fork" in onepass.counts([GRU], later, False)[1]
    assert_as_runs(GRU, Trace.from_records(agents, [write(BASE, 0), fork, sync(), write(BASE), read(BASE)], mapped), FULL[:3])
    before = Trace.from_records(agents, [write(BASE, 0), fork, sync(), read(BASE), write(BASE, 0)], mapped)
    assert "copy on write" in onepass.counts([GRU], before, False)[1]
    inside = [Agent("cpu", 0, "parent"), Agent("device", 1, "engine"), Agent("cpu", 1, "child")]
    assert "forked" in onepass.counts([GRU], Trace.from_records(inside, [fork, read(BASE, 1)], mapped), False)[1]


@pytest.mark.filterwarnings("ignore:.*without a right")
def test_accesses_without_a_right():
    counts, reason = onepass.counts([GRU], trace_of(read(BASE), write(BASE), prot=op.PROT_READ), False)
    assert counts == [] and "1 accesses without a right" in reason


@pytest.mark.parametrize(("changed", "words"), [
    ({"device.window": 2}, "device.window is 2"), ({"tgh.purges": "sets"}, "tgh.purges"), ({"kernel.thp": "always"}, "kernel.thp"),
], ids=str)  # fmt: skip
def test_settings_for_which_it_is_not_exact(changed, words):
    assert words in onepass.why_not(GRU.with_(**changed), ORDERED[0])


def test_machines_and_engines_for_which_it_is_not_exact():
    assert "kvm_ept" in onepass.why_not(preset("kvm-ept-2008"), ORDERED[0])
    assert "2 engines" in onepass.why_not(GRU, workloads.uniform(100, pages=4, devices=2))


def test_a_curve_says_how_it_was_come_by():
    trace = workloads.zipf(accesses=3000, pages=100, devices=1)
    sizes = [4, 8, (32, 32), 256]
    curve = analysis.miss_curve(GRU, trace, sizes, progress=False)
    assert curve.attrs["notes"] == [ONE_PASS]
    assert curve["tlb.entries"].tolist() == [4, 8, 32, 256] and curve["tlb.ways"].tolist() == [4, 4, 32, 4]
    assert np.allclose(curve["miss_rate_percent"], 100 * curve["device.tlb.misses"] / curve["device.accesses"])
    several = analysis.miss_curve(GRU.with_(**{"device.window": 4}), trace, sizes, progress=False)
    assert several.attrs["notes"] == ["Each size was simulated: device.window is 4, so misses overlap with accesses behind them."]
    assert several.columns.tolist() == curve.columns.tolist()
    assert (several["device.tlb.misses"] >= curve["device.tlb.misses"]).all(), "accesses of a page in flight miss too"


def test_a_sweep_takes_the_same_way_if_all_that_is_asked_for_follows_from_misses(monkeypatch):
    trace, sizes = workloads.zipf(accesses=3000, pages=100, devices=1), {"tlb.entries": [4, 16, 64], "tlb.ways": [1, 4]}
    whole = analysis.sweep(GRU, sizes, trace, progress=False)
    assert whole.attrs["notes"] == []
    timed = analysis.sweep(GRU, sizes, trace, progress=False, metrics=["time_ms", "software_faults"])
    assert timed.attrs["notes"] == ["Each size was simulated: time_ms can't be told from misses."]
    assert timed.equals(whole[[*sizes, "time_ms", "software_faults"]])
    parted = analysis.sweep(GRU, sizes, trace, progress=False, warmup=0.5, metrics=onepass.FIGURES)
    assert "warm-ups" in parted.attrs["notes"][0]
    monkeypatch.setattr("analysis.workers.run_batch", None)  # nothing is simulated but by the pass
    told = analysis.sweep(GRU, sizes, trace, progress=False, metrics=onepass.FIGURES)
    assert told.attrs["notes"] == [ONE_PASS]
    assert told.equals(whole[[*sizes, *onepass.FIGURES]])


def test_a_sweep_of_seeds_and_of_other_settings():
    def make(seed):
        return workloads.zipf(accesses=500, pages=50, devices=1, seed=seed)

    told = analysis.sweep(GRU, {"tlb.entries": [4, 16]}, make, seeds=[3, 4], progress=False, metrics=["software_faults"])
    ran = analysis.sweep(GRU, {"tlb.entries": [4, 16]}, make, seeds=[3, 4], progress=False)
    assert told.attrs["notes"] == [ONE_PASS] and told.equals(ran[["tlb.entries", "seed", "software_faults"]])
    other = analysis.sweep(GRU, {"driver.interrupt_ns": [900]}, make(0), progress=False, metrics=["software_faults"])
    assert other.attrs["notes"] == [] and other.columns.tolist() == ["driver.interrupt_ns", "software_faults"]


@pytest.mark.parametrize(("given", "words"), [
    (dict(sizes=[]), "there is none"), (dict(sizes="64"), "list of sizes"), (dict(sizes=[(4, 4, 4)]), "entries, or"),
    (dict(sizes=[65]), "does not divide"), (dict(sizes=[64], machine="kvm-ept-2008"), "no engine with a TLB"),
], ids=str)  # fmt: skip
def test_curves_that_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        analysis.miss_curve(**{"machine": GRU, "trace": ORDERED[0]} | given)


@pytest.mark.parametrize(("metrics", "words"), [(["software_fault"], "did you mean software_faults"), ("kills", "names of metrics")])
def test_metrics_that_are_refused(metrics, words):
    with pytest.raises(ConfigError, match=words):
        analysis.sweep(GRU, {"tlb.entries": [4]}, ORDERED[0], metrics=metrics)


def test_a_pass_that_differs_from_its_run_is_a_defect(monkeypatch):
    monkeypatch.setattr("workloads.stacks.Stacks.hits", lambda self, sets, ways: 0)
    with pytest.raises(RuntimeError, match="one pass"):
        onepass.counts([GRU], workloads.zipf(accesses=100, pages=4, devices=1), False)


def test_ranges():
    random, ranges, pages = np.random.default_rng(0), Ranges(), set()
    for first, last, add in zip(*random.integers(0, 50, (2, 200)), random.random(200) < 0.5, strict=True):
        first, last = sorted((int(first), int(last)))
        (ranges.add if add else ranges.remove)(first, last)
        pages = pages | set(range(first, last)) if add else pages - set(range(first, last))
        assert ranges.count(10, 30) == len(pages & set(range(10, 30)))
