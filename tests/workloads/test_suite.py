"""The suites: every workload runs on every machine of 2008 that has engines, and is what its line says."""

import functools
import sys

import numpy as np
import pytest

import hwmodel
import workloads
from hwmodel import op
from hwmodel.machine import preset, presets
from hwmodel.op import TraceError
from hwmodel.trace import validate
from workloads.recorded import names
from workloads.reuse import Reuse

module = sys.modules["workloads.suite"]
MACHINES = [preset(name) for name in presets() if name.endswith("-2008") and preset(name).has_engines]
QUICK = {workload.name: workload for workload in workloads.suite("quick")}
ENTRIES = 4096
"""Of the TLB whose reach the names speak of: a GRU's can't have more."""
on_machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)


def devices_of(trace):
    """The numbers of a trace's device agents."""
    return [number for number, agent in enumerate(trace.agents) if agent.role == "device"]


@functools.cache
def counts_of(name):
    """Records of a quick workload, and the accesses of its CPUs and devices; one that crosses a page is two of a device's."""
    trace, records = QUICK[name].make(), 0
    whole, halves = np.zeros((2, len(trace.agents)), np.int64)
    validate(trace)
    for chunk in trace.chunks():
        for counts, kinds in ((whole, chunk["kind"]), (halves, chunk["kind"] ^ op.CONTINUES)):
            counts += np.bincount(chunk["agent"], np.where(kinds <= op.FETCH, chunk["count"], 0), counts.size).astype(np.int64)
        records += chunk.size
    devices = devices_of(trace)
    return records, int(np.delete(whole, devices).sum()), int((whole + halves)[devices].sum())


@functools.cache
def reuse_of(name):
    """The reuse distances of each device of a quick workload."""
    trace = QUICK[name].make()
    found = [Reuse(number) for number in devices_of(trace)]
    for chunk in trace.chunks():
        for reuse in found:
            reuse.add(chunk)
    return found


def misses_of(name):
    """Misses of devices with a TLB of ENTRIES each, those of a page's first use, and their accesses."""
    found = reuse_of(name)
    misses = sum(int(reuse.misses(np.array([ENTRIES]))[0]) for reuse in found)
    return misses, sum(reuse.cold for reuse in found), sum(reuse.cold + int(reuse.histogram.sum()) for reuse in found)


def run(machine, trace):
    """A run, and that no access of it is refused."""
    result = hwmodel.simulate(machine, trace, progress=False)
    assert result.counters["segv"] == 0
    return result


@on_machines
@pytest.mark.parametrize("name", QUICK)
def test_a_quick_workload_runs_and_no_access_is_lost(name, machine):
    _, of_cpus, of_devices = counts_of(name)
    counters = run(machine, QUICK[name].make()).counters
    assert (counters["cpu.accesses"], counters["device.accesses"]) == (of_cpus, of_devices)


@pytest.mark.long
@on_machines
@pytest.mark.parametrize("workload", workloads.suite("full"), ids=lambda workload: workload.name)
def test_a_full_workload_runs(workload, machine):
    assert run(machine, workload.make()).counters["device.accesses"] > 0


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_workload_is_short_and_has_devices_that_work(name):
    records, _, of_devices = counts_of(name)
    assert 10_000 < records <= module.QUICK
    assert of_devices > 1000


def test_both_suites_have_the_same_workloads_each_with_a_line():
    assert module.SUITES == ("quick", "full")
    told = [[(workload.name, workload.exercises) for workload in workloads.suite(name)] for name in module.SUITES]
    assert told[0] == told[1] and len(QUICK) == len(told[0])
    assert QUICK.keys() >= set(names())
    for name, exercises in told[0]:
        assert name == name.lower() and 30 <= len(exercises) <= 82 and "\n" not in exercises


@pytest.mark.parametrize("name", QUICK)
def test_the_full_suite_has_what_the_quick_one_has_a_part_of(name):
    """A stretch from the middle of a recording is split anew: its records are those of the stretch (test_stretch.py)."""
    quick, full = QUICK[name].make(), {workload.name: workload for workload in workloads.suite("full")}[name].make()
    assert quick.agents == full.agents[: len(quick.agents)]
    if quick.info.get("stretch", {}).get("first", 0) == 0:
        assert (next(quick.chunks(10_000)) == next(full.chunks(10_000))).all() and (quick.prelude == full.prelude).all()


def test_a_suite_is_made_only_when_it_is_asked_for(monkeypatch):
    def refuse(name):
        raise TraceError(f"{name} was opened")

    monkeypatch.setattr(module, "load", refuse)
    for name in module.SUITES:
        first = workloads.suite(name)[0]
        with pytest.raises(TraceError, match=r"^sqlite was opened$"):
            first.make()


def test_an_unknown_suite_lists_the_known():
    with pytest.raises(TraceError, match=r"^no suite 'slow'; there are quick, full$"):
        workloads.suite("slow")


@pytest.mark.parametrize("name", ["zipf-within", "uniform-within"])
def test_within_the_reach_only_first_uses_miss(name):
    misses, cold, accesses = misses_of(name)
    assert misses == cold < ENTRIES and accesses > 100 * cold


@pytest.mark.parametrize(("name", "least", "most"), [("zipf-beyond", 0.1, 0.4), ("uniform-beyond", 0.7, 0.8), ("gather-scatter", 0.7, 0.9)])
def test_beyond_the_reach_accesses_miss(name, least, most):
    misses, _, accesses = misses_of(name)
    assert least < misses / accesses < most
    assert len(reuse_of(name)[0].pages()[0]) > ENTRIES


def test_the_device_that_sorts_has_pages_beyond_any_reach():
    """64 MiB and more in all; those of the quick part are beyond the reach too, and in memory already."""
    trace = workloads.offload(workloads.recorded("sort"), share=0.5)
    (whole,) = [Reuse(number) for number in devices_of(trace)]
    for chunk in trace.chunks():
        whole.add(chunk)
    pages = whole.pages()[0].size
    assert pages > 16_384 and whole.misses(np.array([ENTRIES]))[0] > 2 * pages
    misses, cold, _ = misses_of("sort")
    assert misses > cold > ENTRIES
    assert run(preset("ideal-2008"), QUICK["sort"].make()).counters["device.tlb.misses"] == 0
