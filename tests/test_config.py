"""Configuration: presets, provenance, rounding, and what each refusal says."""

import pathlib
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodel import secondary
from hwmodel.config import CONFIDENCE, DesignSpec, Section, associativity, files, size
from hwmodel.config.common import Common
from hwmodel.config.section import AS_2008, cycles, declared, flat
from hwmodel.core.tables import COSTS
from hwmodel.machine import preset, presets
from tests.support.configs import gru, machine, refusal

__all__ = ["gru", "machine"]
UNITS = {"ns": "_ns", "cycles": "_cycles", "MiB": "_mib", "MHz": "mhz", "pages": "_pages", "records": "_records",
         "entries": "entries", "ways": "ways", "lines": "lines"}  # fmt: skip
COMMON_COSTS = set(
    "instruction access assist exception stlb_hit flush_fixed flush_page flush_full l1 l2 llc dram syscall fault "
    "zero_page zero_huge copy_page copy_huge cache_page map_page table vma clear table_scan free fork fork_pte "
    "gup gup_fast notice wakeup ipi_send ipi_send_more ipi_delivery ipi_far ipi_respond ipi_ack bau_send bau".split()
)


# --- presets


def test_every_design_has_a_preset():
    assert {preset(name).design for name in presets()} == set(secondary.names())


def test_a_preset_sets_every_setting_and_says_where_each_comes_from(machine):
    given = files.packaged(machine.name).settings
    assert given.keys() == machine.flat().keys()
    for name, about in machine.provenance().items():
        assert about.source.strip() and about.source != AS_2008 and not about.source.startswith("set in"), name
        assert about.confidence in "VSME", name
        assert about.confidence == "E" or "estimate" not in about.source, name
        assert about.description and about.unit, name


def test_values_lie_in_their_ranges_and_every_bound_can_be_set(machine):
    bounds = 0
    for name, about in machine.provenance().items():
        assert (about.low is None) == (about.high is None), name
        if about.low is not None:
            low, value, high = (0 if number == "free" else number for number in (about.low, about.value, about.high))
            assert low <= value <= high, name
            for bound in (about.low, about.high):  # as they stand: a user takes them from the table
                assert machine.with_(**{name: bound}).get(name) == bound
                bounds += 1
    assert bounds > 60


def test_the_costs_are_those_of_the_model(machine):
    costs, about = machine.costs(), dict([*declared(Common), *declared(type(machine.spec))])
    assert COMMON_COSTS <= costs.keys()
    assert all(isinstance(cost, int) and cost >= 0 for cost in costs.values())
    free = {about[name].cost for name, value in machine.flat().items() if value == "free"}
    assert {name for name, cost in costs.items() if cost == 0} == free
    assert free == ({"tgh_page", "tgh_stall"} if machine.design == "gru" else set())


def test_the_common_costs():
    assert set(COSTS.names) == COMMON_COSTS
    assert COMMON_COSTS == {about.cost for _, about in declared(Common)} - {None}


def test_the_model_document_names_the_same_costs_and_settings():
    text = (pathlib.Path(__file__).parent.parent / "docs" / "model.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text[text.index("## 13.") :]))
    words |= {re.sub("_(ns|cycles)$", "", word) for word in words}  # kernel.<name>_ns stands for many
    for name in presets():
        settings = {re.sub("_(ns|cycles)$", "", dotted.split(".")[-1]) for dotted in preset(name).flat()}
        assert settings | preset(name).costs().keys() <= words


def test_2008_presets_share_one_primary():
    gru, kvm = preset("gru-2008"), preset("kvm-ept-2008")
    assert gru.common == kvm.common
    assert gru.differences(kvm) == {}
    assert gru.differences(kvm, prefixes=("",)).keys() == {*dict(flat(gru.spec)), *dict(flat(kvm.spec))}


def test_defaults_are_the_values_of_2008():
    for name in [name for name in presets() if name.endswith("-2008")]:
        machine = preset(name)
        defaults = {**dict(declared(Common)), **dict(declared(type(machine.spec)))}
        for setting, about in machine.provenance().items():
            assert (about.value, about.confidence) == (defaults[setting].default, defaults[setting].confidence), setting
        assert machine.common == Common() and machine.spec == type(machine.spec)()


@pytest.mark.parametrize(
    ("name", "handled", "called"),
    [
        ("gru-2008", 900 + 350 + 250 + 150 + 500, 500 + 800 + 88 + 250 + 150 + 500),  # the switch: once 500 ns of the CPU's time
        ("gru-2024", 1000 + 200 + 60 + 100 + 400, 100 + 800 + 70 + 60 + 100 + 400),
    ],
)
def test_totals_of_a_miss_that_a_cpu_serves(name, handled, called):
    """What the heads of the presets say: 2.2 and 1.8 us in the interrupt handler, without the driver's look-up."""
    machine = preset(name)
    cost = {name: cycles * 1000 / machine.get("clock.mhz") for name, cycles in machine.costs().items()}
    parts = ("irq_delivery", "irq_entry", "tfh_read", "dropin", "restart")
    assert abs(sum(cost[part] for part in parts) - handled) <= 2
    assert abs(sum(cost[part] for part in ("upm_switch", "poll", "syscall", "tfh_read", "dropin", "restart")) - called) <= 1


@pytest.mark.parametrize(
    ("name", "violation", "target", "kick"),
    [("kvm-ept-2008", 4500, 1200, 3000), ("kvm-ept-2024", 3000, 558, 2500), ("kvm-npt-2024", 3550, 558, 2500)],
)
def test_totals_of_violations_flushes_and_kicks(name, violation, target, kick):
    """What the heads say: cycles of a violation, ns that a first target adds to a flush, ns of a remote flush of one vCPU."""
    machine = preset(name)
    cost, mhz = machine.costs(), machine.get("clock.mhz")
    assert abs(sum(cost[part] for part in ("exit", "entry", "violation", "gup_fast", "map_spte")) - violation) <= 10
    parts = ("send_ns", "delivery_ns", "respond_ns", "ack_ns")
    alone = machine.get("cpu.flush.fixed_cycles") * 1000 / mhz  # the initiator's, meanwhile
    assert abs(sum(machine.get(f"kernel.shootdown.{part}") for part in parts) - alone - target) <= 1
    parts = ("request", "ipi_send", "ipi_delivery", "exit", "kick", "ipi_respond", "ipi_ack")
    assert abs(sum(cost[part] for part in parts) * 1000 / mhz - kick) <= 100


# --- declarations


@pytest.mark.parametrize("design", secondary.names())
def test_declarations_are_complete(design):
    spec = secondary.design(design).Spec
    assert issubclass(spec, DesignSpec) and spec() == spec()
    assert not spec.model_fields.keys() & Common.model_fields.keys()
    costs = []
    for name, about in [*declared(Common), *declared(spec)]:
        assert about.description and about.source and about.confidence in CONFIDENCE, name
        assert about.unit not in UNITS or name.endswith(UNITS[about.unit]), name
        assert (about.cost is not None) == (about.unit in ("ns", "cycles")), name
        costs += [about.cost] if about.cost else []
    assert len(costs) == len(set(costs))


def test_designs_are_found_by_their_files():
    folder = pathlib.Path(secondary.__file__).parent
    assert set(secondary.names()) == {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")} - {"protocol"}
    assert secondary.designs().keys() == set(secondary.names())
    assert "gru" in refusal(secondary.design, "gruu")


def test_every_section_checks_its_own_tables():
    class Tables(Section):
        lines: int = size(8, "lines", "lines", "E")
        ways: int = associativity(2, "E")
        top_entries: int = size(6, "entries", "entries", "E")
        top_ways: int = associativity(3, "E")

    assert Tables(lines=16, top_ways=6)
    for wrong in ({"ways": 3}, {"top_ways": 4}, {"top_ways": 2}, {"ways": 0}, {"other": 1}, {"lines": True}):
        with pytest.raises(ValueError):
            Tables(**wrong)


# --- cycles


@pytest.mark.parametrize(
    ("value", "unit", "mhz", "expected"),
    [
        (900, "ns", 2270, 2043), (1, "ns", 1500, 2), (0.5, "ns", 3000, 2), (0.1, "ns", 1000, 1), (1, "ns", 1, 1),
        (88, "ns", 2270, 200), ("free", "ns", 3000, 0), (7, "cycles", 2270, 7), ("free", "cycles", 2270, 0),
        (499, "ns", 1, 1), (1500, "ns", 1, 2), (2499, "ns", 1, 2), (2500, "ns", 1, 3),
    ],
)  # fmt: skip
def test_ns_become_cycles_once_half_up(value, unit, mhz, expected):
    assert cycles(value, unit, mhz) == expected


@given(st.integers(1, 10**9), st.integers(1, 100_000))
def test_rounding_is_exact(ns, mhz):
    assert cycles(ns, "ns", mhz) == max(1, (ns * mhz + 500) // 1000)


def test_costs_follow_the_clock_only_where_they_are_ns(gru):
    fast = gru.with_(**{"clock.mhz": 4540}).costs()
    slow = gru.costs()
    assert fast["tgh"] == 2 * slow["tgh"] and fast["dram"] == 2 * slow["dram"]
    assert fast["flush_full"] == slow["flush_full"] and fast["tgh_page"] == 0


# --- machines


def test_get_gives_values_and_sections(gru):
    assert gru.get("cpu.stlb.entries") == 512 and gru.get("tgh.page_ns") == "free"
    assert gru.get("cpu.stlb") == gru.common.cpu.stlb and gru.get("tlb").ways == 4
    assert all(gru.get(name) == value for name, value in gru.flat().items())
    assert "did you mean cpu.stlb.entries?" in refusal(gru.get, "cpu.stlb.entrys")
    assert refusal(gru.get, "nested.tlb_ways").startswith("nested.tlb_ways: design gru has no such setting")
    assert refusal(gru.get, "cpu.count.x").startswith("cpu.count.x:")


def test_order_is_that_of_the_declarations(machine):
    names = [*dict(declared(Common)), *dict(declared(type(machine.spec)))]
    assert list(machine.flat()) == list(machine.provenance()) == [row[0] for row in machine.rows()] == names


def test_rows_are_what_provenance_says(gru):
    rows = {row[0]: row[1:] for row in gru.rows()}
    about = gru.provenance()["tgh.invalidate_ns"]
    assert rows["tgh.invalidate_ns"] == (3000, "ns", "E", about.source, about.description)


def test_with_changes_only_what_it_names(gru):
    other = gru.with_(**{"tlb.entries": 64, "driver.interrupt_ns": 1500.5, "cpu.count": 4})
    changed = {name for name in gru.flat() if gru.get(name) != other.get(name)}
    assert changed == {"tlb.entries", "driver.interrupt_ns"} and gru.get("tlb.entries") == 4096
    before, after = gru.provenance(), other.provenance()
    for name in before:
        if name not in changed:
            assert before[name] == after[name]
    about = after["tlb.entries"]
    assert (about.source, about.confidence, about.low, about.high) == ("set by user", "U", None, None)
    assert about.description == before["tlb.entries"].description
    assert other != gru and other.with_(**gru.flat()) == gru


def test_changes_are_checked_together(gru):
    assert gru.with_(**{"cpu.stlb.entries": 1536, "cpu.stlb.ways": 12}).get("cpu.stlb.ways") == 12
    assert gru.with_(**{"cpu.count": 8, "driver.interrupt_cpu": 7}).get("driver.interrupt_cpu") == 7
    assert gru.with_(**{"tlb.entries": 8192, "gru.index_bits": 13}).get("tlb.entries") == 8192


def test_numpy_values_are_taken_as_pythons(gru):
    values = {"tlb.entries": np.int64(64), "tgh.invalidate_ns": np.float32(1.5), "cpu.stlb.huge": np.bool_(True)}
    other = gru.with_(**values)
    assert [type(other.get(name)) for name in values] == [int, float, bool]


def test_machines_compare_hash_and_pickle(machine):
    again = pickle.loads(pickle.dumps(machine))
    assert again == machine and hash(again) == hash(machine)
    assert again.provenance() == machine.provenance() and again.costs() == machine.costs()
    assert len({preset(name) for name in presets()} | {again}) == len(presets())
    with pytest.raises(AttributeError):
        machine.name = "other"
    with pytest.raises(ValueError):
        machine.common.cpu.count = 8


def test_differences_name_both_values(gru):
    other = gru.with_(**{"cpu.count": 2, "tlb.entries": 64, "clock.mhz": 3000})
    assert gru.differences(other) == {"cpu.count": (4, 2)}
    assert gru.differences(other, ("tlb.", "clock.")) == {"clock.mhz": (2270, 3000), "tlb.entries": (4096, 64)}
    assert gru.differences(preset("cpu-only"), ["tgh."])["tgh.page_ns"] == ("free", None)


def test_repr_is_short(gru):
    assert repr(gru) == "Machine(gru-2008: gru, 4 CPUs at 2270 MHz)"
    assert repr(gru.with_(**{"tlb.entries": 64})).endswith("; tlb.entries=64)")
    many = gru.with_(**{"tlb.entries": 64, "tlb.ways": 2, "cpu.count": 2, "gru.chiplets": 1})
    assert repr(many).endswith("; 4 settings of the user's)")


# --- refusals


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"tlb.entrie": 64}, "tlb.entrie: design gru has no such setting; did you mean tlb.entries?"),
        ({"vm.exit_cycles": 5}, "vm.exit_cycles: design gru has no such setting"),
        ({"cpu.stlb": 5}, "cpu.stlb: is a section, not a setting"),
        ({"cpu.stlb.entries": 1000, "cpu.stlb.ways": 12}, "cpu.stlb.ways: 12 does not divide cpu.stlb.entries (1000)"),
        ({"cpu.dtlb.huge_ways": 5}, "cpu.dtlb.huge_ways: 5 does not divide cpu.dtlb.huge_entries (32)"),
        ({"memory.l1.lines": 48}, "memory.l1.ways: 8 of memory.l1.lines (48) make 6 sets, not a power of two"),
        ({"tlb.ways": 3}, "tlb.ways: 3 does not divide tlb.entries (4096)"),
        ({"tlb.entries": 8192}, "tlb.entries: 8192 are more than the 4096 that gru.index_bits (12) can name"),
        ({"tlb.entries": 1 << 21, "gru.index_bits": 20}, "tlb.entries: must be less than or equal to 1048576, not 2097152"),
        ({"gru.index_bits": 11}, "gru.index_bits: must be greater than or equal to 12, not 11"),
        ({"tlb.entries": 64.0}, "tlb.entries: must be a valid integer, not 64.0"),
        ({"tlb.entries": "64"}, "tlb.entries: must be a valid integer, not '64'"),
        ({"tlb.ways": True}, "tlb.ways: must be a valid integer, not True"),
        ({"cpu.count": None}, "cpu.count: must be a valid integer, not None"),
        ({"cpu.stlb.huge": 1}, "cpu.stlb.huge: must be a valid boolean, not 1"),
        ({"cpu.count": 0}, "cpu.count: must be greater than or equal to 1, not 0"),
        ({"tlb.cbrs": 4}, "tlb.cbrs: is a setting no more; device.window is in its place"),
        ({"instruction.access_ns": 4}, "instruction.access_ns: is a setting no more; device.latency_ns, with device.interval_ns, is"),
        ({"device.window": 129}, "device.window: must be less than or equal to 128, not 129"),
        ({"kernel.thp": "on"}, "kernel.thp: must be 'never', 'madvise' or 'always', not 'on'"),
        ({"kernel.policy": "linux-5"}, "kernel.policy: must be 'linux-6', not 'linux-5'"),
        ({"tgh.invalidate_ns": 0}, "tgh.invalidate_ns: a cost of 0 is written free"),
        ({"tgh.invalidate_ns": 0.0}, "tgh.invalidate_ns: a cost of 0 is written free"),
        ({"tgh.invalidate_ns": -1}, "tgh.invalidate_ns: must be a positive number of ns, or free, not -1"),
        ({"tgh.invalidate_ns": True}, "tgh.invalidate_ns: must be a positive number of ns, or free, not True"),
        ({"tgh.invalidate_ns": "Free"}, "tgh.invalidate_ns: must be a positive number of ns, or free, not 'Free'"),
        ({"tgh.invalidate_ns": float("nan")}, "tgh.invalidate_ns: must be a positive number of ns, or free, not nan"),
        ({"tgh.invalidate_ns": float("inf")}, "tgh.invalidate_ns: must be a positive number of ns, or free, not inf"),
        ({"tgh.invalidate_ns": 10**400}, "tgh.invalidate_ns: must be at most 1000000000 ns"),
        ({"tgh.invalidate_ns": 1e10}, "tgh.invalidate_ns: must be at most 1000000000 ns, not 10000000000.0"),
        ({"cpu.flush.page_cycles": 2.5}, "cpu.flush.page_cycles: must be a positive whole number of cycles, or free"),
        ({"kernel.fault_around_pages": 12}, "kernel.fault_around_pages: 12 is not a power of two"),
        ({"kernel.fault_around_pages": 1024}, "kernel.fault_around_pages: must be less than or equal to 512, not 1024"),
        ({"kernel.gather_pages": 511}, "kernel.gather_pages: must be greater than or equal to 512, not 511"),
        ({"engine.lookahead_records": 100}, "engine.lookahead_records: 100 is not a power of two"),
        ({"engine.lookahead_records": 2}, "engine.lookahead_records: must be greater than or equal to 4, not 2"),
        ({"kernel.lazy_cpus": 5}, "kernel.lazy_cpus: 5 are more than cpu.count (4)"),
        ({"driver.interrupt_cpu": 4}, "driver.interrupt_cpu: there is no CPU 4: cpu.count is 4"),
        ({"driver.interrupt_cpu": -2}, "driver.interrupt_cpu: must be greater than or equal to -1, not -2"),
        ({"cpu.count": 0, "tlb.entries": 0}, "cpu.count: must be greater than or equal to 1, not 0"),
        ({"cpu.count": 0, "cpu.per_socket": 0}, "cpu.count: must be greater than or equal to 1, not 0 (and 1 more)"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line_that_begins_with_the_setting(gru, changes, line):
    assert refusal(gru.with_, **changes).startswith(line)


def test_refusals_of_other_designs():
    kvm = preset("kvm-ept-2008")
    assert refusal(kvm.with_, **{"guest.page_size": "1G"}) == "guest.page_size: must be '4K' or '2M', not '1G'"
    assert refusal(kvm.with_, **{"nested.tlb_ways": 5}) == "nested.tlb_ways: 5 does not divide nested.tlb_entries (16)"
    assert refusal(kvm.with_, **{"entries": 5}).startswith("entries: design kvm_ept has no such setting; did you mean")


def test_an_unknown_preset_lists_the_known():
    line = refusal(preset, "gru-2009")
    assert "did you mean gru-2008?" in line and all(name in line for name in presets())
    assert "primary-2008" not in line


def test_engines_of_gru(gru):
    gru.check_engines(32)
    assert refusal(gru.check_engines, 33) == "gru.chiplets: 2 have 32 contexts (16 each), but there are 33 engines"
    wide = gru.with_(**{"device.window": 64})
    wide.check_engines(4)
    assert refusal(wide.check_engines, 5) == "device.window: 64 for each of 3 contexts of a chiplet are more than its 128"
    gru.with_(**{"device.window": 9}).check_engines(24)
    assert refusal(gru.with_(**{"device.window": 9}).check_engines, 26) == (
        "device.window: 9 for each of 13 contexts of a chiplet are more than its 128, which are given out in pairs"
    )


def test_engines_of_other_designs():
    preset("kvm-ept-2024").check_engines(500)
    preset("cpu-only").check_engines(0)
    assert refusal(preset("cpu-only").check_engines, 2).startswith("design: cpu_only has no engines")


def test_check_hook_gets_the_common_sections():
    seen = []

    class Spec(DesignSpec):
        def check(self, common):
            seen.append(common)

    Spec().check(SimpleNamespace())
    assert DesignSpec().check(None) is None and DesignSpec().check_engines(9) is None and len(seen) == 1
