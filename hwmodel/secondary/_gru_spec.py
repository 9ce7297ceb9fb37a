"""The settings of the GRU design."""

from typing import Any, ClassVar, Literal

from hwmodel.config import (
    ConfigError,
    DesignSpec,
    Nanoseconds,
    Section,
    SettingError,
    Sum,
    associativity,
    cost_ns,
    setting,
    size,
)
from hwmodel.config.device import Device

CONTEXTS = 16
"""Contexts of a chiplet (gruhandles.h, GRU_NUM_CCH)."""
CBRS = 128
"""CBRs of a chiplet, divided among its contexts (gruhandles.h, GRU_NUM_CBE)."""
INDEX_BITS, MOST_INDEX_BITS = 12, 20
"""The bits of `indexway` in a TFH, which name an entry of a TLB (gruhandles.h), and the most that `gru.index_bits` can be."""
INDEX_AND_WAY = 1 << MOST_INDEX_BITS
"""The most entries of a TLB that any number of such bits can name."""
MOST_PAGES = 1024
"""Pages of the largest TGH operation, which purges its whole address space. The driver clamps larger numbers to this one
(gruhandles.h GRUMAXINVAL; grutlbpurge.c gru_flush_tlb_range)."""


class Tlb(Section):
    """The TLB of a chiplet."""

    entries: int = size(
        4096, "entries", "entries of a chiplet's TLB", "E", le=INDEX_AND_WAY, low=256, high=1 << INDEX_BITS
    )
    ways: int = associativity(4, "E")


class Gru(Section):
    """The GRU chiplets, how many entries of a TLB a fault handle can name, and what is not known of misses (docs/model.md 10.7)."""

    chiplets: int = setting(2, "count", "GRU chiplets, each with its own TLB and invalidations", "V", ge=1, le=1024)
    index_bits: int = setting(
        INDEX_BITS, "bits", "bits for set and way in a fault handle: tlb.entries are at most 2 to this", "E",
        ge=INDEX_BITS, le=MOST_INDEX_BITS, low=INDEX_BITS, high=MOST_INDEX_BITS,
    )  # fmt: skip
    kills: Literal["asid", "range", "all"] = setting(
        "asid", "scope", "whose misses an invalidation kills on its chiplet: its address space's, its range's, everybody's", "E"
    )
    kills_from: Literal["read", "miss"] = setting(
        "read", "moment", "from when on it kills a miss: from the handler's reading of the fault handle, or from the miss itself", "E"
    )
    store_miss: Literal["mod", "miss"] = setting(
        "mod", "cause", "what a store reports that finds no entry: a modification, or a mere miss, so that it traps twice", "E"
    )
    merge_misses: bool = setting(False, "bool", "whether a miss joins one of its page that is in flight", "E")


class Driver(Section):
    """The costs of a TLB miss: the interrupt and each step of the driver."""

    interrupt_cpu: int = setting(
        -1, "CPU", "the CPU that takes the interrupts; -1: that of the context's owner", "E", ge=-1
    )
    interrupt_ns: Nanoseconds = cost_ns(
        900, "irq_delivery", "from a miss to the first instruction of the interrupt handler", "E", low=800, high=1500
    )
    irq_entry_ns: Nanoseconds = cost_ns(
        350, "irq_entry", "interrupt entry and reading the fault map (TFM), one line", "E", low=250, high=700
    )
    irq_exit_ns: Nanoseconds = cost_ns(150, "irq_exit", "end of interrupt and return", "E", low=100, high=300)
    tfh_read_ns: Nanoseconds = cost_ns(250, "tfh_read", "reading a TLB fault handle (TFH)", "E", low=130, high=350)
    upm_switch_ns: Nanoseconds = cost_ns(
        150, "upm_switch", "writing and flushing a TFH: a fault is left to the polling user", "E", low=100, high=300
    )
    poll_ns: Nanoseconds = cost_ns(
        1150, "poll", "from then until the polling user sees that it must call the driver", "E", low=450, high=2350
    )
    dropin_ns: Nanoseconds = cost_ns(
        150, "dropin", "writing and flushing a TFH: an entry is dropped into the TLB", "E", low=100, high=300
    )
    restart_ns: Nanoseconds = cost_ns(
        500, "restart", "from the drop-in until the instruction goes on", "E", low=250, high=1000
    )
    cch_update_ns: Nanoseconds = cost_ns(
        1000, "cch_update", "adding a page size to a loaded context (CCH)", "E", low=500, high=3000
    )


class Tgh(Section):
    """The costs of an invalidation, and what is not known of it (docs/model.md 10.7)."""

    invalidate_ns: Nanoseconds = cost_ns(
        3000, "tgh", "one TGH invalidate operation on one chiplet", "E", low=1000, high=10_000
    )
    page_ns: Nanoseconds = cost_ns("free", "tgh_page", "more for every page of the range", "E", low="free", high=10)
    stall_ns: Nanoseconds = cost_ns(
        "free", "tgh_stall", "from the beginning of an operation, the time in which contexts of its address space issue nothing", "E",
        low="free", high=3000,
    )  # fmt: skip
    purges: Literal["pages", "sets"] = setting(
        "pages", "precision", "what an operation drops: the entries of its pages, or of the sets that these fall into", "E"
    )
    takes_effect: Literal["begin", "end"] = setting("begin", "moment", "when an operation drops and kills", "E")
    serial: bool = setting(False, "bool", "whether a chiplet does one operation at a time", "E")


class Spec(DesignSpec):
    """The settings of the GRU design.

    Attributes
    ----------
    tlb, gru, driver, tgh, device : Section
        See the sections.
    """

    FORMER: ClassVar[dict[str, str]] = {"tlb.cbrs": "device.window", "instruction.access_ns": "device.latency_ns, with device.interval_ns,"}
    SUMS: ClassVar[tuple[Sum, ...]] = (
        Sum(
            "a miss served in the interrupt handler, without the driver's look-up",
            parts=tuple(f"driver.{part}_ns" for part in ("interrupt", "irq_entry", "tfh_read", "dropin", "restart")),
            low=2000, high=6000,
            source="estimate: 2-6 us believable, since no latency of a GRU is public; at least four coherent transfers and an interrupt",
        ),
    )  # fmt: skip

    tlb: Tlb = Tlb()
    gru: Gru = Gru()
    driver: Driver = Driver()
    tgh: Tgh = Tgh()
    device: Device = Device()

    def check(self, common: Any) -> None:
        """Raise `SettingError` if a fault handle can't name every entry, or interrupts would go to a CPU that does not exist."""
        if self.tlb.entries > 1 << self.gru.index_bits:
            bits = self.gru.index_bits
            raise SettingError("tlb.entries", f"{self.tlb.entries} are more than the {1 << bits} that gru.index_bits ({bits}) can name")
        if self.driver.interrupt_cpu >= common.cpu.count:
            raise SettingError(
                "driver.interrupt_cpu", f"there is no CPU {self.driver.interrupt_cpu}: cpu.count is {common.cpu.count}"
            )

    def check_engines(self, engines: int) -> None:
        """Raise `ConfigError` if the chiplets don't have the contexts or the CBRs for so many engines.

        Parameters
        ----------
        engines : int
            Device agents of the trace; engine k is a context of chiplet k % gru.chiplets.
        """
        contexts = -(-engines // self.gru.chiplets)
        if contexts > CONTEXTS:
            raise ConfigError(
                f"gru.chiplets: {self.gru.chiplets} have {CONTEXTS * self.gru.chiplets} contexts "
                f"({CONTEXTS} each), but there are {engines} engines"
            )
        odd = self.device.window % 2
        if contexts * (self.device.window + odd) > CBRS:  # CBRs are given out in pairs (gruhandles.h, GRU_CBR_AU_SIZE)
            raise ConfigError(
                f"device.window: {self.device.window} for each of {contexts} contexts of a chiplet are more than its {CBRS}"
                f"{', which are given out in pairs' if odd else ''}"
            )
