"""No secondary MMU: the CPUs and the kernel alone, the baseline of every comparison."""

from hwmodel.byref import by_reference
from hwmodel.config import ConfigError, DesignSpec
from hwmodel.engine import drive
from hwmodel.jit import entry, part
from hwmodel.primary import access
from hwmodel.secondary.protocol import no_notice, no_phase, no_request


class Spec(DesignSpec):
    """No settings other than the common sections."""

    def check_engines(self, engines: int) -> None:
        """Raise `ConfigError` if there are device agents: nothing could translate for them."""
        if engines:
            raise ConfigError(f"design: cpu_only has no engines, but {engines} device agents need one")


@part
def translate(m, dev, i, kind, vpn, now):
    """Return ORDERED; never called, since there are no engines."""
    return access.ORDERED


@part
def request(m, dev, i, kind, vpn):
    """Do nothing; never called, since there are no engines."""


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, no_request, no_phase, no_notice)
