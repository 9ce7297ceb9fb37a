"""What machines share for a comparison: another's primary MMU, another's device; by name or from a machine."""

from hwmodel.config import files
from hwmodel.machine import preset, presets
from tests.support.configs import gru, refusal, write

__all__ = ["gru"]

def test_same_primary_takes_the_common_sections(gru):
    kvm = preset("kvm-ept-2024").with_(**{"cpu.count": 6})
    both = gru.same_primary(kvm)
    assert both.differences(kvm, prefixes=("clock.", "engine.", "cpu.", "memory.", "kernel.")) == {}
    assert both.spec == gru.spec and (both.name, both.design) == (gru.name, gru.design)
    assert both.provenance()["cpu.count"].confidence == "U"
    assert list(both.provenance()) == list(gru.provenance())
    assert both.costs()["tgh"] == 9000
    far = gru.with_(**{"driver.interrupt_cpu": 3})
    assert refusal(far.same_primary, kvm.with_(**{"cpu.count": 2})).startswith("driver.interrupt_cpu:")


def test_the_same_device_is_taken_by_name_or_from_a_machine(gru, tmp_path):
    """With its sources and ranges; of a design that has the section, everything else stays."""
    for name, (window, latency, interval) in {"coprocessor": (8, 200, 2.5), "gru-2024": (8, 550, 10)}.items():
        both = gru.same_device(name)
        assert (both.get("device.window"), both.get("device.latency_ns"), both.get("device.interval_ns")) == (window, latency, interval)
        assert both.provenance()["device.latency_ns"].confidence == "E" and both.provenance()["device.latency_ns"].low is not None
        assert both.differences(gru, ("",)).keys() <= {"device.window", "device.latency_ns", "device.interval_ns"}
    assert gru.same_device(preset("gru-2024").with_(**{"device.window": 3})).provenance()["device.window"].confidence == "U"
    path = write(tmp_path, "[device]\nwindow = 5\nlatency_ns = 2\ninterval_ns = 1\n")
    assert gru.same_device(str(path)).get("device") == gru.same_device(preset("ideal-2008").same_device(str(path))).get("device")
    assert gru.same_primary("primary-zen4").common == preset("kvm-npt-2024").common


def test_devices_that_are_refused(gru):
    bare = preset("cpu-only")
    assert gru.has_device and not bare.has_device
    assert refusal(gru.same_device, bare) == "cpu-only: has no setting device.*"
    assert refusal(bare.same_device, "coprocessor").startswith("device.window: design cpu_only has no such setting")
    known = [name for name in presets() if preset(name).has_device]
    line = f"there is no 'nobody' with settings device.* (known: {', '.join([*known, 'coprocessor'])})"
    assert refusal(gru.same_device, "nobody") == line
    line = "there is no 'nobody' with settings clock.*, engine.*, cpu.*, memory.*, kernel.* (known: "
    assert refusal(gru.same_primary, "nobody").startswith(line)


def test_the_device_of_nobody_has_a_range_for_every_number():
    """Its source is no product's; what designs are compared on is told to be an estimate."""
    given = files.shared("coprocessor", ("",))
    assert given.keys() == {name for name in preset("ideal-2008").flat() if name.startswith("device.")}
    for about in given.values():
        assert about.confidence == "E" and about.source.startswith("estimate") and about.low < about.value < about.high
