"""The designs that are under the contract, found by looking; each with the presets that are machines of it."""

from dataclasses import dataclass
from types import ModuleType

from hwmodel import machine as machines
from hwmodel import secondary
from hwmodel.config import ConfigError
from hwmodel.machine import Machine
from tests import random_traces


@dataclass(frozen=True)
class Design:
    """One design.

    Parameters
    ----------
    name : str
        Its file in `hwmodel/secondary`.
    module : module
        What is in it.
    presets : tuple of str
        The presets whose design it is.
    """

    name: str
    module: ModuleType
    presets: tuple[str, ...]

    @property
    def machine(self) -> Machine:
        """Its first preset."""
        return machines.preset(self.presets[0])

    @property
    def second_role(self) -> str:
        """Who a CPU shares pages with: a device, or another CPU where the design has no engines."""
        try:
            self.machine.check_engines(1)
        except ConfigError:
            return "cpu"
        return "device"


def design(name: str) -> Design:
    """The design of this name; random cases are machines of its first preset."""
    module = secondary.design(name)
    presets = tuple(preset for preset in machines.presets() if machines.preset(preset).design == name)
    if presets:
        random_traces.PRESETS.setdefault(name, presets[0])
    return Design(name, module, presets)
