"""The terms of a comparison: whose primary MMU and whose device, what stays as it is, and how a table says so."""

import pytest

import analysis
from analysis.terms import Terms, on_equal_terms
from hwmodel.machine import DEVICE, PRIMARY, ConfigError, preset, presets


@pytest.fixture
def machines():
    return {name: preset(name) for name in presets()}


def device(machine):
    return machine.get("device.window"), machine.get("device.latency_ns"), machine.get("device.interval_ns")


def test_by_default_the_primary_is_the_first_machines_and_the_device_nobodys(machines):
    chosen, notes = on_equal_terms(machines, Terms())
    first = next(iter(machines.values()))
    assert all(machine.common == first.common for machine in chosen.values())
    assert {device(machine) for machine in chosen.values() if machine.has_device} == {(8, 200, 2.5)}
    assert notes[0] == f"Clock, CPUs, memory and kernel of {first.name} on every machine."
    assert notes[1] == "Device: coprocessor (8 in flight, 200 ns to data, an issue every 2.5 ns)."
    apart = [name for name, machine in machines.items() if machine.has_engines and not machine.has_device]
    assert notes[2:] == ([f"Device of {', '.join(apart)}: its design's own, which no setting describes."] if apart else [])
    for name, machine in machines.items():
        other = {setting for setting in machine.flat() if not setting.startswith(PRIMARY + DEVICE)}
        assert all(chosen[name].get(setting) == machine.get(setting) for setting in other)


def test_as_built_changes_nothing_that_has_no_name(machines):
    chosen, notes = on_equal_terms(machines, Terms(as_built=True))
    assert chosen == machines and notes[0] == "Clock, CPUs, memory and kernel: as built."
    assert "Device of gru-2024: as built (8 in flight, 550 ns to data, an issue every 10 ns)." in notes
    chosen, notes = on_equal_terms(machines, Terms(same_device="gru-2024", as_built=True))
    assert {device(machine) for machine in chosen.values() if machine.has_device} == {(8, 550, 10)}
    assert all(chosen[name].common == machine.common for name, machine in machines.items())
    assert notes[1].startswith("Device: gru-2024 (")


def test_what_the_user_has_set_stays():
    gru = preset("gru-2008")
    given = {"first": gru.with_(**{"cpu.count": 6}), "second": gru.with_(**{"device.window": 2, "kernel.thp": "always"})}
    for terms in (Terms(), Terms("first", "coprocessor")):
        chosen, notes = on_equal_terms(given, terms)
        assert [machine.get("cpu.count") for machine in chosen.values()] == [6, 6]
        assert [machine.get("kernel.thp") for machine in chosen.values()] == ["never", "always"]
        assert [device(machine) for machine in chosen.values()] == [(8, 200, 2.5), (2, 200, 2.5)]
        assert notes[1:] == [
            "Device of first: coprocessor (8 in flight, 200 ns to data, an issue every 2.5 ns).",
            "Device of second: coprocessor (2 in flight, 200 ns to data, an issue every 2.5 ns).",
        ]


def test_settings_come_last_for_those_who_have_them(machines):
    """Also where a preset has the value already: gru-2008's 700 ns is not the coprocessor's 200."""
    settings = {"device.latency_ns": 700, "cpu.count": 5}
    for terms in (Terms(settings=settings), Terms(as_built=True, settings=settings)):
        chosen, _ = on_equal_terms(machines, terms)
        assert {machine.get("device.latency_ns") for machine in chosen.values() if machine.has_device} == {700}
        assert {machine.get("cpu.count") for machine in chosen.values()} == {5}
    with pytest.raises(ConfigError, match=r"did you mean device\.window"):
        on_equal_terms({"gru": preset("gru-2008")}, Terms(settings={"device.windw": 4}))


def test_machines_and_names_of_the_comparison_are_taken_first(machines):
    given = {"coprocessor": preset("gru-2024"), "mine": preset("gru-2008")}
    chosen, _ = on_equal_terms(given, Terms(same_primary="mine", same_device="coprocessor"))
    assert chosen["mine"].get("device.latency_ns") == 550 and chosen["coprocessor"].common == preset("gru-2008").common
    chosen, notes = on_equal_terms(given, Terms(preset("kvm-ept-2024"), preset("ideal-2008")))
    assert chosen["mine"].get("device.latency_ns") == 700 and notes[0].startswith("Clock, CPUs, memory and kernel of kvm-ept-2024 on")


def test_a_comparison_says_its_terms_and_runs_nothing_on_bad_ones(simulated, trace):
    given = {"GRU": preset("gru-2008"), "new": preset("kvm-ept-2024")}
    assert analysis.compare(given, trace).differences.empty
    assert "cpu.stlb.entries" in analysis.compare(given, trace, as_built=True).differences.index
    found = analysis.compare(given, trace, same_primary="new")
    assert found.differences.empty and found.notes[0].startswith("Clock, CPUs, memory and kernel of kvm-ept-2024 on")
    simulated.clear()
    for bad in ({"same_primary": "XPMEM"}, {"same_device": "XPMEM"}, {"same_device": preset("cpu-only")}):
        with pytest.raises(ConfigError, match=r"XPMEM|cpu-only: has no setting device"):
            analysis.compare(given, trace, **bad)
    assert not simulated


def test_sweeps_keep_the_device(simulated, trace):
    analysis.sweep(preset("gru-2008"), {"tlb.entries": [64]}, trace, progress=False)
    assert simulated[0][0].get("device.latency_ns") == 700
