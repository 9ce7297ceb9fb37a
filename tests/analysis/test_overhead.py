"""What translation costs against the bound: by hand on fabricated results, to the cycle on real ones."""

import math

import pytest
from fabricated import CPU, ENGINE, SPARE, Machine, result

import analysis
import workloads
from analysis.overhead import FIGURES, bound_of
from hwmodel import secondary
from hwmodel.core import ledger
from hwmodel.machine import DEVICE, PRIMARY, ConfigError, preset
from hwmodel.simulate import simulate
from tests.support import designs

WAITING = {"order_wait": (1000, 0, 3000), "gate_wait": (500, 0, 70)}
BOUND = {"instruction": (100, 0, 40), "access": (200, 0, 400), "fault": (90, 0, 0), "stall_fault": (0, 0, 60), **WAITING}
RUN = {"instruction": (100, 0, 40), "access": (200, 0, 400), "fault": (70, 11, 0), "irq": (3, 5, 0), "stall_trap": (0, 0, 260),
       "order_wait": (2, 0, 1), "gate_wait": (0, 9, 0)}  # fmt: skip
ACCESSES = {"device.accesses": {ENGINE: 50}, "device.tlb.hits": {ENGINE: 50}}


def trace_of(seed):
    return workloads.zipf(accesses=300, pages=40, devices=1, seed=seed)


def run_of(machine, accounts, counts=ACCESSES):
    return result(machine, counts, {name: dict(zip((CPU, SPARE, ENGINE), each, strict=True)) for name, each in accounts.items()}, {})


@pytest.fixture
def free():
    return run_of(Machine("ideal-2008", "ideal"), BOUND)


def test_by_hand(free):
    found = analysis.overhead(run_of(Machine(), RUN), free)
    assert list(found.utilisation) == ["main", "cpu1 (no agent)"] and found.utilisation["main"].waiting == 2 + (700 - 374)
    assert found.exposed == (40 + 400 + 260) - (40 + 400 + 60) == 200
    assert found.served == (100 + 200 + 70 + 3 + 11 + 5) - (100 + 200 + 90) == -1, "a part may be less than nothing"
    assert found.total == 199
    assert found.slowdown == 700 / 500
    assert [figure.value(found) for figure in FIGURES] == [199 / 2 / 50, 200 / 2 / 50, -1 / 2 / 50, 1.4]
    assert (found.per_access_ns, found.machine) == (199 / 2 / 50, "gru-2008")


def test_the_bound_against_itself_is_nothing(free):
    found = analysis.overhead(free, free)
    assert (found.total, found.exposed, found.served, found.slowdown) == (0, 0, 0, 1)


def test_no_access_is_no_figure(free):
    empty = run_of(Machine("ideal-2008", "ideal"), {}, {})
    found = analysis.overhead(run_of(Machine(), RUN, {}), empty)
    assert math.isnan(found.per_access_ns) and math.isnan(found.slowdown) and found.total == 700 + 389


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (Machine(), "the second run is of gru-2008, not of a machine of design ideal"),
        (Machine("ideal-2008", "ideal", 3000), "clock.mhz is 2000 on gru-2008, but 3000 on ideal-2008"),
        (Machine("ideal-2008", "ideal", settings={"device.window": 8}), "device.window is 1 on gru-2008, but 8 on ideal-2008"),
    ],
)
def test_runs_that_differ_in_more_are_refused(other, complaint):
    with pytest.raises(ConfigError, match=f"^overhead: {complaint}$"):
        analysis.overhead(run_of(Machine(settings={"device.window": 1}), RUN), run_of(other, {}))


def test_runs_of_two_traces_are_refused(free):
    mine = run_of(Machine(), RUN)
    free.trace_info["offload"] = {"seed": 1}
    with pytest.raises(ConfigError, match="did not run the same trace, or region of it"):
        analysis.overhead(mine, free)


def test_runs_of_two_regions_are_refused(free):
    object.__setattr__(free, "part", "steady")
    with pytest.raises(ConfigError, match="did not run the same trace, or region of it"):
        analysis.overhead(run_of(Machine(), RUN), free)


@pytest.mark.parametrize("name", [name for name in designs.with_engines() if name in secondary.names()])
def test_the_bound_of_a_machine_is_its_own_but_for_translation(name):
    machine = designs.design(name).machine.with_(**{"cpu.count": 3, "kernel.thp": "always"})
    machine = machine.with_(**{"device.window": 3}) if "device.window" in machine.flat() else machine
    bound = bound_of(machine)
    mine, its = machine.flat(), bound.flat()
    assert its == {setting: mine.get(setting, value) for setting, value in its.items()}
    assert {setting for setting in its if setting not in mine} <= {setting for setting in its if setting.startswith(DEVICE)}
    for setting, about in bound.provenance().items():
        if setting.startswith(PRIMARY + DEVICE) and setting in mine:
            assert (about.source, about.confidence) == (machine.provenance()[setting].source, machine.provenance()[setting].confidence)


@pytest.mark.jit_off
@pytest.mark.parametrize("seeds", [None, [3, 4]])
@pytest.mark.parametrize("name", designs.with_engines())
def test_exposed_and_served_are_all_that_the_bound_does_not_have(name, seeds):
    """To the cycle, on a sweep's own runs; the bound's own row is nothing."""
    machine = designs.design(name).machine
    asked = {"settings": {"cpu.count": [2, 3]}, "seeds": seeds, "overhead": True, "progress": False}
    trace = trace_of if seeds else trace_of(0)
    frame = analysis.sweep(machine, trace=trace, **asked)
    assert len(frame) == 2 * len(seeds or [0])
    for row in frame.to_dict("records"):
        mine = machine.with_(**{"cpu.count": row["cpu.count"]})
        used = trace_of(row.get("seed", 0))
        runs = [simulate(each, used, progress=False) for each in (mine, bound_of(mine))]
        sums = [sum(n for account, n in run.ledger.items() if run.book.accounts[account].family != ledger.WAITING) for run in runs]
        cost = analysis.overhead(*runs)
        assert cost.exposed + cost.served == sums[0] - sums[1] == cost.total
        assert {figure.name: row[figure.name] for figure in FIGURES} == {figure.name: figure.value(cost) for figure in FIGURES}
        if machine.design == preset("ideal-2008").design:
            assert cost.total == cost.exposed == cost.served == 0 and cost.slowdown == 1


@pytest.mark.jit_off
def test_a_sweep_has_a_row_for_each_region_with_its_own_overhead():
    """In the second half nothing faults, and the engine's TLB has all pages: translation costs next to nothing there."""
    trace = workloads.zipf(accesses=2000, pages=20, devices=1)
    asked = {"warmup": 10, "regions": {"cold": 10, "warm": 1000}, "overhead": True, "progress": False}
    cold, warm = analysis.sweep("gru-2008", {"tlb.entries": [64]}, trace, **asked).to_dict("records")
    assert (cold["region"], warm["region"]) == ("cold", "warm") and cold["device_accesses"] + warm["device_accesses"] < 2000
    assert cold["overhead_ns_per_access"] > 100 * abs(warm["overhead_ns_per_access"])
    (whole,) = analysis.sweep("gru-2008", {"tlb.entries": [64]}, trace, warmup=0.5, overhead=True, progress=False).to_dict("records")
    assert "region" not in whole and whole["overhead_ns_per_access"] < cold["overhead_ns_per_access"]
    found = analysis.replicate("gru-2008", lambda seed: trace, [1, 2], warmup=0.5)
    assert [found[seed].part for seed in (1, 2)] == ["after the warm-up"] * 2


def test_bad_parts_are_refused_before_anything_runs(simulated, trace):
    for bad in (dict(warmup=1.5), dict(regions={"warmup": 1}), dict(regions=[("a", 1), ("a", 2)])):
        with pytest.raises(ConfigError, match=r"^(warmup|regions): "):
            analysis.sweep("gru-2008", {"tlb.entries": [64]}, trace, **bad)
    assert not simulated
