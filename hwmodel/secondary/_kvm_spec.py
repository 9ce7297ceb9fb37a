"""The settings of the KVM EPT design."""

from typing import ClassVar, Literal

from hwmodel.config import (
    Cycles,
    DesignSpec,
    Nanoseconds,
    Section,
    Sum,
    associativity,
    cost_cycles,
    cost_ns,
    optional_size,
    setting,
)
from hwmodel.config.device import Device
from hwmodel.core.tables import cost_table


class Core(Device):
    """The engine of a vCPU, a core of the CPU: its loads and stores, whose data are in its first-level cache."""

    latency_ns: Nanoseconds = cost_ns(
        1.76, "device_latency", "an access of an engine, from its issue to its data, the translation being at hand", "S",
        low=0.4, high=1000,
    )  # fmt: skip
    interval_ns: Nanoseconds = cost_ns(0.44, "device_interval", "the least time between two issues of an engine", "M", low=0.1, high=100)
    window: int = setting(
        10, "count", "accesses that an engine may have in flight, those that wait for their translation included", "M",
        ge=1, le=128, low=1, high=128,
    )  # fmt: skip


class Guest(Section):
    """The guest."""

    page_size: Literal["4K", "2M"] = setting("4K", "bytes", "page size of the guest's own page tables", "E")


class Nested(Section):
    """Each vCPU's walk caches for the second dimension; a cache of 0 entries does not exist."""

    tlb_entries: int = optional_size(16, "entries", "nested TLB: guest-physical page to host page", "M")
    tlb_ways: int = associativity(16, "E")
    pde_entries: int = optional_size(32, "entries", "cached EPT entries of level 2 (2 MiB each)", "E")
    pde_ways: int = associativity(4, "E")
    pdpte_entries: int = optional_size(4, "entries", "cached EPT entries of level 3 (1 GiB each)", "E")
    pdpte_ways: int = associativity(4, "E")
    pml4e_entries: int = optional_size(2, "entries", "cached EPT entries of level 4 (512 GiB each)", "E")
    pml4e_ways: int = associativity(2, "E")


class Vm(Section):
    """A vCPU's page walkers, and the costs of exits, EPT violations (nested page faults) and zaps."""

    walkers: int = setting(1, "count", "page walkers of each vCPU", "M", ge=1, le=128, low=1, high=6)
    exit_cycles: Cycles = cost_cycles(505, "exit", "VM exit, hardware part", "M", low=380, high=800)
    entry_cycles: Cycles = cost_cycles(504, "entry", "VM entry, hardware part", "M", low=380, high=800)
    invept_cycles: Cycles = cost_cycles(
        500, "invept", "invalidating the guest's translations at an entry: INVEPT, or VMRUN's TLB_CONTROL with NPT", "E", low=100, high=2300
    )
    violation_ns: Nanoseconds = cost_ns(
        1370, "violation", "software of an EPT violation, but for GUP and the spte", "E", low=600, high=2500
    )
    zap_ns: Nanoseconds = cost_ns(
        90, "zap", "a callback: memslots and range, under the mmu lock", "E", low=60, high=200
    )
    zap_spte_ns: Nanoseconds = cost_ns(44, "zap_spte", "zapping one spte", "E", low=17, high=66)
    request_ns: Nanoseconds = cost_ns(
        100, "request", "a remote flush's request to one vCPU: its bit, and a look at its mode", "E", low=50, high=150
    )
    kick_ns: Nanoseconds = cost_ns(
        1000, "kick", "a vCPU's way out of its guest, from the exit to the handler of the interrupt", "E", low=100, high=8000
    )
    map_spte_ns: Nanoseconds = cost_ns(100, "map_spte", "installing one spte", "E", low=50, high=300)


class Spec(DesignSpec):
    """The settings of the KVM EPT design; a vCPU also has the TLBs and walk caches of `cpu`.

    Attributes
    ----------
    guest, nested, vm, device : Section
        See the sections.
    """

    SUMS: ClassVar[tuple[Sum, ...]] = (
        Sum(
            "a violation whose host page is present, without get_user_pages",
            parts=("vm.exit_cycles", "vm.violation_ns", "vm.map_spte_ns", "vm.entry_cycles"),
            low=900, high=1500,
            source="dumps of perf kvm stat: 0.92 us the least on Intel (2021), 1.46 us the mean on AMD (2020); nothing for 2008",
        ),
    )  # fmt: skip

    guest: Guest = Guest()
    nested: Nested = Nested()
    vm: Vm = Vm()
    device: Core = Core()


COSTS = cost_table(Spec)
