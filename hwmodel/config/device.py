"""The section of an engine: how it issues accesses, whatever translates for it (docs/model.md section 15)."""

from hwmodel.config.section import Nanoseconds, Section, cost_ns, setting


class Device(Section):
    """An engine: its accesses stand for those of the data memory of every design alike."""

    latency_ns: Nanoseconds = cost_ns(
        700, "device_latency", "an access of an engine, from its issue to its data, the translation being at hand", "E", low=2, high=1000,
    )  # fmt: skip
    interval_ns: Nanoseconds = cost_ns(10, "device_interval", "the least time between two issues of an engine", "E", low=0.3, high=100)
    window: int = setting(
        8, "count", "accesses that an engine may have in flight, those that wait for their translation included", "E",
        ge=1, le=128, low=1, high=128,
    )  # fmt: skip
