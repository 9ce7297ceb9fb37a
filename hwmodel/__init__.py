"""A cycle-approximate model of secondary MMUs behind Linux mmu notifiers: GRU against KVM, in numbers.

>>> import hwmodel, workloads
>>> result = hwmodel.simulate(hwmodel.preset("gru-2008"), workloads.offload(workloads.recorded("sqlite")))  # doctest: +SKIP
"""

from hwmodel.config import ConfigError
from hwmodel.events import Events
from hwmodel.machine import Machine, load, preset, presets
from hwmodel.measure.result import Result
from hwmodel.op import Agent, TraceError
from hwmodel.simulate import simulate, simulate_all
from hwmodel.trace import Trace

__all__ = [
    "Agent", "ConfigError", "Events", "Machine", "Result", "Trace", "TraceError", "load", "preset", "presets", "simulate", "simulate_all",
]  # fmt: skip
